"""
The DTCP client on XMPP, requester and target (XEP-0046 sections 3.1 and 3.2).
"""

from typing import Any, TypeAlias

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID, InvalidFormat
from twisted.words.xish.domish import Element
from zope.interface import implementer

from xmppbytes.compat import disco, iwokkel
from xmppbytes.connecting.surroundings import ServerEntity
from xmppbytes.core.handshake import handshakeDeadlines
from xmppbytes.dtcp.channel import ChannelTLS
from xmppbytes.dtcp.desk import FrontDesk
from xmppbytes.dtcp.means import Parties
from xmppbytes.dtcp.options import DTCPOptions
from xmppbytes.dtcp.requester import RequesterNegotiation
from xmppbytes.dtcp.session import Role
from xmppbytes.dtcp.shared import ClientMeans
from xmppbytes.dtcp.stanzas import NS_DTCP, Query, Trouble
from xmppbytes.dtcp.target import TargetNegotiation
from xmppbytes.dtcp.waiting import RelayWaiting
from xmppbytes.errors import NegotiationError
from xmppbytes.interfaces import IBytestreamAcceptor
from xmppbytes.stanza import RequestHandler

# Who the other party is, and the sid.
_Key: TypeAlias = tuple[str, str]


@implementer(iwokkel.IDisco)
class DTCPClientHandler(RequestHandler):
    """
    Makes direct connections with others, whoever of the two can be reached, over any stream manager.
    """

    log = Logger()
    requests = {("set", NS_DTCP, "query"): "onRequest"}

    def __init__(
        self,
        reactor: Any,
        acceptor: IBytestreamAcceptor | None = None,
        options: DTCPOptions | None = None,
        surroundings: Any = None,
        tls: ChannelTLS | None = None,
    ) -> None:
        """
        @param reactor: connects, listens, resolves names, tells the time.
        @param acceptor: decides about connections that nobody expects; C{None}: all are refused.
        @param options: see L{DTCPOptions}.
        @param surroundings: what kind of XMPP stream this is, an L{IBytestreamSurroundings
            <xmppbytes.interfaces.IBytestreamSurroundings>}; C{None}: one to a server.
        @param tls: the TLS of our channels; C{None}: as the options say, with a certificate that is
            made for this handler.
        """
        super().__init__()
        self.acceptor = acceptor
        self.options = options = options or DTCPOptions()
        self._surroundings = surroundings or ServerEntity(options.addresses, options.allowAddresses)
        self._desk = FrontDesk(reactor, tls or ChannelTLS(options.tls), options)
        self._means = ClientMeans(
            reactor, options, self._surroundings, self._desk, self.ask, self._sendStanza
        )
        # Who waits at a relay waits for the target's answer, and then as long as others connect.
        patience = handshakeDeadlines(reactor, options.answerTimeout + options.connectTimeout)
        self._relays = RelayWaiting(self._desk, self.ask, patience)
        self._expected: dict[_Key, IBytestreamAcceptor] = {}
        self._outgoing: set[Deferred[Any]] = set()
        self._incoming: dict[TargetNegotiation, Deferred[Element]] = {}
        self._unexpected: set[TargetNegotiation] = set()

    def connectionInitialized(self) -> None:
        """
        See L{RequestHandler}.
        """
        super().connectionInitialized()
        self._surroundings.attached(self.xmlstream)
        self.xmlstream.addObserver("/iq[@type='error']", self.onTrouble)

    def connectionLost(self, reason: Failure) -> None:
        """
        The XML stream has ended. Keys that are exchanged are good without it.
        """
        super().connectionLost(reason)
        self._surroundings.attached(None)

    def close(self) -> None:
        """
        Give up everything that is being negotiated. What is connected is not touched.
        """
        for deferred in [*self._outgoing, *self._incoming.values()]:
            deferred.cancel()
        self._desk.cancelAll()
        for asked in list(self._means.unanswered):
            asked.cancel()

    def ask(
        self,
        recipient: str | JID,
        kind: str,
        payload: Element,
        timeout: float | None = None,
        sender: str | None = None,
    ) -> "Deferred[Element]":
        """
        See L{RequestHandler}. Requests come from the address that a relay will know us by.
        """
        return super().ask(recipient, kind, payload, timeout, sender or self._surroundings.ownName())

    def _sendStanza(self, stanza: Element) -> None:
        if self.parent is not None and self.xmlstream is not None:
            stanza["from"] = self._surroundings.ownName()
            self.send(stanza)

    def connect(
        self, target: str | JID, protocolFactory: IProtocolFactory, sid: str | None = None
    ) -> "Deferred[IProtocol]":
        """
        Make a connection with somebody: we are the requester.

        The protocol is built, with a L{xmppbytes.core.bytestream.BytestreamAddress} whose C{route}
        tells which way the bytes go, once the connection is established on our side. Cancelling the
        Deferred closes everything, and the target is told.

        @param target: the full JID of the other side.
        @param protocolFactory: makes the protocol.
        @param sid: names what was agreed upon before, if anything was (by stream initiation, say).
        @return: fires with the connected protocol. Fails with L{Refused<xmppbytes.errors.Refused>}
            when the target says no, with L{NotReachable<xmppbytes.errors.NotReachable>} when no way
            to connect was found, or another L{NegotiationError}.
        """
        try:
            own = self._surroundings.ownName()
            peer = self._surroundings.nameOf(_text(target))
        except (InvalidFormat, UnicodeError) as e:
            return fail(ValueError(f"{target!r} is not a valid address: {e}"))
        except NegotiationError:
            return fail()
        parties = Parties(role=Role.REQUESTER, own=own, peer=peer, sid=sid or "")
        negotiation = RequesterNegotiation(self._means, self._relays, parties)
        connected = Deferred.fromCoroutine(negotiation.run(protocolFactory))
        self._outgoing.add(connected)

        def ended(result: Any) -> Any:
            self._outgoing.discard(connected)
            return result

        return connected.addBoth(ended)

    def requestBytestream(
        self, target: str | JID, protocolFactory: IProtocolFactory, sid: str | None = None
    ) -> "Deferred[IProtocol]":
        """
        L{connect}, as other kinds of bytestream call it.
        """
        return self.connect(target, protocolFactory, sid)

    def expectBytestream(self, requester: str | JID, sid: str, acceptor: IBytestreamAcceptor) -> None:
        """
        Let this acceptor decide when this requester asks for the connection of this sid; or for one
        without a sid, when nothing else is expected of it. It stays until L{forgetBytestream}.

        @raise ValueError: when it is expected already.
        @raise InvalidFormat: when the requester's address is none.
        """
        key = self._surroundings.nameOf(_text(requester)), sid
        if key in self._expected:
            raise ValueError(f"a connection of sid {sid} from {key[0]} is expected already")
        self._expected[key] = acceptor

    def forgetBytestream(self, requester: str | JID, sid: str) -> None:
        """
        Expect a connection no longer. One that is being negotiated is given up; one that is
        established is not touched. Does nothing when it is not expected.
        """
        key = self._surroundings.nameOf(_text(requester)), sid
        if self._expected.pop(key, None) is None:
            return
        for negotiation, answer in list(self._incoming.items()):
            if (negotiation.offer.requester, negotiation.offer.sid) == key:
                answer.cancel()
                negotiation.cancel()

    def onRequest(self, iq: Element) -> Any:
        """
        Section 3.1: somebody asks for a connection.
        """
        try:
            peer = self._surroundings.nameOf(iq.getAttribute("from", ""))
        except (InvalidFormat, UnicodeError) as e:
            raise StanzaError("jid-malformed", text="your address is not valid") from e
        try:
            query = Query.fromElement(iq.firstChildElement())
        except NegotiationError as e:
            raise StanzaError("bad-request", text=str(e)) from e
        acceptor, sid, expected = self._acceptorFor(peer, query.sid)
        own = iq.getAttribute("to") or self._surroundings.ownName()
        parties = Parties(role=Role.TARGET, own=self._surroundings.nameOf(own), peer=peer, sid=sid)
        negotiation = TargetNegotiation(self._means, acceptor, parties, query)
        answer = Deferred.fromCoroutine(negotiation.run())
        self._incoming[negotiation] = answer
        if not expected:
            self._unexpected.add(negotiation)

        def forget(_: None) -> None:
            del self._incoming[negotiation]
            self._unexpected.discard(negotiation)

        negotiation.ended.addCallback(forget)
        return answer.addErrback(_refuseCancelled)

    def _acceptorFor(self, peer: str, sid: str | None) -> tuple[IBytestreamAcceptor, str, bool]:
        """
        Find out who decides about a request, and what it is for.

        @return: who decides, the sid, and whether it was expected.
        @raise StanzaError: when nobody does, or too many are being negotiated.
        """
        expected = self._expected.get((peer, sid or ""))
        if expected is None and sid is None:
            # Section 3 knows no sid: the only one that is expected must be meant.
            ofPeer = [key for key in self._expected if key[0] == peer]
            if len(ofPeer) == 1:
                expected, sid = self._expected[ofPeer[0]], ofPeer[0][1]
        if expected is not None:
            self._checkFirst(peer, sid or "")
            return expected, sid or "", True
        if self.acceptor is None:
            self.log.info("Refused the connection of {peer}: nobody expects it", peer=peer)
            raise StanzaError("forbidden", text="Rejected: nobody expects a connection")
        self._checkLimits(peer)
        return self.acceptor, sid or "", False

    def _checkFirst(self, peer: str, sid: str) -> None:
        """
        What was agreed upon once is negotiated once at a time.
        """
        if any((one.offer.requester, one.offer.sid) == (peer, sid) for one in self._incoming):
            self.log.info("Refused a second connection of {peer} for sid {sid}", peer=peer, sid=sid)
            raise StanzaError("conflict", text="a connection for this is being negotiated already")

    def _checkLimits(self, peer: str) -> None:
        bare = _bare(peer)
        ofPeer = sum(1 for one in self._unexpected if _bare(one.offer.requester) == bare)
        if len(self._unexpected) < self.options.maxIncoming and ofPeer < self.options.maxIncomingPerPeer:
            return
        self.log.info("Refused the connection of {peer}: too many wait already", peer=peer)
        raise StanzaError("resource-constraint", type="wait", text="too many wait here; try later")

    def onTrouble(self, iq: Any) -> None:
        """
        Section 3.2: the other side has given up, or is through with us.
        """
        if iq.handled:
            return
        trouble = Trouble.fromElement(iq)
        if trouble is None:
            return
        try:
            peer = self._surroundings.nameOf(iq.getAttribute("from", ""))
        except (InvalidFormat, UnicodeError):
            return
        negotiation = self._desk.findTold(trouble.key, peer)
        if negotiation is not None:
            iq.handled = True
            negotiation.troubleReceived(trouble)

    def getDiscoInfo(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[object]:
        """
        See L{iwokkel.IDisco}.
        """
        return [] if nodeIdentifier else [disco.DiscoFeature(NS_DTCP)]

    def getDiscoItems(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[object]:
        """
        See L{iwokkel.IDisco}.
        """
        return []


def _text(address: str | JID) -> str:
    return address.full() if isinstance(address, JID) else address


def _bare(address: str) -> str:
    return address.partition("/")[0]


def _refuseCancelled(failure: Failure) -> Failure:
    if failure.check(CancelledError):
        raise StanzaError("forbidden", text="Rejected")
    return failure
