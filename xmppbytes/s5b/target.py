"""
The life of one negotiation as Target (XEP-0065 sections 5.3.2, 5.3.3, 6.3.2 and 6.3.3).
"""

from collections.abc import Sequence

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import NoProtocol
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish.domish import Element

from xmppbytes.connecting.handing import giveTo
from xmppbytes.core.bytestream import BytestreamAddress, BytestreamOffer, Route
from xmppbytes.errors import BytestreamError, NegotiationError, NotReachable, Refused
from xmppbytes.interfaces import IBytestreamAcceptor
from xmppbytes.s5b.candidates import Candidate, CandidateConnection, routeOf
from xmppbytes.s5b.options import BytestreamOptions, Ways
from xmppbytes.s5b.request import BytestreamRequest, usedElement
from xmppbytes.s5b.session import Means


class TargetSession:
    """
    A requester asks us for a bytestream.

    @cvar notConnected: the error condition that tells that no streamhost could be reached.
    @ivar offer: what it asks for.
    """

    log = Logger()
    notConnected = "item-not-found"

    def __init__(
        self,
        means: Means,
        acceptor: IBytestreamAcceptor,
        offer: BytestreamOffer,
        request: BytestreamRequest,
        destinations: Sequence[str],
        options: BytestreamOptions,
    ) -> None:
        """
        @param means: what it works with.
        @param acceptor: decides.
        @param offer: what it decides about.
        @param request: where we may connect to.
        @param destinations: the values of DST.ADDR to ask for there.
        @param options: see L{BytestreamOptions}.
        """
        self.offer = offer
        self._means = means
        self._acceptor = acceptor
        self._request = request
        self._destinations = destinations
        self._options = options
        self._connected: tuple[IProtocolFactory, CandidateConnection, Route] | None = None

    async def run(self) -> Element:
        """
        Let the acceptor decide, and connect.

        @return: the answer for the requester. When it is on its way, call L{start}.
        @raise StanzaError: the answer, when there will be no bytestream.
        """
        protocolFactory = await self._decide()
        candidates = self._candidates()
        try:
            if not candidates:
                raise NotReachable("none of the streamhosts may be used")
            candidate, leg = await self.connect(candidates)
        except NotReachable as e:
            self._tellFailure(e)
            raise StanzaError(self.notConnected, type="cancel") from e
        route = routeOf(leg, candidate.jid if candidate.relayed else None)
        self._connected = (protocolFactory, leg, route)
        self.log.info(
            "Bytestream of {requester} (sid {sid!r}): {route}",
            requester=self.offer.requester,
            sid=self.offer.sid,
            route=route,
        )
        return usedElement(self.offer.sid, candidate.jid)

    async def connect(self, candidates: Sequence[Candidate]) -> tuple[Candidate, CandidateConnection]:
        """
        Connect to one of the candidates.

        @raise NotReachable: when none can be reached.
        """
        connector = self._means.connector(self.offer.requester)
        return await connector.connect(candidates, self._destinations)

    def start(self) -> None:
        """
        Give the connection to the application.
        """
        assert self._connected is not None
        protocolFactory, leg, route = self._connected
        address = BytestreamAddress(self.offer.requester, self.offer.sid, route)
        try:
            giveTo(leg, protocolFactory, address)
        except NoProtocol:
            self._tellFailure(NegotiationError("the application has no protocol for the connection"))
        except Exception:
            self.log.failure("The application failed to take a bytestream of {address}", address=address)

    async def _decide(self) -> IProtocolFactory:
        decision: Deferred[IProtocolFactory] = maybeDeferred(self._acceptor.bytestreamRequested, self.offer)
        decision.addTimeout(self._options.decisionTimeout, self._means.reactor)
        try:
            return await decision
        except Refused as e:
            reason: object = e
        except DeferredTimeout:
            reason = f"no decision within {self._options.decisionTimeout:g} s"
        self.log.info(
            "Refused the bytestream of {requester} (sid {sid!r}): {reason}",
            requester=self.offer.requester,
            sid=self.offer.sid,
            reason=reason,
        )
        raise StanzaError("not-acceptable")

    def _candidates(self) -> list[Candidate]:
        surroundings, ways = self._means.surroundings, self._options.ways
        candidates = []
        for one in self._request.streamHosts:
            relayed = not surroundings.isRequesters(one.jid, self.offer.requester, self.offer.sid)
            if ways is Ways.ANY or (ways is Ways.PROXY_ONLY) == relayed:
                candidates.append(Candidate(one.jid, one.host, one.port, relayed))
        return candidates[: self._options.maxStreamHosts]

    def _tellFailure(self, error: BytestreamError) -> None:
        self.log.info(
            "The bytestream of {requester} (sid {sid!r}) did not come about: {reason}",
            requester=self.offer.requester,
            sid=self.offer.sid,
            reason=error,
        )
        try:
            self._acceptor.bytestreamFailed(self.offer, error)
        except Exception:
            self.log.failure("The application failed to take note of a failed bytestream")
