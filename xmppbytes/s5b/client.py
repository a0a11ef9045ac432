"""
The S5B client on XMPP, Requester and Target (XEP-0065 sections 3, 5, 6 and 7).
"""

import secrets
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish.domish import Element

from xmppbytes.bytestreamclient import NO_ADDRESS, BytestreamClient, Key
from xmppbytes.core.bytestream import BytestreamOffer
from xmppbytes.errors import NegotiationError
from xmppbytes.interfaces import IBytestreamAcceptor, IBytestreamSurroundings
from xmppbytes.s5b.discovery import ProxyFinder
from xmppbytes.s5b.options import BytestreamOptions
from xmppbytes.s5b.request import BytestreamRequest
from xmppbytes.s5b.requester import RequesterSession
from xmppbytes.s5b.session import Means
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS
from xmppbytes.s5b.streamhost import LocalStreamHost
from xmppbytes.s5b.surroundings import ServerSurroundings
from xmppbytes.s5b.target import TargetSession


class BytestreamsClientHandler(BytestreamClient):
    """
    Opens bytestreams to others and accepts theirs, over any stream manager.

    @cvar mode: the mode of the bytestreams that are accepted.
    """

    log = Logger()
    requests = {("set", NS_BYTESTREAMS, "query"): "onBytestreamRequest"}
    mode = "tcp"
    feature = NS_BYTESTREAMS

    def __init__(
        self,
        reactor: Any,
        acceptor: IBytestreamAcceptor | None = None,
        options: BytestreamOptions | None = None,
        surroundings: IBytestreamSurroundings | None = None,
    ) -> None:
        """
        @param reactor: connects, listens, resolves names, tells the time.
        @param acceptor: decides about bytestreams that nobody expects; C{None}: all are refused.
        @param options: see L{BytestreamOptions}.
        @param surroundings: what kind of XMPP stream this is; C{None}: one to a server.
        """
        options = options or BytestreamOptions()
        super().__init__(acceptor, options, surroundings or ServerSurroundings(options))
        self._reactor = reactor
        self._finder = ProxyFinder(self.ask, reactor)
        streamHost = LocalStreamHost(reactor, options.ports)
        self._means = Means(reactor, self._surroundings, streamHost, self._finder, self.ask)
        self._outgoing: dict[Key, Deferred[IProtocol]] = {}
        self._incoming: dict[Key, Deferred[Element]] = {}
        self._unexpected: set[Key] = set()

    def connectionInitialized(self) -> None:
        """
        See L{RequestHandler}.
        """
        super().connectionInitialized()
        self._finder.forget()

    def connectionLost(self, reason: Failure) -> None:
        """
        The XML stream has ended. Bytestreams that are connected do not depend on it; those that others
        have asked for cannot be answered any more.
        """
        super().connectionLost(reason)
        for negotiation in list(self._incoming.values()):
            negotiation.cancel()

    def close(self) -> None:
        """
        Give up everything that is being negotiated. What is connected is not touched.
        """
        negotiations: list[Deferred[Any]] = [*self._incoming.values(), *self._outgoing.values()]
        for negotiation in negotiations:
            negotiation.cancel()

    def requestBytestream(
        self,
        target: str | JID,
        protocolFactory: IProtocolFactory,
        sid: str | None = None,
        options: BytestreamOptions | None = None,
    ) -> "Deferred[IProtocol]":
        """
        Open a bytestream: we are the Requester.

        The protocol is built, with a L{xmppbytes.core.bytestream.BytestreamAddress} whose C{route}
        tells which way the bytes go, once the target has connected and, through a proxy, the
        bytestream is active. Cancelling the Deferred leaves nothing behind.

        @param target: the full JID of the other side, or its room JID.
        @param protocolFactory: makes the protocol.
        @param sid: the stream ID; C{None}: a new one.
        @param options: for this bytestream only; C{None}: those of the handler.
        @return: fires with the connected protocol. Fails with L{Refused
            <xmppbytes.errors.Refused>} when the target says no, with L{NotReachable
            <xmppbytes.errors.NotReachable>} when no way to connect was found (another method, such
            as in-band bytestreams, may do), or another L{NegotiationError
            <xmppbytes.errors.NegotiationError>}.
        """
        chosen = options or self.options
        return self._request(
            target, sid, lambda key: RequesterSession(self._means, *key, chosen).run(protocolFactory)
        )

    def _request(
        self, target: str | JID, sid: str | None, begin: Callable[[Key], Coroutine[Any, Any, Any]]
    ) -> "Deferred[Any]":
        """
        Begin a negotiation as Requester.

        @param begin: makes its life of the target's name and the sid.
        """
        try:
            key = self.nameOf(target), sid or secrets.token_hex(8)
            if key in self._outgoing:
                raise ValueError(f"a bytestream of sid {key[1]} to {key[0]} is being opened already")
            life = begin(key)
        except NO_ADDRESS as e:
            return fail(ValueError(f"{target!r} is not a valid address: {e}"))
        except (NegotiationError, ValueError):
            return fail()
        connected = Deferred.fromCoroutine(life)
        self._outgoing[key] = connected

        def ended(result: Any) -> Any:
            del self._outgoing[key]
            return result

        return connected.addBoth(ended)

    def forgetBytestream(self, requester: str | JID, sid: str) -> None:
        """
        Expect a bytestream no longer. One that is being connected is given up and refused; one that
        is connected is not touched. Does nothing when it is not expected.
        """
        key = self.nameOf(requester), sid
        if self._expected.pop(key, None) is not None and key in self._incoming:
            self._incoming[key].cancel()

    def onBytestreamRequest(self, iq: Element) -> Any:
        """
        Sections 5.3.1 and 6.3.1: somebody asks for a bytestream.
        """
        request = BytestreamRequest.fromElement(iq.firstChildElement())
        requester = iq.getAttribute("from", "")
        target = iq.getAttribute("to") or self._surroundings.ownName()
        try:
            key = self.nameOf(requester), request.sid
            destinations = self._surroundings.hashesOf(request.sid, requester, target)
        except NO_ADDRESS as e:
            raise StanzaError("jid-malformed", text=f"{requester!r} is not a valid address") from e
        if request.destination is not None:
            # In a multi-user chat only the requester knows the names that the proxy will hash.
            destinations = (request.destination,)
        acceptor = self._acceptorFor(key, request)
        offer = BytestreamOffer(key[0], target, request.sid)
        return self._negotiate(key, self.makeTargetSession(acceptor, offer, request, destinations))

    def makeTargetSession(
        self, acceptor: Any, offer: BytestreamOffer, request: BytestreamRequest, destinations: Sequence[str]
    ) -> TargetSession:
        """
        Make the session of a bytestream that somebody asks for; see L{TargetSession}.
        """
        return TargetSession(self._means, acceptor, offer, request, destinations, self.options)

    def _negotiate(self, key: Key, session: TargetSession) -> "Deferred[Element]":
        async def negotiate() -> Element:
            try:
                return await session.run()
            except CancelledError:
                raise StanzaError("not-acceptable") from None

        def start() -> None:
            self._ended(key)
            session.start()

        def connected(answer: Element) -> Element:
            # In the next turn: the requester's answer is on its way before the application can write.
            self._reactor.callLater(0, start)
            return answer

        def failed(failure: Failure) -> Failure:
            self._ended(key)
            return failure

        answer = Deferred.fromCoroutine(negotiate())
        self._incoming[key] = answer
        if key not in self._expected:
            self._unexpected.add(key)
        return answer.addCallbacks(connected, failed)

    def _ended(self, key: Key) -> None:
        del self._incoming[key]
        self._unexpected.discard(key)

    def _acceptorFor(self, key: Key, request: BytestreamRequest) -> IBytestreamAcceptor:
        """
        Find out who decides about a request.

        @raise StanzaError: when it cannot be granted anyway.
        """
        acceptor = self._expected.get(key, self.acceptor)
        reason = None
        if acceptor is None:
            reason = "nobody expects it"
        elif request.mode != self.mode:
            reason = f"its mode is {request.mode}"
        elif key in self._incoming or key in self._outgoing:
            # Also Psi's fast mode, in which the target asks back under the sid of our own request.
            reason = "one of this sid is being negotiated"
        if acceptor is None or reason is not None:
            self.log.info(
                "Refused the bytestream of {key[0]} (sid {key[1]!r}): {reason}", key=key, reason=reason
            )
            raise StanzaError("not-acceptable")
        if key not in self._expected:
            self.checkLimits(key[0], [peer for peer, _ in self._unexpected])
        return acceptor
