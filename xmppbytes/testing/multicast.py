"""
Links in memory, for tests: with loss, duplication and delay.
"""

from collections.abc import Callable, Sequence
from random import Random

from twisted.internet.interfaces import IReactorTime

from xmppbytes.linklocal.ilink import PORT, NetworkInterface, Source


class MemoryLink:
    """
    A network segment without cables.
    """

    def __init__(
        self,
        clock: IReactorTime,
        random: Random | None = None,
        loss: float = 0.0,
        duplication: float = 0.0,
        delay: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """
        @param clock: delays what is sent; even without a delay it arrives in a later turn only.
        @param random: decides what is lost.
        @param loss: the part of the datagrams that each receiver does not get.
        @param duplication: the part that each receiver gets twice.
        @param delay: the shortest and longest time that a datagram takes, in seconds.
        """
        self._clock = clock
        self._random = random or Random(1)
        self.loss = loss
        self.duplication = duplication
        self.delay = delay
        self._ports: list[MemoryPort] = []
        # Everything that was ever sent: when, by which address, the datagram.
        self.sent: list[tuple[float, str, bytes]] = []

    def attach(self, interface: NetworkInterface, received: Callable[[bytes, Source], None]) -> "MemoryPort":
        """
        Join the segment: what L{xmppbytes.linklocal.discovery.Discovery} takes to open a link.
        """
        port = MemoryPort(self, interface, received)
        self._ports.append(port)
        return port

    def transmit(self, sender: "MemoryPort", datagram: bytes, destination: Source | None) -> None:
        """
        Carry one datagram to everybody, the sender included, or to one address.
        """
        self.sent.append((self._clock.seconds(), sender.address, datagram))
        for port in list(self._ports):
            if destination is not None and port.address != destination[0]:
                continue
            copies = (self._random.random() >= self.loss) + (self._random.random() < self.duplication)
            for _ in range(copies):
                wait = self._random.uniform(*self.delay)
                self._clock.callLater(wait, port.deliver, datagram, (sender.address, PORT))

    def inject(self, datagram: bytes, source: Source) -> None:
        """
        Send as somebody who is not there.
        """
        for port in list(self._ports):
            port.deliver(datagram, source)

    def leave(self, port: "MemoryPort") -> None:
        """
        Forget a port.
        """
        self._ports.remove(port)


class MemoryPort:
    """
    One host's place on a L{MemoryLink}.
    """

    def __init__(
        self, link: MemoryLink, interface: NetworkInterface, received: Callable[[bytes, Source], None]
    ) -> None:
        self.name = interface.name
        self.address = interface.addresses[0]
        self.unicasts: list[tuple[bytes, Source]] = []
        self._link = link
        self._received = received
        self._closed = False

    def deliver(self, datagram: bytes, source: Source) -> None:
        """
        Hand over what has arrived.
        """
        if not self._closed:
            self._received(datagram, source)

    def send(self, datagram: bytes, destination: Source | None = None) -> None:
        """
        Send to everybody, or to one address.
        """
        if destination is not None:
            self.unicasts.append((datagram, destination))
        self._link.transmit(self, datagram, destination)

    def update(self, interface: NetworkInterface) -> None:
        """
        Take another address.
        """
        self.address = interface.addresses[0]

    def close(self) -> None:
        """
        Leave the segment.
        """
        self._closed = True
        self._link.leave(self)


class MemoryInterfaces:
    """
    Interfaces that a test plugs in and out.
    """

    def __init__(self, *interfaces: NetworkInterface) -> None:
        self.interfaces = list(interfaces)
        self._changed: Callable[[Sequence[NetworkInterface]], None] | None = None

    def start(self, changed: Callable[[Sequence[NetworkInterface]], None]) -> None:
        """
        Tell the interfaces, now and when they change.
        """
        self._changed = changed
        changed(self.interfaces)

    def stop(self) -> None:
        """
        Tell nothing any more.
        """
        self._changed = None

    def set(self, *interfaces: NetworkInterface) -> None:
        """
        Have these interfaces from now on.
        """
        self.interfaces = list(interfaces)
        if self._changed is not None:
            self._changed(self.interfaces)
