"""
Tests for L{xmppbytes.linklocalcommands}, and that docs/linklocal.md tells of every command and event.
"""

import ast
import re
from pathlib import Path

from twisted.internet.defer import fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

import xmppbytes
from tests.linklocal.fakes import FakeDiscovery
from xmppbytes.errors import ConfigurationError, NotReachable
from xmppbytes.linklocal.pins import Pin, PinStore
from xmppbytes.linklocal.presence import Presence
from xmppbytes.linklocalcommands import Commands

JULIET = "juliet@pronto"
ROOT = Path(xmppbytes.__file__).parent


class Stream:
    """
    A stream with Juliet.
    """

    peer, code = JULIET, "ABCD-EFGH"

    def __init__(self, tls, pin):
        self.tls, self.pin = tls, pin


class World:
    """
    What the commands command.
    """

    def __init__(self):
        self.security = self
        self.pins = PinStore(None)
        self.current = Stream(True, Pin.SAME)
        self.sent = []
        self.stopped = False

    # Mesh

    def stream(self, name):
        return self.current

    def streamTo(self, name):
        return succeed(self.current)

    def close(self, name, reason):
        return name == JULIET

    # Messages

    def say(self, name, text):
        return fail(NotReachable("gone")) if text == "lost" else succeed(self.current)

    # Files

    def send(self, name, path):
        self.sent.append((name, path))
        return "7"

    def accept(self, id):
        pass

    decline = cancel = accept

    # Reactor

    def stop(self):
        self.stopped = True


class CommandTests(TestCase):
    """
    What is done, and what is answered.
    """

    def setUp(self):
        self.clock = Clock()
        self.world = World()
        self.clock.stop = self.world.stop
        self.discovery = FakeDiscovery(self.clock, "romeo@forza")
        self.discovery.add(JULIET, 5562, "169.254.1.1")
        self.shown = []
        self.discovery.setPresence = self.shown.append
        self.discovery.setIcon = self.shown.append
        self.commands = self.make(True)

    def make(self, mayShowAvatar):
        world = self.world
        return Commands(self.clock, self.discovery, world, world, world, Presence(nick="Ro"), mayShowAvatar)

    def test_say(self):
        """
        What is said is in the log with how safe it was; the answer tells it too.
        """
        with capturedLogs() as logs:
            answer = self.successResultOf(self.commands.say("Juliet@PRONTO", "M'lady"))
        self.assertEqual(answer, {"to": JULIET, "tls": True, "pinned": True})
        self.assertEqual(formatEvent(logs[0]), f'to {JULIET} (encrypted, key known): "M\'lady"')
        with capturedLogs() as logs:
            self.failureResultOf(self.commands.say(JULIET, "lost"), NotReachable)
        self.assertEqual(logs, [])

    def test_roster(self):
        """
        Everybody who is here, with how safe the stream is, if there is one.
        """
        [entry] = self.commands.listRoster()["roster"]
        self.assertEqual((entry["name"], entry["tls"], entry["pinned"]), (JULIET, True, True))
        self.world.current = None
        self.assertNotIn("tls", self.commands.listRoster()["roster"][0])

    def test_file(self):
        """
        A file is for somebody who is here, under the name that he has published.
        """
        self.assertEqual(self.commands.sendFile("JULIET@pronto", "/x"), {"id": "7", "to": JULIET})
        self.assertEqual(self.world.sent, [(JULIET, "/x")])
        self.assertRaises(NotReachable, self.commands.sendFile, "nurse@verona", "/x")

    def test_status(self):
        """
        Another status leaves the rest as it was; only those that there are can be told.
        """
        self.commands.setStatus("dnd", "at the ball")
        self.commands.setStatus("away", None)
        self.assertEqual(
            self.shown, [Presence("dnd", "at the ball", nick="Ro"), Presence("away", "", nick="Ro")]
        )
        self.assertRaises(ConfigurationError, self.commands.setStatus, "chatty", None)

    def test_avatar(self):
        """
        Another picture, or none; with --no-personal-info only none.
        """
        picture = Path(self.mktemp())
        picture.write_bytes(b"png")
        self.commands.setAvatar(str(picture))
        self.commands.setAvatar(None)
        self.assertEqual(self.shown, [b"png", None])
        self.assertRaises(ConfigurationError, self.commands.setAvatar, "/no/such/file")
        private = self.make(False)
        private.setAvatar(None)
        self.assertRaises(ConfigurationError, private.setAvatar, str(picture))

    def test_verify(self):
        """
        The code, and the key that is known; nothing without encryption.
        """
        self.world.pins.check(JULIET, "a" * 64)
        answer = self.successResultOf(self.commands.verify(JULIET))
        self.assertEqual((answer["code"], answer["fingerprint"]), ("ABCD-EFGH", "a" * 64))
        self.world.current = Stream(False, Pin.NONE)
        error = self.failureResultOf(self.commands.verify(JULIET), NotReachable)
        self.assertIn("nothing to compare", str(error.value))

    def test_close(self):
        """
        A stream is closed; where there is none that is said.
        """
        self.commands.close(JULIET)
        self.assertRaises(NotReachable, self.commands.close, "nurse@verona")

    def test_quit(self):
        """
        The program ends after the answer.
        """
        self.commands.quit()
        self.assertFalse(self.world.stopped)
        self.clock.advance(1)
        self.assertTrue(self.world.stopped)


class DocumentTests(TestCase):
    """
    docs/linklocal.md and the program know the same commands and events.
    """

    def setUp(self):
        path = ROOT.parent / "docs" / "linklocal.md"
        self.text = path.read_text(encoding="utf-8")

    def firstCells(self, heading):
        """
        Give the names in the first column of the table with this heading.
        """
        rows = self.text.split(heading, 1)[1].splitlines()[2:]
        table = rows[: next(number for number, row in enumerate(rows) if not row.startswith("|"))]
        return {name for row in table for name in re.findall("`([^`]+)`", row.split("|")[1])}

    def test_commands(self):
        """
        Every command, and no other.
        """
        world = World()
        table = Commands(None, None, world, world, world, Presence(), True).table()
        self.assertEqual(self.firstCells("| command | arguments |"), set(table))
        rows = self.text.split("| command | arguments |", 1)[1].splitlines()
        for command, (_, arguments) in table.items():
            row = next(row for row in rows if row.startswith("|") and f"`{command}`" in row.split("|")[1])
            for argument in arguments:
                self.assertIn(f"`{argument}`", row, command)

    def test_events(self):
        """
        Every event, and no other.
        """
        emitted = {"signed-on", "buddy-on"}
        for path in (*ROOT.glob("linklocal*.py"), *(ROOT / "linklocal").glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "emit":
                    emitted.add(node.args[0].value)
        self.assertEqual(self.firstCells("| event | keys |"), emitted)
