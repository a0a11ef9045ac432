"""
What C{twistd} makes of a proxy that cannot start: in the foreground, and as a daemon.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.interop.processes import environment
from tests.waiting import PATIENCE, until


class TakenPortTests(TestCase):
    """
    Somebody else listens on the port.
    """

    timeout = 300

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
            timeout=PATIENCE,
        )

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
        await until(lambda: not list(Path(self.folder).glob("*.pid")), lambda: os.listdir(self.folder))
        # What it has logged, it writes after that.
        log = Path(self.folder, "twistd.log")
        await until(lambda: "Address already in use" in log.read_text(), log.read_text)
