"""
Hashing files a piece at a time, so that nothing else has to wait.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Cooperator, TaskStopped

# One piece: some milliseconds of work.
PIECE = 1 << 20


class Digests:
    """
    What is computed of a file's content: SHA-256 for people, MD5 for XEP-0096.
    """

    def __init__(self, md5: bool = True) -> None:
        """
        @param md5: whether the MD5 is needed.
        """
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False) if md5 else None

    def update(self, data: bytes) -> None:
        """
        Add the next bytes of the content.
        """
        self._sha256.update(data)
        if self._md5 is not None:
            self._md5.update(data)

    @property
    def sha256(self) -> str:
        """
        64 hexadecimal digits.
        """
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str | None:
        """
        32 hexadecimal digits, or C{None} when it was not needed.
        """
        return None if self._md5 is None else self._md5.hexdigest()


def hashFile(clock: IReactorTime, file: BinaryIO, length: int, digests: Digests) -> "Deferred[Digests]":
    """
    Add the next bytes of a file, in turns with everything else that happens.

    @param clock: schedules the turns.
    @param file: is read from where it stands.
    @param length: how many bytes.
    @param digests: what they are added to.
    @return: fires with the digests; fails with C{EOFError} when the file is shorter, or with the
        C{OSError} of reading. Cancelling stops the work.
    """

    def pieces() -> Iterator[None]:
        left = length
        while left:
            piece = file.read(min(PIECE, left))
            if not piece:
                raise EOFError(f"{left} bytes are missing")
            digests.update(piece)
            left -= len(piece)
            yield None

    cooperator = Cooperator(scheduler=lambda work: clock.callLater(0, work))
    task = cooperator.cooperate(pieces())
    done: Deferred[Digests] = Deferred(lambda _: task.stop())

    def finished(result: Any) -> None:
        stopped = hasattr(result, "check") and result.check(TaskStopped)
        if stopped:
            return
        if hasattr(result, "check"):
            done.errback(result)
        else:
            done.callback(digests)

    task.whenDone().addBoth(finished)
    return done
