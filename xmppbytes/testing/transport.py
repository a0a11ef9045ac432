"""
Connections in memory.
"""

from collections import deque
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableDescriptor, IHalfCloseableProtocol, ITCPTransport
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(ITCPTransport, IHalfCloseableDescriptor)
class MemoryTransport:
    """
    One end of a connection. What is written arrives in a later turn, unless the other end is paused.
    """

    disconnecting = False
    connected = True

    def __init__(
        self, clock: Clock, ends: tuple[Any, Any], opened: "list[MemoryTransport]", latency: float = 0.0
    ) -> None:
        """
        @param clock: schedules what arrives.
        @param ends: the addresses of this end and of the other.
        @param opened: lists this transport while it is connected.
        @param latency: seconds that a packet takes.
        """
        self._clock = clock
        self._open = opened
        self._latency = latency
        self._host, self._peerAddress = ends
        self._inbox: deque[bytes | Exception | None] = deque()
        self._paused = False
        self._writeEnded = False
        self._arriving = False
        self._producer: Any = None

    def join(self, other: "MemoryTransport", protocol: Any) -> None:
        """
        @param other: the other end.
        @param protocol: what lives on this one.
        """
        self.other = other
        self.protocol = protocol
        self._open.append(self)

    def _arrive(self, what: bytes | Exception | None) -> None:
        """
        @param what: data, C{None} for the end of what is sent, or the end of the connection.
        """
        if isinstance(what, Exception):
            self._inbox.clear()
        self._inbox.append(what)
        self._proceed()

    def _proceed(self) -> None:
        if not self._arriving and self._inbox and self.connected:
            self._arriving = True
            self._clock.callLater(self._latency, self._takeNext)

    def _takeNext(self) -> None:
        self._arriving = False
        if not self.connected or not self._inbox:
            return
        if self._paused and not isinstance(self._inbox[0], Exception):
            return
        what = self._inbox.popleft()
        if isinstance(what, Exception):
            self._lost(what)
        elif what is not None:
            self.protocol.dataReceived(what)
        elif IHalfCloseableProtocol.providedBy(self.protocol) and not self.disconnecting:
            self.protocol.readConnectionLost()
        else:
            self._lost(ConnectionDone())
        self._proceed()

    def _lost(self, why: Exception) -> None:
        if not self.connected:
            return
        self.connected = False
        self._open.remove(self)
        if not self._writeEnded or isinstance(why, ConnectionLost | ConnectionAborted):
            self._writeEnded = True
            self.other._arrive(None if isinstance(why, ConnectionDone) else ConnectionLost())
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        if self.protocol is not None:
            self.protocol.connectionLost(Failure(why))

    def write(self, data: bytes) -> None:
        """
        See L{ITCPTransport}.
        """
        if data and self.connected and not self._writeEnded:
            self.other._arrive(data)

    def writeSequence(self, iovec: Any) -> None:
        """
        See L{ITCPTransport}.
        """
        self.write(b"".join(iovec))

    def loseConnection(self) -> None:
        """
        See L{ITCPTransport}.
        """
        if not self.disconnecting and self.connected:
            self.disconnecting = True
            self._clock.callLater(0, self._lost, ConnectionDone())

    def abortConnection(self) -> None:
        """
        See L{ITCPTransport}.
        """
        if self.connected:
            self.disconnecting = True
            self._clock.callLater(0, self._lost, ConnectionAborted())

    def loseWriteConnection(self) -> None:
        """
        See L{IHalfCloseableDescriptor}.
        """
        if not self._writeEnded:
            self._writeEnded = True
            self.other._arrive(None)
            self._clock.callLater(0, self._tellWriteEnded)

    def _tellWriteEnded(self) -> None:
        if self.connected and IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.writeConnectionLost()

    def pauseProducing(self) -> None:
        """
        Stop reading.
        """
        self._paused = True

    def resumeProducing(self) -> None:
        """
        Go on reading.
        """
        self._paused = False
        self._proceed()

    def stopProducing(self) -> None:
        """
        Close.
        """
        self.loseConnection()

    def readConnectionLost(self, reason: Failure) -> None:
        """
        See L{IHalfCloseableDescriptor}: for the reactor, which there is none of.
        """

    def writeConnectionLost(self, reason: Failure) -> None:
        """
        See L{IHalfCloseableDescriptor}: for the reactor, which there is none of.
        """

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Have somebody to write when there is room, which is always.
        """
        self._producer = producer
        if not streaming:
            self._clock.callLater(0, self._pull)

    def _pull(self) -> None:
        if self._producer is not None and self.connected:
            self._producer.resumeProducing()
            self._clock.callLater(0, self._pull)

    def unregisterProducer(self) -> None:
        """
        Have nobody any more.
        """
        self._producer = None

    def getHost(self) -> Any:
        """
        See L{ITCPTransport}.
        """
        return self._host

    def getPeer(self) -> Any:
        """
        See L{ITCPTransport}.
        """
        return self._peerAddress

    def getTcpNoDelay(self) -> bool:
        """
        See L{ITCPTransport}.
        """
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """
        See L{ITCPTransport}.
        """

    def getTcpKeepAlive(self) -> bool:
        """
        See L{ITCPTransport}.
        """
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """
        See L{ITCPTransport}.
        """
