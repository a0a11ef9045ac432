"""
Tests for L{xmppbytes.linklocal.messages} and L{xmppbytes.linklocal.events}.
"""

from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase
from twisted.words.xish.domish import Element
from twisted.words.xish.utility import EventDispatcher

from xmppbytes.errors import NotReachable
from xmppbytes.linklocal.events import EventHub, describe
from xmppbytes.linklocal.messages import MessageHandler, buildMessage, legible
from xmppbytes.linklocal.pins import Pin
from xmppbytes.linklocal.presence import Presence
from xmppbytes.linklocal.roster import Buddy
from xmppbytes.linklocal.safety import safety


class FakeStream:
    """
    A stream whose peer confirms when it is told to.
    """

    peer, address, code = "juliet@pronto", "169.254.1.1", "ABCD-EFGH"
    isBroken = False

    def __init__(self, tls=True, pin=Pin.NEW):
        self.tls, self.pin = tls, pin
        self.left = 0

    def unacknowledged(self):
        return self.left

    def abort(self, reason):
        self.isBroken = True


class BuildTests(TestCase):
    """
    Messages as libpurple reads them right.
    """

    def test_bothForms(self):
        """
        The text stands in the body, and escaped in the only form that libpurple takes for formatted.
        """
        self.assertEqual(
            buildMessage("a <b>\nc & d").toXml(),
            "<message xmlns='jabber:client' type='chat'><body>a &lt;b&gt;\nc &amp; d</body>"
            "<html xmlns='http://www.w3.org/1999/xhtml'><body><font>a &lt;b&gt;<br/>c &amp; d</font></body>"
            "</html></message>",
        )

    def test_legible(self):
        """
        What XML or a terminal cannot bear is left out.
        """
        self.assertEqual(legible("a\x00b\x1b[2Jc\r\nd\te\u200bf\ud800"), "ab[2Jc\nd\tef")


class HandlerTests(TestCase):
    """
    What people say.
    """

    def setUp(self):
        self.clock = Clock()
        self.heard = []
        self.handler = MessageHandler(self.clock, self)
        self.stream = FakeStream()
        self.handler.setHandlerParent(self)
        self.xmlstream = EventDispatcher()
        self.handler.makeConnection(self.xmlstream)
        self.handler.connectionInitialized()

    def addHandler(self, handler):
        pass

    def deliver(self, name, stanza):
        self.sent = (name, stanza)
        return succeed(self.stream)

    def messageReceived(self, name, text):
        self.heard.append((name, text))

    def receive(self, body, kind="chat", **attributes):
        message = Element(("jabber:client", "message"))
        message["from"], message["type"] = "juliet@pronto", kind
        if body is not None:
            message.addElement("body", content=body)
        self.xmlstream.dispatch(message)
        return message

    def test_received(self):
        """
        The body is told.
        """
        self.assertTrue(self.receive("hello").handled)
        self.assertEqual(self.heard, [("juliet@pronto", "hello")])

    def test_nothing(self):
        """
        Errors, and signs that somebody is typing, are no messages.
        """
        self.receive("x", kind="error")
        self.receive(None)
        self.receive("")
        self.receive(" \n")
        self.assertEqual(self.heard, [])

    def test_confirmed(self):
        """
        Saying is done when the peer's system has confirmed every byte.
        """
        self.stream.left = 10
        said = self.handler.say("juliet@pronto", "hello")
        self.clock.pump([0.05] * 10)
        self.assertNoResult(said)
        self.stream.left = 0
        self.clock.advance(0.05)
        self.assertIs(self.successResultOf(said), self.stream)
        self.assertEqual(self.sent[0], "juliet@pronto")

    def test_unconfirmed(self):
        """
        Without a confirmation within twenty seconds it has failed.
        """
        self.stream.left = 10
        said = self.handler.say("juliet@pronto", "hello")
        self.clock.pump([0.05] * 750)
        self.failureResultOf(said, NotReachable)
        self.assertTrue(self.stream.isBroken)

    def test_broken(self):
        """
        When the connection breaks meanwhile it has failed as well.
        """
        self.stream.left = 10
        said = self.handler.say("juliet@pronto", "hello")
        self.stream.left, self.stream.isBroken = 0, True
        self.clock.advance(0.05)
        self.failureResultOf(said, NotReachable)


class HubTests(TestCase):
    """
    Events for everybody who listens.
    """

    def setUp(self):
        self.clock = Clock()
        self.hub = EventHub(self.clock)
        self.told = []
        self.hub.addListener(self.told.append)

    def test_people(self):
        """
        Who comes, changes, shows an avatar and goes, with everything that is known.
        """
        buddy = Buddy("juliet@pronto", Presence("dnd", "M'lady", nick="JuliC", jid="j@capulet.lit"), {"eth0"})
        self.hub.buddyOn(buddy)
        self.hub.buddyStatus(buddy)
        buddy.iconPath, buddy.iconHash = "/icon", "abc"
        self.hub.buddyIcon(buddy)
        self.hub.buddyOff(buddy)
        known = {
            "name": "juliet@pronto",
            "status": "dnd",
            "message": "M'lady",
            "links": ["eth0"],
            "nick": "JuliC",
            "jid": "j@capulet.lit",
        }
        self.assertEqual(
            self.told,
            [
                {"event": "buddy-on", **known},
                {"event": "buddy-status", **known},
                {"event": "buddy-icon", "name": "juliet@pronto", "path": "/icon", "sha1": "abc"},
                {"event": "buddy-off", "name": "juliet@pronto"},
            ],
        )
        self.assertEqual(describe(buddy)["icon"], "/icon")

    def test_streams(self):
        """
        How safe each stream is.
        """
        self.hub.streamChanged(FakeStream())
        self.hub.streamClosed(FakeStream(True, Pin.SAME), "enough")
        self.assertEqual(
            self.told,
            [
                {
                    "event": "stream",
                    "name": "juliet@pronto",
                    "state": "open",
                    "new": True,
                    "code": "ABCD-EFGH",
                    "tls": True,
                    "pinned": False,
                },
                {
                    "event": "stream",
                    "name": "juliet@pronto",
                    "state": "closed",
                    "reason": "enough",
                    "tls": True,
                    "pinned": True,
                },
            ],
        )

    def test_messages(self):
        """
        Each message tells how safe its stream is; without one it is not safe.
        """
        self.hub.messageReceived("juliet@pronto", "one")
        self.hub.streamOf = lambda name: FakeStream(True, Pin.SAME)
        self.hub.messageReceived("juliet@pronto", "two")
        self.hub.streamOf = lambda name: FakeStream(False, Pin.NONE)
        self.hub.messageReceived("juliet@pronto", "three")
        self.assertEqual(
            [(event["text"], event["tls"], event["pinned"]) for event in self.told],
            [("one", False, False), ("two", True, True), ("three", False, False)],
        )
        self.assertEqual(safety(None), {"tls": False, "pinned": False})

    def test_flood(self):
        """
        Who changes his status a hundred times a second gets so many lines in the log a minute, then one that
        counts the others; programs are told everything.
        """
        buddy = Buddy("juliet@pronto", Presence(), {"eth0"})
        with capturedLogs() as logs:
            for _ in range(6000):
                self.hub.buddyStatus(buddy)
                self.clock.advance(0.01)
            self.clock.advance(60)
        self.assertEqual(len(self.told), 6000)
        self.assertEqual(len(logs), 21)
        self.assertEqual((logs[-1]["about"], logs[-1]["count"]), ("juliet@pronto", 5980))

    def test_manyNames(self):
        """
        Likewise who comes and goes under a new name each time.
        """
        with capturedLogs() as logs:
            for number in range(3000):
                buddy = Buddy(f"juliet{number}@pronto", Presence(), {"eth0"})
                self.hub.buddyOn(buddy)
                self.hub.buddyOff(buddy)
            self.hub.stop()
        self.assertEqual(len(logs), 601)
        self.assertEqual((logs[-1]["about"], logs[-1]["count"]), ("others", 5400))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_manyWords(self):
        """
        And who says more in a minute than anybody reads.
        """
        with capturedLogs() as logs:
            for _ in range(1000):
                self.hub.messageReceived("juliet@pronto", "x")
            self.hub.stop()
        self.assertEqual(len(self.told), 1000)
        self.assertEqual(len(logs), 61)

    def test_listeners(self):
        """
        Whoever does not listen any more is told nothing.
        """
        self.hub.removeListener(self.told.append)
        self.hub.emit("x")
        self.assertEqual(self.told, [])
