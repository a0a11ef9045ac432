"""
The transport of an accepted connection that is about to be relayed.

A Twisted transport costs more to make, and to take the socket from, than the whole handshake of a
bytestream. This one does what a handshake needs, and lets go of its socket at no cost. A connection that
turns out to need more is adopted by the reactor (L{AcceptedTransport.joinReactor}).
"""

import os
import socket
from collections.abc import Callable
from errno import EAGAIN
from select import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP
from typing import Any, Protocol

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, IProtocol, IPushProducer, ITransport
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from xmppbytes.core.halfclose import tellReadLost
from xmppbytes.core.rawsocket import FINISH_ON_CLOSE, RESET_ON_CLOSE, setLinger, unread

# Read no more than this at once during a handshake: what comes glued behind it waits in Python, and
# is not to grow with the number of strangers.
HANDSHAKE_READ_SIZE = 512
WATCHED = EPOLLIN | EPOLLRDHUP | EPOLLET
_BROKEN = EPOLLHUP | EPOLLERR
_ENDING = EPOLLRDHUP | EPOLLHUP | EPOLLERR


class Loop(Protocol):
    """
    Whoever tells an L{AcceptedTransport} what its socket is ready for.

    @ivar reactor: provides C{IReactorTime} and C{IReactorSocket}.
    """

    reactor: Any

    def watch(self, descriptor: int, events: int) -> None:
        """
        Tell of other events, and of those that have come already.
        """

    def forget(self, descriptor: int) -> None:
        """
        Tell of none any more.
        """


class _Again(Factory):
    """
    Gives a transport to a protocol that had another one before.
    """

    noisy = False

    def __init__(self, protocol: IProtocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: IAddress | None) -> IProtocol:  # type: ignore[override]
        return self._protocol


@implementer(ITransport, IPushProducer)
class AcceptedTransport:
    """
    One connection. Its socket has what its listening socket has bequeathed to it: no Nagle delay, and
    keepalive.

    @ivar protocol: reads what comes.
    @ivar bufferSize: how many bytes to read at once.
    """

    __slots__ = (
        "_closing",
        "_ending",
        "_gone",
        "_loop",
        "_name",
        "_paused",
        "_peer",
        "_socket",
        "_unsent",
        "bufferSize",
        "protocol",
    )

    def __init__(
        self, loop: Loop, connection: socket.socket, peer: tuple[Any, ...], protocol: IProtocol
    ) -> None:
        """
        @param loop: tells of events.
        @param connection: connected and non-blocking.
        @param peer: its address, as the kernel tells it.
        @param protocol: reads what comes.
        """
        self.protocol = protocol
        self.bufferSize = HANDSHAKE_READ_SIZE
        self._loop = loop
        self._socket: socket.socket | None = connection
        self._peer = peer
        self._name: tuple[Any, ...] = ("0.0.0.0", 0)
        self._paused = False
        self._closing = False
        self._ending = 0
        self._unsent = b""
        self._gone: Callable[[], None] | None = None

    @property
    def unsent(self) -> bytes:
        """
        What was written and is not sent yet.
        """
        return self._unsent

    @property
    def disconnected(self) -> bool:
        """
        Whether the socket is closed, or let go.
        """
        return self._socket is None

    @property
    def host(self) -> str:
        """
        The peer's IP address.
        """
        return str(self._peer[0])

    def happened(self, events: int) -> None:
        """
        The socket is ready for something, or broken.

        @param events: as of epoll(7).
        """
        if events & EPOLLOUT and self._unsent:
            self._flush()
        self._ending = events & _ENDING
        if not self._paused:
            self._read()
        elif self._gone is not None and self._ending:
            self._hungUp()

    def _read(self) -> None:
        connection = self._socket
        size = self.bufferSize
        while connection is not None and not self._paused:
            try:
                data = connection.recv(size)
            except BlockingIOError:
                return
            except OSError as e:
                self._lose(ConnectionLost(str(e)))
                return
            if not data:
                self._ended()
                return
            self.protocol.dataReceived(data)
            if len(data) < size and not self._ending:
                # Emptied, and no end was announced, which would not be announced again.
                return
            connection = self._socket

    def _ended(self) -> None:
        """
        The peer sends nothing any more.
        """
        self._paused = True
        tellReadLost(self.protocol, self)

    def _hungUp(self) -> None:
        # Closed with bytes unread is a sender that was quick.
        gone = self._gone
        if gone is not None and (self._ending & _BROKEN or unread(self.fileno()) == 0):
            self._gone = None
            gone()

    def watchHangup(self, gone: Callable[[], None] | None) -> None:
        """
        Notice that the peer has gone although it is not read.

        @param gone: called once, unless bytes are unread; C{None}: do not notice it any more.
        """
        self._gone = gone
        if gone is not None and self._ending:
            # It has come already, with the last that was read.
            self._rearm()

    def write(self, data: bytes) -> None:
        """
        See L{ITransport}. What the socket does not take at once, it gets when it can.
        """
        connection = self._socket
        if connection is None or self._closing:
            return
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = connection.send(data)
        except OSError as e:
            if e.errno != EAGAIN:
                self._lose(ConnectionLost(str(e)))
                return
            sent = 0
        if sent < len(data):
            self._unsent = data[sent:]
            self._rearm()

    def writeSequence(self, data: Any) -> None:
        """
        See L{ITransport}.
        """
        self.write(b"".join(data))

    def _flush(self) -> None:
        data, self._unsent = self._unsent, b""
        closing, self._closing = self._closing, False
        self.write(data)
        if closing:
            self.loseConnection()

    def _rearm(self) -> None:
        """
        Be told again of what has come already.
        """
        if self._socket is not None:
            self._loop.watch(self._socket.fileno(), WATCHED | EPOLLOUT if self._unsent else WATCHED)

    def pauseProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self._paused = True

    def resumeProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self._paused = False
        self._rearm()

    def stopProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self.loseConnection()

    def loseConnection(self) -> None:
        """
        Close when everything that was written is sent: see L{ITransport}.
        """
        self._paused = True
        self._closing = True
        if self._socket is None or self._unsent:
            return
        self._lose(ConnectionDone())

    def abortConnection(self) -> None:
        """
        Reset the connection.
        """
        self._lose(ConnectionAborted(), reset=True)

    def cut(self) -> None:
        """
        Reset the connection, and tell the protocol now: there may be no later.
        """
        if self._close(reset=True):
            self.protocol.connectionLost(Failure(ConnectionAborted()))

    def _lose(self, reason: Exception, reset: bool = False) -> None:
        if self._close(reset):
            # Whoever has called is not to find itself called back.
            self._loop.reactor.callLater(0, self.protocol.connectionLost, Failure(reason))

    def _close(self, reset: bool) -> bool:
        """
        @return: whether it was open.
        """
        connection, self._socket = self._socket, None
        self._gone = None
        if connection is None:
            return False
        # The protocol is told a turn later, and may ask until then.
        self._name = connection.getsockname()
        self._loop.forget(connection.fileno())
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        connection.close()
        return True

    def release(self) -> int:
        """
        Let go of the socket: nothing is read, written or noticed any more. Not to be called while there is
        something L{unsent}.

        @return: its descriptor, which is the caller's, and set to reset on close; -1 when it is closed
            already.
        """
        connection, self._socket = self._socket, None
        self._gone = None
        if connection is None:
            return -1
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        descriptor = connection.detach()
        self._loop.forget(descriptor)
        return descriptor

    def joinReactor(self) -> None:
        """
        Give the protocol a transport of the reactor instead, which is paused. The protocol's
        C{makeConnection} is called again. When that is not possible, the connection is lost soon.
        """
        if self._socket is None:
            return
        protocol, unsent, family = self.protocol, self._unsent, self._socket.family
        descriptor = self.release()
        reactor: Any = self._loop.reactor
        try:
            # It makes a duplicate of the descriptor.
            reactor.adoptStreamConnection(descriptor, family, _Again(protocol))
        except OSError as e:
            reactor.callLater(0, protocol.connectionLost, Failure(ConnectionLost(str(e))))
        else:
            setLinger(descriptor, FINISH_ON_CLOSE)
            if unsent:
                protocol.transport.write(unsent)  # type: ignore[attr-defined]
        finally:
            os.close(descriptor)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        See C{IConsumer}: there is nobody to produce for, since this transport carries handshakes only.
        """
        producer.stopProducing()

    def unregisterProducer(self) -> None:
        """
        See C{IConsumer}.
        """

    def fileno(self) -> int:
        """
        The descriptor; -1 when it is closed, or let go.
        """
        return -1 if self._socket is None else self._socket.fileno()

    def getPeer(self) -> IAddress:
        """
        See L{ITransport}.
        """
        return _addressOf(self._peer)

    def getHost(self) -> IAddress:
        """
        See L{ITransport}.
        """
        return _addressOf(self._name if self._socket is None else self._socket.getsockname())


def _addressOf(name: tuple[Any, ...]) -> IAddress:
    kind = IPv6Address if len(name) > 2 else IPv4Address
    return kind("TCP", name[0], name[1])  # type: ignore[no-any-return]
