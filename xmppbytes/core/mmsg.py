"""
Many datagrams a system call: C{recvmmsg} and C{sendmmsg} by way of ctypes, on Linux.

L{Inbox} receives up to L{BATCH} messages at once into fixed slots. L{Outbox} sends what lies in these
slots, without its header, to others: nothing is copied, and a run of datagrams of one size to one party
goes as one message that the kernel cuts (C{UDP_SEGMENT}). The other way round the kernel may hand over
a run of datagrams as one message (C{UDP_GRO}); a slot holds the largest that there is.

Messages are described by arrays of C{struct mmsghdr} and C{struct iovec}, which are written once, and
of which only what changes is written again.
"""

import ctypes
import errno
import mmap
import socket
import struct
import sys
from array import array
from collections.abc import Callable
from typing import Any

BATCH = 64
# The largest UDP datagram, and some cache lines more, so that slots do not compete for the same ones.
SLOT = 65536 + 1088
# UDP_MAX_SEGMENTS of Linux before 6.9, and what one message may hold less the largest headers.
MAX_SEGMENTS = 64
MAX_MESSAGE = 65000
_MAX_PIECES = BATCH * MAX_SEGMENTS

UDP_SEGMENT = 103
UDP_GRO = 104
_MSG_DONTWAIT = 0x40

# struct mmsghdr and struct iovec where pointers have 64 bits.
_HEADER = struct.Struct("@QI4xQQQQi4xI4x")
_PIECE = struct.Struct("@QQ")
_PIECE_SIZE, _HEADER_SIZE = _PIECE.size, _HEADER.size
_writePiece, _writeHeader = _PIECE.pack_into, _HEADER.pack_into
_CONTROL = struct.Struct("@Qii")
_CONTROL_SPACE = 64
_CUT = struct.Struct("@QiiH6x")
_NAMELEN, _CONTROLLEN, _LENGTH = 1, 5, 14
# Enough for struct sockaddr_in6.
_NAME_SPACE = 32

# What sendmmsg says of a run that cannot be cut: too large for the path's MTU, or no checksum offload.
_UNCUTTABLE = frozenset((errno.EINVAL, errno.EMSGSIZE, errno.EIO, errno.EOPNOTSUPP))
_BUSY = frozenset((errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM))


def _load() -> Any:
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        receive, send = libc.recvmmsg, libc.sendmmsg
    except AttributeError:
        return None
    receive.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]
    send.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
    return libc


_libc = _load()


def isAvailable() -> bool:
    """
    Tell whether this platform has what this module needs.
    """
    return _libc is not None


class _Memory:
    """
    Zeroed memory that has an address, and takes room only where it was written to.
    """

    def __init__(self, size: int) -> None:
        self.bytes = mmap.mmap(-1, size)
        self.view = memoryview(self.bytes)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.bytes))


class SocketAddress:
    """
    A C{struct sockaddr} in memory, and what a message to it needs beside it.

    @ivar largest: the largest payload for which a run may be cut by the kernel; grows smaller when
        the path proves not to take it.
    """

    __slots__ = ("_memory", "control", "largest", "length", "pointer")

    def __init__(self, packed: bytes, control: bytes = b"") -> None:
        """
        @param packed: the C{struct sockaddr}.
        @param control: a control message, padded, that goes with everything that is sent.
        """
        self._memory = ctypes.create_string_buffer(packed, len(packed))
        self.pointer = ctypes.addressof(self._memory)
        self.length = len(packed)
        self.control = control
        self.largest = MAX_MESSAGE


def controlMessage(level: int, kind: int, data: bytes) -> bytes:
    """
    Write a control message, padded so that another can follow.
    """
    message = _CONTROL.pack(_CONTROL.size + len(data), level, kind) + data
    return message.ljust(-(-len(message) // 8) * 8, b"\0")


class Inbox:
    """
    Receives messages.

    @ivar data: the slots; message C{n} begins at C{n * SLOT}. What lies behind a message is old.
    """

    def __init__(self, descriptor: int, addressLength: int) -> None:
        """
        @param descriptor: of a UDP socket.
        @param addressLength: the size of the socket's C{struct sockaddr}.
        """
        self._descriptor = descriptor
        slots = _Memory(BATCH * SLOT)
        self.data = slots.bytes
        self.address = slots.address
        self.view = slots.view
        self._names = _Memory(BATCH * _NAME_SPACE)
        self._controls = _Memory(BATCH * _CONTROL_SPACE)
        self._pieces = _Memory(BATCH * _PIECE.size)
        self._headers = _Memory(BATCH * _HEADER.size)
        self._addresses = [
            struct.Struct(f"{addressLength}s{_NAME_SPACE - addressLength}x" * count)
            for count in range(BATCH + 1)
        ]
        for n in range(BATCH):
            _PIECE.pack_into(self._pieces.view, n * _PIECE.size, self.address + n * SLOT, SLOT)
            _HEADER.pack_into(
                self._headers.view,
                n * _HEADER.size,
                self._names.address + n * _NAME_SPACE,
                addressLength,
                self._pieces.address + n * _PIECE.size,
                1,
                self._controls.address + n * _CONTROL_SPACE,
                _CONTROL_SPACE,
                0,
                0,
            )
        self._lengths = self._headers.view.cast("I")[_LENGTH :: _HEADER.size // 4]
        self._used = self._headers.view.cast("Q")[_CONTROLLEN :: _HEADER.size // 8]
        self._space = memoryview(array("Q", [_CONTROL_SPACE] * BATCH))
        self._dirty = 0

    def receive(self) -> int:
        """
        Receive what has arrived, at most L{BATCH} messages.

        @return: how many; 0 when there is nothing.
        """
        if self._dirty:
            # The kernel has written how much it used; without the space it could write nothing again.
            self._used[: self._dirty] = self._space[: self._dirty]
        count: int = _libc.recvmmsg(self._descriptor, self._headers.address, BATCH, _MSG_DONTWAIT, None)
        self._dirty = max(count, 0)
        return self._dirty

    def lengths(self, count: int) -> list[int]:
        """
        The lengths of the received messages in bytes.
        """
        return self._lengths[:count].tolist()

    def sources(self, count: int) -> tuple[bytes, ...]:
        """
        Where the received messages come from, each a C{struct sockaddr}.
        """
        return self._addresses[count].unpack_from(self._names.bytes)

    def cuts(self, count: int) -> list[int] | None:
        """
        How the received messages are to be cut into datagrams.

        @return: for each message the size of its datagrams, of which the last may be shorter, or 0
            when it is one datagram; C{None} when all are one each.
        """
        used = self._used[:count].tolist()
        if not any(used):
            return None
        cut = struct.Struct("@16xi")
        return [
            cut.unpack_from(self._controls.bytes, n * _CONTROL_SPACE)[0] if length else 0
            for n, length in enumerate(used)
        ]


class Outbox:
    """
    Sends parts of an L{Inbox}' data.

    Messages are collected by L{add} and leave with L{flush}; they are sent or dropped, never kept.
    """

    def __init__(self, inbox: Inbox, failed: Callable[[Any, int, int], None]) -> None:
        """
        @param inbox: whose data is sent.
        @param failed: called with a token, a number and a size: so many datagrams of that size could not be
            sent.
        """
        self._data = inbox.address
        self._inbox = inbox
        self._failed = failed
        controls = _Memory(BATCH * _CONTROL_SPACE)
        pieces = _Memory(_MAX_PIECES * _PIECE.size)
        headers = _Memory(BATCH * _HEADER.size)
        self._controlBytes, self._controlBase = controls.view, controls.address
        self._pieceBytes, self._pieceBase = pieces.view, pieces.address
        self._headerBytes, self._headerBase = headers.view, headers.address
        self._pieceItems = pieces.view.cast("Q")
        self._tokens: list[tuple[Any, int, int, SocketAddress]] = []
        self._used = 0
        self._descriptor = -1

    def add(self, descriptor: int, to: SocketAddress, token: Any, offset: int, size: int) -> None:
        """
        Take one datagram on the list.

        @param descriptor: of the socket to send from.
        @param to: where it goes. Must not change before L{flush}.
        @param token: what C{failed} is told.
        @param offset: where it lies in the inbox' data.
        @param size: its length in bytes.
        """
        first, control = self._used, to.control
        if descriptor != self._descriptor or len(self._tokens) == BATCH or first == _MAX_PIECES:
            self.flush()
            self._descriptor, first = descriptor, 0
        index = len(self._tokens)
        piece = first * _PIECE_SIZE
        _writePiece(self._pieceBytes, piece, self._data + offset, size)
        _writeHeader(
            self._headerBytes,
            index * _HEADER_SIZE,
            to.pointer,
            to.length,
            self._pieceBase + piece,
            1,
            self._controlBase + index * _CONTROL_SPACE,
            self._control(index, control, 0) if control else 0,
            0,
            0,
        )
        self._used = first + 1
        self._tokens.append((token, size, 1, to))

    def addRun(
        self, descriptor: int, to: SocketAddress, token: Any, offsets: range, size: int, last: int
    ) -> None:
        """
        Take a run of datagrams of one size to one party on the list; see L{add}.

        @param offsets: where they lie: from 2 to L{MAX_SEGMENTS}.
        @param size: the length of each in bytes, at least 1, except
        @param last: the length of the last one, which may be shorter.
        """
        count = len(offsets)
        if descriptor != self._descriptor or len(self._tokens) == BATCH or self._used + count > _MAX_PIECES:
            self.flush()
            self._descriptor = descriptor
        index, first, base = len(self._tokens), self._used, self._data
        end = 2 * (first + count)
        addresses = range(base + offsets.start, base + offsets.stop, offsets.step)
        items = self._pieceItems
        items[2 * first : end : 2] = memoryview(array("Q", addresses))
        items[2 * first + 1 : end : 2] = memoryview(array("Q", (size,)) * count)
        items[end - 1] = last
        _writeHeader(
            self._headerBytes,
            index * _HEADER_SIZE,
            to.pointer,
            to.length,
            self._pieceBase + first * _PIECE_SIZE,
            count,
            self._controlBase + index * _CONTROL_SPACE,
            self._control(index, to.control, size),
            0,
            0,
        )
        self._used = first + count
        self._tokens.append((token, size, count, to))

    def _control(self, index: int, fixed: bytes, cut: int) -> int:
        """
        Write the control messages of a message.

        @return: their length.
        """
        start = index * _CONTROL_SPACE
        length = len(fixed)
        if fixed:
            self._controlBytes[start : start + length] = fixed
        if cut:
            _CUT.pack_into(self._controlBytes, start + length, 18, socket.IPPROTO_UDP, UDP_SEGMENT, cut)
            length += _CUT.size
        return length

    def flush(self) -> None:
        """
        Send what is on the list.
        """
        tokens = self._tokens
        if not tokens:
            return
        self._tokens, self._used = [], 0
        sent, count = 0, len(tokens)
        while sent < count:
            done = self._send(sent, count - sent)
            if done > 0:
                sent += done
                continue
            if ctypes.get_errno() in _BUSY:
                for token, size, datagrams, _ in tokens[sent:]:
                    self._failed(token, datagrams, size)
                return
            self._sendSingly(sent, *tokens[sent])
            sent += 1

    def _send(self, index: int, count: int) -> int:
        done: int = _libc.sendmmsg(
            self._descriptor, self._headerBase + index * _HEADER_SIZE, count, _MSG_DONTWAIT
        )
        return done

    def _sendSingly(self, index: int, token: Any, size: int, count: int, to: SocketAddress) -> None:
        """
        Send the datagrams of a message one by one when the kernel could not cut it.
        """
        error = ctypes.get_errno()
        if count == 1 or error not in _UNCUTTABLE:
            self._failed(token, count, size)
            return
        to.largest = 0 if error == errno.EIO else size - 1
        (_, _, pieces, _, control, _, _, _) = _HEADER.unpack_from(self._headerBytes, index * _HEADER_SIZE)
        for n in range(count):
            _writeHeader(
                self._headerBytes,
                index * _HEADER_SIZE,
                to.pointer,
                to.length,
                pieces + n * _PIECE_SIZE,
                1,
                control,
                len(to.control),
                0,
                0,
            )
            if self._send(index, 1) < 1:
                self._failed(token, 1, size)
