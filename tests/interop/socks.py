"""
One party of a bytestream, byte for byte as XEP-0065 writes it, for what no real client can be made to do:
to connect and then wait.
"""

import hashlib
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol

TIMEOUT = 60.0


def destination(sid: str, requester: str, target: str) -> str:
    """
    DST.ADDR of a bytestream (XEP-0065 section 5.3.2).
    """
    return hashlib.sha1(f"{sid}{requester}{target}".encode()).hexdigest()


class Leg(Protocol):
    """
    A connection to a proxy.

    @ivar received: what came and was not taken.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.received = b""
        self.closed: Deferred[None] = Deferred()
        self._wanted: tuple[int, Deferred[bytes]] | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._serve()

    def connectionLost(self, reason: Any = None) -> None:
        self.closed.callback(None)
        if self._wanted:
            self._wanted[1].errback(reason)

    def read(self, size: int) -> "Deferred[bytes]":
        """
        Wait for a number of bytes, and take them.
        """
        wanted: Deferred[bytes] = Deferred(self._giveUp)
        wanted.addTimeout(TIMEOUT, self._reactor)
        self._wanted = size, wanted
        self._serve()
        return wanted

    def _giveUp(self, _: Any) -> None:
        self._wanted = None

    def _serve(self) -> None:
        if self._wanted is None or len(self.received) < self._wanted[0]:
            return
        (size, wanted), self._wanted = self._wanted, None
        data, self.received = self.received[:size], self.received[size:]
        wanted.callback(data)


async def connect(reactor: Any, host: str, port: int, address: str) -> Leg:
    """
    Connect to a proxy and ask for a bytestream.

    @param address: DST.ADDR.
    @return: the connection, once the proxy has said that it is accepted.
    """
    leg = await connectProtocol(TCP4ClientEndpoint(reactor, host, port), Leg(reactor))
    assert leg.transport is not None
    leg.transport.write(b"\x05\x01\x00")
    method = await leg.read(2)
    request = b"\x05\x01\x00\x03\x28" + address.encode("ascii") + b"\x00\x00"
    leg.transport.write(request)
    reply = await leg.read(len(request))
    if (method, reply) != (b"\x05\x00", b"\x05\x00" + request[2:]):
        raise ValueError(f"the proxy answered {method!r} and {reply!r}")
    return leg
