"""
Accepting connections for relayed bytestreams, and their handshakes, with an edge-triggered epoll of our
own. To the reactor it is one reader, for any number of ports and connections.

The listening sockets are Twisted's, from any endpoint: L{AcceptLoop.take} reads them instead of it.
"""

import errno
import os
import select
import socket
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.interfaces import IAddress, IListeningPort, IReadDescriptor
from twisted.internet.tcp import Port
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from xmppbytes.core.acceptedtransport import WATCHED, AcceptedTransport
from xmppbytes.core.rawsocket import RESET_ON_CLOSE

# How many events one turn handles, and how many connections it accepts at a port.
EVENTS_PER_TURN = 128
ACCEPTS_PER_TURN = 64
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def makeAcceptLoop(reactor: Any, exhausted: Callable[[], None]) -> "AcceptLoop | None":
    """
    Make a loop where the platform has what it needs.

    @param reactor: provides C{IReactorFDSet}, C{IReactorTime} and C{IReactorSocket}.
    @param exhausted: see L{AcceptLoop}.
    """
    return AcceptLoop(reactor, exhausted) if hasattr(select, "epoll") else None


@implementer(IReadDescriptor)
class AcceptLoop:
    """
    Drives any number of L{AcceptedPort}s and L{AcceptedTransport}s.
    """

    log = Logger()

    def __init__(self, reactor: Any, exhausted: Callable[[], None]) -> None:
        """
        @param reactor: provides C{IReactorFDSet}, C{IReactorTime} and C{IReactorSocket}.
        @param exhausted: called when no descriptor is left for a connection that waits; is to pause the
            ports until there are some.
        """
        self.reactor = reactor
        self.exhausted = exhausted
        self._epoll = select.epoll()
        self._ports: dict[int, AcceptedPort] = {}
        self._transports: dict[int, AcceptedTransport] = {}
        self._reading = False

    def take(self, port: IListeningPort, factory: Any) -> IListeningPort:
        """
        Accept the connections of a port from now on, if they are plain TCP.

        @param port: of the reactor, listening.
        @param factory: makes the protocols.
        @return: what the port is from now on: C{port} itself if it is of another kind.
        """
        # An endpoint that wraps the factory (TLS, PROXY protocol) speaks something else than we read.
        if not isinstance(port, Port) or port.factory is not factory or port.addressFamily not in _FAMILIES:
            return port
        listening = socket.socket(fileno=os.dup(port.fileno()))
        if listening.proto != socket.IPPROTO_TCP:
            # Such as MPTCP, of a socket that systemd has made.
            listening.close()
            return port
        port.pauseProducing()
        taken = AcceptedPort(self, port, listening, factory)
        self._ports[listening.fileno()] = taken
        taken.resumeProducing()
        self._read()
        return taken  # type: ignore[return-value]

    def accepted(self, connection: socket.socket, peer: tuple[Any, ...], factory: Any) -> None:
        """
        Make the transport and the protocol of a new connection.

        @param connection: non-blocking.
        @param peer: its address.
        @param factory: makes the protocol.
        """
        protocol = factory.buildProtocol(None)
        transport = AcceptedTransport(self, connection, peer, protocol)
        descriptor = connection.fileno()
        self._transports[descriptor] = transport
        self._epoll.register(descriptor, WATCHED)
        protocol.makeConnection(transport)

    def watch(self, descriptor: int, events: int) -> None:
        """
        See L{xmppbytes.core.acceptedtransport.Loop}.
        """
        self._epoll.modify(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """
        See L{xmppbytes.core.acceptedtransport.Loop}.
        """
        del self._transports[descriptor]
        self._epoll.unregister(descriptor)
        if not self._transports and not self._ports:
            self._rest()

    def accept(self, descriptor: int, willing: bool) -> None:
        """
        Accept, or let those who connect wait.

        @param descriptor: of a listening socket.
        """
        if willing:
            self._epoll.register(descriptor, select.EPOLLIN)
        elif not self._epoll.closed:
            self._epoll.unregister(descriptor)

    def closed(self, descriptor: int) -> None:
        """
        A port is closed.

        @param descriptor: of its listening socket.
        """
        del self._ports[descriptor]
        if not self._transports and not self._ports:
            self._rest()

    def _read(self) -> None:
        if not self._reading:
            self._reading = True
            self.reactor.addReader(self)

    def _rest(self) -> None:
        if self._reading:
            self._reading = False
            self.reactor.removeReader(self)

    def fileno(self) -> int:
        """
        See L{IReadDescriptor}.
        """
        return self._epoll.fileno()

    def doRead(self) -> None:
        """
        See L{IReadDescriptor}.
        """
        transports = self._transports
        for descriptor, events in self._epoll.poll(0, EVENTS_PER_TURN):
            transport = transports.get(descriptor)
            if transport is not None:
                self._tell(transport, events)
            elif descriptor in self._ports:
                self._ports[descriptor].acceptSome()

    def _tell(self, transport: AcceptedTransport, events: int) -> None:
        try:
            transport.happened(events)
        except Exception:
            # As a transport of the reactor does: the fault of one connection ends only that.
            self.log.failure("A connection from {host} is closed: its protocol failed", host=transport.host)
            transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:
        """
        See L{IReadDescriptor}: the reactor is done.
        """
        self.close()

    def close(self) -> None:
        """
        Reset every connection whose handshake is not over, and release the descriptor.
        """
        for transport in list(self._transports.values()):
            transport.cut()
        self._rest()
        self._epoll.close()

    def logPrefix(self) -> str:
        """
        See L{IReadDescriptor}.
        """
        return "accept"


@implementer(IListeningPort)
class AcceptedPort:
    """
    A listening socket whose connections an L{AcceptLoop} accepts.
    """

    def __init__(self, loop: AcceptLoop, port: Port, listening: socket.socket, factory: Any) -> None:
        """
        @param loop: accepts.
        @param port: whose socket it is; not read by the reactor.
        @param listening: a duplicate of it.
        @param factory: makes the protocols.
        """
        self._loop = loop
        self._port = port
        self._listening = listening
        self._factory = factory
        self._accepting = False
        listening.setblocking(False)
        # What is accepted has these from birth.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)

    def acceptSome(self) -> None:
        """
        Accept connections that wait, a bounded number.
        """
        for _ in range(ACCEPTS_PER_TURN):
            if not self._accepting:
                return
            try:
                connection, peer = self._listening.accept()
            except BlockingIOError:
                return
            except OSError as e:
                if e.errno in _EXHAUSTED:
                    self._loop.exhausted()
                    return
                # It has gone before it was accepted, or a firewall does not want it: so have others not.
                continue
            connection.setblocking(False)
            self._loop.accepted(connection, peer, self._factory)

    def pauseProducing(self) -> None:
        """
        Let those who connect wait.
        """
        if self._accepting:
            self._accepting = False
            self._loop.accept(self._listening.fileno(), False)

    def resumeProducing(self) -> None:
        """
        Accept again.
        """
        if not self._accepting:
            self._accepting = True
            self._loop.accept(self._listening.fileno(), True)

    def startListening(self) -> None:
        """
        See L{IListeningPort}: it listens already.
        """

    def stopListening(self) -> Any:
        """
        See L{IListeningPort}.
        """
        if self._listening.fileno() >= 0:
            self.pauseProducing()
            self._loop.closed(self._listening.fileno())
            self._listening.close()
        return self._port.stopListening()

    def getHost(self) -> IAddress:
        """
        See L{IListeningPort}.
        """
        return cast(IAddress, self._port.getHost())
