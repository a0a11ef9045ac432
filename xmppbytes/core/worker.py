"""
A worker: a process that relays the pairs which its parent hands it, and what the two say to each other.

    python -m xmppbytes.core.worker

It inherits two descriptors: a C{SOCK_SEQPACKET} socket to its parent, over which messages and, with
them, connections come, and memory that both share, where it counts what it delivers. So the parent's
counters are exact at any moment, and stay so when the worker is killed. Twisted is not loaded here.

The parent decides when a worker ends, by closing the socket; signals meant for the service as a whole
(a terminal's, a service manager's) do not end it before.
"""

import gc
import mmap
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Sequence
from enum import IntEnum
from functools import partial

from xmppbytes.core.outcome import Outcome
from xmppbytes.core.rawsocket import closeSocket
from xmppbytes.core.splice import Splicer, SpliceUnsupported
from xmppbytes.core.splicedpair import SplicedPair
from xmppbytes.core.throttle import BURST_SECONDS

CHANNEL_DESCRIPTOR = 3
MEMORY_DESCRIPTOR = 4

# Sessions that one worker can have at a time; two counters of eight bytes each.
SLOTS = 32768
MEMORY_SIZE = SLOTS * 16

MAX_MESSAGE = 16384
_HEADER = struct.Struct("!BIqHH")
_NO_RATE = -1


class Kind(IntEnum):
    """
    The kinds of messages. To the worker: LINK (with two connections), RATE, ABORT. From it: FINISHED,
    BROKEN, FAILED.
    """

    LINK = 1
    RATE = 2
    ABORT = 3
    FINISHED = 4
    BROKEN = 5
    FAILED = 6


OUTCOMES = {Kind.FINISHED: Outcome.FINISHED, Kind.BROKEN: Outcome.BROKEN, Kind.FAILED: Outcome.FAILED}
_KINDS = {outcome: kind for kind, outcome in OUTCOMES.items()}


def encode(kind: Kind, slot: int, rate: int | None = None, early: tuple[bytes, bytes] = (b"", b"")) -> bytes:
    """
    Make a message.

    @param slot: which session.
    @param rate: for LINK and RATE.
    @param early: for LINK: what comes first from either side.
    """
    number = _NO_RATE if rate is None else rate
    return _HEADER.pack(kind, slot, number, len(early[0]), len(early[1])) + early[0] + early[1]


def decode(message: bytes) -> tuple[Kind, int, int | None, tuple[bytes, bytes]]:
    """
    Take a message apart: the inverse of L{encode}.
    """
    kind, slot, rate, first, second = _HEADER.unpack_from(message)
    start = _HEADER.size
    early = message[start : start + first], message[start + first : start + first + second]
    return Kind(kind), slot, None if rate == _NO_RATE else rate, early


class Worker:
    """
    The loop of a worker process.
    """

    def __init__(self, channel: socket.socket, counters: memoryview) -> None:
        """
        @param channel: to the parent.
        @param counters: two for each slot, see L{SplicedPair.tally}.
        """
        channel.setblocking(False)
        self._channel = channel
        self._counters = counters
        self._pairs: dict[int, SplicedPair] = {}
        self._ended: list[bytes] = []
        self._wakeAt: float | None = None
        self._parentLives = True
        self._splicer = Splicer(self, time.monotonic)
        self._poll = select.epoll()
        self._poll.register(channel.fileno(), select.EPOLLIN)
        self._poll.register(self._splicer.fileno(), select.EPOLLIN)

    def settleSoon(self) -> None:
        """
        See L{xmppbytes.core.splice.Owner}: every turn settles.
        """

    def wakeLater(self) -> None:
        """
        See L{xmppbytes.core.splice.Owner}.
        """
        self._wakeAt = time.monotonic() + BURST_SECONDS

    def run(self) -> None:
        """
        Relay until the parent goes. What is relayed then is reset.
        """
        while self._parentLives:
            self.turn()
        self._splicer.close()
        self._poll.close()

    def turn(self) -> None:
        """
        Wait for something to do, and do it.
        """
        for descriptor, events in self._poll.poll(self._timeout()):
            if descriptor != self._channel.fileno():
                self._splicer.turns()
                continue
            if events & select.EPOLLOUT:
                self._report()
            if events & ~select.EPOLLOUT:
                self._receive()
        if self._wakeAt is not None and time.monotonic() >= self._wakeAt:
            self._wakeAt = None
            self._splicer.wake()
        self._splicer.settle()

    def _timeout(self) -> float | None:
        return None if self._wakeAt is None else max(0.0, self._wakeAt - time.monotonic())

    def _receive(self) -> None:
        while True:
            try:
                message, descriptors, _, _ = socket.recv_fds(self._channel, MAX_MESSAGE, 2)
            except BlockingIOError:
                return
            except ConnectionError:
                message = b""
            if not message:
                self._parentLives = False
                return
            self._obey(message, descriptors)

    def _obey(self, message: bytes, descriptors: Sequence[int]) -> None:
        kind, slot, rate, early = decode(message)
        pair = self._pairs.get(slot)
        if kind is Kind.LINK:
            self._link(slot, rate, early, descriptors)
        elif pair is None:
            # It has ended meanwhile; the parent is about to learn that.
            return
        elif kind is Kind.RATE:
            pair.setRate(rate)
        else:
            pair.abort(Outcome.BROKEN)

    def _link(
        self, slot: int, rate: int | None, early: tuple[bytes, bytes], descriptors: Sequence[int]
    ) -> None:
        if len(descriptors) != 2:
            # No descriptors were left for them: the kernel has dropped what did not fit.
            for descriptor in descriptors:
                closeSocket(descriptor, finish=False)
            self._say(encode(Kind.FAILED, slot))
            return

        first, second = descriptors
        pair = self._splicer.pair(rate, partial(self._over, slot), self._counters[2 * slot : 2 * slot + 2])
        self._pairs[slot] = pair
        try:
            self._splicer.prime(pair.first, first, early[0])
            self._splicer.prime(pair.second, second, early[1])
        except (SpliceUnsupported, OSError):
            pair.abort(Outcome.FAILED)
        if pair.outcome is None:
            self._splicer.start(pair, first, second)
        else:
            closeSocket(first, finish=False)
            closeSocket(second, finish=False)

    def _over(self, slot: int, outcome: Outcome) -> None:
        del self._pairs[slot]
        self._say(encode(_KINDS[outcome], slot))

    def _say(self, message: bytes) -> None:
        self._ended.append(message)
        if len(self._ended) == 1:
            self._report()

    def _report(self) -> None:
        while self._ended:
            try:
                self._channel.send(self._ended[0])
            except BlockingIOError:
                break
            except OSError:
                self._parentLives = False
                break
            del self._ended[0]
        wanted = select.EPOLLIN | (select.EPOLLOUT if self._ended else 0)
        self._poll.modify(self._channel.fileno(), wanted)


def main() -> None:
    """
    Be a worker.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    channel = socket.socket(fileno=CHANNEL_DESCRIPTOR)
    counters = memoryview(mmap.mmap(MEMORY_DESCRIPTOR, MEMORY_SIZE)).cast("Q")
    os.close(MEMORY_DESCRIPTOR)
    gc.freeze()
    Worker(channel, counters).run()


if __name__ == "__main__":
    main()
