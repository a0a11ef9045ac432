"""
Moving bytes between sockets inside the kernel, by splice(2) and an edge-triggered epoll(7).

The bytes of a session never enter Python: they go from one socket into a pipe and from the pipe into
the other socket. Nothing here knows Twisted: L{xmppbytes.core.engines} lets a reactor drive a
L{Splicer}, L{xmppbytes.core.worker} a process of its own.

The rules of the loop, each of which prevents a stall, a spin or a loss:

    - One splice in and one splice out for each wake-up, then the edge is armed again by
      C{epoll.modify}, which puts the session at the end of the kernel's list: sessions take turns, and
      more arrives meanwhile, so that each turn moves much. Only where another pipe full is waiting
      already, and few sessions are ready, it is moved in the same turn.
    - A pipe is filled only when it is empty: then C{EAGAIN} means that the socket is, and not the pipe.
    - Whoever took less than there was room for has emptied the socket and needs no new arming, unless
      an end of stream was announced: it would not be announced again.
    - A session that has used its rate limit up is left alone until the next round of those.
    - A socket that takes no more is watched for room (C{EPOLLOUT}) until it does; its sender is not
      looked at before.
    - Connections are made to reset when closed, and only a stream that has ended well is closed
      otherwise: nobody takes a truncated stream for a whole one, even if this process is killed.
"""

import errno
import os
from collections.abc import Callable
from select import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, epoll
from typing import Protocol

from xmppbytes.core.outcome import Outcome
from xmppbytes.core.pipes import PAGE, PipePool
from xmppbytes.core.rawsocket import closeSocket, shutdownWriting, unread
from xmppbytes.core.splicedpair import End, SplicedPair, Tally

# How many events one turn handles before the reactor may look after others, and how many pipes full it
# may move for few sessions that have a long backlog.
EVENTS_PER_TURN = 64
PIPES_PER_TURN = 40
# How many short turns may follow at once, while no more connections than these are ready.
MAX_TURNS = 16
FEW = 3
# Bytes at once that are not talk.
MUCH = 8192

_INPUT = EPOLLIN | EPOLLRDHUP | EPOLLHUP
_HANGUP = EPOLLRDHUP | EPOLLHUP
_ARMED = EPOLLIN | EPOLLRDHUP | EPOLLET
_ARMED_FOR_ROOM = _ARMED | EPOLLOUT
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class SpliceUnsupported(Exception):
    """
    The kernel does not splice these sockets.
    """


class Owner(Protocol):
    """
    Whoever drives a L{Splicer}.
    """

    def settleSoon(self) -> None:
        """
        L{Splicer.settle} is to be called soon.
        """

    def wakeLater(self) -> None:
        """
        L{Splicer.wake} is to be called once, in L{xmppbytes.core.throttle.BURST_SECONDS}.
        """


class Splicer:
    """
    Moves the bytes of any number of pairs.
    """

    def __init__(self, owner: Owner, now: Callable[[], float], pipes: PipePool | None = None) -> None:
        """
        @param owner: drives this object.
        @param now: tells the time in seconds.
        @param pipes: lends the pipes.
        """
        self.now = now
        self.pipes = PipePool() if pipes is None else pipes
        self._owner = owner
        self._epoll = epoll()
        self._ends: dict[int, End] = {}
        self._throttled: dict[End, None] = {}
        self._over: list[SplicedPair] = []
        self._movedMuch = False

    def __len__(self) -> int:
        """
        How many connections are being relayed.
        """
        return len(self._ends)

    def fileno(self) -> int:
        """
        The descriptor that is readable when L{turn} has something to do.
        """
        return self._epoll.fileno()

    def pair(
        self, rate: int | None, ended: Callable[[Outcome], None], tally: Tally | None = None
    ) -> SplicedPair:
        """
        Make a pair that has no connections yet.

        @param rate: bytes a second, both directions together; C{None}: no limit.
        @param ended: called once with an L{Outcome}, from L{settle}.
        @param tally: where to count what was delivered.
        """
        return SplicedPair(self, rate, ended, [0, 0] if tally is None else tally)

    def prime(self, end: End, descriptor: int, early: bytes) -> None:
        """
        Put what comes first into the pipe: what was read already, and what waits in the socket.
        Nothing is delivered yet.

        @param end: whose bytes they are.
        @param descriptor: a socket.
        @param early: at most a page.
        @raise SpliceUnsupported: when the kernel cannot splice this socket; L{takeBack} has the bytes.
        @raise OSError: when no pipe can be had.
        """
        if end.pipe is None:
            end.pipe = self.pipes.borrow()
        if early:
            end.held = os.write(end.pipe.intake, early)
        try:
            self._fill(end, descriptor)
        except OSError as e:
            if e.errno in _UNSUPPORTED:
                raise SpliceUnsupported(f"this socket cannot be spliced: {e.strerror}") from e
            self.end(end.pair, Outcome.BROKEN)
        if not end.held:
            self._returnPipe(end)

    def takeBack(self, end: End) -> bytes:
        """
        Undo L{prime}.

        @return: the bytes that are to be delivered first.
        """
        pipe, held = end.pipe, end.held
        if pipe is None:
            return b""
        taken = b""
        while len(taken) < held:
            taken += os.read(pipe.outlet, held - len(taken))
        end.held = 0
        self._returnPipe(end)
        return taken

    def start(self, pair: SplicedPair, first: int, second: int) -> None:
        """
        Begin to move bytes.

        @param first: a connected, non-blocking TCP socket that is set to reset on close, so that it is
            reset even if this process is killed; it is closed when the pair has ended.
        @param second: another.
        """
        for end, descriptor in ((pair.first, first), (pair.second, second)):
            end.descriptor = descriptor
            self._ends[descriptor] = end
            self._epoll.register(descriptor, _ARMED)
        for end in (pair.first, pair.second):
            if (end.held or end.ended) and pair.outcome is None:
                self._move(end, True)

    def turns(self) -> None:
        """
        Take a turn, and some short ones while few sessions move much: for whoever drives us it costs more
        to come back than for us to look again. Those who only talk are better served many at a time.
        """
        self._movedMuch = False
        ready = self.turn()
        for _ in range(MAX_TURNS):
            if not 0 < ready <= FEW or not self._movedMuch:
                return
            self._movedMuch = False
            ready = self.turn(pipes=FEW)

    def turn(self, timeout: float = 0, pipes: int = PIPES_PER_TURN) -> int:
        """
        Move what can be moved now, a bounded amount.

        @param timeout: how many seconds to wait when there is nothing to do.
        @param pipes: how many pipes full to move, but one at least for each session that is ready.
        @return: how many connections were ready.
        """
        ready = self._epoll.poll(timeout, EVENTS_PER_TURN)
        rounds = pipes // (len(ready) or 1) or 1
        ends = self._ends
        bulky = []
        for descriptor, events in ready:
            end = ends.get(descriptor)
            if end is None:
                continue
            if end.bulky:
                bulky.append((end, events))
            elif events == EPOLLIN and not (end.held or end.ended):
                # Nearly all there is, so asked for first.
                self._moveFew(end, rounds)
            else:
                self._serve(end, events, rounds)
        # Whoever talks does not wait for those who carry furniture.
        for end, events in bulky:
            if end.descriptor >= 0:
                self._serve(end, events, rounds)
        return len(ready)

    def _moveFew(self, source: End, rounds: int) -> None:
        """
        Move what came. When it is a few bytes, that takes two calls of the kernel, and the pipe does not
        even leave the pool.
        """
        idle = self.pipes.idle
        if not idle or source.pair.bucket is not None:
            self._move(source, False, rounds)
            return
        pipe = idle[-1]
        try:
            count = os.splice(source.descriptor, pipe.intake, pipe.size)
        except BlockingIOError:
            return
        except OSError:
            self.end(source.pair, Outcome.BROKEN)
            return
        if 0 < count < pipe.size // PAGE:
            try:
                sent = os.splice(pipe.outlet, source.peer.descriptor, count)
            except OSError:
                # Full or broken: what follows tries again, and tells one from the other.
                sent = 0
            source.pair.tally[source.index] += sent
            if sent == count:
                source.bulky = False
                return
            count -= sent
        self._movedMuch = self._movedMuch or count >= MUCH
        source.pipe = self.pipes.borrow()
        source.held = count
        source.ended = count == 0
        source.bulky = count == pipe.size
        self._move(source, True, rounds)

    def _serve(self, end: End, events: int, rounds: int) -> None:
        if events & EPOLLERR:
            self.end(end.pair, Outcome.BROKEN)
            return
        if events & EPOLLOUT and end.blocked:
            end.blocked = False
            self._move(end.peer, True, rounds)
        if events & _INPUT and not end.held and not end.ended and end.descriptor >= 0:
            self._move(end, events & _HANGUP != 0, rounds)

    def wake(self) -> None:
        """
        Go on with the sessions that had used their rate limit up.
        """
        throttled, self._throttled = self._throttled, {}
        # Backwards: of the two directions of a session, the one that went short goes first.
        for end in reversed(throttled):
            if end.descriptor >= 0 and not end.held and not end.ended:
                self._move(end, True)

    def settle(self) -> None:
        """
        Tell who wants to know that pairs have ended.
        """
        over, self._over = self._over, []
        try:
            while over:
                pair = over.pop()
                assert pair.outcome is not None
                pair.ended(pair.outcome)
        finally:
            if over:
                self._over += over
                self._owner.settleSoon()

    def end(self, pair: SplicedPair, outcome: Outcome) -> None:
        """
        End a pair now. Its connections are reset unless the outcome is L{Outcome.FINISHED}.
        """
        if pair.outcome is not None:
            return
        pair.outcome = outcome
        for end in (pair.first, pair.second):
            self._throttled.pop(end, None)
            self._returnPipe(end)
            if end.descriptor >= 0:
                del self._ends[end.descriptor]
                self._epoll.unregister(end.descriptor)
                closeSocket(end.descriptor, finish=outcome is Outcome.FINISHED)
                end.descriptor = -1
        if not self._over:
            self._owner.settleSoon()
        self._over.append(pair)
        if not self._ends:
            self.pipes.close()

    def close(self) -> None:
        """
        End all pairs and release every descriptor.
        """
        for end in list(self._ends.values()):
            self.end(end.pair, Outcome.SHUTDOWN)
        self.pipes.close()
        self._epoll.close()

    def _move(self, source: End, again: bool, rounds: int = 1) -> None:
        """
        Move from C{source} to its peer.

        @param again: look at the source again even if it seems to be empty now.
        @param rounds: how many pipes full may be moved, if that many are waiting.
        """
        try:
            while not source.ended or source.held:
                if not source.held:
                    if source.pipe is None:
                        source.pipe = self.pipes.borrow()
                    again = self._fill(source, source.descriptor) or again
                    if not source.held:
                        break
                rounds -= 1
                more = source.bulky and rounds > 0 and _hasBacklog(source)
                if not self._deliver(source, more):
                    return
                if not more:
                    break
        except OSError as e:
            self.end(source.pair, Outcome.FAILED if e.errno in _EXHAUSTED else Outcome.BROKEN)
            return
        if source.pipe is not None:
            self.pipes.giveBack(source.pipe)
            source.pipe = None
        if source.ended:
            self._passEnd(source)
        elif again and source not in self._throttled:
            self._epoll.modify(source.descriptor, _ARMED_FOR_ROOM if source.blocked else _ARMED)

    def _fill(self, source: End, descriptor: int) -> bool:
        """
        Splice from a socket into its pipe, which is empty but for early bytes.

        @return: whether there may be more.
        """
        pipe = source.pipe
        assert pipe is not None
        wanted = pipe.size
        bucket = source.pair.bucket
        if bucket is not None:
            if source in self._throttled:
                return False
            wanted = min(wanted, bucket.room())
            if wanted <= 0:
                self._throttle(source)
                return False
        try:
            count = os.splice(descriptor, pipe.intake, wanted)
        except BlockingIOError:
            return False
        if count == 0:
            source.ended = True
            return False
        source.held += count
        self._movedMuch = self._movedMuch or count >= MUCH
        if bucket is not None:
            bucket.spend(count)
            if count == wanted < pipe.size:
                # Not a few bytes again and again, as the allowance grows: much after a pause.
                self._throttle(source)
        source.bulky = count == pipe.size
        # A page of the pipe holds one byte at least: so few bytes cannot have filled it.
        return count == wanted or count >= pipe.size // PAGE

    def _deliver(self, source: End, more: bool) -> bool:
        """
        Splice from the pipe into the other socket.

        @param more: more is about to follow: the last segment may wait to be filled by it.
        @return: whether all went.
        """
        target = source.peer
        pipe = source.pipe
        assert pipe is not None
        try:
            count = os.splice(
                pipe.outlet, target.descriptor, source.held, flags=os.SPLICE_F_MORE if more else 0
            )
        except BlockingIOError:
            count = 0
        source.pair.tally[source.index] += count
        source.held -= count
        if not source.held:
            return True
        target.blocked = True
        self._epoll.modify(target.descriptor, _ARMED_FOR_ROOM)
        return False

    def _throttle(self, source: End) -> None:
        if not self._throttled:
            self._owner.wakeLater()
        self._throttled[source] = None

    def _passEnd(self, source: End) -> None:
        """
        The source has sent everything, and everything was delivered.
        """
        if source.peer.ended and not source.peer.held:
            self.end(source.pair, Outcome.FINISHED)
            return
        try:
            shutdownWriting(source.peer.descriptor)
        except OSError:
            # It has gone without taking the end of the stream.
            self.end(source.pair, Outcome.BROKEN)

    def _returnPipe(self, end: End) -> None:
        pipe = end.pipe
        if pipe is None:
            return
        end.pipe = None
        if end.held:
            self.pipes.discard(pipe)
        else:
            self.pipes.giveBack(pipe)


def _hasBacklog(source: End) -> bool:
    """
    Whether the pipe is full, and as much again waits in the socket.
    """
    pipe = source.pipe
    assert pipe is not None
    if source.held < pipe.size or source.pair.bucket is not None:
        return False
    return unread(source.descriptor) >= pipe.size
