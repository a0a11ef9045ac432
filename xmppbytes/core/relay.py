"""
Moving the bytes of an activated bytestream between its two legs: the portable engine.

L{CopyEngine} moves bytes with Twisted's producers and consumers. It takes any pair of transports:
TLS, UNIX sockets, other platforms. Back-pressure works both ways, each direction is half-closed by
itself once it was delivered, and a connection that breaks resets the other.
"""

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    IPushProducer,
    IReactorTime,
    ISSLTransport,
)
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from xmppbytes.core.leg import LegKind
from xmppbytes.core.outcome import Outcome
from xmppbytes.core.takeover import holdsUnsent, isTakeable
from xmppbytes.core.throttle import BURST_SECONDS, TokenBucket
from xmppbytes.interfaces import ILeg, IRelayedSession, IRelayEngine


@implementer(IRelayEngine)
class CopyEngine:
    """
    Relays through Python, by Twisted's transports.
    """

    name = "copy"

    def __init__(self, clock: IReactorTime) -> None:
        """
        @param clock: schedules the pauses of rate limits.
        """
        self._clock = clock

    def accepts(self, first: ILeg, second: ILeg) -> bool:
        """
        See L{IRelayEngine}.
        """
        return bool(first.kind is LegKind.STREAM and second.kind is LegKind.STREAM)

    def link(self, first: ILeg, second: ILeg, rate: int | None, ended: Any) -> "CopiedSession":
        """
        See L{IRelayEngine}.
        """
        session = CopiedSession(self._clock, rate, ended)
        session.start(first, second)
        return session


@implementer(IRelayedSession)
class CopiedSession:
    """
    One pair of connections of a L{CopyEngine}.
    """

    def __init__(self, clock: IReactorTime, rate: int | None, ended: Any) -> None:
        self._clock = clock
        self._ended = ended
        self._bucket: TokenBucket | None = None
        self._outcome = Outcome.FINISHED
        self._waiting: Any = None
        self._alive = 2
        self._first = _End(self)
        self._second = _End(self)
        self._first.peer, self._second.peer = self._second, self._first
        self._turns = [self._first, self._second]
        self.setRate(rate)

    def start(self, first: ILeg, second: ILeg) -> None:
        """
        Take the connections over and begin to read them.
        """
        early = (first.early, second.early)
        first.handOver(self._first)
        second.handOver(self._second)
        for end, data in zip((self._first, self._second), early, strict=True):
            if data:
                end.dataReceived(data)
        for end in (self._first, self._second):
            end.resume()

    def counts(self) -> tuple[int, int]:
        """
        See L{IRelayedSession}.
        """
        return self._first.forwarded, self._second.forwarded

    def setRate(self, rate: int | None) -> None:
        """
        See L{IRelayedSession}.
        """
        self._bucket = None if rate is None else TokenBucket(rate, self._clock.seconds)

    def abort(self, outcome: Outcome) -> None:
        """
        See L{IRelayedSession}.
        """
        if self._outcome is Outcome.FINISHED:
            self._outcome = outcome
        for end in (self._first, self._second):
            end.abort()

    def allowance(self, wanted: int) -> int:
        """
        Spend up to C{wanted} bytes of the rate limit.

        @return: how many bytes may go now. When fewer than wanted, both ends are woken up later.
        """
        if self._bucket is None:
            return wanted
        granted = min(wanted, self._bucket.room())
        self._bucket.spend(granted)
        if granted < wanted and self._waiting is None:
            self._waiting = self._clock.callLater(BURST_SECONDS, self._continue)
        return granted

    def _continue(self) -> None:
        self._waiting = None
        # By turns: whoever comes first may take all that there is.
        self._turns.reverse()
        for end in self._turns:
            end.forwardHeld()

    def endLost(self, end: "_End", clean: bool) -> None:
        """
        One of the two connections is gone.

        @param clean: false when it broke.
        """
        self._alive -= 1
        if not clean:
            self.abort(Outcome.BROKEN)
        elif not end.held:
            end.peer.finish()
        if self._alive == 0:
            if self._waiting is not None:
                self._waiting.cancel()
            # Called from the clock: nobody's connectionLost is to be re-entered, nor link() overtaken.
            self._clock.callLater(0, self._ended, self._outcome)


@implementer(IHalfCloseableProtocol, IPushProducer)
class _End(Protocol):
    """
    One connection of a pair; also the producer of what is written to the other.
    """

    peer: "_End"
    transport: Any

    def __init__(self, session: CopiedSession) -> None:
        self._session = session
        self.forwarded = 0
        self.held = b""
        self._paused = True
        self._blocked = False
        self._readEnded = False
        self._open = True
        self._finishing = False
        self._isPlain = False

    @property
    def ended(self) -> bool:
        """
        Whether everything that the party sent was passed on.
        """
        return self._readEnded and not self.held

    def connectionMade(self) -> None:
        self._isPlain = isTakeable(self.transport)
        self.transport.registerProducer(self.peer, True)

    def write(self, data: bytes) -> None:
        """
        Let the kernel have what it takes at once, which spares a turn of the reactor; the transport
        sends the rest.
        """
        if self._isPlain and not holdsUnsent(self.transport):
            sent = self.transport.writeSomeData(data)
            if not isinstance(sent, int):
                # The kernel tells a reset once. Whoever reads next would see a good end of the stream.
                self._session.abort(Outcome.BROKEN)
                return
            data = data[sent:]
        if data:
            self.transport.write(data)

    def resume(self) -> None:
        """
        Read, unless the other side is full or the rate limit is used up.
        """
        if self._paused and not (self._blocked or self.held or self._readEnded) and self._open:
            self._paused = False
            self.transport.resumeProducing()

    def _pause(self) -> None:
        if not self._paused and self._open:
            self._paused = True
            self.transport.pauseProducing()

    def dataReceived(self, data: bytes) -> None:
        if self.held:
            self.held += data
        else:
            self._forward(data)

    def _forward(self, data: bytes) -> None:
        if not self.peer._open:
            # Nobody is left to get it.
            self.held = b""
            return
        granted = self._session.allowance(len(data))
        self.held = data[granted:]
        if self.held:
            self._pause()
        if granted:
            self.forwarded += granted
            self.peer.write(data[:granted])
        if self._readEnded and not self.held:
            self._delivered()

    def forwardHeld(self) -> None:
        """
        Go on after the rate limit made this direction wait.
        """
        if self.held:
            self._forward(self.held)
        self.resume()

    def readConnectionLost(self) -> None:
        """
        The party has sent everything: see L{IHalfCloseableProtocol}.
        """
        self._readEnded = True
        if not self.held:
            self._delivered()

    def _delivered(self) -> None:
        if self._open:
            self.peer.finishWriting()
        else:
            self.peer.finish()

    def writeConnectionLost(self) -> None:
        """
        See L{IHalfCloseableProtocol}. Whatever made writing end shows in connectionLost.
        """

    def finishWriting(self) -> None:
        """
        Half-close once everything was written; close when the other direction has ended as well.
        """
        if not self._open or self._finishing:
            return
        self._finishing = True
        self.transport.unregisterProducer()
        transport = self.transport
        if IHalfCloseableDescriptor.providedBy(transport) and not ISSLTransport.providedBy(transport):
            self.transport.loseWriteConnection()
        else:
            # TLS in Twisted knows no half-close, though it passes the method of the connection below
            # on: the end of one direction is the end of both.
            self.transport.loseConnection()
        if self.ended and self.peer.ended:
            self.finish()
            self.peer.finish()

    def finish(self) -> None:
        """
        Close after everything was written.
        """
        if not self._open:
            return
        if not self._finishing:
            self._finishing = True
            self.transport.unregisterProducer()
        self.transport.loseConnection()

    def abort(self) -> None:
        """
        Reset the connection.
        """
        if self._open:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._open = False
        self._readEnded = True
        self._session.endLost(self, reason.check(ConnectionDone) is not None)

    def pauseProducing(self) -> None:
        """
        The other side's buffer is full: see L{IPushProducer}.
        """
        self._blocked = True
        self._pause()

    def resumeProducing(self) -> None:
        """
        The other side has room again: see L{IPushProducer}.
        """
        self._blocked = False
        self.resume()

    def stopProducing(self) -> None:
        """
        The other side is gone: see L{IPushProducer}. Its connectionLost does what is to be done.
        """
