"""
C{xmppbytes demo}, as a newcomer runs it.
"""

import os
import sys

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.interop.processes import Child


class Command(Child):
    """
    The C{xmppbytes} command as a child process.
    """

    def __init__(self, *arguments: str) -> None:
        super().__init__(reactor, "xmppbytes")
        self.arguments = arguments

    def command(self) -> list[str]:
        return [
            sys.executable,
            "-c",
            "import sys; from xmppbytes.cli import main; sys.exit(main())",
            *self.arguments,
        ]


class DemoTests(TestCase):
    """
    The whole demo.
    """

    timeout = 300

    async def demo(self, *arguments: str) -> tuple[int, str]:
        """
        Run it to its end.

        @return: its exit code and all that it printed.
        """
        child = Command("demo", *arguments)
        self.addCleanup(lambda: child.cleanUp())
        await child.start()
        return await child.whenEnded(), child.log()

    async def test_everyStepIsTold(self) -> None:
        """
        It sends a file through the real proxy, tells each step, and verifies what arrived.
        """
        code, told = await self.demo("--size=3M")
        self.assertEqual(code, 0, told)
        steps = (
            *("has joined", "address query", "offer", "connect:", "activate", "transfer", "verified"),
            *("UDP mode", "initialized", "5000 datagrams", "arrived within", "verified: the content"),
            *("DTCP, direct", "keys", "direct to 127.0.0.1, encrypted", "transfer", "verified"),
            *("DTCP, through its relay", "ticket", "through proxy.verona.example, encrypted", "verified"),
        )
        place = 0
        for step in steps:
            place = told.find(step, place)
            self.assertNotEqual(place, -1, f"{step!r} is missing or out of order in:\n{told}")
        self.assertIn("3145728 bytes arrived", told)

    async def test_ownFile(self) -> None:
        """
        It sends the file that it is given.
        """
        path = os.path.abspath(self.mktemp())
        with open(path, "wb") as file:
            file.write(b"what light through yonder window breaks")
        code, told = await self.demo("--file", path)
        self.assertEqual(code, 0, told)
        self.assertIn("39 bytes arrived", told)

    async def test_missingFile(self) -> None:
        """
        Without the file there is one sentence and exit code 1.
        """
        code, told = await self.demo("--file", "/nowhere/at/all")
        self.assertEqual(code, 1)
        self.assertIn("cannot go on: [Errno 2] No such file or directory: '/nowhere/at/all'", told)
        self.assertNotIn("Traceback", told)
