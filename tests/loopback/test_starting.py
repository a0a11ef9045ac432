"""
What C{twistd} makes of a proxy that cannot start: in the foreground, and as a daemon.
"""

import os
import socket
import subprocess
import sys

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.interop.processes import environment


class TakenPortTests(TestCase):
    """
    Somebody else listens on the port.
    """

    timeout = 60

    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.mkdir(self.folder)
        other = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(other.close)
        self.port = other.getsockname()[1]

    async def start(self, *options: str) -> "subprocess.CompletedProcess[str]":
        """
        Run twistd until it, or the parent of the daemon, has ended.
        """
        listen = f"tcp:{self.port}:interface=127.0.0.1"
        command = [sys.executable, "-m", "tests.twistd", *options, "s5bproxy", "--jid=p.example"]
        return await deferToThread(
            subprocess.run,
            [*command, f"--listen={listen}"],
            cwd=self.folder,
            env=environment(XMPPBYTES_SECRET="secret"),
            capture_output=True,
            text=True,
            timeout=30,
        )

    async def untilNoPid(self) -> None:
        """
        Wait until no pid file is left.
        """
        for _ in range(100):
            if not [name for name in os.listdir(self.folder) if name.endswith(".pid")]:
                return
            await deferLater(reactor, 0.05)
        self.fail(f"a pid file is left: {os.listdir(self.folder)}")

    async def test_foreground(self) -> None:
        """
        One line says why, and the exit code is 1.
        """
        ended = await self.start("--nodaemon", "--pidfile=")
        self.assertEqual(ended.returncode, 1)
        self.assertIn(f"cannot listen on tcp:{self.port}", ended.stdout + ended.stderr)
        self.assertIn("Address already in use", ended.stdout + ended.stderr)
        self.assertNotIn("Traceback", ended.stdout + ended.stderr)

    async def test_daemon(self) -> None:
        """
        The parent learns of it and ends with the exit code 1; no pid is left, and the log says why.
        """
        ended = await self.start()
        self.assertEqual(ended.returncode, 1)
        self.assertIn(f"cannot listen on tcp:{self.port}", ended.stderr)
        # The parent does not wait for its child, which takes the pid file away as the last thing.
        await self.untilNoPid()
        with open(os.path.join(self.folder, "twistd.log")) as log:
            self.assertIn("Address already in use", log.read())
