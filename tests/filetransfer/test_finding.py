"""
Tests for L{xmppbytes.filetransfer.finding}.
"""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish.domish import Element

from xmppbytes.compat import disco
from xmppbytes.errors import NotReachable
from xmppbytes.filetransfer import finding
from xmppbytes.filetransfer.finding import PRESENCE_TIMEOUT, ReceiverFinder
from xmppbytes.filetransfer.stanzas import NS_FILE, NS_SI
from xmppbytes.stanza import RequestHandler
from xmppbytes.testing import MemoryXMPPServer

ROMEO = "romeo@montague.example/orchard"
JULIET = "juliet@capulet.example"
S5B = "http://jabber.org/protocol/bytestreams"
IBB = "http://jabber.org/protocol/ibb"
ALL = (NS_SI, NS_FILE, S5B)


class Client(RequestHandler):
    """
    Answers what it can do, or an error, or nothing.
    """

    requests = {("get", disco.NS_DISCO_INFO, "query"): "onInfo"}

    def __init__(self, *features: str, error: str = "") -> None:
        super().__init__()
        self.features = features
        self.error = error
        self.asked = 0

    def onInfo(self, iq: Element) -> Any:
        self.asked += 1
        if self.error == "silence":
            return Deferred()
        if self.error:
            raise StanzaError(self.error)
        query = Element((disco.NS_DISCO_INFO, "query"))
        query.addElement("identity")["category"] = "client"
        for feature in self.features:
            query.addElement("feature")["var"] = feature
        return query


class ReceiverFinderTests(SynchronousTestCase):
    """
    Looking for Juliet.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.server = MemoryXMPPServer(self.clock)
        self.finder = ReceiverFinder(self.clock)
        self.romeo = self.server.connect(ROMEO)
        self.finder.setHandlerParent(self.romeo)

    def client(self, resource: str, *features: str, error: str = "") -> Client:
        """
        Let a client of hers be there.
        """
        client = Client(*features, error=error)
        manager = self.server.connect(f"{JULIET}/{resource}")
        client.setHandlerParent(manager)
        return client

    def present(self, address: str, kind: str | None = None) -> None:
        """
        Let a presence arrive.
        """
        presence = Element((None, "presence"))
        presence["to"] = ROMEO
        if kind is not None:
            presence["type"] = kind
        self.server.route(address, presence)

    def find(self, target: str, *presences: str, seconds: float = 1.0) -> Any:
        """
        Look for her.
        """
        found = Deferred.fromCoroutine(self.finder.find(JID(target), (S5B, IBB)))
        self.clock.advance(0)
        for resource in presences:
            self.present(f"{JULIET}/{resource}")
        self.clock.pump([0.05] * int(seconds / 0.05))
        return found

    def reason(self, found: Any) -> str:
        return str(self.failureResultOf(found, NotReachable).value)

    def test_full(self) -> None:
        """
        A full address is asked what it can.
        """
        client = self.client("balcony", *ALL)
        self.assertEqual(self.successResultOf(self.find(f"{JULIET}/balcony")), f"{JULIET}/balcony")
        self.assertEqual(client.asked, 1)

    def test_lacks(self) -> None:
        """
        What is missing is named.
        """
        self.client("balcony", NS_SI, "jabber:iq:oob")
        self.assertEqual(
            self.reason(self.find(f"{JULIET}/balcony")),
            f"{JULIET}/balcony cannot receive files: its client lacks file transfer by stream initiation "
            "(XEP-0096), and SOCKS5 bytestreams (XEP-0065) or in-band bytestreams (XEP-0047); with "
            f"{JULIET} alone all clients that are seen there are tried",
        )

    def test_offline(self) -> None:
        """
        Nobody is at a full address.
        """
        self.assertIn("is not online", self.reason(self.find(f"{JULIET}/balcony")))

    def test_doesNotSay(self) -> None:
        """
        A client that does not know the question gets the offer.
        """
        self.client("balcony", error="feature-not-implemented")
        self.successResultOf(self.find(f"{JULIET}/balcony"))

    def test_silent(self) -> None:
        """
        One that does not answer is not waited for, long.
        """
        self.client("balcony", error="silence")
        self.assertIn("does not answer", self.reason(self.find(f"{JULIET}/balcony", seconds=11)))

    def test_ownConnectionLost(self) -> None:
        """
        Our own connection ends meanwhile.
        """
        self.client("balcony", error="silence")
        found = self.find(f"{JULIET}/balcony")
        self.server.disconnect(ROMEO)
        self.assertIn("our own server", self.reason(found))

    def test_byPresence(self) -> None:
        """
        The first resource that can is taken, without waiting for others.
        """
        self.client("old")
        self.client("balcony", *ALL)
        found = self.find(JULIET, "old", "balcony")
        self.assertEqual(self.successResultOf(found), f"{JULIET}/balcony")
        self.assertEqual([str(c) for c in self.clock.getDelayedCalls()], [])

    def test_sideBySide(self) -> None:
        """
        Clients that do not answer hold nobody up, neither each other nor the one that can; what they
        were asked is taken back.
        """
        for n in range(5):
            self.client(f"silent{n}", error="silence")
        self.client("balcony", *ALL)
        found = self.find(JULIET, *[f"silent{n}" for n in range(5)], "balcony")
        self.assertEqual(self.successResultOf(found), f"{JULIET}/balcony")
        self.assertEqual(self.romeo._iqDeferreds, {})
        found = self.find(JULIET, *[f"silent{n}" for n in range(5)], seconds=11)
        self.assertEqual(self.reason(found).count("does not answer"), 5)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancel(self) -> None:
        """
        A search that is cancelled leaves nothing behind.
        """
        self.client("balcony", error="silence")
        found = self.find(JULIET, "balcony")
        found.cancel()
        self.failureResultOf(found, CancelledError)
        self.assertEqual((self.clock.getDelayedCalls(), self.romeo._iqDeferreds), ([], {}))

    def test_unforeseen(self) -> None:
        """
        A fault of ours is not taken for a client's silence.
        """
        self.patch(finding, "NAMES", None)
        self.client("balcony")
        found = self.find(JULIET, "balcony")
        self.failureResultOf(found, TypeError)

    def test_asksToBeShown(self) -> None:
        """
        Who does not know us learns that we are there.
        """
        self.find(JULIET).addErrback(lambda _: None)
        self.assertIn(f"to='{JULIET}'", self.server.stanzas[0])

    def test_late(self) -> None:
        """
        Presence may take a while.
        """
        self.client("balcony", *ALL)
        found = self.find(JULIET, seconds=PRESENCE_TIMEOUT - 1)
        self.assertNoResult(found)
        self.present(f"{JULIET}/balcony")
        self.clock.advance(0.1)
        self.successResultOf(found)

    def test_nobody(self) -> None:
        """
        Nobody is there; others, her bare address, and those who have gone do not count.
        """
        self.client("gone", *ALL)
        found = Deferred.fromCoroutine(self.finder.find(JID(JULIET), (S5B,)))
        self.present("nurse@capulet.example/x")
        self.present(JULIET)
        self.present(f"{JULIET}/gone", "unavailable")
        self.clock.pump([0.5] * 12)
        self.assertIn("is not online, or does not show it to us", self.reason(found))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_noneCan(self) -> None:
        """
        All are there, and none can: each is named with what it lacks.
        """
        self.client("a", NS_SI, NS_FILE)
        self.client("b", error="forbidden")
        text = self.reason(self.find(JULIET, "a", "b", seconds=6))
        self.assertIn(f"{JULIET}/a cannot receive files: its client lacks SOCKS5", text)
        self.assertIn(f"{JULIET}/b cannot receive files: it is not online", text)

    def test_limit(self) -> None:
        """
        Nobody makes us keep more resources than make sense.
        """
        self.patch(finding, "MAX_RESOURCES", 2)
        self.find(JULIET, *[str(n) for n in range(5)], seconds=6).addErrback(lambda _: None)
        asked = {text for text in self.server.stanzas if "disco#info" in text}
        self.assertEqual(len(asked), 2)

    def test_flapping(self) -> None:
        """
        Nor does somebody whose resources come and go for ever.
        """
        self.patch(finding, "MAX_RESOURCES", 2)
        found = Deferred.fromCoroutine(self.finder.find(JID(JULIET), (S5B,)))
        for n in range(20):
            self.present(f"{JULIET}/{n}")
            self.clock.pump([0.1] * 4)
            self.present(f"{JULIET}/{n}", "unavailable")
        self.assertIn("is not online", self.reason(found))
        asked = {text for text in self.server.stanzas if "disco#info" in text}
        self.assertEqual(len(asked), 2)
