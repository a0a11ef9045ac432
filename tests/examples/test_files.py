"""
The examples C{send_file.py} and C{receive_file.py}, run as their heads say.
"""

import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.interop import stream
from tests.interop.processes import Child, environment
from tests.loopback.xmppserver import LoopbackServer

EXAMPLES = Path(__file__).parents[2] / "examples"


class Example(Child):
    """
    An example as a child process, in a folder of its own.
    """

    def __init__(self, script: str, server: LoopbackServer, *arguments: str, ready: str = "") -> None:
        super().__init__(reactor, script)
        self._script = str(EXAMPLES / script)
        self._server = server
        self._arguments = arguments
        self._ready = ready

    def environment(self) -> dict[str, str]:
        return environment(PASSWORD="x", SERVER=f"127.0.0.1:{self._server.c2sPort}")

    def command(self) -> list[str]:
        return [sys.executable, self._script, *self._arguments]

    async def untilReady(self) -> None:
        if self._ready:
            await self.untilLogged(self._ready)


class FileExamplesTests(TestCase):
    """
    One sends, the other receives.
    """

    timeout = 300

    def test_short(self) -> None:
        """
        An example has less than 40 lines.
        """
        for name in ("send_file.py", "receive_file.py"):
            self.assertLess(len((EXAMPLES / name).read_text().splitlines()), 40, name)

    async def launch(self, child: Any) -> Any:
        self.addCleanup(lambda: child.cleanUp())
        await child.start()
        return child

    async def test_transfer(self) -> None:
        """
        The file arrives, and both tell its SHA-256.
        """
        server = LoopbackServer(reactor, {"alice": "x", "bob": "x", "carol": "x"})
        await server.listen()
        self.addCleanup(lambda: Deferred.fromCoroutine(server.stop()))
        bob = await self.launch(
            Example("receive_file.py", server, "bob@localhost/r", "alice@localhost", ready="is ready")
        )
        path = Path(self.mktemp()).absolute()
        digest = stream.write(str(path), "example", 300_000)
        stranger = await self.launch(
            Example("send_file.py", server, "carol@localhost/s", "bob@localhost/r", str(path))
        )
        self.assertEqual(await stranger.whenEnded(), 1)
        self.assertIn("declined the file", stranger.log())
        alice = await self.launch(
            Example("send_file.py", server, "alice@localhost/s", "bob@localhost/r", str(path))
        )
        self.assertEqual(await alice.whenEnded(), 0, alice.log())
        self.assertEqual(await bob.whenEnded(), 0, bob.log())
        self.assertIn(f"SHA-256 {digest}", alice.log())
        self.assertIn(f"SHA-256 {digest}", bob.log())
        self.assertEqual((bob.folder / path.name).read_bytes(), path.read_bytes())
