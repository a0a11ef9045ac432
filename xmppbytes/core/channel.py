"""
One party's side of a UDP bytestream: where its datagrams come from, and who gets them.
"""

from collections.abc import Callable
from typing import Any

from xmppbytes.core.throttle import TokenBucket


class Channel:
    """
    The learned address of a party at a datagram port of ours.

    A channel is made when its party has initialised it, and relays from L{open} to L{close}. What
    comes from its address with its header goes, without the header, to the peer channel's address,
    from the port at which that one was initialised; or to a function, where the other party is here.

    @ivar port: the L{xmppbytes.core.datagramport.DatagramPort} at which the party was heard.
    @ivar address: the party's socket address there.
    @ivar destination: the same in the port's own form.
    @ivar header: what every datagram of the party begins with.
    @ivar peer: the other party's channel, while open.
    @ivar deliver: takes the payloads instead of C{peer}.
    @ivar bucket: limits the rate, together with the other direction.
    @ivar datagrams: how many were delivered from this party to the other.
    @ivar octets: the payload bytes of these.
    @ivar dropped: how many of this party's were dropped while open: rate limit, no room, no way.
    """

    __slots__ = (
        "_local",
        "address",
        "bucket",
        "datagrams",
        "deliver",
        "destination",
        "dropped",
        "header",
        "isOpen",
        "octets",
        "peer",
        "port",
    )

    def __init__(self, port: Any, address: tuple[Any, ...], header: bytes, local: str | None = None) -> None:
        """
        @param local: our IP address that the party talks to, for the source of what is sent to it.
        """
        self.port = port
        self.address = address
        self.header = header
        self.peer: Channel | None = None
        self.deliver: Callable[[bytes], None] | None = None
        self.bucket: TokenBucket | None = None
        self.datagrams = 0
        self.octets = 0
        self.dropped = 0
        self.isOpen = False
        self._local = local
        self.destination = port.destination(address, local)

    def open(self, peer: "Channel | None" = None, deliver: Callable[[bytes], None] | None = None) -> None:
        """
        Begin to relay what this party sends.

        @param peer: who gets it; or
        @param deliver: what is called with each payload.
        """
        self.peer, self.deliver, self.isOpen = peer, deliver, True
        self.port.route(self)

    def close(self) -> None:
        """
        Relay nothing any more.
        """
        if self.isOpen:
            self.isOpen = False
            self.port.unroute(self)
            self.peer = self.deliver = None

    def move(self, port: Any, address: tuple[Any, ...]) -> None:
        """
        The party has initialised its channel anew, from another address.
        """
        if self.isOpen:
            self.port.unroute(self)
        self.port, self.address = port, address
        self.destination = port.destination(address, self._local)
        if self.isOpen:
            self.port.route(self)

    def send(self, payload: bytes) -> bool:
        """
        Send a payload to this party.

        @return: false when it had to be dropped.
        """
        sent: bool = self.port.send(self.destination, payload)
        return sent

    def grant(self, count: int, size: int) -> int:
        """
        Ask the rate limit.

        The last one that is granted may be larger than what is left, and what comes later pays for
        it: a limit that is smaller than a datagram would stop everything otherwise.

        @param count: how many datagrams there are.
        @param size: their size in bytes.
        @return: how many may go.
        """
        if self.bucket is None:
            return count
        room = self.bucket.room()
        granted = min(count, -(-room // size) if size else count) if room > 0 else 0
        self.bucket.spend(granted * size)
        self.dropped += count - granted
        return granted

    def delivered(self, count: int, octets: int) -> None:
        """
        Count what goes to the other party.
        """
        self.datagrams += count
        self.octets += octets
