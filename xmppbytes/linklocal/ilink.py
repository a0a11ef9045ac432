"""
The interfaces between discovery and the links it works on, real or in memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

PORT = 5353

# Address and port a datagram came from. A link-local address carries its scope: C{fe80::1%eth0}.
Source: TypeAlias = tuple[str, int]


@dataclass(frozen=True)
class NetworkInterface:
    """
    One interface of this machine that is up.

    @ivar addresses: without scope; IPv4 and IPv6, those usable right now.
    """

    name: str
    index: int
    addresses: tuple[str, ...]
    loopback: bool = False


class ILinkPort(Protocol):
    """
    Sends to the multicast group of one link, by every address family that it has.
    """

    @property
    def name(self) -> str:
        """
        The name of the interface.
        """

    def send(self, datagram: bytes, destination: Source | None = None) -> None:
        """
        Send to the group, or to one address on the link.
        """

    def update(self, interface: NetworkInterface) -> None:
        """
        Take notice that the addresses of the interface have changed.
        """

    def close(self) -> None:
        """
        Leave the group. Nothing is received afterwards.
        """


LinkOpener: TypeAlias = Callable[[NetworkInterface, Callable[[bytes, Source], None]], ILinkPort]


class IInterfaceSource(Protocol):
    """
    Tells which interfaces there are.
    """

    def start(self, changed: Callable[[Sequence[NetworkInterface]], None]) -> None:
        """
        Call C{changed} with all interfaces, now and whenever one of them has changed.
        """

    def stop(self) -> None:
        """
        Tell nothing any more.
        """
