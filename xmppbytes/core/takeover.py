"""
Taking a connected socket away from its Twisted transport, without a byte lost or sent twice.

By Twisted's public interfaces, but for one look at a private buffer (L{holdsUnsent}): when the
transport has sent everything that was written, the socket is duplicated and the transport aborted. To
abort sets the socket to reset on close and closes one of its two descriptors: the connection lives on in
the duplicate, and nobody but its new owner will ever read from it or write to it.
"""

import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.interfaces import IPullProducer, ISSLTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from xmppbytes.core.acceptedtransport import AcceptedTransport
from xmppbytes.core.leg import LegKind
from xmppbytes.interfaces import ILeg

log = Logger()

# A page: what fits into the smallest pipe.
_MAX_EARLY = 4096
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


def isTakeable(transport: Any) -> bool:
    """
    Tell whether a transport is nothing but a TCP socket: no TLS, no wrapper, no UNIX socket (which
    could not be reset).
    """
    return (
        isinstance(transport, Connection)
        and not ISSLTransport.providedBy(transport)
        and transport.getHandle().family in _FAMILIES
    )


def holdsUnsent(transport: Any) -> bool:
    """
    Tell whether a L{takeable<isTakeable>} transport has still to send what was written to it.
    """
    # The one private attribute of Twisted in use. Without it every transport would have to become a
    # writer for a turn of the reactor, only to learn what is nearly always so: that nothing is unsent.
    return bool(transport.dataBuffer or transport._tempDataBuffer)


@implementer(IPullProducer)
class Takeover(Protocol):
    """
    Becomes the protocol of a transport that is not being read, in order to take its socket.
    """

    transport: Any

    def __init__(self, taken: Callable[[int], None]) -> None:
        """
        @param taken: called once with the descriptor, which is the caller's from then on, and set to
            reset on close; with -1 when the connection was lost, or no descriptor is left.
        """
        self._taken = taken
        self._descriptor = -1
        self._asked = 0

    def connectionMade(self) -> None:
        """
        Take the socket now, or when the transport has sent everything.
        """
        if isinstance(self.transport, AcceptedTransport):
            # It could not join the reactor: connectionLost follows.
            return
        if holdsUnsent(self.transport):
            self.transport.registerProducer(self, False)
        else:
            self._take()

    def resumeProducing(self) -> None:
        """
        Called at once, and again when the transport has sent everything: see L{IPullProducer}.
        """
        self._asked += 1
        if self._asked > 1:
            self.transport.unregisterProducer()
            self._take()

    def stopProducing(self) -> None:
        """
        The connection is lost: see L{IPullProducer}. connectionLost follows.
        """

    def _take(self) -> None:
        try:
            self._descriptor = os.dup(self.transport.fileno())
        except OSError as e:
            log.error("Cannot take a connection over ({error}): allow more open files (ulimit -n)", error=e)
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The transport is done with the socket.
        """
        self._taken(self._descriptor)


def acceptable(first: ILeg, second: ILeg) -> bool:
    """
    Tell whether two legs are plain TCP connections whose sockets can be taken over.
    """
    return all(
        leg.kind is LegKind.STREAM
        and len(leg.early) <= _MAX_EARLY
        and (isinstance(leg.transport, AcceptedTransport) or isTakeable(leg.transport))
        for leg in (first, second)
    )


class PairTakeover:
    """
    Takes the sockets of both legs of a pair.
    """

    __slots__ = ("_descriptors", "_taken")

    def __init__(self, taken: Callable[[int, int], None]) -> None:
        """
        @param taken: called with both descriptors when both transports have let go; -1 for one that
            was lost.
        """
        self._taken = taken
        self._descriptors: dict[int, int] = {}

    def begin(self, first: ILeg, second: ILeg) -> None:
        """
        Take the sockets.
        """
        for index, leg in enumerate((first, second)):
            if isinstance(leg.transport, AcceptedTransport) and not leg.transport.unsent:
                self._have(index, leg.transport.release())
            else:
                leg.handOver(Takeover(partial(self._have, index)))

    def _have(self, index: int, descriptor: int) -> None:
        self._descriptors[index] = descriptor
        if len(self._descriptors) == 2:
            self._taken(self._descriptors[0], self._descriptors[1])
