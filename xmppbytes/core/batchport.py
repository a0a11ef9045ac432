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
from xmppbytes.core.mmsg import BATCH, MAX_MESSAGE, MAX_SEGMENTS, SLOT, Inbox, SocketAddress
from xmppbytes.core.outbox import Outbox
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
        self._outbox = Outbox(self._inbox, HEADER_LENGTH, _notSent)
        self._singles = 0
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
        self._singles = 0
        for _ in range(_WAKE_UPS):
            count = inbox.receive()
            if not count:
                return
            cuts = inbox.cuts(count)
            if cuts is None:
                self._relaySlots(count)
            else:
                self._relayJoined(count, cuts)
            self._outbox.flush()
            # Strangers' datagrams may come joined as well, many in a slot, and each costs what one costs.
            if count < BATCH or self._closed or self._singles >= QUANTUM:
                return

    def _relaySlots(self, count: int) -> None:
        """
        Send a batch on in which each slot holds one datagram. Neighbours of one size from one address
        are a run.
        """
        inbox, channels = self._inbox, self._channels
        lengths, sources, data = inbox.lengths(count), inbox.sources(count), inbox.data
        self._outbox.measure(lengths)
        index = 0
        while index < count:
            first, source, length = index, sources[index], lengths[index]
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
            header, limit = channel.header, first + MAX_MESSAGE // length
            while (
                index < count
                and sources[index] == source
                and lengths[index] == length
                and index < limit
                and data[index * SLOT : index * SLOT + HEADER_LENGTH] == header
            ):
                index += 1
            self._forward(channel, first, index - first, length - HEADER_LENGTH)

    def _forward(self, channel: Channel, first: int, count: int, size: int) -> None:
        """
        Send the datagrams of some slots on.

        @param first: the first slot.
        @param count: how many slots.
        @param size: the payload of each, in bytes.
        """
        peer = channel.peer
        if peer is None:
            for slot in range(first, first + count):
                self._deliver(channel, slot * SLOT, size)
            return
        to = peer.destination.packed
        if count > 1 and not 0 < size <= to.largest:
            for slot in range(first, first + count):
                self._forward(channel, slot, 1, size)
            return
        if channel.bucket is not None:
            count = channel.grant(count, size)
            if not count:
                return
        channel.datagrams += count
        channel.octets += size * count
        self._outbox.add(peer.port.descriptor, to, channel, first, count, size)

    def _relayJoined(self, count: int, cuts: list[int]) -> None:
        """
        Send a batch on in which the kernel has joined datagrams of one sender to one message.
        """
        lengths, sources = self._inbox.lengths(count), self._inbox.sources(count)
        for index in range(count):
            source, total, start = sources[index], lengths[index], index * SLOT
            size = cuts[index] or max(total, 1)
            offsets = range(start, start + max(total, 1), size)
            last = total - (len(offsets) - 1) * size
            channel = self._channels.get(source)
            if channel is not None and self._isClean(channel, offsets, last):
                for part in _parts(offsets):
                    self._forwardJoined(channel, part, size, last if part[-1] == offsets[-1] else size)
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
        self._singles += 1
        channel = self._channels.get(source)
        if channel is not None and self._isClean(channel, range(offset, offset + 1), length):
            self._forwardJoined(channel, range(offset, offset + 1), length, length)
        else:
            self._strange(offset, length, source)

    def _strange(self, offset: int, length: int, source: bytes) -> None:
        # What is done about it may move or close channels: nothing may be on its way meanwhile.
        self._outbox.flush()
        if not self._closed:
            data = self._inbox.data[offset : offset + length]
            self.strange(data, unpackAddress(self._socket.family, source))

    def _forwardJoined(self, channel: Channel, offsets: range, length: int, last: int) -> None:
        """
        Send datagrams on that lie anywhere.

        @param offsets: where they begin in the inbox.
        @param length: the length of each with its header, but of
        @param last: the last.
        """
        size, rest, peer = length - HEADER_LENGTH, last - HEADER_LENGTH, channel.peer
        if peer is None:
            for offset in offsets:
                self._deliver(channel, offset, rest if offset == offsets[-1] else size)
            return
        to = peer.destination.packed
        if len(offsets) > 1 and not 0 < size <= to.largest:
            for offset in offsets:
                single = last if offset == offsets[-1] else length
                self._forwardJoined(channel, range(offset, offset + 1), single, single)
            return
        count = channel.grant(len(offsets), size)
        if not count:
            return
        if count < len(offsets):
            offsets, rest = offsets[:count], size
        channel.datagrams += count
        channel.octets += size * (count - 1) + rest
        self._outbox.addJoined(peer.port.descriptor, to, channel, offsets, size, rest)

    def _deliver(self, channel: Channel, offset: int, size: int) -> None:
        if channel.deliver is None or self._closed or not channel.grant(1, size):
            return
        # Whoever gets it may send, move and close.
        self._outbox.flush()
        start = offset + HEADER_LENGTH
        channel.delivered(1, size)
        channel.deliver(self._inbox.data[start : start + size])


def _parts(offsets: range) -> list[range]:
    return [offsets[first : first + MAX_SEGMENTS] for first in range(0, len(offsets), MAX_SEGMENTS)]


def _notSent(channel: Channel, count: int, octets: int) -> None:
    channel.datagrams -= count
    channel.octets -= octets
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
