"""
Tests for L{xmppbytes.running}.
"""

import io
import os
import signal
import sys
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.interop.processes import environment
from xmppbytes import running
from xmppbytes.errors import ConfigurationError, TransferError
from xmppbytes.running import runIn


class Reactor:
    """
    A reactor that runs what it is given.
    """

    def __init__(self) -> None:
        self.running = False
        self.begin: Any = None
        self.during: list[Any] = []
        self.stops = 0

    def callWhenRunning(self, function: Any) -> None:
        self.begin = function

    def callFromThread(self, function: Any) -> None:
        function()

    def run(self) -> None:
        self.running = True
        self.begin()
        for action in self.during:
            action()
        self.running = False

    def stop(self) -> None:
        self.stops += 1


class RunInTests(SynchronousTestCase):
    """
    A coroutine and its exit code.
    """

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.shown = io.StringIO()
        self.patch(running.sys, "stderr", self.shown)
        for name in (signal.SIGINT, signal.SIGTERM):
            self.addCleanup(signal.signal, name, signal.getsignal(name))

    def interrupt(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def test_code(self) -> None:
        """
        Its result is the exit code.
        """

        async def work(reactor: Any) -> int:
            self.assertIs(reactor, self.reactor)
            return 7

        self.assertEqual(runIn(self.reactor, work), 7)
        self.assertEqual(self.reactor.stops, 1)

    def test_error(self) -> None:
        """
        What went wrong outside is one line.
        """

        async def work(reactor: Any) -> int:
            raise TransferError("it broke; try again")

        self.assertEqual(runIn(self.reactor, work), 1)
        self.assertEqual(self.shown.getvalue(), "xmppbytes: it broke; try again\n")

    def test_usage(self) -> None:
        """
        Options that cannot be are wrong usage.
        """

        async def work(reactor: Any) -> int:
            raise ConfigurationError("this cannot be; do that")

        self.assertEqual(runIn(self.reactor, work), 2)
        self.assertEqual(self.shown.getvalue(), "xmppbytes: this cannot be; do that\n")

    def test_bug(self) -> None:
        """
        What went wrong here is shown whole.
        """

        async def work(reactor: Any) -> int:
            raise RuntimeError("bug")

        self.assertEqual(runIn(self.reactor, work), 1)
        self.assertIn("RuntimeError: bug", self.shown.getvalue())

    def test_cancelled(self) -> None:
        """
        Ctrl-C cancels it, and it may say goodbye.
        """
        goodbyes: list[str] = []

        async def work(reactor: Any) -> int:
            try:
                await Deferred()
            finally:
                goodbyes.append("goodbye")
            return 0

        self.reactor.during = [self.interrupt]
        self.assertEqual(runIn(self.reactor, work), 1)
        self.assertEqual((self.shown.getvalue(), goodbyes), ("Cancelled.\n", ["goodbye"]))

    def test_cancelledTwice(self) -> None:
        """
        The second Ctrl-C does not wait for that.
        """

        async def work(reactor: Any) -> int:
            try:
                await Deferred()
            except CancelledError:
                await Deferred()
            return 0

        self.reactor.during = [self.interrupt, self.interrupt]
        self.assertEqual(runIn(self.reactor, work), 1)
        self.assertEqual(self.reactor.stops, 1)


class LoggingTests(TestCase):
    """
    What of the log is shown; in another process, since there is one log for each.
    """

    timeout = 300

    async def show(self, verbose: bool) -> str:
        script = (
            "from twisted.logger import Logger; from xmppbytes.running import startLogging; "
            f"startLogging({verbose}); Logger().info('detail'); Logger().error('trouble')"
        )
        out, err, code = await getProcessOutputAndValue(sys.executable, ["-c", script], env=environment())
        self.assertEqual((out, code), (b"", 0))
        return err.decode()

    async def test_quiet(self) -> None:
        """
        Only what must not happen.
        """
        shown = await self.show(False)
        self.assertIn("trouble", shown)
        self.assertNotIn("detail", shown)

    async def test_verbose(self) -> None:
        """
        Everything, when it is wanted.
        """
        self.assertIn("detail", await self.show(True))


class OutputTests(TestCase):
    """
    What is said; in another process.
    """

    timeout = 300

    async def test_otherEncoding(self) -> None:
        """
        What the terminal cannot show is shown as a number.
        """
        script = (
            "from xmppbytes.running import runCommand\n"
            "async def work(reactor):\n    print('f\\u0436')\n    return 0\n"
            "runCommand(work)"
        )
        ascii = environment(PYTHONIOENCODING="ascii")
        out, err, code = await getProcessOutputAndValue(sys.executable, ["-c", script], env=ascii)
        self.assertEqual((out, err, code), (b"f\\u0436\n", b"", 0))
