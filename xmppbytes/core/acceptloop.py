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

from twisted.internet.interfaces import IAddress, IDelayedCall, IListeningPort, IReadDescriptor
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Port
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from xmppbytes.core.acceptedtransport import WATCHED, AcceptedTransport
from xmppbytes.core.damper import Undamped
from xmppbytes.core.origin import originOf

# How many events one turn handles, and how many connections it accepts at a port.
EVENTS_PER_TURN = 128
ACCEPTS_PER_TURN = 64
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
# What accept(2) says of the one connection, and not of the port.
_THEIRS = (
    errno.ECONNABORTED,
    errno.EPERM,
    errno.EPROTO,
    errno.ENOPROTOOPT,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENONET,
    errno.EOPNOTSUPP,
    errno.ETIMEDOUT,
)
# Seconds until a port that does not accept is tried again.
_PAUSE = 10.0
_FAILED = "A connection from {host} is closed: its protocol failed"
_NOBODY = Protocol()


def makeAcceptLoop(
    reactor: Any, exhausted: Callable[[], None], damper: Undamped | None = None
) -> "AcceptLoop | None":
    """
    Make a loop where the platform has what it needs.

    @param reactor: provides C{IReactorFDSet}, C{IReactorTime} and C{IReactorSocket}.
    @param exhausted: see L{AcceptLoop}.
    @param damper: see L{AcceptLoop}.
    """
    return AcceptLoop(reactor, exhausted, damper) if hasattr(select, "epoll") else None


@implementer(IReadDescriptor)
class AcceptLoop:
    """
    Drives any number of L{AcceptedPort}s and L{AcceptedTransport}s. A protocol is told that its connection is
    lost a turn after it was lost: until then whoever knows it may find it dead.
    """

    log = Logger()

    def __init__(self, reactor: Any, exhausted: Callable[[], None], damper: Undamped | None = None) -> None:
        """
        @param reactor: provides C{IReactorFDSet}, C{IReactorTime} and C{IReactorSocket}.
        @param exhausted: called when no descriptor is left for a connection that waits; is to pause the
            ports until there are some.
        @param damper: writes the lines about connections; C{None}: each of them.
        """
        self.reactor = reactor
        self.damper = damper or Undamped()
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
        if self._epoll.closed:
            self._epoll = select.epoll()
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
        descriptor = connection.fileno()
        try:
            self._epoll.register(descriptor, WATCHED)
        except OSError:
            # There is no memory left, or root has set a limit for epoll.
            connection.close()
            self.exhausted()
            return
        # Only a protocol has anything to say: until there is one, who is told of an end is nobody.
        transport = AcceptedTransport(self, connection, peer, _NOBODY)
        self._transports[descriptor] = transport
        try:
            protocol = factory.buildProtocol(None)
            if protocol is None:
                transport.loseConnection()
                return
            transport.protocol = protocol
            protocol.makeConnection(transport)
        except Exception:
            self._fail(transport)

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
        self._restIfIdle()

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
        self._restIfIdle()

    def _read(self) -> None:
        if not self._reading:
            self._reading = True
            self.reactor.addReader(self)

    def _restIfIdle(self) -> None:
        if not self._transports and not self._ports:
            self._rest()

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
        ready = []
        for descriptor, events in self._epoll.poll(0, EVENTS_PER_TURN):
            transport = transports.get(descriptor)
            if transport is not None:
                self._tell(transport, events)
            elif descriptor in self._ports:
                ready.append(self._ports[descriptor])
        # Last: what is accepted may get the number of what was closed just now, and is not to get its events.
        for port in ready:
            port.acceptSome()

    def _tell(self, transport: AcceptedTransport, events: int) -> None:
        try:
            transport.happened(events)
        except Exception:
            self._fail(transport)

    def _fail(self, transport: AcceptedTransport) -> None:
        """
        As transports of the reactor do: the fault of one connection ends only that.
        """
        if self.damper.permits(self.log, originOf(transport.host), _FAILED):
            self.log.failure(_FAILED, host=transport.host)
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

    log = Logger()

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
        self._waiting: IDelayedCall | None = None
        listening.setblocking(False)
        # What is accepted has these from birth. No others: the socket may be systemd's, and outlive us.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

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
                if e.errno in _THEIRS:
                    # It has gone before it was accepted, or a firewall does not want it.
                    continue
                if e.errno in _EXHAUSTED:
                    self._loop.exhausted()
                else:
                    self._wait(e)
                return
            connection.setblocking(False)
            self._loop.accepted(connection, peer, self._factory)

    def _wait(self, error: OSError) -> None:
        """
        Accepting is not possible, for a reason that may last: not again at once.
        """
        self.log.error(
            "Cannot accept connections at {host} ({error}); trying again every {seconds:g} s",
            host=self.getHost(),
            error=error,
            seconds=_PAUSE,
        )
        self.pauseProducing()
        self._waiting = self._loop.reactor.callLater(_PAUSE, self._goOn)

    def _goOn(self) -> None:
        self._waiting = None
        self.resumeProducing()

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
        if not self._accepting and self._waiting is None:
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
            if self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None
            self._loop.closed(self._listening.fileno())
            self._listening.close()
        return self._port.stopListening()

    def getHost(self) -> IAddress:
        """
        See L{IListeningPort}.
        """
        return cast(IAddress, self._port.getHost())
