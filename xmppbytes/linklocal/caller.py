"""
Opening a stream to somebody: find him, connect to any of his addresses, set the stream up.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.logger import Logger

from xmppbytes.connecting.racing import Attempt, RaceTiming, race
from xmppbytes.errors import NotReachable
from xmppbytes.linklocal.neighbours import Neighbours
from xmppbytes.linklocal.resolver import Location
from xmppbytes.linklocal.stream import PeerStream

# A peer that has not heard of us yet closes the connection at once: try again after this time.
RETRY_DELAY = 1.0
ATTEMPTS = 2
_TIMING = RaceTiming(stagger=0.2, attempt=5.0, overall=10.0)


class Caller:
    """
    Opens streams.
    """

    log = Logger()

    def __init__(self, reactor: Any, discovery: Neighbours, make: Callable[[str], PeerStream]) -> None:
        """
        @param reactor: connects, tells the time.
        @param discovery: knows who is where.
        @param make: makes the protocol of a stream to somebody.
        """
        self._reactor = reactor
        self._discovery = discovery
        self._make = make

    def call(self, name: str) -> "Deferred[PeerStream]":
        """
        Open a stream.

        @return: fires with the stream when it is ready; fails with a L{BytestreamError}. May be
            cancelled.
        """
        return Deferred.fromCoroutine(self._call(name))

    async def _call(self, name: str) -> PeerStream:
        for attempt in range(1, ATTEMPTS + 1):
            locations = await self._discovery.resolve(name)
            try:
                stream = await self._connect(name, locations)
            except NotReachable:
                self._discovery.confirm(name)
                raise
            try:
                return await stream.ready
            except NotReachable as error:
                # Refusals are final; a connection that was closed at once may only have come too soon.
                if attempt == ATTEMPTS:
                    raise
                self.log.info("{name}: {error}; trying once more", name=name, error=error)
            await deferLater(self._reactor, RETRY_DELAY)
        raise AssertionError("the last attempt returns or raises")

    async def _connect(self, name: str, locations: list[Location]) -> PeerStream:
        attempts = [
            Attempt(f"{address} port {where.port}", self._attempt(name, where, address))
            for where in locations
            for address in where.addresses
        ]
        return (await race(self._reactor, attempts, _discard, _TIMING))[1]

    def _attempt(self, name: str, where: Location, address: str) -> "Callable[[], Deferred[PeerStream]]":
        def connect() -> "Deferred[PeerStream]":
            kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
            bind = (self._sourceFor(where.interface, address), 0)
            endpoint = kind(self._reactor, address, where.port, _TIMING.attempt, bind if bind[0] else None)
            connected: Deferred[Any] = endpoint.connect(_OneStream(lambda: self._make(name)))
            return connected

        return connect

    def _sourceFor(self, interface: str, address: str) -> str:
        """
        Choose which address of ours to connect from: one that is published on that very link, or the
        other side would not know us. The scope of IPv6 does that by itself.
        """
        if ":" in address:
            return ""
        own = [one for one in self._discovery.ownAddresses(interface) if ":" not in one]
        return own[0] if own else ""


class _OneStream(Factory):
    noisy = False

    def __init__(self, make: Callable[[], PeerStream]) -> None:
        self._make = make

    def buildProtocol(self, addr: Any) -> PeerStream:
        return self._make()


def _discard(stream: PeerStream) -> None:
    stream.ready.addErrback(lambda failure: failure.trap(NotReachable) and None)
    stream.abort("another address was quicker")
