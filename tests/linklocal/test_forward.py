"""
Tests for L{xmppbytes.linklocalforward}.
"""

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish.domish import Element
from twisted.words.xish.utility import EventDispatcher

from xmppbytes.account import AccountError
from xmppbytes.errors import NotReachable
from xmppbytes.linklocal.presence import Presence
from xmppbytes.linklocal.roster import Roster
from xmppbytes.linklocalforward import MAX_PER_MINUTE, Forwarder

ROMEO, NURSE = "Romeo M@forza", "nurse@verona"


class FakeAccount:
    """
    An account whose stanzas are kept.
    """

    def __init__(self):
        self.manager = self
        self.sent = []
        self.tries = []
        self.disconnected = False
        self.outcome = succeed(JID("me@here"))

    def addHandler(self, handler):
        self.handler = handler

    def send(self, element):
        self.sent.append(element)

    def connect(self):
        self.tries.append(None)
        return self.outcome

    async def disconnect(self):
        self.disconnected = True


class ForwarderTests(TestCase):
    """
    From the link to an address, and back.
    """

    def setUp(self):
        self.clock = Clock()
        self.clock.advance(600)
        self.account = FakeAccount()
        self.roster = Roster(self.clock)
        for name in (ROMEO, NURSE):
            self.roster.seen("eth0", name, (0.0, Presence().toText()))
        self.said = []
        self.forwarder = Forwarder(self.clock, self.account, JID("juliet@capulet.lit"), self.roster, self)
        self.stream = EventDispatcher()
        self.forwarder.makeConnection(self.stream)
        self.forwarder.connectionInitialized()
        self.account.sent.clear()

    def say(self, name, text):
        self.said.append((name, text))
        if text == "broken":
            return fail(RuntimeError("oops"))
        return fail(NotReachable("gone")) if "lost" in text else succeed(None)

    def hear(self, name, text, tls=True, pinned=True):
        self.forwarder.onEvent({"event": "im", "from": name, "text": text, "tls": tls, "pinned": pinned})

    def bodies(self):
        return [(message["to"], str(message.body)) for message in self.account.sent]

    def write(self, body, sender="juliet@capulet.lit/balcony", kind="chat"):
        message = Element((None, "message"))
        message["from"], message["type"] = sender, kind
        if body is not None:
            message.addElement("body", content=body)
        self.stream.dispatch(message)
        return message

    def test_forwarded(self):
        """
        What is said to us goes to the address, as text of our own; other events do not.
        """
        self.hear(ROMEO, "M'lady")
        self.hear(NURSE, "psst", tls=False, pinned=False)
        self.hear(NURSE, f"a\n{ROMEO}: b", pinned=False)
        self.forwarder.onEvent({"event": "buddy-on", "name": ROMEO})
        self.assertEqual(
            self.bodies(),
            [
                ("juliet@capulet.lit", f"{ROMEO}: M'lady"),
                ("juliet@capulet.lit", f"{NURSE} (not encrypted): psst"),
                ("juliet@capulet.lit", f"{NURSE} (key not known before): a\n  {ROMEO}: b"),
            ],
        )
        self.assertFalse(any(message.hasAttribute("from") for message in self.account.sent))

    def test_colonInName(self):
        """
        A name with a colon does not look like somebody else who says something.
        """
        self.hear(f"{ROMEO}: I hate you @x", "hm")
        self.assertEqual(self.bodies()[0][1], f'"{ROMEO}: I hate you @x": hm')

    def test_answered(self):
        """
        An answer goes to who has spoken last, or to whom it names.
        """
        self.hear(ROMEO, "M'lady")
        self.assertTrue(self.write("Art thou not Romeo?").handled)
        self.write(f"@{NURSE}: anon!")
        self.write("@NURSE@Verona:by and by")
        self.assertEqual(self.said, [(ROMEO, "Art thou not Romeo?"), (NURSE, "anon!"), (NURSE, "by and by")])

    def test_noName(self):
        """
        Only what stands behind an @ is a name, whatever people call themselves; two make one.
        """
        self.hear(ROMEO, "M'lady")
        for name in ("http", "Note", "@", ""):
            self.roster.seen("eth0", name or "x", (0.0, Presence().toText()))
        texts = ["http://x", "Note: at nine", f"{NURSE}: anon!", "@@home: at nine", "a @b: c"]
        for text in texts:
            self.write(text)
        self.assertEqual(self.said, [(ROMEO, text.replace("@@", "@")) for text in texts])

    def test_longestName(self):
        """
        Of two names of which one is the beginning of the other the longer one is meant.
        """
        for name in ("a", "a: b", "a: b@c"):
            self.roster.seen("eth0", name, (0.0, Presence().toText()))
        for text in ("@a: b@c: x", "@a: b: y", "@a: z"):
            self.write(text)
        self.assertEqual(self.said, [("a: b@c", "x"), ("a: b", "y"), ("a", "z")])

    def test_nobodyMeant(self):
        """
        An answer that is for nobody is told to be so, with who is here.
        """
        self.hear(ROMEO, "M'lady")
        self.write("@tybalt@verona: turn")
        self.write(f"@{NURSE}: ")
        for number in range(20):
            self.roster.seen("eth0", f"z{number}@x", (0.0, Presence().toText()))
        self.write("@")
        told = [text for _, text in self.bodies()[1:]]
        self.assertIn(f"begin with @NAME: to say to whom (here: {ROMEO}, {NURSE})", told[0])
        self.assertIn("nothing is said to nurse@verona", told[1])
        self.assertIn("and 12 more)", told[2])
        self.assertEqual(self.said, [])

    def test_nobodyHere(self):
        """
        Nobody has spoken, nobody is here.
        """
        self.roster.linkLost("eth0")
        self.write("hello?")
        self.assertIn("nobody has said anything yet", self.bodies()[0][1])
        self.assertIn("(here: nobody at present)", self.bodies()[0][1])

    def test_ownFaultInAnswer(self):
        """
        What nobody has foreseen while an answer is brought is in the log.
        """
        self.hear(ROMEO, "M'lady")
        self.write("broken")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_notDelivered(self):
        """
        What cannot be delivered comes back with the reason.
        """
        self.write("hello?")
        self.hear(ROMEO, "M'lady")
        self.write("lost")
        self.assertIn("NAME:", self.bodies()[0][1])
        self.assertIn("gone", self.bodies()[-1][1])

    def test_others(self):
        """
        Nobody else's messages are brought to the link, nor errors, nor empty ones.
        """
        self.hear(ROMEO, "M'lady")
        for message in (
            {"body": "x", "sender": "tybalt@capulet.lit"},
            {"body": "x", "sender": "@@"},
            {"body": "x", "sender": ""},
            {"body": "x", "kind": "error"},
            {"body": None},
        ):
            self.write(**message)
        self.assertEqual(self.said, [])

    def test_flood(self):
        """
        So many messages a minute.
        """
        for _ in range(MAX_PER_MINUTE + 5):
            self.hear(ROMEO, "x")
        self.assertEqual(len(self.bodies()), MAX_PER_MINUTE)
        self.clock.advance(60)
        self.hear(ROMEO, "x")
        self.assertEqual(len(self.bodies()), MAX_PER_MINUTE + 1)

    def test_notConnected(self):
        """
        While the account is not connected messages are not kept.
        """
        self.forwarder.connectionLost(Failure(ConnectionError("x")))
        self.hear(ROMEO, "x")
        self.assertEqual(self.bodies(), [])

    def test_connecting(self):
        """
        The account is tried again until it can be connected.
        """
        self.account.outcome = fail(AccountError("no such server"))
        self.forwarder.start()
        self.account.outcome = succeed(JID("me@here"))
        self.clock.advance(30)
        self.assertEqual(len(self.account.tries), 2)
        self.clock.advance(300)
        self.assertEqual(len(self.account.tries), 2)

    def test_ownFault(self):
        """
        What nobody has foreseen is in the log.
        """
        self.account.outcome = fail(RuntimeError("oops"))
        self.forwarder.start()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_stopped(self):
        """
        It can be stopped at any time.
        """
        self.account.outcome = Deferred()
        self.forwarder.start()
        self.successResultOf(Deferred.fromCoroutine(self.forwarder.stop()))
        self.assertTrue(self.account.disconnected)
        fresh = Forwarder(self.clock, self.account, JID("a@b"), self.roster, self)
        self.successResultOf(Deferred.fromCoroutine(fresh.stop()))
