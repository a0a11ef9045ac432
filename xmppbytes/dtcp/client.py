"""
The DTCP client on XMPP, requester and target (XEP-0046 sections 3.1 and 3.2).
"""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish.domish import Element

from xmppbytes.bytestreamclient import NO_ADDRESS, BytestreamClient
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


class DTCPClientHandler(BytestreamClient):
    """
    Makes direct connections with others, whoever of the two can be reached, over any stream manager.
    """

    log = Logger()
    requests = {("set", NS_DTCP, "query"): "onRequest"}
    feature = NS_DTCP

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
        options = options or DTCPOptions()
        super().__init__(
            acceptor, options, surroundings or ServerEntity(options.addresses, options.allowAddresses)
        )
        self._desk = FrontDesk(reactor, tls or ChannelTLS(options.tls), options)
        self._means = ClientMeans(
            reactor, options, self._surroundings, self._desk, self.ask, self._sendStanza
        )
        # Who waits at a relay waits for the target's answer, and then as long as others connect.
        patience = handshakeDeadlines(reactor, options.answerTimeout + options.connectTimeout)
        self._relays = RelayWaiting(self._desk, self.ask, patience)
        self._outgoing: set[Deferred[Any]] = set()
        self._incoming: dict[TargetNegotiation, Deferred[Element]] = {}
        self._unexpected: set[TargetNegotiation] = set()

    def connectionInitialized(self) -> None:
        """
        See L{RequestHandler}.
        """
        super().connectionInitialized()
        self.xmlstream.addObserver("/iq[@type='error']", self.onTrouble)

    def close(self) -> None:
        """
        Give up everything that is being negotiated. What is connected is not touched.
        """
        for deferred in [*self._outgoing, *self._incoming.values()]:
            deferred.cancel()
        self._desk.cancelAll()
        for asked in list(self._means.unanswered):
            asked.cancel()

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
            peer = self.nameOf(target)
        except NO_ADDRESS as e:
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

    def forgetBytestream(self, requester: str | JID, sid: str) -> None:
        """
        Expect a connection no longer. One that is being negotiated is given up; one that is
        established is not touched. Does nothing when it is not expected.
        """
        key = self.nameOf(requester), sid
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
            peer = self.nameOf(iq.getAttribute("from", ""))
        except NO_ADDRESS as e:
            raise StanzaError("jid-malformed", text="your address is not valid") from e
        try:
            query = Query.fromElement(iq.firstChildElement())
        except NegotiationError as e:
            raise StanzaError("bad-request", text=str(e)) from e
        acceptor, sid, expected = self._acceptorFor(peer, query.sid)
        own = iq.getAttribute("to") or self._surroundings.ownName()
        parties = Parties(role=Role.TARGET, own=self.nameOf(own), peer=peer, sid=sid)
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
        self.checkLimits(peer, [one.offer.requester for one in self._unexpected])
        return self.acceptor, sid or "", False

    def _checkFirst(self, peer: str, sid: str) -> None:
        """
        What was agreed upon once is negotiated once at a time.
        """
        if any((one.offer.requester, one.offer.sid) == (peer, sid) for one in self._incoming):
            self.log.info("Refused a second connection of {peer} for sid {sid}", peer=peer, sid=sid)
            raise StanzaError("conflict", text="a connection for this is being negotiated already")

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
            peer = self.nameOf(iq.getAttribute("from", ""))
        except NO_ADDRESS:
            return
        negotiation = self._desk.findTold(trouble.key, peer)
        if negotiation is not None:
            iq.handled = True
            negotiation.troubleReceived(trouble)


def _refuseCancelled(failure: Failure) -> Failure:
    if failure.check(CancelledError):
        raise StanzaError("forbidden", text="Rejected")
    return failure
