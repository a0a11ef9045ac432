"""
The datagram port for Linux: many datagrams a system call, and runs of them cut and joined by the kernel.
"""

import errno
import socket
import struct
from typing import Any

from twisted.internet.interfaces import IReactorFDSet

from xmppbytes.core import mmsg
from xmppbytes.core.channel import Channel
from xmppbytes.core.datagramport import QUANTUM, DatagramPort, Destination, Strangers
from xmppbytes.core.mmsg import BATCH, MAX_MESSAGE, MAX_SEGMENTS, SLOT, Inbox, Outbox, SocketAddress
from xmppbytes.wire.s5budp import HEADER_LENGTH

_IPV4 = struct.Struct("=H2s4s8x")
_IPV6 = struct.Struct("=H2s4s16sI")
_WAKE_UPS = QUANTUM // BATCH


class BatchPort(DatagramPort):
    """
    A UDP socket that is read and written in batches.
    """

    name = "batch"

    def start(self) -> None:
        """
        See L{DatagramPort}.
        """
        self._inbox = Inbox(
            self._socket.fileno(), (_IPV4 if self._socket.family == socket.AF_INET else _IPV6).size
        )
        self._outbox = Outbox(self._inbox, _notSent)
        try:
            self._socket.setsockopt(socket.IPPROTO_UDP, mmsg.UDP_GRO, 1)
        except OSError as e:
            if e.errno != errno.ENOPROTOOPT:
                raise

    def key(self, address: tuple[Any, ...]) -> bytes:
        """
        See L{DatagramPort}.
        """
        return packAddress(self._socket.family, address)

    def destination(self, address: tuple[Any, ...], local: str | None) -> Destination:
        """
        See L{DatagramPort}.
        """
        plain = super().destination(address, local)
        control = b"".join(mmsg.controlMessage(*message) for message in plain.ancillary)
        packed = SocketAddress(packAddress(self._socket.family, address), control)
        return Destination(plain.address, plain.ancillary, packed)

    def doRead(self) -> None:
        """
        See L{DatagramPort}.
        """
        inbox = self._inbox
        for _ in range(_WAKE_UPS):
            count = inbox.receive()
            if not count:
                return
            cuts = inbox.cuts(count)
            if cuts is None:
                self._relaySingles(count)
            else:
                self._relayJoined(count, cuts)
            self._outbox.flush()
            if count < BATCH or self._closed:
                return

    def _relaySingles(self, count: int) -> None:
        """
        Send a batch on in which each message is one datagram. Neighbours of one size from one
        address are a run.
        """
        inbox = self._inbox
        lengths, sources, data = inbox.lengths(count), inbox.sources(count), inbox.data
        channels = self._channels
        index = 0
        while index < count:
            source, length = sources[index], lengths[index]
            channel = channels.get(source)
            start = index * SLOT
            index += 1
            if (
                channel is None
                or length < HEADER_LENGTH
                or data[start : start + HEADER_LENGTH] != channel.header
            ):
                self._strange(start, length, source)
                continue
            header, offset = channel.header, start + SLOT
            limit = min(count, index - 1 + MAX_MESSAGE // length)
            while (
                index < limit
                and lengths[index] == length
                and sources[index] == source
                and data[offset : offset + HEADER_LENGTH] == header
            ):
                index += 1
                offset += SLOT
            if offset == start + SLOT:
                self._forward(channel, start, length)
            else:
                self._forwardRun(channel, range(start, offset, SLOT), length, length)

    def _relayJoined(self, count: int, cuts: list[int]) -> None:
        """
        Send a batch on in which the kernel has joined datagrams of one sender to one message.
        """
        inbox = self._inbox
        lengths, sources = inbox.lengths(count), inbox.sources(count)
        for index in range(count):
            source, total, start = sources[index], lengths[index], index * SLOT
            size = cuts[index] or max(total, 1)
            offsets = range(start, start + max(total, 1), size)
            last = total - (len(offsets) - 1) * size
            channel = self._channels.get(source)
            if channel is not None and self._isClean(channel, offsets, last):
                for first in range(0, len(offsets), MAX_SEGMENTS):
                    part = offsets[first : first + MAX_SEGMENTS]
                    self._forwardRun(channel, part, size, last if part[-1] == offsets[-1] else size)
                continue
            for offset in offsets:
                self._relaySingle(source, offset, last if offset == offsets[-1] else size)

    def _isClean(self, channel: Channel, offsets: range, last: int) -> bool:
        """
        Tell whether each of these datagrams is one of the channel.
        """
        data, header = self._inbox.data, channel.header
        return last >= HEADER_LENGTH and all(
            data[offset : offset + HEADER_LENGTH] == header for offset in offsets
        )

    def _relaySingle(self, source: bytes, offset: int, length: int) -> None:
        channel = self._channels.get(source)
        if (
            channel is None
            or length < HEADER_LENGTH
            or self._inbox.data[offset : offset + HEADER_LENGTH] != channel.header
        ):
            self._strange(offset, length, source)
        else:
            self._forward(channel, offset, length)

    def _strange(self, offset: int, length: int, source: bytes) -> None:
        # What is done about it may move or close channels: nothing may be on its way meanwhile.
        self._outbox.flush()
        if not self._closed:
            data = self._inbox.data[offset : offset + length]
            self.strange(data, unpackAddress(self._socket.family, source))

    def _forward(self, channel: Channel, offset: int, length: int) -> None:
        """
        Send a datagram of a channel on.

        @param offset: where it begins in the inbox.
        @param length: its length with its header.
        """
        size = length - HEADER_LENGTH
        if channel.bucket is not None and not channel.grant(1, size):
            return
        peer = channel.peer
        if peer is None:
            self._deliver(channel, offset, length)
            return
        channel.datagrams += 1
        channel.octets += size
        self._outbox.add(peer.port.descriptor, peer.destination.packed, channel, offset + HEADER_LENGTH, size)

    def _forwardRun(self, channel: Channel, offsets: range, length: int, last: int) -> None:
        """
        Send a run of datagrams of a channel on.

        @param offsets: where they begin in the inbox.
        @param length: the length of each with its header, but of
        @param last: the last.
        """
        size, count, peer = length - HEADER_LENGTH, len(offsets), channel.peer
        if peer is None or count == 1 or not 0 < size <= peer.destination.packed.largest:
            for offset in offsets:
                self._forward(channel, offset, last if offset == offsets[-1] else length)
            return
        if channel.bucket is not None:
            count = channel.grant(len(offsets), size)
            if not count:
                return
            if count < len(offsets):
                offsets, last = offsets[:count], length
        rest = last - HEADER_LENGTH
        channel.datagrams += count
        channel.octets += size * (count - 1) + rest
        payloads = range(offsets.start + HEADER_LENGTH, offsets.stop + HEADER_LENGTH, offsets.step)
        self._outbox.addRun(peer.port.descriptor, peer.destination.packed, channel, payloads, size, rest)

    def _deliver(self, channel: Channel, offset: int, length: int) -> None:
        self._outbox.flush()
        if channel.deliver is not None and not self._closed:
            channel.delivered(1, length - HEADER_LENGTH)
            channel.deliver(self._inbox.data[offset + HEADER_LENGTH : offset + length])


def _notSent(channel: Channel, count: int, size: int) -> None:
    channel.datagrams -= count
    channel.octets -= count * size
    channel.dropped += count


def packAddress(family: int, address: tuple[Any, ...]) -> bytes:
    """
    Write a socket address as C{struct sockaddr_in} or C{sockaddr_in6}.
    """
    host, port = address[0].partition("%")[0], address[1].to_bytes(2, "big")
    if family == socket.AF_INET:
        return _IPV4.pack(family, port, socket.inet_aton(host))
    flow, scope = (*address[2:], 0, 0)[:2]
    return _IPV6.pack(family, port, flow.to_bytes(4, "big"), socket.inet_pton(family, host), scope)


def unpackAddress(family: int, packed: bytes) -> tuple[Any, ...]:
    """
    Read a C{struct sockaddr_in} or C{sockaddr_in6}, in the form that Python's sockets use.
    """
    if family == socket.AF_INET:
        _, port, host = _IPV4.unpack(packed)
        return socket.inet_ntoa(host), int.from_bytes(port, "big")
    _, port, flow, host, scope = _IPV6.unpack(packed)
    text = socket.inet_ntop(family, host)
    return text, int.from_bytes(port, "big"), int.from_bytes(flow, "big"), scope


def makeDatagramPort(
    reactor: IReactorFDSet, sock: socket.socket, strangers: Strangers, plain: bool = False
) -> DatagramPort:
    """
    Make the best port for this platform.

    @param plain: make the portable one whatever the platform has.
    """
    factory = BatchPort if mmsg.isAvailable() and not plain else DatagramPort
    return factory(reactor, sock, strangers)
