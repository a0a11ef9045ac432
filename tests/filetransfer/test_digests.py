"""
Tests for L{xmppbytes.filetransfer.digests}.
"""

import hashlib
import io

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from xmppbytes.filetransfer.digests import PIECE, Digests, hashFile


class HashFileTests(SynchronousTestCase):
    """
    Hashing in turns.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.content = bytes(range(256)) * (PIECE // 64)
        self.file = io.BytesIO(self.content)

    def test_digests(self) -> None:
        """
        MD5 and SHA-256 of the whole are there in the end, and not in the first turn.
        """
        digests = Digests()
        done = hashFile(self.clock, self.file, len(self.content), digests)
        self.assertNoResult(done)
        self.clock.pump([0] * 10)
        self.assertIs(self.successResultOf(done), digests)
        self.assertEqual(digests.md5, hashlib.md5(self.content).hexdigest())
        self.assertEqual(digests.sha256, hashlib.sha256(self.content).hexdigest())

    def test_part(self) -> None:
        """
        No more than what was asked for is read.
        """
        digests = Digests(md5=False)
        done = hashFile(self.clock, self.file, 1000, digests)
        self.clock.pump([0] * 10)
        self.successResultOf(done)
        self.assertIsNone(digests.md5)
        self.assertEqual(digests.sha256, hashlib.sha256(self.content[:1000]).hexdigest())
        self.assertEqual(self.file.tell(), 1000)

    def test_short(self) -> None:
        """
        A file that has become shorter is an error.
        """
        done = hashFile(self.clock, self.file, len(self.content) + 1, Digests())
        self.clock.pump([0] * 10)
        self.failureResultOf(done, EOFError)

    def test_unreadable(self) -> None:
        """
        An error of the disk comes through.
        """
        done = hashFile(self.clock, Unreadable(), 10, Digests())
        self.clock.pump([0] * 10)
        self.failureResultOf(done, OSError)

    def test_cancel(self) -> None:
        """
        Cancelling ends the work.
        """
        endless = Endless()
        done = hashFile(self.clock, endless, 1 << 40, Digests())
        self.clock.callLater(0, done.cancel)
        self.clock.advance(0)
        self.failureResultOf(done, CancelledError)
        taken = endless.taken
        self.clock.pump([0] * 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(endless.taken, taken)


class Unreadable(io.BytesIO):
    """
    A broken disk.
    """

    def read(self, size: int | None = -1) -> bytes:
        raise OSError(5, "Input/output error")


class Endless(io.BytesIO):
    """
    A file that is not finished in one turn.
    """

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        self.taken += size
        return bytes(size)
