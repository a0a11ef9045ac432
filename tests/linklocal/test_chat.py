"""
Tests for L{xmppbytes.chat.lines}.
"""

import os

from twisted.trial.unittest import TestCase

from xmppbytes.chat import lines
from xmppbytes.chat.command import socketPath
from xmppbytes.chat.lines import NotUnderstood, Order, Situation, understand
from xmppbytes.errors import ConfigurationError

JULIET = "juliet@pronto"


class UnderstandTests(TestCase):
    """
    What a person types.
    """

    def setUp(self):
        self.situation = Situation(JULIET, (JULIET, "Julia@pronto", "nurse@verona"), "7")

    def command(self, line):
        order = understand(line, self.situation)
        self.assertEqual(order.kind, "command")
        return order.command, order.arguments

    def refused(self, line):
        return str(self.assertRaises(NotUnderstood, understand, line, self.situation))

    def test_saying(self):
        """
        What is no command is said; // is how to say a slash.
        """
        self.assertEqual(self.command(" hello there "), ("im", {"to": JULIET, "text": "hello there"}))
        self.assertEqual(self.command("//help"), ("im", {"to": JULIET, "text": "/help"}))
        self.assertIs(understand("  ", self.situation), None)
        self.situation.partner = ""
        self.assertIn("/to NAME", self.refused("hello"))

    def test_commands(self):
        """
        Every command of the control socket can be given.
        """
        for line, expected in (
            ("/who", ("roster", {})),
            ("/send a b.txt", ("file", {"to": JULIET, "path": "a b.txt"})),
            ("/send 'a b.txt'", ("file", {"to": JULIET, "path": "a b.txt"})),
            ("/send a\\ b", ("file", {"to": JULIET, "path": "a b"})),
            ("/send it's", ("file", {"to": JULIET, "path": "it's"})),
            ("/send ~/a b", ("file", {"to": JULIET, "path": os.path.expanduser("~/a b")})),
            ("/accept", ("accept", {"id": "7"})),
            ("/decline 8", ("decline", {"id": "8"})),
            ("/cancel 9", ("cancel", {"id": "9"})),
            ("/status dnd at the ball", ("status", {"status": "dnd", "message": "at the ball"})),
            ("/status", ("status", {"status": "avail", "message": ""})),
            ("/avatar me.png", ("avatar", {"path": "me.png"})),
            ("/avatar none", ("avatar", {"path": None})),
            ("/verify", ("verify", {"to": JULIET})),
            ("/close", ("close", {"to": JULIET})),
        ):
            self.assertEqual(self.command(line), expected)

    def test_others(self):
        """
        Some concern the chat alone.
        """
        self.assertEqual(understand("/help", self.situation).kind, "help")
        self.assertEqual(understand("/quit", self.situation).kind, "quit")
        self.assertEqual(understand("/to NUR", self.situation), Order("to", "", {"name": "nurse@verona"}))

    def test_names(self):
        """
        The beginning of a name is enough when it is one person's.
        """
        self.assertIn("may be", self.refused("/to jul"))
        self.assertIn("nobody", self.refused("/to tyb"))
        self.assertEqual(lines.findName(JULIET, self.situation.names), JULIET)

    def test_incomplete(self):
        """
        What is missing is told.
        """
        self.situation.offered = ""
        for line, text in (
            ("/dance", "there is no /dance"),
            ("/send", "/send FILE"),
            ("/avatar", "none"),
            ("/avatar letter.txt", "no picture"),
            ("/avatar letter", "no picture"),
            ("/accept", "no file was offered"),
        ):
            self.assertIn(text, self.refused(line))


class ShowTests(TestCase):
    """
    What a person sees.
    """

    def show(self, event, **values):
        line = lines.show({"event": event, **values})
        return None if line is None else line[6:]

    def test_people(self):
        """
        Who comes, changes and goes.
        """
        self.assertEqual(
            self.show("buddy-on", name=JULIET, status="away", message="lunch", nick="JuliC"),
            f"{JULIET} alias JuliC is away (lunch)",
        )
        self.assertEqual(self.show("buddy-off", name=JULIET), f"{JULIET} has left")
        self.assertEqual(self.show("signed-on", name=JULIET), f"you are {JULIET}")
        entry = {"name": JULIET, "status": "avail", "message": ""}
        self.assertEqual(lines.person(entry), f"  {JULIET} is here")
        self.assertEqual(lines.person({**entry, "tls": False}), f"  {JULIET} is here [not encrypted]")

    def test_safety(self):
        """
        What is not safe is marked.
        """
        for tls, pinned, mark in (
            (False, False, "[not encrypted] "),
            (True, False, "[key not known before] "),
            (True, True, ""),
        ):
            self.assertEqual(
                self.show("im", **{"from": JULIET}, text="hi", tls=tls, pinned=pinned), f"{mark}{JULIET}: hi"
            )

    def test_manyLines(self):
        """
        The lines of a text do not begin where our own do.
        """
        self.assertIn('"a: b@c": hi', self.show("im", **{"from": "a: b@c"}, text="hi", tls=True, pinned=True))
        shown = self.show("im", **{"from": JULIET}, text=f"a\n12:00 {JULIET}: b", tls=True, pinned=True)
        self.assertEqual(shown.splitlines()[1:], [f"      12:00 {JULIET}: b"])

    def test_streams(self):
        """
        A stream that is plain, new or known; its end is of no interest.
        """
        common = {"name": JULIET, "code": "ABCD-EFGH"}
        self.assertIn("NOT encrypted", self.show("stream", state="open", tls=False, **common))
        self.assertIn("ABCD-EFGH", self.show("stream", state="open", tls=True, new=True, **common))
        self.assertIn("known", self.show("stream", state="open", tls=True, new=False, **common))
        self.assertIs(self.show("stream", state="closed", **common), None)

    def test_files(self):
        """
        Files, both ways.
        """
        out = {"id": "1", "name": "a", "size": 2048, "direction": "out", "to": JULIET}
        into = {"id": "2", "name": "b", "size": 5 << 30, "direction": "in", "from": JULIET}
        self.assertIn("'a' is with", self.show("file-done", path="/x", **out))
        plain = {**out, "tls": False, "pinned": False}
        self.assertIn("[not encrypted] 'a' is with", self.show("file-done", path="/x", **plain))
        self.assertIn("[not encrypted] 'a' did not", self.show("file-cancel", reason="x", **plain))
        self.assertIn("is in /x", self.show("file-done", path="/x", **into))
        self.assertIn("(5.0 GiB)", self.show("file-request", tls=True, pinned=True, **into))
        self.assertIn("no way", self.show("file-cancel", reason="no way", **out))
        self.assertEqual(lines.progress({"bytes": 1024, **out}), f"a to {JULIET}: 50 %")
        self.assertEqual(lines.progress({"bytes": 0, **into}), f"b from {JULIET}: 0 %")

    def test_others(self):
        """
        Events of no interest are not shown.
        """
        self.assertIs(self.show("buddy-icon"), None)

    def test_sizes(self):
        """
        Sizes for people.
        """
        self.assertEqual([lines.size(n) for n in (0, 2048, 3 << 20)], ["0 bytes", "2.0 KiB", "3.0 MiB"])


class SocketTests(TestCase):
    """
    Where the service is.
    """

    def test_path(self):
        """
        Only unix sockets are spoken to.
        """
        self.assertEqual(str(socketPath("unix:/run/x:mode=600")), "/run/x")
        for text in ("tcp:1234", "unix:"):
            self.assertRaises(ConfigurationError, socketPath, text)
