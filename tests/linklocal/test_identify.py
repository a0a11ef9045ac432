"""
Tests for L{xmppbytes.linklocal.identify} and L{xmppbytes.linklocal.surroundings}.
"""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from tests.linklocal.fakes import FakeDiscovery
from xmppbytes.errors import NegotiationError, NotReachable, Refused
from xmppbytes.linklocal.identify import ASKING_IN_ALL, ASKING_PER_ADDRESS, MAX_CANDIDATES, Identifier
from xmppbytes.linklocal.surroundings import LinkSurroundings

JULIET, NURSE = "juliet@pronto", "nurse@verona"


class IdentifyTests(TestCase):
    """
    Whose address it is.
    """

    def setUp(self):
        self.clock = Clock()
        self.discovery = FakeDiscovery(self.clock, "romeo@forza", ("169.254.1.2", "fe80::2%lo"))
        self.discovery.add(JULIET, 5562, "169.254.1.1", "fe80::1%lo")
        self.discovery.add(NURSE, 5562, "169.254.1.3", "169.254.1.1")
        self.identifier = Identifier(self.clock, self.discovery)

    def identify(self, address, claimed, own="169.254.1.2"):
        return self.identifier.identify(address, own, claimed)

    def refused(self, deferred):
        return str(self.failureResultOf(deferred, Refused).value)

    def test_claimed(self):
        """
        The claimed name's addresses hold the source: the name as it is published.
        """
        self.assertEqual(self.successResultOf(self.identify("169.254.1.1", "Juliet@PRONTO")), JULIET)
        self.assertEqual(self.successResultOf(self.identify("fe80::1%lo", JULIET, "fe80::2%lo")), JULIET)

    def test_otherAddress(self):
        """
        They do not: refused.
        """
        self.assertIn("whose addresses are others", self.refused(self.identify("169.254.1.9", JULIET)))
        self.assertIn("no link", self.refused(self.identify("fe80::1%eth9", JULIET, "fe80::2%eth9")))

    def test_otherLink(self):
        """
        A connection over no link of ours is refused, whatever it claims.
        """
        self.assertIn("no link", self.refused(self.identify("169.254.1.1", JULIET, "203.0.113.7")))

    def test_unheardOf(self):
        """
        Somebody of whom nobody has heard is waited for two seconds.
        """
        waiting = self.identify("169.254.1.5", "tybalt@verona")
        self.clock.pump([0.25] * 4)
        self.assertNoResult(waiting)
        self.discovery.add("tybalt@verona", 1, "169.254.1.5")
        self.clock.pump([0.25])
        self.assertEqual(self.successResultOf(waiting), "tybalt@verona")
        never = self.identify("169.254.1.6", "mercutio@verona")
        self.clock.pump([0.25] * 9)
        self.assertIn("nobody has heard", self.refused(never))

    def test_unclaimed(self):
        """
        Without a name: only if exactly one person has this address.
        """
        self.assertEqual(self.successResultOf(self.identify("169.254.1.3", None)), NURSE)
        self.assertIn(f"{JULIET}, {NURSE}", self.refused(self.identify("169.254.1.1", None)))
        self.assertIn("nobody", self.refused(self.identify("169.254.1.9", None)))

    def test_unclaimedAmongMany(self):
        """
        However many people there are, nobody who is known to have this address is passed over, and nobody
        is asked.
        """
        for number in range(MAX_CANDIDATES):
            self.discovery.add(f"n{number}@x", 1, f"169.254.9.{number}")
        self.discovery.add("tybalt@verona", 1, "169.254.1.3")
        self.discovery.add("paris@verona", 1, "169.254.1.7")
        self.assertIn(f"{NURSE}, tybalt@verona", self.refused(self.identify("169.254.1.3", None)))
        self.assertEqual(self.successResultOf(self.identify("169.254.1.7", None)), "paris@verona")
        self.assertEqual(self.discovery.asked, [])

    def test_unclaimedOneMachine(self):
        """
        Of two people on one machine one may not have been heard of lately: he is asked, too.
        """
        self.discovery.add("paris@verona", 1, "169.254.1.3")
        self.discovery.silent = {"paris@verona"}
        self.assertIn(f"{NURSE}, paris@verona", self.refused(self.identify("169.254.1.3", None)))
        self.assertEqual(self.discovery.asked, ["paris@verona"])

    def test_unclaimedOtherFamily(self):
        """
        Who is known by another address only is asked when nobody fits, after those of whom nothing is known.
        """
        self.discovery.add("paris@verona", 1, "169.254.1.8", "169.254.1.7")
        self.discovery.silent = {"paris@verona"}
        self.assertEqual(self.successResultOf(self.identify("169.254.1.7", None)), "paris@verona")
        self.assertEqual(self.discovery.asked, ["paris@verona", JULIET, NURSE])

    def test_askingLimited(self):
        """
        Who connects again and again without a name makes us ask so often a minute, and no oftener; what is
        known counts nevertheless.
        """
        for number in range(200):
            self.discovery.add(f"n{number}@x", 1, f"169.254.9.{number}")
            self.discovery.silent.add(f"n{number}@x")
        for _ in range(50):
            self.assertEqual(self.successResultOf(self.identify("169.254.1.3", None)), NURSE)
        self.assertEqual(len(self.discovery.asked), ASKING_PER_ADDRESS * MAX_CANDIDATES)
        for number in range(50):
            self.refused(self.identify(f"169.254.8.{number}", None))
        self.assertEqual(len(self.discovery.asked), ASKING_IN_ALL * MAX_CANDIDATES)
        self.clock.advance(60)
        self.identify("169.254.1.3", None)
        self.assertEqual(len(self.discovery.asked), (ASKING_IN_ALL + 1) * MAX_CANDIDATES)

    def test_goneMeanwhile(self):
        """
        Somebody who cannot be resolved has no addresses; who leaves meanwhile keeps the claimed name.
        """
        self.discovery.places.clear()
        self.assertIn("others", self.refused(self.identify("169.254.1.1", JULIET)))
        self.discovery.places[JULIET] = (1, ("169.254.1.1",))
        self.discovery.slow = Deferred()
        waiting = self.identify("169.254.1.1", JULIET)
        self.discovery.roster.linkLost("lo")
        slow, self.discovery.slow = self.discovery.slow, None
        self.discovery.resolve(JULIET).chainDeferred(slow)
        self.assertEqual(self.successResultOf(waiting), JULIET)


class FakeStream:
    """
    A stream with Juliet.
    """

    address, ownAddress, addresses = "169.254.1.1", "169.254.1.2", frozenset()


class FakeMesh:
    """
    Has a stream or not.
    """

    xmlstream = None

    def __init__(self):
        self.streams = {JULIET: FakeStream()}

    def stream(self, name):
        return self.streams.get(name)


class SurroundingsTests(TestCase):
    """
    What the S5B client learns.
    """

    def setUp(self):
        self.discovery = FakeDiscovery(Clock(), "romeo@forza", ("fe80::2%lo", "169.254.1.2"))
        self.discovery.add(JULIET, 5562, "169.254.1.1", "fe80::1%lo")
        self.mesh = FakeMesh()
        self.surroundings = LinkSurroundings(self.discovery, self.mesh)

    def test_hash(self):
        """
        Names are hashed as they are; libpurple sent these values.
        """
        hashes = self.surroundings.hashesOf("0", "romeo@forza", JULIET)
        self.assertEqual(hashes, ("e165cd05c34774994b280f74adf79c9b7ba2f2cd",))

    def test_names(self):
        """
        A name is what was published, or what was given.
        """
        self.assertEqual(self.surroundings.nameOf("Juliet@Pronto"), JULIET)
        self.assertEqual(self.surroundings.nameOf("Any Body@x"), "Any Body@x")
        self.assertRaises(NegotiationError, self.surroundings.ownName)
        self.mesh.xmlstream = object()
        self.surroundings.attached(None)
        self.assertEqual(self.surroundings.ownName(), "romeo@forza")

    def test_streamHosts(self):
        """
        Our streamhosts are named by the sid, as libpurple's are; every one is the peer's, none a proxy.
        """
        self.assertEqual(self.surroundings.streamHostJID("7"), "7")
        self.assertTrue(self.surroundings.isRequesters("0", JULIET, "7"))
        self.assertIs(self.surroundings.proxyServer(), None)

    def test_offered(self):
        """
        Our addresses on the link of the stream, the one in use first, without scope.
        """
        self.assertEqual(self.surroundings.offeredAddresses(JULIET), ["169.254.1.2", "fe80::2"])
        self.assertEqual(self.surroundings.offeredAddresses(NURSE), [])

    def test_policy(self):
        """
        Only the peer's own addresses are connected to, IPv6 with the scope of the link.
        """
        policy = self.surroundings.policyFor(JULIET)
        self.assertEqual(policy.admit("169.254.1.1"), "169.254.1.1")
        self.assertEqual(policy.admit("fe80::1"), "fe80::1%lo")
        self.assertTrue(self.surroundings.mayConnect(JULIET, "::ffff:169.254.1.1"))
        self.assertTrue(self.surroundings.mayConnect(JULIET, "fe80::1%lo"))
        self.assertFalse(self.surroundings.mayConnect(JULIET, "169.254.1.3"))
        for address in ("127.0.0.1", "169.254.1.3", "fe80::9", "example.org"):
            self.assertRaises(NotReachable, policy.admit, address)
        self.mesh.streams.clear()
        self.assertRaises(NotReachable, policy.admit, "169.254.1.1")
