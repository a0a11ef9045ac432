"""
Relaying UDP bytestreams: two channels joined, and the two TCP connections that keep them alive
(XEP-0065 section 8).
"""

from collections.abc import Callable

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from xmppbytes.core.channel import Channel
from xmppbytes.core.leg import LegKind
from xmppbytes.core.outcome import Outcome
from xmppbytes.core.throttle import TokenBucket
from xmppbytes.interfaces import IDatagramLeg, ILeg, IRelayedSession, IRelayEngine


@implementer(IRelayEngine)
class DatagramEngine:
    """
    Relays between two legs that are C{DATAGRAM}; the work is that of their datagram ports.
    """

    name = "datagrams"

    def __init__(self, clock: IReactorTime) -> None:
        """
        @param clock: tells the time for rate limits.
        """
        self._clock = clock

    def accepts(self, first: ILeg, second: ILeg) -> bool:
        """
        See L{IRelayEngine}.
        """
        return bool(first.kind is LegKind.DATAGRAM and second.kind is LegKind.DATAGRAM)

    def link(
        self, first: IDatagramLeg, second: IDatagramLeg, rate: int | None, ended: Callable[[Outcome], None]
    ) -> "DatagramSession":
        """
        See L{IRelayEngine}. Until the connection of one of the two ends.
        """
        session = DatagramSession(self._clock, first.channel, second.channel, ended)
        session.setRate(rate)
        session.start(first, second)
        return session


@implementer(IRelayedSession)
class DatagramSession:
    """
    Two channels that are joined.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        first: Channel,
        second: Channel,
        ended: Callable[[Outcome], None],
    ) -> None:
        self._clock = clock
        self._channels = (first, second)
        self._ended = ended
        self._outcome = Outcome.FINISHED
        self._lines = (_LifeLine(self), _LifeLine(self))
        self._alive = 2

    def start(self, first: ILeg, second: ILeg) -> None:
        """
        Take the connections over and open the channels.
        """
        one, other = self._channels
        one.open(other)
        other.open(one)
        for leg, line in zip((first, second), self._lines, strict=True):
            leg.handOver(line)

    def counts(self) -> tuple[int, int]:
        """
        See L{IRelayedSession}: the bytes of payloads.
        """
        first, second = self._channels
        return first.octets, second.octets

    def datagramCounts(self) -> tuple[int, int]:
        """
        The same in datagrams.
        """
        first, second = self._channels
        return first.datagrams, second.datagrams

    def dropCounts(self) -> tuple[int, int]:
        """
        How many datagrams from the first leg to the second, and back, were dropped.
        """
        first, second = self._channels
        return first.dropped, second.dropped

    def setRate(self, rate: int | None) -> None:
        """
        See L{IRelayedSession}. What is above the rate is dropped.
        """
        bucket = None if rate is None else TokenBucket(rate, self._clock.seconds)
        for channel in self._channels:
            channel.bucket = bucket

    def abort(self, outcome: Outcome) -> None:
        """
        See L{IRelayedSession}.
        """
        if self._outcome is Outcome.FINISHED:
            self._outcome = outcome
        self._close()
        for line in self._lines:
            line.abort()

    def lineLost(self, clean: bool) -> None:
        """
        One of the two connections is gone: the association has ended, for both.
        """
        self._alive -= 1
        if self._alive:
            if not clean and self._outcome is Outcome.FINISHED:
                self._outcome = Outcome.BROKEN
            self._close()
            for line in self._lines:
                line.finish()
            return
        drops = self.dropCounts()
        if any(drops):
            self.log.info(
                "Dropped {drops[0]} and {drops[1]} datagrams between {addresses[0]} and {addresses[1]}",
                drops=drops,
                addresses=[channel.address[0] for channel in self._channels],
            )
        # Called from the clock: nobody's connectionLost is to be re-entered, nor link() overtaken.
        self._clock.callLater(0, self._ended, self._outcome)

    def _close(self) -> None:
        for channel in self._channels:
            channel.close()


class _LifeLine(Protocol):
    """
    The connection that an association lasts as long as. Nothing is said over it.
    """

    def __init__(self, session: DatagramSession) -> None:
        self._session = session
        self._open = True

    def connectionMade(self) -> None:
        """
        Read, since the end shows by that only: what is handed over may be paused.
        """
        self.transport.resumeProducing()  # type: ignore[union-attr]

    def finish(self) -> None:
        """
        Close it.
        """
        if self._open and self.transport is not None:
            self.transport.loseConnection()

    def abort(self) -> None:
        """
        Reset it.
        """
        if self._open and self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._open = False
        self._session.lineLost(reason.check(ConnectionDone) is not None)
