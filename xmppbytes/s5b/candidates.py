"""
Candidates: the places where a bytestream might be connected, and connecting to them.

Nothing here knows which stanzas carried them: XEP-0065 brings them as C{<streamhost/>}, other
negotiations in forms of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from xmppbytes.connecting.addresses import plainAddress
from xmppbytes.connecting.connector import Connector
from xmppbytes.connecting.racing import RaceTiming
from xmppbytes.core.bytestream import Route
from xmppbytes.core.handshake import handshakeDeadlines
from xmppbytes.core.leg import LegKind
from xmppbytes.errors import NegotiationError
from xmppbytes.interfaces import IAddressPolicy, ILeg
from xmppbytes.s5b.protocol import SOCKS5ClientProtocol


@dataclass(frozen=True, slots=True)
class Candidate:
    """
    Somewhere to connect to for a bytestream.

    @ivar jid: whose it is.
    @ivar host: an IP address or a name.
    @ivar port: a TCP port.
    @ivar relayed: whether it is a proxy.
    """

    jid: str
    host: str
    port: int
    relayed: bool


@implementer(ILeg)
class CandidateConnection(SOCKS5ClientProtocol):
    """
    Our connection to a candidate: a leg, once the candidate has granted it.
    """

    kind = LegKind.STREAM
    ready = True

    def speaksFor(self, parties: Any) -> bool:
        """
        See L{ILeg}.
        """
        return True

    def close(self, reason: str) -> None:
        """
        See L{ILeg}.
        """
        self.abandon()
        self.transport.loseConnection()


class _OneConnection(Factory):
    """
    Makes one L{CandidateConnection}.
    """

    noisy = False

    def __init__(self, connection: CandidateConnection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: IAddress | None) -> CandidateConnection:
        return self._connection


class CandidateConnector:
    """
    Connects to the first candidate that grants a bytestream.
    """

    def __init__(self, reactor: Any, policy: IAddressPolicy, timing: RaceTiming | None = None) -> None:
        """
        @param reactor: connects, resolves names, tells the time.
        @param policy: which addresses may be connected to.
        @param timing: see L{RaceTiming}.
        """
        timing = timing or RaceTiming()
        self._deadlines = handshakeDeadlines(reactor, timing.attempt)
        self._connector = Connector(reactor, policy, timing)

    def connect(
        self, candidates: Sequence[Candidate], destinations: Sequence[str]
    ) -> Deferred[tuple[Candidate, CandidateConnection]]:
        """
        Race for the candidates.

        @param candidates: in the order of preference.
        @param destinations: the values of DST.ADDR to ask for: the next one where one is refused.
        @return: fires with the candidate that won and the connection to it, which is not being read.
            Fails with L{NotReachable<xmppbytes.errors.NotReachable>}. May be cancelled.
        """

        def attempt(_: Candidate, endpoint: IStreamClientEndpoint) -> Deferred[CandidateConnection]:
            return Deferred.fromCoroutine(self._tryAll(endpoint, destinations))

        return self._connector.connect(
            candidates, attempt, lambda late: late.close("another candidate was faster")
        )

    async def _tryAll(
        self, endpoint: IStreamClientEndpoint, destinations: Sequence[str]
    ) -> CandidateConnection:
        for destination in destinations[:-1]:
            try:
                return await self._try(endpoint, destination)
            except NegotiationError:
                # The last one's failure is the one that is told.
                continue
        return await self._try(endpoint, destinations[-1])

    async def _try(self, endpoint: IStreamClientEndpoint, destination: str) -> CandidateConnection:
        answered: Deferred[CandidateConnection] = Deferred()
        connection = CandidateConnection(
            destination,
            answered.callback,
            lambda error: answered.errback(Failure(error)),
            self._deadlines,
        )
        await endpoint.connect(_OneConnection(connection))
        try:
            return await answered
        except CancelledError:
            connection.transport.abortConnection()
            raise


def routeOf(leg: Any, proxy: str | None) -> Route:
    """
    Describe which way a connected leg goes.

    @param leg: an L{ILeg}.
    @param proxy: the JID of the proxy at its other end, or C{None}.
    """
    port = int(getattr(leg.transport.getPeer(), "port", 0))
    return Route(plainAddress(leg.address), port, proxy)
