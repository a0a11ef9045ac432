"""
What a real proxy says as it starts, what it refuses to start with, and how long it takes to end.
"""

import os
import signal
import socket
from pathlib import Path

from twisted.internet.threads import deferToThread

from tests.interop.processes import ChildFailed, freePort
from tests.loopback.lab import SECRET, ProxyTestCase, expect, readStream, sendStream


class StartingTests(ProxyTestCase):
    """
    Options that deserve a line in the log.
    """

    def file(self, content: str, mode: int = 0o600) -> Path:
        path = Path(self.mktemp()).absolute()
        path.write_text(content)
        path.chmod(mode)
        return path

    async def test_secretOnTheCommandLine(self) -> None:
        """
        A secret that all users of the machine can see is used, with a warning that does not repeat it.
        """
        await self.startProxy(f"--secret={SECRET}")
        self.assertIn("#warn] The secret was given by --secret", self.proxy.log())
        self.assertNotIn(SECRET, self.proxy.log())

    async def test_secretFileOfAll(self) -> None:
        """
        So with a secret in a file that others can read.
        """
        path = self.file(SECRET, 0o644)
        await self.startProxy(f"--secret-file={path}")
        self.assertIn(f"#warn] The secret file {path} can be read by others; chmod 600 it", self.proxy.log())

    async def test_secretFileOfOurs(self) -> None:
        """
        With one that they cannot there is nothing to say.
        """
        await self.startProxy(f"--secret-file={self.file(SECRET)}")
        self.assertNotIn("secret", self.proxy.log())

    async def test_openRelay(self) -> None:
        """
        An open DTCP relay starts with a warning.
        """
        await self.startProxy(f"--dtcp-relay=tcp:{freePort()}:interface=127.0.0.1", "--dtcp-relay-open")
        self.assertIn("#warn] The DTCP relay is open: ", self.proxy.log())

    async def test_usageLog(self) -> None:
        """
        A usage log that cannot be written is told at the start, and again for each record that is lost; no
        bytestream suffers from it.
        """
        folder = Path(self.mktemp()).absolute()
        await self.startProxy(f"--usage-log={folder}/usage.jsonl")
        self.assertIn("Usage records will be lost: ", self.proxy.log())
        await self.exchange("unnoted")
        await self.proxy.untilLogged("A usage record is lost: ")
        folder.mkdir()
        await self.exchange("noted")
        while not os.listdir(folder):
            await self.proxy.pause()
        self.assertEqual(self.proxy.log().count("A usage record is lost: "), 1)

    async def exchange(self, sid: str) -> None:
        """
        Let a bytestream run from its beginning to its end.
        """
        requester, target = await self.pair(sid)
        sending = deferToThread(sendStream, requester, 1000)
        target.shutdown(socket.SHUT_WR)
        self.assertEqual(await deferToThread(readStream, target), await sending)
        self.assertEqual(await deferToThread(requester.recv, 1), b"")

    async def test_refused(self) -> None:
        """
        Each mistake on the command line or in the file is one line, and the exit code 1.
        """
        config = self.file("max-sessions = 0\n")
        for option, words in (
            (
                "--config=/nonexistent/proxy.toml",
                "cannot read the configuration file /nonexistent/proxy.toml",
            ),
            (f"--config={config}", "max-sessions in"),
            ("--secret-file=/nonexistent/secret", "cannot read the secret file"),
            ("--listen=tcp:many", "tcp:many"),
            ("--server=carrier-pigeon", "--server: cannot connect to 'carrier-pigeon'"),
        ):
            with self.assertRaises(ChildFailed):
                await self.startProxy(option)
            self.assertEqual(self.proxy.exitCode, 1, option)
            self.assertIn(words, self.proxy.log())
            said = [line for line in self.proxy.log().splitlines() if line.startswith("twistd s5bproxy: ")]
            self.assertEqual(len(said), 1, self.proxy.log())
            self.assertNotIn("Traceback", self.proxy.log())


class EndingTests(ProxyTestCase):
    """
    SIGTERM, SIGINT and what runs.
    """

    async def test_drainIsOver(self) -> None:
        """
        What still runs when the time for it is over is reset, and the service ends by the signal.
        """
        await self.startProxy("--drain=1")
        requester, target = await self.pair("endless")
        self.proxy.signal("TERM")
        await self.proxy.untilLogged("Ending, but 1 bytestreams may go on for 1 s")
        self.assertEqual(await self.proxy.whenEnded(), -signal.SIGTERM)
        for party in (requester, target):
            with self.assertRaises(ConnectionResetError):
                await deferToThread(party.recv, 1)
        self.assertIn("ended with the service", self.proxy.log())

    async def test_interrupted(self) -> None:
        """
        The second signal may be another one, as when somebody loses patience at a terminal.
        """
        await self.startProxy("--drain=600")
        requester, _ = await self.pair("impatient")
        self.proxy.signal("TERM")
        await self.proxy.untilLogged("may go on")
        self.proxy.signal("INT")
        await self.proxy.whenEnded()
        with self.assertRaises(ConnectionResetError):
            await deferToThread(requester.recv, 1)
        self.assertNotIn("Traceback", self.proxy.log())

    async def test_reloadWhileEnding(self) -> None:
        """
        SIGHUP while it drains neither ends it nor what runs.
        """
        await self.startProxy("--drain=600")
        requester, target = await self.pair("lasting")
        self.proxy.signal("TERM")
        await self.proxy.untilLogged("may go on")
        self.proxy.signal("HUP")
        await self.proxy.untilLogged("Configuration read again")
        target.sendall(b"still here")
        await deferToThread(expect, requester, b"still here")
        self.proxy.signal("TERM")
        await self.proxy.whenEnded()
