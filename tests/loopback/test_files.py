"""
C{xmppbytes send} and C{xmppbytes receive}, as a person calls them, at a small server on loopback.
"""

import os
import pty
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SkipTest, TestCase
from twisted.words.protocols.jabber.error import StreamError
from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish.domish import Element

from tests.interop import stream
from tests.interop.filecommands import Receive, Send, digestIn
from tests.interop.processes import ROOT, environment
from tests.loopback import smalldisk
from tests.loopback.smalldisk import ReceiveIntoSmallDisk
from tests.loopback.xmppserver import LoopbackServer
from xmppbytes.account import Account, AccountSettings

MIB = 1 << 20


class FilesTestCase(TestCase):
    """
    A server, and two people.
    """

    timeout = 300

    async def setUp(self) -> None:  # type: ignore[override]
        self.server = LoopbackServer(reactor, {"alice": "x", "bob": "x", "carol": "x"})
        await self.server.listen()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.server.stop()))

    async def launch(self, child: Any) -> Any:
        self.addCleanup(lambda: child.cleanUp())
        await child.start()
        return child

    async def receiver(self, *options: str) -> Receive:
        """
        Start bob's receiver.
        """
        self.bob: Receive = await self.launch(Receive(reactor, self.server, "bob", *options))  # type: ignore[arg-type]
        return self.bob

    def file(self, size: int, name: str = "doc.bin") -> tuple[Path, str]:
        """
        Make a file.

        @return: its path and its SHA-256.
        """
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        return folder / name, stream.write(str(folder / name), self.id(), size)

    async def sender(self, *arguments: str) -> Send:
        """
        Start alice's sender.
        """
        return await self.launch(Send(reactor, self.server, "alice", *arguments))  # type: ignore[no-any-return]

    async def send(self, *arguments: str) -> Send:
        """
        Let alice send, and wait for the end.
        """
        alice = await self.sender(*arguments)
        await alice.whenEnded()
        return alice

    def received(self) -> list[str]:
        return sorted(path.name for path in self.bob.received.iterdir())


class TransferTests(FilesTestCase):
    """
    What goes well.
    """

    async def test_once(self) -> None:
        """
        A file arrives; both commands say so in a line, and end with 0.
        """
        await self.receiver("--yes", "--once")
        path, digest = self.file(3 * MIB + 1)
        alice = await self.send(self.bob.jid, str(path))
        self.assertEqual((alice.exitCode, await self.bob.whenEnded()), (0, 0), alice.log())
        self.assertEqual((digestIn(alice.log()), digestIn(self.bob.log())), ([digest], [digest]))
        self.assertIn(f"sent doc.bin: {3 * MIB + 1} bytes, in ", alice.log())
        self.assertIn("direct to ", alice.log())
        self.assertIn("received doc.bin", self.bob.log())
        self.assertNotIn("\x1b", alice.log())
        self.assertNotIn("\r", alice.log())
        self.assertEqual((self.bob.received / "doc.bin").read_bytes(), path.read_bytes())

    async def test_several(self) -> None:
        """
        Several files go one after the other, to somebody whose resource is found by presence.
        """
        await self.receiver("--yes")
        files = [self.file(1000 * n, f"{n}.bin") for n in range(3)]
        alice = await self.send("bob@localhost", *[str(path) for path, _ in files])
        self.assertEqual(alice.exitCode, 0, alice.log())
        self.assertEqual(digestIn(alice.log()), [digest for _, digest in files])
        self.assertEqual(self.received(), ["0.bin", "1.bin", "2.bin"])

    async def test_inBandOnly(self) -> None:
        """
        Through the server, when that is what is wanted; the receiver need not know.
        """
        await self.receiver("--yes", "--once", "--from", "alice@localhost", "--verbose")
        path, _ = self.file(50000)
        alice = await self.send("--in-band-only", "--description", "a word", self.bob.jid, str(path))
        self.assertEqual((alice.exitCode, await self.bob.whenEnded()), (0, 0), alice.log())
        self.assertIn("in-band", self.bob.log())
        self.assertIn("(a word)", self.bob.log())
        self.assertIn("Account bob@localhost", self.bob.log())

    async def test_noHash(self) -> None:
        """
        Without a hash nothing is verified, which both say.
        """
        await self.receiver("--yes", "--once")
        path, _ = self.file(1000)
        alice = await self.send("--no-hash", "--direct-only", self.bob.jid, str(path))
        self.assertEqual(alice.exitCode, 0, alice.log())
        await self.bob.whenEnded()
        self.assertIn("not verified", alice.log())
        self.assertIn("not verified", self.bob.log())


class RefusalTests(FilesTestCase):
    """
    What goes otherwise.
    """

    async def assertRefused(self, alice: Send, reason: str) -> None:
        """
        The sender ends with 1, and one line says why.
        """
        self.assertEqual(alice.exitCode, 1, alice.log())
        self.assertIn(reason, alice.log())
        self.assertNotIn("Traceback", alice.log())

    async def test_noTerminal(self) -> None:
        """
        Without a terminal nothing is accepted, unless told so.
        """
        await self.receiver()
        path, _ = self.file(10)
        await self.assertRefused(await self.send(self.bob.jid, str(path)), "declined the file")
        await self.bob.untilLogged(
            "refused doc.bin (10 bytes) from alice@localhost/sender: there is no terminal"
        )
        self.assertEqual(self.received(), [])

    async def test_stranger(self) -> None:
        """
        Who is not named is refused.
        """
        await self.receiver("--yes", "--from", "carol@localhost", "--once")
        path, _ = self.file(10)
        await self.assertRefused(await self.send(self.bob.jid, str(path)), "declined the file")
        self.assertTrue(self.bob.running)

    async def test_tooLarge(self) -> None:
        """
        So is what is too large.
        """
        await self.receiver("--yes", "--max-size", "9")
        path, _ = self.file(10)
        await self.assertRefused(await self.send(self.bob.jid, str(path)), "declined the file")
        await self.bob.untilLogged("it is larger than 9 bytes")

    async def test_noRoom(self) -> None:
        """
        A receiver that ends with the refusal of its one file tells the sender first.
        """
        await self.receiver("--yes", "--once")
        path, _ = self.file(1)
        os.truncate(path, 1 << 43)
        alice = await self.send("--no-hash", "--timeout", "20", self.bob.jid, str(path))
        self.assertEqual(await self.bob.whenEnded(), 1)
        self.assertIn("the disk has room for", self.bob.log())
        await self.assertRefused(alice, "there is no room for this file (resource-constraint)")

    async def test_offline(self) -> None:
        """
        Nobody is there.
        """
        path, _ = self.file(10)
        await self.assertRefused(
            await self.send("bob@localhost/gone", str(path)),
            "bob@localhost/gone cannot receive files: it is not online",
        )
        await self.assertRefused(
            await self.send("bob@localhost", str(path)), "is not online, or does not show"
        )

    async def test_incapable(self) -> None:
        """
        Somebody is there whose client cannot; what it lacks is said at once.
        """
        settings = AccountSettings(
            jid=JID("carol@localhost/old"),
            password="x",
            server=f"{self.server.address}:{self.server.c2sPort}",
            tls=False,
        )
        carol = Account(reactor, settings)
        self.addCleanup(lambda: Deferred.fromCoroutine(carol.disconnect()))
        await carol.connect()
        carol.manager.send(Element((None, "presence")))
        path, _ = self.file(10)
        for target in ("carol@localhost/old", "carol@localhost"):
            alice = await self.send(target, str(path))
            await self.assertRefused(
                alice,
                "carol@localhost/old cannot receive files: its client lacks stream initiation (XEP-0095)",
            )
            self.assertIn("SOCKS5 bytestreams (XEP-0065) or in-band", alice.log())

    async def test_proxyOnlyWithoutProxy(self) -> None:
        """
        Without a proxy nothing goes when only proxies may be used; no address is told.
        """
        await self.receiver("--yes")
        path, _ = self.file(10)
        alice = await self.send("--proxy-only", self.bob.jid, str(path))
        await self.assertRefused(alice, "failed: doc.bin: ")
        self.assertEqual([text for text in self.server.stanzas if "<streamhost" in text], [])

    async def test_wrongPassword(self) -> None:
        """
        The server does not know us.
        """
        self.server.passwords["alice"] = "other"
        path, _ = self.file(10)
        alice = await self.send(self.server.jid("bob", "x"), str(path))
        await self.assertRefused(alice, "does not accept the password of alice@localhost")
        self.assertEqual(len(alice.log().strip().splitlines()), 1)

    async def test_replaced(self) -> None:
        """
        A receiver whose address another client takes ends, and says what to do.
        """
        await self.receiver("--yes")
        self.server.clients[self.bob.jid].sendStreamError(StreamError("conflict"))
        self.assertEqual(await self.bob.whenEnded(), 1)
        self.assertIn("another client has connected as bob@localhost/receiver", self.bob.log())
        self.assertNotIn("trying again", self.bob.log())

    async def test_partlyRefused(self) -> None:
        """
        When one of several files fails the others are sent, and the exit code tells.
        """
        await self.receiver("--yes", "--max-size", "10")
        small, large = self.file(10, "small")[0], self.file(11, "large")[0]
        alice = await self.send(self.bob.jid, str(large), str(small))
        self.assertEqual(alice.exitCode, 1)
        self.assertIn("failed: large", alice.log())
        self.assertEqual(self.received(), ["small"])


class InterruptionTests(FilesTestCase):
    """
    Ctrl-C.
    """

    async def slowDown(self) -> tuple[Path, str, Send]:
        """
        Begin a transfer that takes long, and wait until some of it has arrived.
        """
        await self.receiver("--yes")
        path, digest = self.file(4 * MIB)
        alice = await self.sender("--in-band-only", self.bob.jid, str(path))
        while (
            not any(self.bob.received.iterdir()) or next(self.bob.received.iterdir()).stat().st_size < 20000
        ):
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]
        return path, digest, alice

    async def test_sender(self) -> None:
        """
        The sender is interrupted: the receiver is told and keeps what it has, and the next time only the
        rest is sent.
        """
        path, digest, alice = await self.slowDown()
        alice.signal("INT")
        self.assertEqual(await alice.whenEnded(), 1)
        self.assertIn("Cancelled.", alice.log())
        await self.bob.untilLogged("ended the transfer: cancelled by the sender; what has arrived is kept")
        [part] = self.bob.received.iterdir()
        self.assertTrue(part.name.startswith("doc.bin.") and part.name.endswith(".part"))
        held = part.stat().st_size
        again = await self.send(self.bob.jid, str(path))
        self.assertEqual(again.exitCode, 0, again.log())
        self.assertIn(f"{held} of them before", again.log())
        self.assertEqual(digestIn(again.log()), [digest])
        self.assertEqual(self.received(), ["doc.bin"])

    async def test_receiver(self) -> None:
        """
        The receiver is interrupted: the sender is told, and what was received is there the next time.
        """
        _, _, alice = await self.slowDown()
        self.bob.signal("INT")
        self.assertEqual(await self.bob.whenEnded(), 1, self.bob.log())
        self.assertEqual(await alice.whenEnded(), 1)
        self.assertIn("ended the transfer: cancelled by the receiver", alice.log())
        [part] = self.bob.received.iterdir()
        self.assertGreaterEqual(part.stat().st_size, 20000)

    async def test_idleReceiver(self) -> None:
        """
        A receiver that has nothing to do is ended by Ctrl-C, and that is all right.
        """
        await self.receiver("--yes")
        self.bob.signal("INT")
        self.assertEqual(await self.bob.whenEnded(), 0)


class DiskFullTests(FilesTestCase):
    """
    The disk becomes full in the middle of a transfer.
    """

    async def begin(self, *options: str) -> Path:
        """
        Let alice send more than there will be room for, slowly; and fill the disk when it has begun.

        @return: what takes the room.
        """
        if not smalldisk.namespace():
            raise SkipTest("this machine lets us mount no file system of our own (it needs root)")
        self.bob = await self.launch(ReceiveIntoSmallDisk(reactor, self.server, "bob", "--yes", *options))  # type: ignore[arg-type]
        self.path, self.digest = self.file(6 * MIB)
        self.alice = await self.sender("--in-band-only", self.bob.jid, str(self.path))
        while sum(part.stat().st_size for part in self.bob.received.iterdir()) < 50_000:
            await deferLater(reactor, 0.02)  # type: ignore[arg-type]
        return self.bob.fill()  # type: ignore[attr-defined, no-any-return]

    async def test_told(self) -> None:
        """
        Both commands say so, and end with 1.
        """
        await self.begin("--once")
        self.assertEqual((await self.alice.whenEnded(), await self.bob.whenEnded()), (1, 1))
        self.assertIn("ended the transfer: there is no room left for the file", self.alice.log())
        self.assertIn("failed: doc.bin: the disk is full (", self.bob.log())
        self.assertIn("No space left on device); make room; what has arrived is kept", self.bob.log())

    async def test_continued(self) -> None:
        """
        What has arrived stays, and is continued when there is room again.
        """
        filler = await self.begin()
        self.assertEqual(await self.alice.whenEnded(), 1)
        [part] = [name for name in self.received() if name != "filler"]
        self.assertRegex(part, r"^doc\.bin\.[0-9a-f]{8}\.part$")
        refused = await self.send(self.bob.jid, str(self.path))
        self.assertEqual(refused.exitCode, 1)
        self.assertIn("there is no room for this file", refused.log())
        filler.unlink()
        again = await self.send(self.bob.jid, str(self.path))
        self.assertEqual(again.exitCode, 0, again.log())
        self.assertIn(" of them before", again.log())
        self.assertEqual((digestIn(again.log()), self.received()), ([self.digest], ["doc.bin"]))


class TerminalTests(FilesTestCase):
    """
    On a terminal.
    """

    async def onTerminal(self, command: Any) -> "Terminal":
        """
        Start a command on a terminal.
        """
        command.prepare()
        terminal = Terminal(command)
        self.addCleanup(terminal.end)
        return terminal

    async def test_asked(self) -> None:
        """
        Each offer is asked for.
        """
        bob = Receive(reactor, self.server, "bob")  # type: ignore[arg-type]
        terminal = await self.onTerminal(bob)
        await terminal.until("receives files into")
        path, digest = self.file(10)
        refused = await self.sender(bob.jid, str(path))
        await terminal.until("Accept? [y/N]")
        terminal.type("n\n")
        self.assertEqual(await refused.whenEnded(), 1)
        self.assertIn("declined the file", refused.log())
        accepted = await self.sender(bob.jid, str(path))
        await terminal.until("Accept? [y/N]", 2)
        terminal.type("y\n")
        self.assertEqual(await accepted.whenEnded(), 0, accepted.log())
        await terminal.until("SHA-256 " + digest)
        self.assertEqual((bob.received / "doc.bin").stat().st_size, 10)

    async def test_takenBack(self) -> None:
        """
        A question is taken back when the sender goes.
        """
        terminal = await self.onTerminal(Receive(reactor, self.server, "bob"))  # type: ignore[arg-type]
        await terminal.until("receives files into")
        path, _ = self.file(10)
        alice = await self.sender(self.server.jid("bob", "receiver"), str(path))
        await terminal.until("Accept? [y/N]")
        alice.signal("INT")
        await terminal.until("(not asked any more)")
        self.assertEqual(await alice.whenEnded(), 1)

    async def test_nobodyThere(self) -> None:
        """
        A question that nobody answers is a no in the end, which both sides say.
        """
        bob = Receive(reactor, self.server, "bob", "--timeout", "0.1", "--once")  # type: ignore[arg-type]
        terminal = await self.onTerminal(bob)
        await terminal.until("receives files into")
        path, _ = self.file(10)
        alice = await self.send(bob.jid, str(path))
        self.assertEqual(alice.exitCode, 1)
        self.assertIn("declined the file: Offer Declined", alice.log())
        await terminal.until("declined doc.bin (10 bytes) from alice@localhost/sender: nobody decided")

    async def test_progress(self) -> None:
        """
        A bar shows how far it is, with the rate and the time left.
        """
        await self.receiver("--yes")
        path, _ = self.file(2 * MIB)
        alice = Send(reactor, self.server, "alice", "--in-band-only", self.bob.jid, str(path))  # type: ignore[arg-type]
        terminal = await self.onTerminal(alice)
        await terminal.until("B/s")
        self.assertIn("doc.bin:", terminal.text)
        await terminal.until("SHA-256")


class Terminal:
    """
    A pseudo terminal with a command on it.
    """

    def __init__(self, command: Any) -> None:
        self.text = ""
        self._pid, self._descriptor = pty.fork()
        if self._pid == 0:  # pragma: no cover - the child
            os.chdir(command.folder)
            os.environ["PYTHONPATH"] = str(ROOT)
            os.execvp(command.command()[0], command.command())
        os.set_blocking(self._descriptor, False)

    async def until(self, text: str, times: int = 1) -> None:
        """
        Wait until a text is shown.
        """
        end = reactor.seconds() + 20  # type: ignore[attr-defined]
        while self.text.count(text) < times:
            if reactor.seconds() > end:  # type: ignore[attr-defined]
                raise AssertionError(f"no {text!r} in {self.text!r}")
            try:
                self.text += os.read(self._descriptor, 65536).decode("utf-8", "replace")
            except BlockingIOError:
                await deferLater(reactor, 0.02)  # type: ignore[arg-type]

    def type(self, text: str) -> None:
        """
        Hit keys.
        """
        os.write(self._descriptor, text.encode())

    async def end(self) -> None:
        """
        End the command by Ctrl-C.
        """
        try:
            os.kill(self._pid, 2)
            for _ in range(500):
                if os.waitpid(self._pid, os.WNOHANG)[0]:
                    break
                await deferLater(reactor, 0.02)  # type: ignore[arg-type]
            else:
                os.kill(self._pid, 9)
                os.waitpid(self._pid, 0)
        except ChildProcessError:
            pass
        os.close(self._descriptor)


class UsageTests(TestCase):
    """
    What is wrong with a command line is said before anything is done: exit code 2.
    """

    timeout = 300

    async def run2(self, *arguments: str) -> str:
        """
        Run the command, which must end with 2.

        @return: what it says.
        """
        out, err, code = await getProcessOutputAndValue(
            sys.executable, ["-m", "xmppbytes.cli", *arguments], env=environment()
        )
        self.assertEqual(code, 2, (out, err))
        self.assertEqual(out, b"")
        return err.decode()

    async def test_usage(self) -> None:
        """
        A bad JID, a missing file, a missing folder, two ways at once.
        """
        secret, document = Path(self.mktemp()), Path(self.mktemp())
        secret.write_text("x\n")
        document.write_text("x")
        common = ["--account", "alice@localhost/x", "--password-file", str(secret)]
        self.assertIn("is not a JID", await self.run2("send", *common, "@@", str(document)))
        self.assertIn("does not exist", await self.run2("send", *common, "bob@localhost", "missing"))
        self.assertIn("make it first", await self.run2("receive", *common, "--dir", "missing"))
        both = await self.run2("send", *common, "--direct-only", "--proxy-only", "b@localhost", str(document))
        self.assertIn("not allowed with", both)
