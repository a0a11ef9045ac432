"""
Noticing that a waiting peer has gone, while its connection is not being read.

Twisted takes a paused descriptor out of its poll, so neither FIN nor RST is seen. A waiting party that
left would keep its place until its time is over, as it does in other proxies.

A connection that was closed with bytes unread is a sender that was quick: it is kept, its bytes count.
"""

import errno
import os
import select
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from xmppbytes.core.acceptedtransport import AcceptedTransport
from xmppbytes.core.rawsocket import unread
from xmppbytes.interfaces import IHangupWatch

# How often, in seconds, the portable watch looks.
PEEK_INTERVAL = 1.0


def makeHangupWatch(reactor: Any) -> IHangupWatch:
    """
    Make the best watch for this platform.

    @param reactor: provides C{IReactorFDSet} and C{IReactorTime}.
    """
    return EpollWatch(reactor) if hasattr(select, "epoll") else PeekWatch(reactor)


@implementer(IHangupWatch, IReadDescriptor)
class EpollWatch:
    """
    Watches any number of connections with an edge-triggered epoll, which is one reader of the reactor.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._epoll = select.epoll()
        # A transport forgets its descriptor when it is closed; so it is remembered here.
        self._descriptorOf: dict[Any, int] = {}
        self._watched: dict[int, tuple[Any, Callable[[], None]]] = {}

    def watch(self, transport: Any, gone: Callable[[], None]) -> None:
        """
        See L{IHangupWatch}.
        """
        if isinstance(transport, AcceptedTransport):
            transport.watchHangup(gone)
            return
        descriptor = transport.fileno()
        self._epoll.register(descriptor, select.EPOLLRDHUP | select.EPOLLET)
        if not self._watched:
            self._reactor.addReader(self)
        self._descriptorOf[transport] = descriptor
        self._watched[descriptor] = (transport, gone)

    def unwatch(self, transport: Any) -> None:
        """
        See L{IHangupWatch}.
        """
        if isinstance(transport, AcceptedTransport):
            transport.watchHangup(None)
            return
        if transport not in self._descriptorOf:
            return
        descriptor = self._forget(transport)
        # The kernel forgets a descriptor that is closed, and may have given its number to another.
        if transport.fileno() == descriptor and not self._epoll.closed:
            self._epoll.unregister(descriptor)
        if not self._watched:
            self._reactor.removeReader(self)

    def _forget(self, transport: Any) -> int:
        descriptor = self._descriptorOf.pop(transport)
        known = self._watched.get(descriptor)
        if known is not None and known[0] is transport:
            del self._watched[descriptor]
        return descriptor

    def fileno(self) -> int:
        """
        See L{IReadDescriptor}.
        """
        return self._epoll.fileno()

    def doRead(self) -> None:
        """
        See L{IReadDescriptor}.
        """
        for descriptor, events in self._epoll.poll(0, 256):
            if descriptor not in self._watched:
                continue
            transport, gone = self._watched[descriptor]
            if events & (select.EPOLLHUP | select.EPOLLERR) or unread(descriptor) == 0:
                self.unwatch(transport)
                gone()

    def connectionLost(self, reason: Failure) -> None:
        """
        See L{IReadDescriptor}: the reactor is done.
        """
        self._epoll.close()

    def logPrefix(self) -> str:
        """
        See L{IReadDescriptor}.
        """
        return "hangup watch"


@implementer(IHangupWatch)
class PeekWatch:
    """
    Looks at all watched connections once a second, for platforms that have no epoll.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._watched: dict[Any, Callable[[], None]] = {}
        self._timer: IDelayedCall | None = None

    def watch(self, transport: Any, gone: Callable[[], None]) -> None:
        """
        See L{IHangupWatch}.
        """
        self._watched[transport] = gone
        if self._timer is None:
            self._timer = self._clock.callLater(PEEK_INTERVAL, self._look)

    def unwatch(self, transport: Any) -> None:
        """
        See L{IHangupWatch}.
        """
        self._watched.pop(transport, None)
        if not self._watched and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        for transport in [t for t in self._watched if _isGone(t.fileno())]:
            gone = self._watched.pop(transport, None)
            if gone is not None:
                gone()
        if self._watched and self._timer is None:
            self._timer = self._clock.callLater(PEEK_INTERVAL, self._look)


@implementer(IHangupWatch)
class NoHangupWatch:
    """
    Watches nothing: for transports that are not sockets.
    """

    def watch(self, transport: Any, gone: Callable[[], None]) -> None:
        """
        See L{IHangupWatch}.
        """

    def unwatch(self, transport: Any) -> None:
        """
        See L{IHangupWatch}.
        """


def _isGone(descriptor: int) -> bool:
    try:
        duplicate = socket.socket(fileno=os.dup(descriptor))
    except OSError as e:
        # Short of descriptors nothing can be said; a descriptor that is closed already is gone.
        return e.errno == errno.EBADF
    try:
        # A reset is told only behind what is unread, which may be never.
        if duplicate.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return True
        return duplicate.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        duplicate.close()
