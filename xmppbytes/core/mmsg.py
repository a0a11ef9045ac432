"""
Many datagrams a system call: C{recvmmsg} and C{sendmmsg} by way of ctypes, on Linux.

L{Inbox} receives up to L{BATCH} messages at once into fixed slots. An L{Outbox
<xmppbytes.core.outbox.Outbox>} sends what lies in these slots, without its header, to others: nothing is
copied, and a run of datagrams of one size to one party goes as one message that the kernel cuts
(C{UDP_SEGMENT}). The other way round the kernel may hand over a run of datagrams as one message
(C{UDP_GRO}); a slot holds the largest that there is.

Messages are described by arrays of C{struct mmsghdr} and C{struct iovec}, which are written once, and
of which only what changes is written again.
"""

import ctypes
import mmap
import struct
import sys
from array import array
from typing import Any

BATCH = 64
# The largest UDP datagram, and some cache lines more, so that slots do not compete for the same ones.
SLOT = 65536 + 1088
# UDP_MAX_SEGMENTS of Linux before 6.9, and what one message may hold less the largest headers.
MAX_SEGMENTS = 64
MAX_MESSAGE = 65000
UDP_SEGMENT = 103

UDP_GRO = 104
MSG_DONTWAIT = 0x40

# struct mmsghdr and struct iovec where pointers have 64 bits.
HEADER = struct.Struct("@QI4xQQQQi4xI4x")
PIECE = struct.Struct("@QQ")
_CONTROL = struct.Struct("@Qii")
CONTROL_SPACE = 64
_NAMELEN, _CONTROLLEN, _LENGTH = 1, 5, 14
# Enough for struct sockaddr_in6.
_NAME_SPACE = 32


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


libc = _load()


def isAvailable() -> bool:
    """
    Tell whether this platform has what this module needs.
    """
    return libc is not None


class Memory:
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
        slots = Memory(BATCH * SLOT)
        self.data = slots.bytes
        self.address = slots.address
        self.view = slots.view
        self._names = Memory(BATCH * _NAME_SPACE)
        self._controls = Memory(BATCH * CONTROL_SPACE)
        self._pieces = Memory(BATCH * PIECE.size)
        self._headers = Memory(BATCH * HEADER.size)
        self._addresses = [
            struct.Struct(f"{addressLength}s{_NAME_SPACE - addressLength}x" * count)
            for count in range(BATCH + 1)
        ]
        for n in range(BATCH):
            PIECE.pack_into(self._pieces.view, n * PIECE.size, self.address + n * SLOT, SLOT)
            HEADER.pack_into(
                self._headers.view,
                n * HEADER.size,
                self._names.address + n * _NAME_SPACE,
                addressLength,
                self._pieces.address + n * PIECE.size,
                1,
                self._controls.address + n * CONTROL_SPACE,
                CONTROL_SPACE,
                0,
                0,
            )
        self._lengths = self._headers.view.cast("I")[_LENGTH :: HEADER.size // 4]
        self._used = self._headers.view.cast("Q")[_CONTROLLEN :: HEADER.size // 8]
        self._space = memoryview(array("Q", [CONTROL_SPACE] * BATCH))
        self._dirty = 0

    def receive(self) -> int:
        """
        Receive what has arrived, at most L{BATCH} messages.

        @return: how many; 0 when there is nothing.
        """
        if self._dirty:
            # The kernel has written how much it used; without the space it could write nothing again.
            self._used[: self._dirty] = self._space[: self._dirty]
        count: int = libc.recvmmsg(self._descriptor, self._headers.address, BATCH, MSG_DONTWAIT, None)
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
            cut.unpack_from(self._controls.bytes, n * CONTROL_SPACE)[0] if length else 0
            for n, length in enumerate(used)
        ]
