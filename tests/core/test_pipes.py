"""
The pool of pipes.
"""

import os

from twisted.trial.unittest import SynchronousTestCase

from xmppbytes.core import pipes
from xmppbytes.core.pipes import LARGE, PipePool, pagesPerUser


class PipePoolTests(SynchronousTestCase):
    """
    Lending pipes.
    """

    def setUp(self) -> None:
        self.pool = PipePool()
        self.addCleanup(self.pool.close)

    def test_pipeCarriesBytesAndNeverBlocks(self) -> None:
        """
        What is written to a borrowed pipe can be read from it; when it is empty, reading says so.
        """
        pipe = self.pool.borrow()
        os.write(pipe.intake, b"abc")
        self.assertEqual(os.read(pipe.outlet, 10), b"abc")
        self.assertRaises(BlockingIOError, os.read, pipe.outlet, 10)
        self.pool.discard(pipe)

    def test_firstPipesAreLarge(self) -> None:
        """
        A pipe within the budget holds C{LARGE} bytes.
        """
        pipe = self.pool.borrow()
        self.assertEqual(pipe.size, LARGE)
        os.set_blocking(pipe.intake, False)
        self.assertEqual(os.write(pipe.intake, bytes(LARGE + 1)), LARGE)
        self.pool.discard(pipe)

    def test_isUsedAgain(self) -> None:
        """
        A pipe that was given back is the next to be lent.
        """
        pipe = self.pool.borrow()
        self.pool.giveBack(pipe)
        self.assertEqual((self.pool.borrow(), self.pool.lent, len(self.pool)), (pipe, 1, 1))
        self.pool.giveBack(pipe)

    def test_discardedIsClosed(self) -> None:
        """
        A pipe that may hold bytes is never lent again.
        """
        pipe = self.pool.borrow()
        self.pool.discard(pipe)
        self.assertRaises(OSError, os.fstat, pipe.outlet)
        self.assertEqual(len(self.pool), 0)

    def test_keepsABoundedNumber(self) -> None:
        """
        More than a few idle pipes are closed.
        """
        borrowed = [self.pool.borrow() for _ in range(100)]
        for pipe in borrowed:
            self.pool.giveBack(pipe)
        self.assertEqual((self.pool.lent, len(self.pool)), (0, 64))
        self.pool.close()
        self.assertEqual(len(self.pool), 0)

    def test_budgetIsKept(self) -> None:
        """
        Beyond the budget, pipes are as the kernel makes them; what is closed can be spent again.
        """
        pool = PipePool(budget=2 * LARGE + 1)
        first, second, third = (pool.borrow() for _ in range(3))
        self.assertEqual((first.size, second.size), (LARGE, LARGE))
        self.assertLess(third.size, LARGE)
        pool.discard(third)
        pool.discard(first)
        fourth = pool.borrow()
        self.assertEqual(fourth.size, LARGE)
        pool.discard(second)
        pool.discard(fourth)

    def test_kernelRefusesMore(self) -> None:
        """
        When others of the same user have used the kernel's limit up, a pipe works at its own size.
        """

        def refuse(descriptor: int, command: int, *arguments: int) -> int:
            if command == pipes.F_SETPIPE_SZ:
                raise PermissionError("over the limit")
            return 8192

        self.patch(pipes, "fcntl", refuse)
        pipe = self.pool.borrow()
        self.assertEqual(pipe.size, 8192)
        self.pool.giveBack(pipe)

    def test_limitOfTheKernel(self) -> None:
        """
        The kernel's limit is read; without one, or without /proc, its default counts.
        """
        folder = self.mktemp()
        os.mkdir(folder)
        limit = os.path.join(folder, "soft")
        self.patch(pipes, "_SOFT_LIMIT", limit)
        self.assertEqual(pagesPerUser(), 16384)
        for text, pages in (("1024\n", 1024), ("0\n", 16384), ("much", 16384)):
            with open(limit, "w", encoding="ascii") as written:
                written.write(text)
            self.assertEqual(pagesPerUser(), pages)
