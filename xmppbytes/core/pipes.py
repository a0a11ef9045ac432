"""
The pipes through which L{xmppbytes.core.splice} moves bytes.

A pipe is borrowed while bytes are in flight only, so that a few serve thousands of sessions. The
kernel limits what the pipes of one user may hold (C{pipe-user-pages-soft}, see pipe(7)); beyond that a
new pipe is tiny. So the first pipes are large and the others as the kernel makes them.
"""

import os
from fcntl import F_GETPIPE_SZ, F_SETPIPE_SZ, fcntl
from typing import NamedTuple

# Bytes that a large pipe can hold, and so what a session may move per wake-up. More would serve one fast
# session at the cost of the others' latency.
LARGE = 256 * 1024
PAGE = 4096

_SOFT_LIMIT = "/proc/sys/fs/pipe-user-pages-soft"
_DEFAULT_SOFT_LIMIT = 16384
_MAX_IDLE = 64


class Pipe(NamedTuple):
    """
    A pipe: what is written to C{intake} can be read from C{outlet}; neither ever blocks.
    """

    outlet: int
    intake: int
    size: int


class PipePool:
    """
    Lends pipes.

    @ivar idle: the pipes that are not lent, the next to be lent last; all are empty.
    @ivar lent: how many are.
    """

    def __init__(self, budget: int | None = None) -> None:
        """
        @param budget: how many bytes all large pipes may hold; by default half of what the kernel
            grants to one user.
        """
        self._budget = pagesPerUser() * PAGE // 2 if budget is None else budget
        self.idle: list[Pipe] = []
        self.lent = 0

    def __len__(self) -> int:
        """
        How many pipes there are, lent or not.
        """
        return self.lent + len(self.idle)

    def borrow(self) -> Pipe:
        """
        Get an empty pipe.

        @raise OSError: when the process has no descriptors left.
        """
        pipe = self.idle.pop() if self.idle else self._make()
        self.lent += 1
        return pipe

    def giveBack(self, pipe: Pipe) -> None:
        """
        Return an empty pipe.
        """
        if len(self.idle) < _MAX_IDLE:
            self.idle.append(pipe)
            self.lent -= 1
        else:
            self.discard(pipe)

    def discard(self, pipe: Pipe) -> None:
        """
        Return a pipe that may still hold bytes.
        """
        self.lent -= 1
        self._close(pipe)

    def close(self) -> None:
        """
        Close the pipes that are not lent.
        """
        while self.idle:
            self._close(self.idle.pop())

    def _make(self) -> Pipe:
        outlet, intake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._budget >= LARGE:
            try:
                size = fcntl(intake, F_SETPIPE_SZ, LARGE)
            except PermissionError:
                # Others of the same user hold what we counted on: the pipe works as it is.
                pass
            else:
                self._budget -= size
                return Pipe(outlet, intake, size)
        return Pipe(outlet, intake, min(fcntl(intake, F_GETPIPE_SZ), LARGE - 1))

    def _close(self, pipe: Pipe) -> None:
        if pipe.size >= LARGE:
            self._budget += pipe.size
        os.close(pipe.outlet)
        os.close(pipe.intake)


def pagesPerUser() -> int:
    """
    Tell how many pages the kernel grants to the pipes of one user before new ones become tiny.
    """
    try:
        with open(_SOFT_LIMIT, encoding="ascii") as limit:
            return int(limit.read()) or _DEFAULT_SOFT_LIMIT
    except (OSError, ValueError):
        return _DEFAULT_SOFT_LIMIT
