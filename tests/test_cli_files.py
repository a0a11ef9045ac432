"""
Tests for L{xmppbytes.filecommand}, L{xmppbytes.sendcommand} and L{xmppbytes.receivecommand}: options, lines
and decisions.
"""

import argparse
import io
import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.xish.domish import Element

from xmppbytes import announcing, cli, filecommand, receivecommand
from xmppbytes.announcing import Announcer
from xmppbytes.errors import Refused, TransferError
from xmppbytes.filecommand import Display, optionsOf, show, summary
from xmppbytes.filetransfer.acceptor import IncomingFile
from xmppbytes.filetransfer.incoming import NotDecided
from xmppbytes.filetransfer.offer import FileOffer
from xmppbytes.filetransfer.report import TransferReport
from xmppbytes.filetransfer.storage import Inbox
from xmppbytes.receivecommand import Acceptor
from xmppbytes.s5b.options import Ways
from xmppbytes.testing import MemoryXMPPServer

ALICE = "alice@example.org/desk"


class CommandTestCase(SynchronousTestCase):
    """
    A command line that is right, to be changed.
    """

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.folder = folder
        self.secret, self.document = folder / "secret", folder / "doc.bin"
        self.secret.write_text("pässwörd\nsecond line\n")
        self.document.write_text("content")
        self.common = ["--account", ALICE, "--password-file", str(self.secret)]

    def parse(self, command: str, *arguments: str) -> argparse.Namespace:
        """
        Parse a command line.
        """
        parser = argparse.ArgumentParser(exit_on_error=False)
        module: Any = __import__(cli.COMMANDS[command][0], fromlist=["x"])
        module.addArguments(parser)
        return parser.parse_args([*self.common, *arguments])

    def wrong(self, command: str, *arguments: str) -> str:
        """
        Parse a command line that is wrong.

        @return: what is said.
        """
        shown = io.StringIO()
        with self.assertRaises((argparse.ArgumentError, SystemExit)) as caught:
            self.patch(argparse._sys, "stderr", shown)  # type: ignore[attr-defined]
            self.parse(command, *arguments)
        return f"{shown.getvalue()} {caught.exception}"


class SendOptionsTests(CommandTestCase):
    """
    The options of C{xmppbytes send}, which are mostly those of both commands.
    """

    def test_least(self) -> None:
        """
        An account, a password, somebody, and a file are enough.
        """
        options = self.parse("send", "bob@example.org", str(self.document))
        self.assertEqual(options.account.full(), ALICE)
        self.assertEqual(options.password, "pässwörd")
        self.assertEqual(options.to.full(), "bob@example.org")
        self.assertEqual(options.files, [self.document])
        self.assertFalse(options.no_tls)
        self.assertIsNone(options.server)

    def test_ways(self) -> None:
        """
        Which ways a file may go.
        """
        target = ["bob@example.org", str(self.document)]
        for option, ways in (
            ([], Ways.ANY),
            (["--direct-only"], Ways.DIRECT_ONLY),
            (["--proxy-only"], Ways.PROXY_ONLY),
        ):
            self.assertIs(optionsOf(self.parse("send", *option, *target)).ways, ways)
        options = self.parse(
            "send", "--proxy", "p.example", "--proxy", "q.example", "--allow-address", "10.0.0.0/8", *target
        )
        self.assertEqual(optionsOf(options).proxies, ("p.example", "q.example"))
        self.assertEqual(optionsOf(options).allowAddresses, ("10.0.0.0/8",))
        self.assertIn("not allowed with", self.wrong("send", "--direct-only", "--proxy-only", *target))

    def test_wrong(self) -> None:
        """
        What is wrong is said, in words, before anything is done.
        """
        document = str(self.document)
        for arguments, text in (
            (("@@", document), "'@@' is not a JID"),
            ((f"bob@{'x' * 70}.example", document), "is not a JID"),
            (("bob@example.org", "missing"), "'missing' does not exist"),
            (("bob@example.org", str(self.folder)), "is not a regular file"),
            (("--account", "example.org", "b@c", document), "'example.org' is not an account"),
            (("--account", "a@@b", "b@c", document), "is not a JID"),
            (("--server", "example.org:x", "b@c", document), "is not HOST:PORT"),
            (("--password-file", "missing", "b@c", document), "the password file cannot be read"),
            (("--password-file", os.devnull, "b@c", document), "has no password in its first line"),
            (("--ca", "missing", "b@c", document), "does not exist"),
            (("--proxy", "@@", "b@c", document), "is not a JID"),
            (("bob@example.org",), "required: FILE"),
            (("--timeout", "nan", "b@c", document), "is not a number of seconds"),
            (("--timeout", "-5", "b@c", document), "is not a number of seconds"),
            (("--timeout", "soon", "b@c", document), "is not a number of seconds"),
        ):
            self.assertIn(text, self.wrong("send", *arguments))

    def test_unreadable(self) -> None:
        """
        A file that may not be read is said, too.
        """

        def closed(path: Path, mode: str) -> Any:
            raise PermissionError(13, "Permission denied", str(path))

        self.patch(Path, "open", closed)
        error = self.assertRaises(argparse.ArgumentTypeError, filecommand.fileArgument, str(self.document))
        self.assertIn("cannot be read: Permission denied", str(error))


class ReceiveOptionsTests(CommandTestCase):
    """
    The options of C{xmppbytes receive}.
    """

    def test_least(self) -> None:
        """
        An account, a password, and a folder are enough.
        """
        options = self.parse("receive", "--dir", str(self.folder))
        self.assertEqual(options.dir, self.folder)
        self.assertEqual((options.senders, options.once, options.yes), ([], False, False))

    def test_wrong(self) -> None:
        """
        A folder that is none, a sender that is none.
        """
        self.assertIn("make it first", self.wrong("receive", "--dir", "missing"))
        self.assertIn("is no address rule", self.wrong("receive", "--dir", ".", "--from", "@@"))
        self.assertIn("required: --dir", self.wrong("receive"))
        self.assertIn("is not a number of bytes", self.wrong("receive", "--dir", ".", "--max-size", "-5"))
        self.assertIn("is not a number of bytes", self.wrong("receive", "--dir", ".", "--max-size", "1.5"))

    def test_maxSize(self) -> None:
        """
        Bytes, in digits.
        """
        self.assertEqual(self.parse("receive", "--dir", str(self.folder), "--max-size", "10").max_size, 10)

    def test_unwritable(self) -> None:
        """
        A folder that cannot be written to is said before anything is received.
        """
        self.patch(os, "access", lambda path, mode: False)
        self.assertIn("cannot be written to", self.wrong("receive", "--dir", str(self.folder)))


class LinesTests(SynchronousTestCase):
    """
    What is shown.
    """

    report = {
        "peer": ALICE,
        "path": Path("doc.bin"),
        "size": 10_000_000,
        "sha256": "ab" * 32,
        "transferred": 10_000_000,
        "seconds": 2.0,
        "route": "direct to 192.0.2.1",
        "verified": True,
    }

    def test_summary(self) -> None:
        """
        Bytes, seconds, the way, and the SHA-256, in one line.
        """
        report = TransferReport(**self.report)  # type: ignore[arg-type]
        self.assertEqual(
            summary(report, "sent"),
            f"sent doc.bin: 10000000 bytes, in 2.00 s (5.0 MB/s), direct to 192.0.2.1, SHA-256 {'ab' * 32}",
        )

    def test_continued(self) -> None:
        """
        What was there before, and what could not be verified, is told.
        """
        report = TransferReport(**{**self.report, "transferred": 4_000_000, "verified": False})  # type: ignore[arg-type]
        text = summary(report, "received")
        self.assertIn("10000000 bytes, 6000000 of them before, in 2.00 s (2.0 MB/s)", text)
        self.assertTrue(text.endswith("not verified (the offer had no hash)"))

    def test_show(self) -> None:
        """
        Lines of strangers cannot move the cursor.
        """
        lines: list[str] = []
        show("a\x1b[2J\nb", lines.append)
        self.assertEqual(lines, ["a[2J b"])

    def test_bar(self) -> None:
        """
        On a terminal a bar shows how far it is.
        """
        shown = io.StringIO()
        self.patch(filecommand.sys, "stderr", shown)
        display = Display("doc.bin", 1000, terminal=True)
        display.update(400)
        display.update(1000)
        display.close()
        display.close()
        self.assertIn("doc.bin:", shown.getvalue())
        self.assertIn("B/s", shown.getvalue())

    def test_noBar(self) -> None:
        """
        Elsewhere nothing is shown.
        """
        shown = io.StringIO()
        self.patch(filecommand.sys, "stderr", shown)
        display = Display("doc.bin", 1000)
        display.update(400)
        display.close()
        self.assertEqual(shown.getvalue(), "")


class Questions:
    """
    A prompt.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: list[Deferred[bool]] = []

    def ask(self, question: str) -> "Deferred[bool]":
        self.asked.append(question)
        self.answers.append(Deferred())
        return self.answers[-1]


class AcceptorTests(SynchronousTestCase):
    """
    What is accepted.
    """

    def setUp(self) -> None:
        self.lines: list[str] = []
        self.patch(receivecommand, "show", self.lines.append)
        self.folder = Path(self.mktemp())

    def acceptor(self, prompt: Any = None, **options: Any) -> Acceptor:
        """
        Make one.
        """
        chosen = {"senders": [], "dir": self.folder, "yes": True, "once": False, "max_size": None, **options}
        return Acceptor(argparse.Namespace(**chosen), prompt)

    def incoming(self, sender: str = ALICE, **changes: Any) -> IncomingFile:
        """
        An offer.
        """
        return IncomingFile(sender, "sid", FileOffer(**{"name": "a/doc\x1b.bin", "size": 10, **changes}))

    def test_yes(self) -> None:
        """
        Told to accept, everything is accepted.
        """
        acceptor = self.acceptor()
        self.assertIsInstance(acceptor.fileOffered(self.incoming(description="a\nb")), Inbox)
        self.assertEqual(self.lines, [f"receiving doc.bin (10 bytes) from {ALICE} (a b)"])
        self.assertEqual(acceptor.busy, 1)

    def test_senders(self) -> None:
        """
        When senders are named others are refused, also those whose address is none.
        """
        acceptor = self.acceptor(senders=["example.org", "bob@example.com"])
        acceptor.fileOffered(self.incoming())
        acceptor.fileOffered(self.incoming("bob@example.com/x"))
        for sender in ("eve@example.com/x", "@@"):
            self.assertRaises(Refused, acceptor.fileOffered, self.incoming(sender))

    def test_visible(self) -> None:
        """
        Those who are named may know that we are here; strangers may not.
        """
        acceptor = self.acceptor(senders=["example.org"])
        self.assertTrue(acceptor.permits(ALICE))
        self.assertFalse(acceptor.permits("eve@example.com/x"))
        self.assertFalse(acceptor.permits("@@"))
        self.assertFalse(self.acceptor().permits(ALICE))

    def test_oneOnly(self) -> None:
        """
        With --once a second file is refused while the first is on its way.
        """
        acceptor = self.acceptor(once=True)
        acceptor.fileOffered(self.incoming())
        self.assertRaises(Refused, acceptor.fileOffered, self.incoming(name="b"))

    def test_asked(self) -> None:
        """
        Otherwise somebody is asked, and the answer counts.
        """
        questions = Questions()
        acceptor = self.acceptor(questions, yes=False)
        decision = acceptor.fileOffered(self.incoming())
        self.assertEqual(questions.asked, [f"doc.bin (10 bytes) from {ALICE}. Accept? [y/N] "])
        questions.answers[0].callback(True)
        self.assertIsInstance(self.successResultOf(decision), Inbox)
        declined = acceptor.fileOffered(self.incoming(name="b"))
        questions.answers[1].callback(False)
        self.failureResultOf(declined, Refused)
        self.assertNoResult(acceptor.enough)

    def test_declinedOnce(self) -> None:
        """
        With --once a no is the end as well.
        """
        questions = Questions()
        acceptor = self.acceptor(questions, yes=False, once=True)
        declined = acceptor.fileOffered(self.incoming())
        questions.answers[0].callback(False)
        self.failureResultOf(declined, Refused)
        self.assertEqual(self.successResultOf(acceptor.enough), 1)

    def test_received(self) -> None:
        """
        A file that is there is told; with --once that is enough.
        """
        acceptor = self.acceptor(once=True)
        incoming = self.incoming()
        acceptor.fileOffered(incoming)
        acceptor.fileProgressed(incoming, 10)
        acceptor.fileReceived(incoming, TransferReport(**LinesTests.report))  # type: ignore[arg-type]
        self.assertIn("SHA-256", self.lines[-1])
        self.assertEqual(self.successResultOf(acceptor.enough), 0)
        self.assertEqual(acceptor.busy, 0)

    def test_failed(self) -> None:
        """
        So is one that is not there, with what is left of it.
        """
        for once in (True, False):
            acceptor = self.acceptor(once=once)
            incoming = self.incoming()
            acceptor.fileOffered(incoming)
            acceptor.fileFailed(incoming, TransferError("it broke"), once)
            self.assertEqual(self.lines[-1].startswith("failed: doc.bin: it broke"), True)
            self.assertEqual("is kept" in self.lines[-1], once)
            self.assertEqual(acceptor.enough.called, once)

    def test_notDecided(self) -> None:
        """
        A question that nobody has answered is told; with --once it is the end, as a no is.
        """
        for once in (True, False):
            acceptor = self.acceptor(once=once)
            acceptor.fileFailed(self.incoming(), NotDecided("nobody decided about it within 5 s"), False)
            self.assertEqual(
                self.lines[-1],
                f"declined doc.bin (10 bytes) from {ALICE}: nobody decided about it within 5 s",
            )
            self.assertEqual(acceptor.enough.called, once)

    def test_twoYes(self) -> None:
        """
        With --once only the first of two questions can be answered with yes.
        """
        questions = Questions()
        acceptor = self.acceptor(questions, yes=False, once=True)
        decisions = [acceptor.fileOffered(self.incoming(name=name)) for name in "ab"]
        for answer in questions.answers:
            answer.callback(True)
        self.successResultOf(decisions[0])
        self.failureResultOf(decisions[1], Refused)
        self.assertIn("--once is for one", self.lines[-1])

    def test_end(self) -> None:
        """
        The end waits for what is being received.
        """
        acceptor = self.acceptor()
        incoming = self.incoming()
        acceptor.fileOffered(incoming)
        acceptor.end(Refused("it is over"))
        self.assertNoResult(acceptor.enough)
        acceptor.fileFailed(incoming, TransferError("it broke"), False)
        self.failureResultOf(acceptor.enough, Refused)
        acceptor.end(Refused("it is over"))

    def test_neverAccepted(self) -> None:
        """
        What was never accepted is not told again when it comes to nothing.
        """
        acceptor = self.acceptor(once=True)
        acceptor.fileFailed(self.incoming(), Refused("x"), False)
        self.assertEqual(self.lines, [])
        self.assertNoResult(acceptor.enough)


class AnnouncerTests(SynchronousTestCase):
    """
    Who sees that we are here.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.server = MemoryXMPPServer(self.clock)
        manager = self.server.connect("bob@example.org/x")
        self.announcer = Announcer(lambda sender: sender.startswith("alice@"))
        self.announcer.setHandlerParent(manager)
        self.clock.advance(0)
        self.lines: list[str] = []
        self.patch(announcing, "show", self.lines.append)

    def arrive(self, sender: str, kind: str | None = None) -> None:
        """
        Let a presence arrive.
        """
        presence = Element((None, "presence"))
        presence["to"] = "bob@example.org/x"
        if kind:
            presence["type"] = kind
        self.server.route(sender, presence)
        self.clock.advance(0)

    def shown(self) -> list[str]:
        """
        To whom presence was sent.
        """
        sent = [text for text in self.server.stanzas if "from='bob@" in text]
        return [text.partition("to='")[2].partition("'")[0] for text in sent]

    def test_everybodyElse(self) -> None:
        """
        Presence is sent once to the server, and messages are wanted least of all.
        """
        self.assertEqual(self.shown(), ["example.org"])
        self.assertIn("<priority>-1</priority>", self.server.stanzas[0])

    def test_sender(self) -> None:
        """
        Who may send, and shows itself, is shown; once, until it goes.
        """
        self.arrive("alice@example.org/a")
        self.arrive("alice@example.org/a")
        self.arrive("eve@example.com/b")
        self.arrive("alice@example.org/c", "subscribe")
        self.assertEqual(self.shown()[1:], ["alice@example.org/a"])
        self.arrive("alice@example.org/a", "unavailable")
        self.arrive("alice@example.org/a")
        self.assertEqual(self.shown()[1:], ["alice@example.org/a"] * 2)

    def test_limit(self) -> None:
        """
        There is an end to it.
        """
        self.patch(announcing, "MAX_SHOWN", 2)
        for number in range(4):
            self.arrive(f"alice@example.org/{number}")
        self.assertEqual(len(self.shown()), 3)

    def test_lost(self) -> None:
        """
        Nobody can see us when the connection is lost: that is said once, and when it is back.
        """
        self.server.disconnect("bob@example.org/x")
        self.clock.advance(0)
        self.announcer.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(len(self.lines), 1)
        self.assertIn("lost the connection to the server", self.lines[0])
        self.announcer.setHandlerParent(self.server.connect("bob@example.org/x"))
        self.clock.advance(0)
        self.assertEqual(self.lines[1:], ["connected to the server again"])

    def test_leaving(self) -> None:
        """
        When we go on purpose nothing is said.
        """
        self.announcer.leaving = True
        self.server.disconnect("bob@example.org/x")
        self.clock.advance(0)
        self.assertEqual(self.lines, [])
