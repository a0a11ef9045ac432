"""
A UDP socket that relays: what comes from a known address goes on at once, all else to somebody who knows.

Datagrams are never queued here: what the kernel does not take is dropped, as a router does, and counted.
A wake-up handles a bounded number of them, so that everything else of the process stays served.
"""

import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from xmppbytes.core import mmsg
from xmppbytes.core.channel import Channel
from xmppbytes.core.origin import plainPeer
from xmppbytes.wire.s5budp import HEADER_LENGTH

# Datagrams a wake-up, at most.
QUANTUM = 256
# What the kernel may keep for us while we do something else; it grants less where net.core.rmem_max
# and wmem_max say so.
SOCKET_BUFFER = 4 * 1024 * 1024
_READ_SIZE = 65536

_LINUX_IP_PKTINFO = 8

Strangers = Callable[["DatagramPort", bytes, tuple[Any, ...]], None]


@dataclass(frozen=True, slots=True, eq=False)
class Destination:
    """
    Where a port sends something.

    @ivar address: a socket address.
    @ivar ancillary: what goes with it: which of our addresses it comes from.
    @ivar packed: the same for L{mmsg}.
    """

    address: tuple[Any, ...]
    ancillary: tuple[tuple[int, int, bytes], ...]
    packed: mmsg.SocketAddress | None


@implementer(IReadDescriptor)
class DatagramPort:
    """
    A UDP socket, portably: one datagram a system call.

    @ivar descriptor: of the socket; -1 once it is closed.
    """

    log = Logger()
    name = "plain"

    def __init__(self, reactor: IReactorFDSet, sock: socket.socket, strangers: Strangers) -> None:
        """
        @param reactor: reads the socket from now on.
        @param sock: bound; the port closes it.
        @param strangers: called with this port, each datagram that belongs to no open channel, and
            the socket address it came from.
        """
        self._reactor = reactor
        self._socket = sock
        self._strangers = strangers
        self._channels: dict[Any, Channel] = {}
        self._closed = False
        self.descriptor = sock.fileno()
        self._isWildcard = sock.getsockname()[0] in ("0.0.0.0", "::")
        prepareSocket(sock)
        self.start()
        reactor.addReader(self)

    def start(self) -> None:
        """
        Make what reading needs.
        """
        self._buffer = bytearray(_READ_SIZE)
        self._view = memoryview(self._buffer)

    def getHost(self) -> tuple[Any, ...]:
        """
        The socket address that this port is bound to.
        """
        address: tuple[Any, ...] = self._socket.getsockname()
        return address

    def fileno(self) -> int:
        """
        See L{IReadDescriptor}.
        """
        return self.descriptor

    def logPrefix(self) -> str:
        """
        See L{IReadDescriptor}.
        """
        return "datagrams"

    def key(self, address: tuple[Any, ...]) -> Any:
        """
        What stands for a source address in the table of channels.
        """
        return address

    def destination(self, address: tuple[Any, ...], local: str | None) -> Destination:
        """
        Prepare to send to an address.

        @param local: the IP address of ours that what is sent should come from. A socket that is
            bound to all addresses would leave the choice to the routing table otherwise, and the
            other side would not know who answers.
        """
        ancillary: tuple[tuple[int, int, bytes], ...] = ()
        if local is not None and self._isWildcard and sys.platform == "linux":
            ancillary = (_sourceAddress(self._socket.family, local, address),)
        return Destination(address, ancillary, None)

    def route(self, channel: Channel) -> None:
        """
        Relay what comes from the channel's address.
        """
        self._channels[self.key(channel.address)] = channel

    def unroute(self, channel: Channel) -> None:
        """
        Relay it no longer.
        """
        key = self.key(channel.address)
        if self._channels.get(key) is channel:
            del self._channels[key]

    def owner(self, address: tuple[Any, ...]) -> Channel | None:
        """
        The open channel of a source address.
        """
        return self._channels.get(self.key(address))

    def send(self, destination: Destination, payload: bytes | memoryview) -> bool:
        """
        Send one datagram.

        @return: false when it had to be dropped: no room in the socket, or no way to go.
        """
        if self._closed:
            return False
        try:
            if destination.ancillary:
                self._socket.sendmsg([payload], destination.ancillary, 0, destination.address)
            else:
                self._socket.sendto(payload, destination.address)
        except OSError:
            return False
        return True

    def doRead(self) -> None:
        """
        See L{IReadDescriptor}.
        """
        for _ in range(QUANTUM):
            if self._closed:
                return
            try:
                length, address = self._socket.recvfrom_into(self._buffer)
            except BlockingIOError:
                return
            except OSError:
                # Something that an earlier datagram met on its way (ICMP); tells nothing of this one.
                continue
            self.relay(length, address)

    def relay(self, length: int, address: tuple[Any, ...]) -> None:
        """
        Send on what is in the buffer.
        """
        channel = self._channels.get(address)
        if channel is None or length < HEADER_LENGTH or not self._buffer.startswith(channel.header):
            self.strange(bytes(self._view[:length]), address)
            return
        size = length - HEADER_LENGTH
        if not channel.grant(1, size):
            return
        payload = self._view[HEADER_LENGTH:length]
        if channel.deliver is not None:
            channel.delivered(1, size)
            channel.deliver(bytes(payload))
        elif channel.peer is not None and channel.peer.port.send(channel.peer.destination, payload):
            channel.delivered(1, size)
        else:
            channel.dropped += 1

    def strange(self, data: bytes, address: tuple[Any, ...]) -> None:
        """
        Show a datagram that belongs to no open channel to somebody who knows.
        """
        try:
            self._strangers(self, data, address)
        except Exception:
            # The reactor would take the port for broken and never read it again.
            self.log.failure("A datagram from {address} could not be handled", address=address)

    def close(self) -> None:
        """
        Stop reading and close the socket.
        """
        if not self._closed:
            self._reactor.removeReader(self)
            self._closed = True
            self.descriptor = -1
            self._channels.clear()
            self._socket.close()

    def connectionLost(self, reason: Failure) -> None:
        """
        See L{IReadDescriptor}: the reactor is done.
        """
        self.close()


def prepareSocket(sock: socket.socket) -> None:
    """
    Make a socket ready for a port.
    """
    sock.setblocking(False)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)


def _sourceAddress(family: int, local: str, remote: tuple[Any, ...]) -> tuple[int, int, bytes]:
    """
    Make the control message that chooses which of our addresses a datagram comes from.
    """
    # The connection that told us may have come to a socket of the other family: an IPv6 socket that hears
    # both calls 192.0.2.1 "::ffff:192.0.2.1".
    host = plainPeer(local.partition("%")[0])
    if family == socket.AF_INET:
        return socket.IPPROTO_IP, _LINUX_IP_PKTINFO, struct.pack("@i4s4x", 0, socket.inet_aton(host))
    scope = remote[3] if len(remote) > 3 else 0
    mapped = host if ":" in host else f"::ffff:{host}"
    packed = struct.pack("@16si", socket.inet_pton(socket.AF_INET6, mapped), scope)
    return socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, packed
