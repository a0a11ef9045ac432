"""
A party's side of UDP mode: asking a StreamHost for an association, and initializing its channel
(XEP-0065 sections 8.3.1 and 8.3.2).
"""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IAddress, IStreamClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from xmppbytes.connecting.connector import Connector
from xmppbytes.connecting.racing import RaceTiming
from xmppbytes.core.deadlines import Deadlines
from xmppbytes.core.handshake import HandshakeProtocol, handshakeDeadlines, lossText
from xmppbytes.errors import NegotiationError, NotReachable
from xmppbytes.interfaces import IAddressPolicy
from xmppbytes.s5b.associatedpath import AssociatedPath
from xmppbytes.s5b.candidates import Candidate, CandidateConnection
from xmppbytes.s5b.notices import NoticeBoard
from xmppbytes.wire.socks5 import Command

# Seconds until an initialization packet is sent again (XEP-0065 recommends 5), and how often it is sent.
RETRY_SECONDS = 5.0
MAX_ATTEMPTS = 6
# A streamhost takes longer than one over TCP, since its answer comes by XMPP; one that answers late is
# not to be left for the next too soon.
TIMING = RaceTiming(stagger=1.0, relayLag=1.0, attempt=RETRY_SECONDS * MAX_ATTEMPTS + 5.0, overall=60.0)


class PartyConnection(CandidateConnection):
    """
    A party's TCP connection to a StreamHost. From the grant on it is read, so that its end shows.

    @ivar lostReason: how it ended, once it has.
    """

    lostReason: Failure | None = None
    _broken: Callable[[NegotiationError], Any] | None = None

    def watch(self, broken: Callable[[NegotiationError], Any]) -> None:
        """
        Begin to read.

        @param broken: called when the connection ends, unless it was handed over before.
        """
        self._broken = broken
        self.transport.resumeProducing()

    def readConnectionLost(self) -> None:
        """
        See L{HandshakeProtocol}.
        """
        waits = self._successor is None and not self.inHandshake
        super().readConnectionLost()
        if waits:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See L{HandshakeProtocol}.
        """
        self.lostReason = reason
        super().connectionLost(reason)
        if self._broken is not None and self._successor is None:
            self._broken(NegotiationError(f"the streamhost ends the association: {lossText(reason)}"))


class Association:
    """
    An association whose channel is initialised.

    @ivar leg: the TCP connection.
    @ivar path: the way of the datagrams.
    """

    def __init__(self, leg: PartyConnection, path: AssociatedPath) -> None:
        self.leg = leg
        self.path = path

    def close(self) -> None:
        """
        Give it up.
        """
        self.path.close()
        self.leg.transport.abortConnection()


class _OneConnection(Factory):
    """
    Makes one connection.
    """

    noisy = False

    def __init__(self, connection: PartyConnection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: IAddress | None) -> PartyConnection:
        return self._connection


class Associator:
    """
    Asks StreamHosts for associations.
    """

    log = Logger()

    def __init__(
        self, reactor: Any, board: NoticeBoard, nameOf: Callable[[str], str], timing: RaceTiming = TIMING
    ) -> None:
        """
        @param reactor: connects, resolves names, opens UDP sockets, tells the time.
        @param board: where the notifications arrive.
        @param nameOf: prepares the JIDs of StreamHosts.
        @param timing: see L{RaceTiming}.
        """
        self._reactor = reactor
        self._board = board
        self._nameOf = nameOf
        self._timing = timing
        self._deadlines: Deadlines[HandshakeProtocol] = handshakeDeadlines(reactor, RETRY_SECONDS)

    def connect(
        self, candidates: Sequence[Candidate], destination: str, jid: str, policy: IAddressPolicy
    ) -> Deferred[tuple[Candidate, Association]]:
        """
        Associate with the first of several StreamHosts that takes us.

        @param candidates: in the order of preference.
        @param destination: DST.ADDR.
        @param jid: our own JID.
        @param policy: which addresses may be connected to.
        @return: fires with the candidate and the initialised association. Fails with
            L{NotReachable<xmppbytes.errors.NotReachable>}. May be cancelled.
        """

        def attempt(candidate: Candidate, endpoint: IStreamClientEndpoint) -> Deferred[Association]:
            return Deferred.fromCoroutine(self._associate(candidate, endpoint, destination, jid))

        connector = Connector(self._reactor, policy, self._timing)
        return connector.connect(candidates, attempt, Association.close)

    async def _associate(
        self, candidate: Candidate, endpoint: IStreamClientEndpoint, destination: str, jid: str
    ) -> Association:
        leg = await self._request(endpoint, destination)
        try:
            peer = leg.transport.getPeer()
            association = Association(leg, AssociatedPath(self._reactor, peer.host, peer.port, destination))
        except BaseException:
            leg.transport.abortConnection()
            raise
        try:
            await self._initialize(association, self._nameOf(candidate.jid), destination, jid)
        except BaseException:
            association.close()
            raise
        return association

    async def _request(self, endpoint: IStreamClientEndpoint, destination: str) -> PartyConnection:
        answered: Deferred[PartyConnection] = Deferred()
        connection = PartyConnection(
            destination,
            answered.callback,
            lambda error: answered.errback(Failure(error)),
            self._deadlines,
            Command.UDP_ASSOCIATE,
        )
        await endpoint.connect(_OneConnection(connection))
        try:
            return await answered
        except BaseException:
            connection.transport.abortConnection()
            raise

    async def _initialize(
        self, association: Association, streamHost: str, destination: str, jid: str
    ) -> None:
        """
        Section 8.3.2: send the packet, and again when no notification comes in time.
        """
        notified: Deferred[None] = Deferred()
        forget = self._board.wait(streamHost, destination, notified)

        def broken(error: NegotiationError) -> None:
            if not notified.called:
                notified.errback(error)

        association.leg.watch(broken)
        packets = LoopingCall(lambda: association.path.initialize(jid))
        packets.clock = self._reactor
        packets.start(RETRY_SECONDS)
        # A little before the first packet too many.
        notified.addTimeout(RETRY_SECONDS * (MAX_ATTEMPTS - 0.01), self._reactor)
        try:
            await notified
        except DeferredTimeout as e:
            raise NotReachable(
                f"no notification of UDP success after {MAX_ATTEMPTS} packets; is its UDP port reachable?"
            ) from e
        finally:
            packets.stop()
            forget()
