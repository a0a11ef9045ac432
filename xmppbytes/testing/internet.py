"""
An internet in memory: machines that listen and connect, with hosts that refuse or say nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import (
    CannotListenError,
    ConnectionRefusedError,
    UserError,
)
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import (
    IConnector,
    IHostnameResolver,
    IListeningPort,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from xmppbytes.testing.transport import MemoryTransport

_FIRST_PORT = 50000
_ANY = ("", "0.0.0.0", "::")


def addressOf(host: str, port: int) -> IPv4Address | IPv6Address:
    """
    Make a Twisted address.
    """
    return IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)


class MemoryInternet:
    """
    All machines, what they listen on, and the names that they have.

    @ivar names: host name -> its addresses.
    @ivar silent: hosts, or (host, port) pairs, that never answer a connection attempt.
    @ivar attempts: (seconds, host, port) of each connection attempt.
    @ivar transports: both ends of every connection that is open.
    """

    def __init__(self, clock: Clock, latency: float = 0.0) -> None:
        """
        @param clock: tells everybody the time.
        @param latency: seconds that a packet takes.
        """
        self.latency = latency
        self.clock = clock
        self.names: dict[str, Sequence[str]] = {}
        self.silent: set[str | tuple[str, int]] = set()
        self.attempts: list[tuple[float, str, int]] = []
        self.transports: list[MemoryTransport] = []
        self.listening: dict[tuple[str, int], Any] = {}

    def machine(self, *addresses: str) -> "MemoryMachine":
        """
        Add a machine.

        @param addresses: its IP addresses; it connects from the first.
        @return: its reactor.
        """
        return MemoryMachine(self, addresses)

    def find(self, host: str, port: int) -> Any:
        """
        The factory that accepts connections to an address, or C{None}.
        """
        return self.listening.get((host, port))


@implementer(IReactorTCP, IReactorTime, IReactorPluggableNameResolver)
class MemoryMachine:
    """
    The reactor of one machine.

    @ivar ports: what is listening.
    """

    def __init__(self, internet: MemoryInternet, addresses: Sequence[str]) -> None:
        self._internet = internet
        self.addresses = tuple(addresses)
        self.ports: list[_Port] = []
        self.nameResolver: IHostnameResolver = _Resolver(internet)

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """
        See L{IReactorPluggableNameResolver}.
        """
        previous, self.nameResolver = self.nameResolver, resolver
        return previous

    def seconds(self) -> float:
        """
        See L{IReactorTime}.
        """
        return self._internet.clock.seconds()

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any, **kw: Any) -> Any:
        """
        See L{IReactorTime}.
        """
        return self._internet.clock.callLater(delay, callable, *args, **kw)

    def getDelayedCalls(self) -> Any:
        """
        See L{IReactorTime}. The time is everybody's.
        """
        return self._internet.clock.getDelayedCalls()

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> "_Port":
        """
        See L{IReactorTCP}.
        """
        hosts = self.addresses if interface in _ANY else (interface,)
        listening = self._internet.listening
        if port == 0:
            port = _FIRST_PORT
            while any((host, port) in listening for host in hosts):
                port += 1
        if any((host, port) in listening for host in hosts):
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        opened = _Port(self, [(host, port) for host in hosts])
        listening.update(dict.fromkeys(opened.places, factory))
        self.ports.append(opened)
        return opened

    def closePort(self, port: "_Port") -> None:
        """
        A port listens no more.
        """
        self.ports.remove(port)
        for place in port.places:
            del self._internet.listening[place]

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> "_Connector":
        """
        See L{IReactorTCP}.
        """
        internet = self._internet
        internet.attempts.append((self.seconds(), host, port))
        source = bindAddress[0] if bindAddress else self.addresses[0]
        connector = _Connector(internet, (host, port), source, factory)
        connector.begin(timeout)
        return connector


@implementer(IListeningPort)
class _Port:
    def __init__(self, machine: MemoryMachine, places: Sequence[tuple[str, int]]) -> None:
        self._machine = machine
        self.places = tuple(places)

    def startListening(self) -> None:
        """
        See L{IListeningPort}: it does already.
        """

    def stopListening(self) -> "Deferred[None]":
        """
        See L{IListeningPort}. As over TCP, the port is free in a later turn.
        """
        stopped: Deferred[None] = Deferred()

        def stop() -> None:
            self._machine.closePort(self)
            stopped.callback(None)

        self._machine.callLater(0, stop)
        return stopped

    def getHost(self) -> IPv4Address | IPv6Address:
        """
        See L{IListeningPort}.
        """
        return addressOf(*self.places[0])


@implementer(IConnector)
class _Connector:
    def __init__(
        self, internet: MemoryInternet, destination: tuple[str, int], source: str, factory: Any
    ) -> None:
        self._internet = internet
        self._destination = destination
        self._source = source
        self._factory = factory
        self._pending: Any = None
        self._transport: MemoryTransport | None = None

    def begin(self, timeout: float) -> None:
        """
        Try to connect.
        """
        clock, silent = self._internet.clock, self._internet.silent
        self._factory.doStart()
        self._factory.startedConnecting(self)
        if self._destination in silent or self._destination[0] in silent:
            self._pending = clock.callLater(timeout, self._failed, ConnectTimeout())
        else:
            self._pending = clock.callLater(self._internet.latency, self._arrived)

    def _arrived(self) -> None:
        accepting = self._internet.find(*self._destination)
        if accepting is None:
            self._failed(ConnectionRefusedError())
            return
        self._pending = None
        theirs = accepting.buildProtocol(addressOf(self._source, _FIRST_PORT))
        ours = self._factory.buildProtocol(addressOf(*self._destination))
        ends = addressOf(self._source, _FIRST_PORT), addressOf(*self._destination)
        clock, opened = self._internet.clock, self._internet.transports
        self._transport = MemoryTransport(clock, ends, opened, self._internet.latency)
        other = MemoryTransport(clock, ends[::-1], opened, self._internet.latency)
        self._transport.join(other, ours)
        other.join(self._transport, theirs)
        ours.makeConnection(self._transport)
        if theirs is None:
            other.abortConnection()
        else:
            theirs.makeConnection(other)

    def _failed(self, error: Exception) -> None:
        self._pending = None
        self._factory.clientConnectionFailed(self, Failure(error))
        self._factory.doStop()

    def stopConnecting(self) -> None:
        """
        See L{IConnector}.
        """
        if self._pending is not None:
            self._pending.cancel()
            self._failed(UserError())

    def disconnect(self) -> None:
        """
        See L{IConnector}.
        """
        if self._transport is None:
            self.stopConnecting()
        else:
            self._transport.loseConnection()

    def connect(self) -> None:
        """
        See L{IConnector}.
        """
        raise NotImplementedError("a connection in memory is tried once")

    def getDestination(self) -> IPv4Address | IPv6Address:
        """
        See L{IConnector}.
        """
        return addressOf(*self._destination)


@implementer(IHostnameResolver)
class _Resolver:
    """
    Knows the names of a L{MemoryInternet}.
    """

    def __init__(self, internet: MemoryInternet) -> None:
        self._internet = internet

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        """
        See L{IHostnameResolver}.
        """

        def resolve() -> None:
            for host in self._internet.names.get(hostName, ()):
                resolutionReceiver.addressResolved(addressOf(host, portNumber))
            resolutionReceiver.resolutionComplete()

        resolutionReceiver.resolutionBegan(None)
        self._internet.clock.callLater(0, resolve)
