"""
Sending what lies in an L{Inbox<xmppbytes.core.mmsg.Inbox>} with few system calls; see L{xmppbytes.core.mmsg}.
"""

import ctypes
import errno
import socket
import struct
from array import array
from collections.abc import Callable
from typing import Any

from xmppbytes.core import mmsg
from xmppbytes.core.mmsg import (
    BATCH,
    CONTROL_SPACE,
    HEADER,
    MAX_SEGMENTS,
    MSG_DONTWAIT,
    PIECE,
    SLOT,
    UDP_SEGMENT,
    Inbox,
    Memory,
    SocketAddress,
)

_HEADER_SIZE, _PIECE_SIZE = HEADER.size, PIECE.size
_writeHeader = HEADER.pack_into
_MAX_PIECES = BATCH * MAX_SEGMENTS
# The control message that tells the kernel how to cut: struct cmsghdr, and a number of 16 bits.
_CUT = struct.Struct("@QiiH6x")
_CUT_LENGTH = 18

# What sendmmsg says of a run that cannot be cut: too large for the path's MTU, or no checksum offload.
_UNCUTTABLE = frozenset((errno.EINVAL, errno.EMSGSIZE, errno.EIO, errno.EOPNOTSUPP))
_BUSY = frozenset((errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM))


class Outbox:
    """
    Collects messages and sends them with L{flush}; they are sent or dropped, never kept.

    The pieces of memory that messages consist of are in one array. Its first L{BATCH} stand for the
    slots of the inbox, one datagram each; those behind are for datagrams that came joined.
    """

    def __init__(self, inbox: Inbox, skip: int, failed: Callable[[Any, int, int], None]) -> None:
        """
        @param inbox: whose data is sent.
        @param skip: how many bytes at the beginning of each datagram are not sent.
        @param failed: called with a token, a number and a size: so many datagrams, of so many bytes
            together, could not be sent.
        """
        self._data = inbox.address + skip
        self._skip = skip
        self._failed = failed
        controls = Memory(BATCH * CONTROL_SPACE)
        pieces = Memory((BATCH + _MAX_PIECES) * _PIECE_SIZE)
        headers = Memory(BATCH * _HEADER_SIZE)
        self._controls, self._controlBase = controls.view, controls.address
        self._pieceBase = pieces.address
        self._headers, self._headerBase = headers.view, headers.address
        self._pieces = pieces.view.cast("Q")
        for n in range(BATCH):
            self._pieces[2 * n] = self._data + n * SLOT
        self._joined = BATCH
        # Of each message: the token, how many bytes and datagrams it has, and where it goes.
        self._tokens: list[tuple[Any, int, int, SocketAddress]] = []
        self._descriptor = -1

    def measure(self, lengths: list[int]) -> None:
        """
        Begin with a batch in which each slot holds one datagram.

        @param lengths: of the datagrams in the slots. What is shorter than C{skip} must not be sent.
        """
        skip = self._skip
        sizes = array("Q", [length - skip if length > skip else 0 for length in lengths])
        self._pieces[1 : 2 * len(lengths) : 2] = memoryview(sizes)

    def add(self, descriptor: int, to: SocketAddress, token: Any, first: int, count: int, size: int) -> None:
        """
        Take the datagrams of some slots that follow each other on the list.

        @param descriptor: of the socket to send from.
        @param to: where they go. Must not change before L{flush}.
        @param token: what C{failed} is told.
        @param first: the first slot.
        @param count: how many slots, all to be sent to one party.
        @param size: what is to be sent of each, in bytes. At least 1 where there are several.
        """
        # As _describe does, but for what is done most: one datagram to somebody else than the last.
        index = len(self._tokens)
        if descriptor != self._descriptor or index == BATCH or count > 1 or to.control:
            self._begin(descriptor, index == BATCH)
            self._describe(to, token, self._pieceBase + first * _PIECE_SIZE, count, size, size)
            return
        piece = self._pieceBase + first * _PIECE_SIZE
        _writeHeader(self._headers, index * _HEADER_SIZE, to.pointer, to.length, piece, 1, 0, 0, 0, 0)
        self._tokens.append((token, size, 1, to))

    def _begin(self, descriptor: int, isFull: bool) -> None:
        if isFull or descriptor != self._descriptor:
            self.flush()
            self._descriptor = descriptor

    def addJoined(
        self, descriptor: int, to: SocketAddress, token: Any, offsets: range, size: int, last: int
    ) -> None:
        """
        Take datagrams of one size that lie anywhere on the list; see L{add}.

        @param offsets: where they begin in the inbox' data; at most L{MAX_SEGMENTS}.
        @param size: what is to be sent of each, except
        @param last: of the last one, of which it may be less.
        """
        count = len(offsets)
        self._begin(descriptor, len(self._tokens) == BATCH or self._joined + count > BATCH + _MAX_PIECES)
        first, base = self._joined, self._data
        end = 2 * (first + count)
        addresses = range(base + offsets.start, base + offsets.stop, offsets.step)
        pieces = self._pieces
        pieces[2 * first : end : 2] = memoryview(array("Q", addresses))
        pieces[2 * first + 1 : end : 2] = memoryview(array("Q", (size,)) * count)
        pieces[end - 1] = last
        self._joined += count
        self._describe(to, token, self._pieceBase + first * _PIECE_SIZE, count, size, last)

    def _describe(self, to: SocketAddress, token: Any, pieces: int, count: int, size: int, last: int) -> None:
        tokens = self._tokens
        index = len(tokens)
        controls = 0
        if count > 1 or to.control:
            controls = self._control(index, to.control, size if count > 1 else 0)
        _writeHeader(
            self._headers,
            index * _HEADER_SIZE,
            to.pointer,
            to.length,
            pieces,
            count,
            self._controlBase + index * CONTROL_SPACE,
            controls,
            0,
            0,
        )
        tokens.append((token, size * (count - 1) + last, count, to))

    def _control(self, index: int, fixed: bytes, cut: int) -> int:
        """
        Write the control messages of a message.

        @return: their length.
        """
        start, length = index * CONTROL_SPACE, len(fixed)
        if fixed:
            self._controls[start : start + length] = fixed
        if cut:
            _CUT.pack_into(self._controls, start + length, _CUT_LENGTH, socket.IPPROTO_UDP, UDP_SEGMENT, cut)
            length += _CUT.size
        return length

    def flush(self) -> None:
        """
        Send what is on the list.
        """
        tokens = self._tokens
        if not tokens:
            return
        self._tokens, self._joined = [], BATCH
        sent, count = 0, len(tokens)
        while sent < count:
            done = self._send(sent, count - sent)
            if done > 0:
                sent += done
                continue
            if ctypes.get_errno() in _BUSY:
                for token, octets, datagrams, _ in tokens[sent:]:
                    self._failed(token, datagrams, octets)
                return
            self._sendSingly(sent, *tokens[sent])
            sent += 1

    def _send(self, index: int, count: int) -> int:
        headers = self._headerBase + index * _HEADER_SIZE
        done: int = mmsg.libc.sendmmsg(self._descriptor, headers, count, MSG_DONTWAIT)
        return done

    def _sendSingly(self, index: int, token: Any, octets: int, count: int, to: SocketAddress) -> None:
        """
        Send the datagrams of a message one by one when the kernel could not cut it.
        """
        error = ctypes.get_errno()
        if count == 1 or error not in _UNCUTTABLE:
            self._failed(token, count, octets)
            return
        start = index * _HEADER_SIZE
        (_, _, pieces, _, control, _, _, _) = HEADER.unpack_from(self._headers, start)
        first = (pieces - self._pieceBase) // _PIECE_SIZE
        sizes = self._pieces[2 * first + 1 : 2 * (first + count) : 2].tolist()
        to.largest = 0 if error == errno.EIO else sizes[0] - 1
        for n, size in enumerate(sizes):
            piece = pieces + n * _PIECE_SIZE
            _writeHeader(
                self._headers, start, to.pointer, to.length, piece, 1, control, len(to.control), 0, 0
            )
            if self._send(index, 1) < 1:
                self._failed(token, 1, size)
