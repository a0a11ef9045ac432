"""
Fakes for the tests without sockets. They behave as Twisted's do where it matters: nothing calls back from
within the call that caused it, what is paused is not delivered, and full buffers push back.
"""

import select
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

from xmppbytes.core.leg import LegKind
from xmppbytes.core.outcome import Outcome
from xmppbytes.interfaces import IHangupWatch, ILeg, IRelayedSession, IRelayEngine, IUsage

END = object()


@implementer(ITCPTransport, IHalfCloseableDescriptor)
class FakeTransport:
    """
    Our end of a TCP connection, and the handles with which a test plays the other end.

    @ivar sent: what the other end has read.
    @ivar writes: the same in the pieces in which it left.
    @ivar room: how many bytes the other end will still read; C{None}: all.
    @ivar sentEnd: whether the other end has seen our end of stream.
    @ivar state: C{"open"}, C{"closed"} or C{"reset"}, as the other end sees it.
    """

    highWater = 65536
    _numbers = iter(range(1000, 10**9))

    def __init__(self, clock: Clock, address: str = "192.0.2.1", room: int | None = None) -> None:
        self.clock = clock
        self.bufferSize = 65536
        self.protocol: Any = None
        self.room = room
        self.sent = b""
        self.writes: list[bytes] = []
        self.sentEnd = False
        self.state = "open"
        self.reading = True
        self.connected = True
        self.disconnecting = False
        self.producer: Any = None
        self.options: dict[str, Any] = {}
        self._address = address
        self._number = next(self._numbers)
        self._unsent = b""
        self._producerPaused = False
        self._endWriting = False
        self._arrived: list[Any] = []
        self._delivering = False

    # What the other end does.

    def receive(self, data: bytes) -> None:
        """
        The other end sends bytes.
        """
        self._arrived.append(data)
        self._deliver()

    def receiveEnd(self) -> None:
        """
        The other end has sent everything.
        """
        self._arrived.append(END)
        self._deliver()

    def reset(self) -> None:
        """
        The other end resets the connection.
        """
        self._lose(ConnectionLost())

    def read(self, count: int) -> None:
        """
        The other end goes on to read.
        """
        self.room = count if self.room is None else self.room + count
        self._flush()

    def _deliver(self) -> None:
        if self._delivering:
            return
        self._delivering = True
        try:
            while self._arrived and self.reading and self.connected:
                piece = self._arrived.pop(0)
                if piece is END:
                    self.endArrived()
                    continue
                if len(piece) > self.bufferSize:
                    self._arrived.insert(0, piece[self.bufferSize :])
                self.protocol.dataReceived(piece[: self.bufferSize])
        finally:
            self._delivering = False

    def endArrived(self) -> None:
        half = IHalfCloseableProtocol(self.protocol, None)
        if half is not None:
            half.readConnectionLost()
        else:
            self._lose(ConnectionDone())

    @property
    def unread(self) -> int:
        return sum(len(piece) for piece in self._arrived if piece is not END)

    @property
    def unsent(self) -> int:
        return len(self._unsent)

    # What our end does.

    def fileno(self) -> int:
        return self._number if self.connected else -1

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", self._address, 4321)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.99", 7777)

    def setTcpNoDelay(self, on: bool) -> None:
        self.options["nodelay"] = on

    def setTcpKeepAlive(self, on: bool) -> None:
        self.options["keepalive"] = on

    def getTcpNoDelay(self) -> bool:
        return bool(self.options.get("nodelay"))

    def getTcpKeepAlive(self) -> bool:
        return bool(self.options.get("keepalive"))

    def writeSomeData(self, data: bytes) -> int:
        count = len(data) if self.room is None else min(len(data), self.room)
        self._send(data[:count])
        return count

    def write(self, data: bytes) -> None:
        if not self.connected or self._endWriting:
            return
        self._unsent += data
        self._flush()
        if self.producer is not None and len(self._unsent) > self.highWater:
            self._producerPaused = True
            self.producer.pauseProducing()

    def writeSequence(self, pieces: Any) -> None:
        self.write(b"".join(pieces))

    def _send(self, data: bytes) -> None:
        if not data:
            return
        self.sent += data
        self.writes.append(data)
        if self.room is not None:
            self.room -= len(data)

    def _flush(self) -> None:
        count = len(self._unsent) if self.room is None else min(len(self._unsent), self.room)
        data, self._unsent = self._unsent[:count], self._unsent[count:]
        self._send(data)
        if self._unsent:
            return
        if self.producer is not None and self._producerPaused:
            self._producerPaused = False
            self.producer.resumeProducing()
        elif self.disconnecting:
            self.clock.callLater(0, self._lose, ConnectionDone())
        elif self._endWriting and not self.sentEnd:
            self.sentEnd = True
            half = IHalfCloseableProtocol(self.protocol, None)
            if half is not None:
                half.writeConnectionLost()

    def loseConnection(self) -> None:
        if self.connected and not self.disconnecting:
            self.reading = False
            self.disconnecting = True
            self._flush()

    def loseWriteConnection(self) -> None:
        self._endWriting = True
        self._flush()

    def abortConnection(self) -> None:
        if self.connected:
            self.reading = False
            self.disconnecting = True
            self._unsent = b""
            self.clock.callLater(0, self._lose, ConnectionAborted())

    def _lose(self, reason: Exception) -> None:
        if not self.connected:
            return
        self.connected = self.reading = False
        self.state = "closed" if isinstance(reason, ConnectionDone) else "reset"
        self.protocol.connectionLost(Failure(reason))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self.producer is not None:
            raise RuntimeError("there is a producer already")
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None
        self._producerPaused = False
        if self.disconnecting:
            self._flush()

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        if self.connected and not self.disconnecting:
            self.reading = True
            self._deliver()

    def stopProducing(self) -> None:
        self.loseConnection()


class FakeTLSTransport(FakeTransport):
    """
    As Twisted's TLS: it looks as if it could be half-closed and written to directly, since it lends the
    methods of the TCP connection below, but what goes that way is not encrypted. To close it takes the
    other end to agree.
    """

    agrees = True

    def __init__(self, clock: Clock, address: str = "192.0.2.2", room: int | None = None) -> None:
        super().__init__(clock, address, room)
        alsoProvides(self, ISSLTransport)
        self.unencrypted: list[str] = []

    def writeSomeData(self, data: bytes) -> int:
        self.unencrypted.append("data")
        return super().writeSomeData(data)

    def loseConnection(self) -> None:
        if self.agrees:
            super().loseConnection()

    def loseWriteConnection(self) -> None:
        self.unencrypted.append("end of stream")
        super().loseWriteConnection()

    def endArrived(self) -> None:
        self._lose(ConnectionDone())


@implementer(ILeg)
class FakeLeg:
    """
    A connected party that has done its handshake.
    """

    kind = LegKind.STREAM
    ready = True

    def __init__(
        self, transport: Any = None, address: str = "192.0.2.1", early: bytes = b"", speaks: bool = True
    ) -> None:
        self.transport = transport
        self.address = address
        self.early = early
        self.speaks = speaks
        self.closed: str | None = None
        self.host: Any = None
        if transport is not None:
            transport.pauseProducing()

    def speaksFor(self, parties: Any) -> bool:
        return self.speaks

    def handOver(self, protocol: Any) -> None:
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)

    def close(self, reason: str) -> None:
        self.closed = reason
        if self.host is not None:
            self.host.leave(self)


@implementer(IRelayedSession)
class FakeRelayed:
    """
    A session in which a test moves the bytes.
    """

    def __init__(self, first: Any, second: Any, rate: int | None, ended: Any) -> None:
        self.legs = (first, second)
        self.rate = rate
        self.moved = (0, 0)
        self.aborted: Outcome | None = None
        self._ended = ended

    def counts(self) -> tuple[int, int]:
        return self.moved

    def setRate(self, rate: int | None) -> None:
        self.rate = rate

    def abort(self, outcome: Outcome) -> None:
        self.aborted = outcome

    def end(self, outcome: Outcome = Outcome.FINISHED) -> None:
        """
        Both connections have ended.
        """
        self._ended(self.aborted or outcome)


@implementer(IRelayEngine)
class FakeEngine:
    """
    An engine that moves nothing.
    """

    def __init__(self, name: str = "fake", takes: bool = True) -> None:
        self.name = name
        self.takes = takes
        self.sessions: list[FakeRelayed] = []
        self.error: Exception | None = None

    def accepts(self, first: Any, second: Any) -> bool:
        return self.takes

    def link(self, first: Any, second: Any, rate: int | None, ended: Any) -> FakeRelayed:
        if self.error is not None:
            raise self.error
        session = FakeRelayed(first, second, rate, ended)
        self.sessions.append(session)
        return session


@implementer(IHangupWatch)
class FakeWatch:
    """
    A watch whose alarm a test sounds.
    """

    def __init__(self) -> None:
        self.watched: dict[Any, Any] = {}

    def watch(self, transport: Any, gone: Any) -> None:
        self.watched[transport] = gone

    def unwatch(self, transport: Any) -> None:
        self.watched.pop(transport, None)

    def leave(self, transport: Any) -> None:
        """
        The peer of this connection has gone.
        """
        self.watched.pop(transport)()


@implementer(IUsage)
class FakeUsage:
    """
    Remembers records.
    """

    def __init__(self) -> None:
        self.records: list[Any] = []

    def record(self, usage: Any) -> None:
        self.records.append(usage)


def lines(events: Any) -> list[str]:
    """
    The log lines of captured events.
    """
    return [formatEvent(event) for event in events]


class ReaderReactor(Clock):
    """
    A reactor that remembers its readers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        assert reader not in self.readers
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        # As Twisted's: it does not mind when the reader is not there.
        self.readers = [other for other in self.readers if other is not reader]

    def turn(self) -> None:
        """
        Do what a reactor does: let readers that are readable read.
        """
        for reader in list(self.readers):
            if select.select([reader.fileno()], [], [], 0)[0]:
                reader.doRead()
