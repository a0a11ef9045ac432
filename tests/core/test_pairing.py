"""
Tests for L{xmppbytes.core.pairing}.
"""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fakes import FakeEngine, FakeLeg, FakeRelayed, FakeWatch
from xmppbytes.core.leg import LegKind
from xmppbytes.core.limits import Limits
from xmppbytes.core.pairing import Rendezvous
from xmppbytes.core.sessions import Parties, Sessions
from xmppbytes.errors import KeyTaken, LimitReached, NobodyConnected, PartyMismatch, PartyMissing
from xmppbytes.interfaces import IStreamHost

KEY = b"k" * 40
PARTIES = Parties("romeo@example.org/orchard", "juliet@example.com/balcony", "sid")


class RendezvousCase(SynchronousTestCase):
    """
    A rendezvous whose legs are fakes.
    """

    limits = Limits(pendingTimeout=300)

    def setUp(self) -> None:
        self.clock = Clock()
        self.engine = FakeEngine()
        self.watch = FakeWatch()
        self.sessions = Sessions(self.clock, self.limits, [self.engine])
        self.rendezvous = Rendezvous(self.clock, self.limits, self.sessions, self.watch)

    def leg(self, address: str = "192.0.2.1", early: bytes = b"") -> FakeLeg:
        leg = FakeLeg(FakeTransportStub(), address, early)
        leg.host = self.rendezvous
        self.rendezvous.admit(leg)
        return leg

    def joined(self, key: bytes = KEY, address: str = "192.0.2.1", early: bytes = b"") -> FakeLeg:
        leg = self.leg(address, early)
        self.rendezvous.join(key, leg)
        return leg

    def assertForgotten(self) -> None:
        """
        Nothing is left of anybody who was pending.
        """
        self.assertEqual((self.rendezvous.pending, self.watch.watched), (0, {}))
        self.assertEqual(self.rendezvous._legsOf, {})
        self.assertEqual(self.rendezvous._perOrigin, {})
        self.assertEqual(len(self.rendezvous._deadlines), 0)


class FakeTransportStub:
    """
    All that a rendezvous asks of a transport: to be one.
    """

    def pauseProducing(self) -> None:
        pass


class JoiningTests(RendezvousCase):
    """
    Who may come.
    """

    def test_interface(self) -> None:
        """
        It is a stream host.
        """
        verifyObject(IStreamHost, self.rendezvous)

    def test_pair(self) -> None:
        """
        Two legs with one key find each other, in the order in which they came.
        """
        first, second = self.joined(), self.joined()
        self.assertEqual(self.rendezvous.legs(KEY), (first, second))
        self.assertEqual(self.rendezvous.legs(b"other"), ())
        self.assertTrue(self.rendezvous.knows(KEY))
        self.assertFalse(self.rendezvous.knows(b"other"))
        self.assertEqual(self.rendezvous.pending, 2)

    def test_thirdIsRefused(self) -> None:
        """
        A third leg for a key is refused, and the first two are unharmed.
        """
        legs = (self.joined(), self.joined())
        third = self.leg()
        error = self.assertRaises(KeyTaken, self.rendezvous.join, KEY, third)
        self.assertIn("both parties", str(error))
        self.rendezvous.leave(third)
        self.assertEqual(self.rendezvous.legs(KEY), legs)
        self.rendezvous.activate(KEY, PARTIES)
        self.assertEqual(self.engine.sessions[0].legs, legs)

    def test_thirdWhileActive(self) -> None:
        """
        While a bytestream is active its key is taken; when it has ended it is free.
        """
        self.joined(), self.joined()
        self.rendezvous.activate(KEY, PARTIES)
        third = self.leg()
        self.assertRaises(KeyTaken, self.rendezvous.join, KEY, third)
        self.engine.sessions[0].end()
        self.rendezvous.join(KEY, third)
        self.assertEqual(self.rendezvous.legs(KEY), (third,))

    def test_otherKind(self) -> None:
        """
        Legs of different kinds never meet.
        """
        first, second = self.joined(), self.leg()
        second.kind = LegKind.DATAGRAM
        error = self.assertRaises(KeyTaken, self.rendezvous.join, KEY, second)
        self.assertIn("another kind", str(error))
        self.assertEqual(self.rendezvous.legs(KEY), (first,))

    def test_leaving(self) -> None:
        """
        Who leaves is forgotten, joined or not, and may leave twice.
        """
        first, second, third = self.joined(), self.joined(), self.leg()
        self.rendezvous.leave(first)
        self.assertEqual(self.rendezvous.legs(KEY), (second,))
        for leg in (first, second, third, third):
            self.rendezvous.leave(leg)
        self.assertFalse(self.rendezvous.knows(KEY))
        self.assertForgotten()

    def test_goneIsForgottenAtOnce(self) -> None:
        """
        A peer that is noticed to be gone loses its place, which another may take.
        """
        first, second = self.joined(), self.joined()
        self.watch.leave(first.transport)
        self.assertEqual(first.closed, "it left before the activation")
        third = self.joined()
        self.assertEqual(self.rendezvous.legs(KEY), (second, third))

    def test_quickSenderIsKept(self) -> None:
        """
        One that has gone, but whose bytes came glued to its request, is kept: they count.
        """
        quick = self.joined(early=b"a small file")
        self.watch.leave(quick.transport)
        self.assertIsNone(quick.closed)
        self.joined()
        self.rendezvous.activate(KEY, PARTIES)
        self.assertForgotten()

    def test_timeout(self) -> None:
        """
        Who is not activated in time, from the connection on, is closed.
        """
        joined, admitted = self.joined(), self.leg()
        self.clock.advance(299)
        self.rendezvous.join(KEY, admitted)
        self.assertEqual((joined.closed, admitted.closed), (None, None))
        self.clock.advance(1)
        self.assertEqual((joined.closed, admitted.closed), ("no activation within 300 s",) * 2)
        self.assertForgotten()

    def test_closeAll(self) -> None:
        """
        Everybody who waits can be sent away.
        """
        legs = [self.joined(), self.leg()]
        self.rendezvous.closeAll("the service ends")
        self.assertEqual([leg.closed for leg in legs], ["the service ends"] * 2)
        self.assertForgotten()


class LimitTests(RendezvousCase):
    """
    How many may wait.
    """

    limits = Limits(maxPending=3, maxPendingPerAddress=2)

    def test_perAddress(self) -> None:
        """
        One address may have so many, in handshake or waiting; others have their own.
        """
        first = self.leg()
        self.joined()
        error = self.assertRaises(LimitReached, self.leg)
        self.assertIn("192.0.2.1", str(error))
        self.leg("192.0.2.2")
        self.rendezvous.leave(first)
        self.leg()

    def test_inAll(self) -> None:
        """
        One too many changes nothing.
        """
        for n in range(3):
            self.leg(f"192.0.2.{n}")
        self.assertRaises(LimitReached, self.leg, "192.0.2.9")
        self.assertEqual(self.rendezvous.pending, 3)
        self.assertNotIn("192.0.2.9", self.rendezvous._perOrigin)

    def test_activatedDoNotCount(self) -> None:
        """
        Who is activated waits no more.
        """
        self.joined(), self.joined()
        self.rendezvous.activate(KEY, PARTIES)
        self.assertForgotten()
        self.leg(), self.leg()


class ActivationTests(RendezvousCase):
    """
    Beginning to relay.
    """

    def test_activated(self) -> None:
        """
        Both legs are relayed, and nothing of them is pending any more.
        """
        legs = (self.joined(address="192.0.2.1"), self.joined(address="192.0.2.2"))
        session = self.rendezvous.activate(KEY, PARTIES)
        self.assertIsInstance(session.relayed, FakeRelayed)
        self.assertEqual(self.engine.sessions[0].legs, legs)
        self.assertEqual(session.addresses, ("192.0.2.1", "192.0.2.2"))
        self.assertTrue(self.rendezvous.knows(KEY))
        self.assertForgotten()
        self.clock.advance(1000)
        self.assertEqual([leg.closed for leg in legs], [None, None])

    def test_nobody(self) -> None:
        """
        A key that nobody has joined.
        """
        self.assertRaises(NobodyConnected, self.rendezvous.activate, KEY, PARTIES)

    def test_onlyOne(self) -> None:
        """
        One party goes on waiting for the other.
        """
        leg = self.joined()
        self.assertRaises(PartyMissing, self.rendezvous.activate, KEY, PARTIES)
        self.assertEqual((self.rendezvous.legs(KEY), leg.closed), ((leg,), None))

    def test_notReady(self) -> None:
        """
        A party that has something left to do is as good as missing.
        """
        self.joined()
        self.joined().ready = False
        error = self.assertRaises(PartyMissing, self.rendezvous.activate, KEY, PARTIES)
        self.assertIn("UDP", str(error))

    def test_speaksForOthers(self) -> None:
        """
        A party that has said that it is another is not relayed.
        """
        self.joined()
        self.joined().speaks = False
        self.assertRaises(PartyMismatch, self.rendezvous.activate, KEY, PARTIES)

    def test_twice(self) -> None:
        """
        To activate again what is active changes nothing.
        """
        self.joined(), self.joined()
        session = self.rendezvous.activate(KEY, PARTIES)
        self.assertIs(self.rendezvous.activate(KEY, PARTIES), session)
        self.assertEqual(len(self.engine.sessions), 1)

    def test_sidRunsWithAnother(self) -> None:
        """
        A requester that runs this sid with another target is told with whom.
        """
        self.joined(), self.joined()
        self.rendezvous.activate(KEY, PARTIES)
        self.joined(b"other"), self.joined(b"other")
        other = Parties(PARTIES.requester, "nurse@example.com", PARTIES.sid)
        error = self.assertRaises(PartyMismatch, self.rendezvous.activate, b"other", other)
        self.assertIn(PARTIES.target, str(error))
        self.assertEqual(len(self.rendezvous.legs(b"other")), 2)

    def test_keyOfOthers(self) -> None:
        """
        A bytestream that is active belongs to those who activated it, and others learn nothing of them.
        """
        self.joined(), self.joined()
        self.rendezvous.activate(KEY, PARTIES)
        other = Parties("tybalt@example.com", PARTIES.target, "other")
        error = self.assertRaises(PartyMismatch, self.rendezvous.activate, KEY, other)
        self.assertNotIn("romeo", str(error))

    def test_tooMany(self) -> None:
        """
        When too many are active, the parties go on waiting and may be activated later.
        """
        self.joined(), self.joined()
        self.sessions.limits = Limits(maxSessions=0)
        self.assertRaises(LimitReached, self.rendezvous.activate, KEY, PARTIES)
        self.sessions.limits = Limits()
        self.rendezvous.activate(KEY, PARTIES)

    def test_relayFails(self) -> None:
        """
        When the relay cannot start the parties are sent away, and nothing is left of them.
        """
        legs = [self.joined(), self.joined()]
        self.engine.error = OSError(24, "Too many open files")
        self.assertRaises(OSError, self.rendezvous.activate, KEY, PARTIES)
        self.assertEqual([leg.closed for leg in legs], ["the relay failed to start"] * 2)
        self.assertEqual(len(self.sessions), 0)
        self.assertForgotten()
