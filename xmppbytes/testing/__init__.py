"""
Fakes for the tests of whatever uses this package: an XMPP server and an internet in memory.

    clock = Clock()
    server = MemoryXMPPServer(clock)
    romeo = server.connect("romeo@example.org/orchard")     # a stream manager, for any handlers
    internet = MemoryInternet(clock)
    machine = internet.machine("192.0.2.1")                 # a reactor, for whatever connects
    clock.pump([0.01] * 100)

Nothing here opens a socket. What is sent is serialised, arrives in a later turn, and is parsed again.
"""

from collections.abc import Callable
from typing import TypeVar

from xmppbytes.testing.internet import MemoryInternet, MemoryMachine
from xmppbytes.testing.server import MemoryXMPPServer
from xmppbytes.testing.transport import MemoryTransport

T = TypeVar("T")

__all__ = ["MemoryInternet", "MemoryMachine", "MemoryTransport", "MemoryXMPPServer", "dribble"]


def dribble(receive: Callable[[bytes], T], data: bytes, size: int = 1) -> list[T]:
    """
    Deliver bytes in small pieces.

    @param receive: takes each piece, such as a protocol's C{dataReceived} or a parser's C{feed}.
    @param data: what is to be delivered.
    @param size: bytes of each piece.
    @return: what C{receive} has returned for each.
    """
    return [receive(data[start : start + size]) for start in range(0, len(data), size)]
