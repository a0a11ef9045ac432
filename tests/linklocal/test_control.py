"""
Tests for L{xmppbytes.linklocalcontrol}.
"""

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import TestCase

from xmppbytes import linklocalcontrol as module
from xmppbytes.errors import NotReachable
from xmppbytes.linklocal.events import EventHub
from xmppbytes.linklocalcontrol import ControlFactory


class Transport(StringTransport):
    """
    Has what a unix transport has beyond a StringTransport.
    """

    aborted = False

    def abortConnection(self):
        self.aborted = True


class ControlTests(TestCase):
    """
    Commands and events.
    """

    def setUp(self):
        self.hub = EventHub(Clock())
        self.calls = []
        self.later = Deferred()
        commands = {
            "im": (self.say, {"to": (str,), "text": (str,)}),
            "status": (lambda **arguments: self.calls.append(arguments), {"message": (str, type(None))}),
            "later": (lambda: self.later, {}),
            "refused": (self.refuse, {}),
            "broken": (lambda: 1 / 0, {}),
        }
        self.factory = ControlFactory(self.hub, commands, lambda: [{"event": "signed-on", "name": "me"}])
        self.client, self.transport = self.connect()
        self.answers()

    def connect(self):
        client, transport = self.factory.buildProtocol(None), Transport()
        client.makeConnection(transport)
        return client, transport

    def say(self, to, text):
        self.calls.append((to, text))
        return {"to": to}

    def refuse(self):
        raise NotReachable("nobody is there")

    def answers(self, transport=None):
        transport = transport or self.transport
        lines = transport.value().splitlines()
        transport.clear()
        return [json.loads(line) for line in lines]

    def test_halfACharacter(self):
        """
        Half of a surrogate pair is answered with an error wherever it stands.
        """
        for line in (b'{"cmd": "im", "to": "\\ud800", "text": "x"}', b'{"cmd": "x", "tag": "\\udc00"}'):
            (answer,) = self.tell(line + b"\n")
            self.assertEqual((answer["event"], answer["re"]), ("error", None))
            self.assertIn("surrogate", answer["text"])
        self.assertEqual(self.calls, [])

    def tell(self, line):
        self.client.dataReceived(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")
        return self.answers()

    def test_greeting(self):
        """
        A new client is told what is so.
        """
        _, transport = self.connect()
        self.assertEqual(self.answers(transport), [{"event": "signed-on", "name": "me"}])

    def test_command(self):
        """
        A command is done and answered, with its tag.
        """
        self.assertEqual(
            self.tell({"cmd": "im", "to": "a", "text": "b", "tag": [1]}),
            [{"event": "ok", "re": "im", "to": "a", "tag": [1]}],
        )
        self.assertEqual(self.calls, [("a", "b")])

    def test_pieces(self):
        """
        Commands come in any pieces; empty lines mean nothing.
        """
        for byte in b'\n{"cmd": "im", "to": "a", "text": "b"}\n  \n':
            self.client.dataReceived(bytes((byte,)))
        self.assertEqual(len(self.answers()), 1)

    def test_optional(self):
        """
        An argument that may be null may be left out.
        """
        self.tell({"cmd": "status"})
        self.tell({"cmd": "status", "message": "x"})
        self.assertEqual(self.calls, [{"message": None}, {"message": "x"}])

    def test_notUnderstood(self):
        """
        What makes no sense is answered by an error that says why.
        """
        for line, reason in (
            (b"hello\n", "one JSON object"),
            (b"[" * 100000 + b"\n", "one JSON object"),
            (b"\xff\n", "one JSON object"),
            (b"[]\n", "cmd"),
            ({"cmd": 1}, "cmd"),
            ({"cmd": "dance"}, "there is no command 'dance'"),
            ({"cmd": "im", "to": "a"}, "needs 'text', a text"),
            ({"cmd": "im", "to": 1, "text": "x"}, "needs 'to'"),
            ({"cmd": "status", "message": 1}, "a text or null"),
            ({"cmd": "later", "x": 1}, "has no 'x'"),
        ):
            [answer] = self.tell(line)
            self.assertEqual(answer["event"], "error")
            self.assertIn(reason, answer["text"])

    def test_refused(self):
        """
        What cannot be done says why; our own fault is logged.
        """
        self.assertEqual(
            self.tell({"cmd": "refused"}), [{"event": "error", "re": "refused", "text": "nobody is there"}]
        )
        [answer] = self.tell({"cmd": "broken"})
        self.assertIn("our own fault", answer["text"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_events(self):
        """
        Every client is told every event; one that has gone is not.
        """
        other, transport = self.connect()
        self.answers(transport)
        self.hub.emit("im", text="\u2603")
        self.assertEqual(self.answers(), [{"event": "im", "text": "\u2603"}])
        self.assertEqual(self.answers(transport), [{"event": "im", "text": "\u2603"}])
        other.connectionLost()
        self.hub.emit("im")
        self.assertEqual((len(self.answers()), self.answers(transport)), (1, []))

    def test_later(self):
        """
        What takes its time is answered when it is done; meanwhile others are. Too many are refused.
        """
        self.patch(module, "MAX_PENDING", 2)
        self.assertEqual(self.tell({"cmd": "later"}), [])
        self.assertEqual(len(self.tell({"cmd": "im", "to": "a", "text": "b"})), 1)
        self.tell({"cmd": "later"})
        [answer] = self.tell({"cmd": "later"})
        self.assertIn("too many", answer["text"])
        self.later.callback(None)
        self.assertEqual([answer["event"] for answer in self.answers()], ["ok", "ok"])

    def test_longLine(self):
        """
        A line that does not end is too long.
        """
        self.client.dataReceived(b"x" * (module.MAX_LINE + 1))
        self.assertIn("at most", self.answers()[0]["text"])
        self.assertTrue(self.transport.disconnecting)

    def test_manyClients(self):
        """
        So many clients at a time.
        """
        self.patch(module, "MAX_CONNECTIONS", 1)
        self.assertIs(self.factory.buildProtocol(None), None)
        self.client.connectionLost()
        self.assertIsNot(self.factory.buildProtocol(None), None)

    def test_slowClient(self):
        """
        For a client that does not read events are kept, but not without end.
        """
        self.patch(module, "MAX_BACKLOG", 3)
        self.client.pauseProducing()
        for number in range(3):
            self.hub.emit("im", number=number)
        self.assertEqual(self.answers(), [])
        self.client.resumeProducing()
        self.assertEqual([event["number"] for event in self.answers()], [0, 1, 2])
        self.client.pauseProducing()
        for _ in range(4):
            self.hub.emit("im")
        self.assertTrue(self.transport.aborted)
        self.client.stopProducing()

    @given(st.binary(max_size=100))
    def test_anyBytes(self, data):
        """
        Bytes of any kind never raise.
        """
        client, _ = self.connect()
        client.dataReceived(data.replace(b"\n", b"\n\n") + b"\n")
        client.connectionLost()
