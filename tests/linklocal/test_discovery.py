"""
Tests for L{xmppbytes.linklocal.discovery}: whole hosts on links in memory.
"""

from dataclasses import dataclass
from random import Random

from twisted.internet.task import Clock
from twisted.names import dns
from twisted.trial.unittest import TestCase

from tests.linklocal.helpers import Node, advance, messages, packed
from xmppbytes.errors import ConfigurationError, NotReachable
from xmppbytes.linklocal.avatar import sha1
from xmppbytes.linklocal.names import instanceName
from xmppbytes.linklocal.presence import Presence
from xmppbytes.linklocal.surroundings import PeerPolicy
from xmppbytes.testing.multicast import MemoryLink
from xmppbytes.wire.dnsdata import Service, serviceRecord
from xmppbytes.wire.mdns import Message


class DiscoveryTestCase(TestCase):
    """
    Hosts on one or more links.
    """

    def setUp(self):
        self.clock = Clock()
        self.link = MemoryLink(self.clock)
        self.nodes = []
        self.addCleanup(self.stopAll)

    def stopAll(self):
        for node in self.nodes:
            node.discovery.stop()
            node.discovery.stop()
        advance(self.clock, 1, 0.1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def node(self, user="juliet", machine="pronto", *links, seed=0):
        node = Node(self.clock, len(self.nodes) + 1, user, machine, *(links or (self.link,)), seed=seed)
        self.nodes.append(node)
        return node


class PresenceTests(DiscoveryTestCase):
    """
    People who see each other.
    """

    def test_two(self):
        """
        Two people see each other and not themselves.
        """
        juliet = self.node().start(presence=Presence("dnd", "M'lady"))
        romeo = self.node("romeo", "forza").start()
        advance(self.clock, 3)
        self.assertEqual(juliet.signedOn, ["juliet@pronto"])
        self.assertEqual(juliet.events, [("on", "romeo@forza", "avail")])
        self.assertEqual(romeo.events, [("on", "juliet@pronto", "dnd")])

    def test_late(self):
        """
        Whoever comes late sees who is there already.
        """
        self.node().start()
        advance(self.clock, 30, 0.1)
        romeo = self.node("romeo", "forza").start()
        advance(self.clock, 0.5)
        self.assertEqual(romeo.names(), ["juliet@pronto"])

    def test_status(self):
        """
        A change is seen at once.
        """
        juliet = self.node().start()
        romeo = self.node("romeo", "forza").start()
        advance(self.clock, 5)
        juliet.discovery.setPresence(Presence("away", "at the ball"))
        advance(self.clock, 0.1)
        self.assertEqual(romeo.events[-1], ("status", "juliet@pronto", "away", "at the ball"))
        advance(self.clock, 5)
        self.assertEqual(romeo.events[-1], ("status", "juliet@pronto", "away", "at the ball"))

    def test_goodbye(self):
        """
        Whoever stops is gone.
        """
        juliet = self.node().start()
        romeo = self.node("romeo", "forza").start()
        advance(self.clock, 3)
        juliet.discovery.stop()
        advance(self.clock, 1.2)
        self.assertEqual(romeo.events[-1], ("off", "juliet@pronto"))

    def test_icon(self):
        """
        A new avatar: goodbye of the old one, 1.3 s, the new one, then its hash.
        """
        juliet = self.node().start(icon=b"old")
        romeo = self.node("romeo", "forza").start()
        advance(self.clock, 5)
        self.assertEqual(romeo.roster.get("juliet@pronto").presence.phsh, sha1(b"old"))
        start = self.clock.seconds()
        juliet.discovery.setIcon(b"new")
        advance(self.clock, 4)
        log = []
        for when, _, message in messages(self.link, start):
            for record in message.answers:
                if record.type in (dns.NULL, dns.TXT):
                    log.append((round(when - start, 1), record.type, record.ttl))
        self.assertEqual(log[0], (0.0, dns.NULL, 0))
        self.assertEqual(log[1], (1.3, dns.NULL, 120))
        self.assertEqual(log[2][:2], (1.3, dns.TXT))
        self.assertEqual(romeo.roster.get("juliet@pronto").presence.phsh, sha1(b"new"))

    def test_iconChangedTwice(self):
        """
        Of two changes in a row the last counts; the same icon again is no change.
        """
        juliet = self.node().start(icon=b"old")
        romeo = self.node("romeo", "forza").start()
        advance(self.clock, 5)
        juliet.discovery.setIcon(b"old")
        self.assertEqual(juliet.discovery.presence.phsh, sha1(b"old"))
        juliet.discovery.setIcon(b"one")
        advance(self.clock, 0.5)
        juliet.discovery.setIcon(b"two")
        advance(self.clock, 5)
        self.assertEqual(romeo.roster.get("juliet@pronto").presence.phsh, sha1(b"two"))
        juliet.discovery.setIcon(None)
        advance(self.clock, 5)
        self.assertEqual(romeo.roster.get("juliet@pronto").presence.phsh, "")

    def test_bigIcon(self):
        """
        An avatar of more than 8 KiB is published with a warning.
        """
        juliet = self.node().start(icon=bytes(9000))
        self.assertEqual(juliet.discovery.presence.phsh, sha1(bytes(9000)))

    def test_badName(self):
        """
        A name that breaks others' XML is refused before anything is sent.
        """
        node = self.node("a&b")
        self.assertRaises(ConfigurationError, node.start)

    def test_roughLink(self):
        """
        With a third of the datagrams lost, some doubled and all late, people find each other.
        """
        rough = MemoryLink(self.clock, Random(3), loss=0.33, duplication=0.2, delay=(0.0, 0.08))
        people = [self.node(f"u{n}", f"m{n}", rough, seed=n).start() for n in range(4)]
        advance(self.clock, 90, 0.02)
        for node in people:
            self.assertEqual(len(node.names()), 3, node.events)
            self.assertEqual(len(node.signedOn), 1)


class ConflictTests(DiscoveryTestCase):
    """
    People who want the same name.
    """

    def test_taken(self):
        """
        The second juliet becomes juliet1, the third juliet2; the first is left alone.
        """
        nodes = []
        for number in range(3):
            nodes.append(self.node(seed=number * 10).start())
            advance(self.clock, 6, 0.02)
        self.assertEqual(
            [node.signedOn for node in nodes], [["juliet@pronto"], ["juliet1@pronto"], ["juliet2@pronto"]]
        )
        self.assertEqual(nodes[0].names(), ["juliet1@pronto", "juliet2@pronto"])
        self.assertEqual(nodes[2].names(), ["juliet1@pronto", "juliet@pronto"])

    def test_dashed(self):
        """
        The form of XEP-0174 2.0.1 as an option.
        """
        self.node().start()
        advance(self.clock, 3)
        second = self.node(seed=5).start(separator="-")
        advance(self.clock, 5)
        self.assertEqual(second.signedOn, ["juliet-1@pronto"])

    def atOnce(self, count, link, seed):
        people = [self.node("juliet", "pronto", link, seed=seed + n * 7).start() for n in range(count)]
        advance(self.clock, 30, 0.02)
        names = sorted(node.discovery.name for node in people)
        self.assertEqual(names, sorted(["juliet@pronto", *(f"juliet{n}@pronto" for n in range(1, count))]))
        for node in people:
            self.assertEqual(node.signedOn[-1], node.discovery.name)
            self.assertEqual(len(node.names()), count - 1, node.events)

    def test_twoAtOnce(self):
        """
        Two at the same moment: one wins, the other takes the next name.
        """
        for seed in range(5):
            self.atOnce(2, MemoryLink(self.clock), seed)

    def test_fiveAtOnce(self):
        """
        Five at the same moment end with five names, each seen by the four others.
        """
        for seed in range(3):
            self.atOnce(5, MemoryLink(self.clock), seed)

    def test_fiveAtOnceWithDelay(self):
        """
        The same when datagrams take their time and come twice.
        """
        self.atOnce(5, MemoryLink(self.clock, Random(5), duplication=0.3, delay=(0.0, 0.05)), 1)

    def test_hostConflict(self):
        """
        The host name is taken: another one is made, the presence name stays.
        """
        juliet = self.node().start()
        host = juliet.discovery._host
        advance(self.clock, 0.2)
        taken = serviceRecord(instanceName("x@y"), Service(host, 1))
        self.link.inject(
            packed(Message(True, answers=(type(taken)(host, dns.A, 120, b"\x0a\0\0\1", True),))),
            ("169.254.7.99", 5353),
        )
        advance(self.clock, 3)
        self.assertNotEqual(juliet.discovery._host, host)
        self.assertEqual(juliet.signedOn, ["juliet@pronto"])

    def test_endlessConflict(self):
        """
        Somebody who takes every name makes us slow: after 15 conflicts, one name in five seconds.
        """
        juliet = self.node().start()
        tried = []

        def spoil():
            if not tried or tried[-1] != juliet.discovery.name:
                tried.append(juliet.discovery.name)
            record = serviceRecord(instanceName(juliet.discovery.name), Service((b"evil", b"local"), 1))
            self.link.inject(packed(Message(True, answers=(record,))), ("169.254.7.99", 5353))

        for _ in range(600):
            spoil()
            advance(self.clock, 0.05, 0.05)
        self.assertEqual(juliet.signedOn, [])
        self.assertTrue(15 <= len(tried) <= 25, len(tried))


class LinkTests(DiscoveryTestCase):
    """
    Several links, and links that come and go.
    """

    def setUp(self):
        super().setUp()
        self.second = MemoryLink(self.clock, Random(2))

    def test_twoLinks(self):
        """
        Somebody on two links is one entry; each link gets its own addresses only.
        """
        juliet = self.node("juliet", "pronto", self.link, self.second).start()
        romeo = self.node("romeo", "forza", self.link, self.second).start()
        advance(self.clock, 3)
        self.assertEqual(romeo.events, [("on", "juliet@pronto", "avail")])
        self.assertEqual(romeo.roster.get("juliet@pronto").links, {"eth0", "eth1"})
        for index, link in enumerate((self.link, self.second)):
            for _, _, message in messages(link):
                for record in (*message.answers, *message.additionals):
                    if record.type == dns.A:
                        self.assertEqual(record.data[2], index)
        self.assertEqual(len(juliet.signedOn), 1)

    def test_linkDown(self):
        """
        A link goes down: who is on another link stays, who is not is gone; up again, he is back.
        """
        self.node("juliet", "pronto", self.link).start()
        self.node("tybalt", "verona", self.link, self.second).start()
        romeo = self.node("romeo", "forza", self.link, self.second).start()
        advance(self.clock, 3)
        both = list(romeo.interfaces.interfaces)
        romeo.interfaces.set(both[1])
        self.assertEqual(romeo.names(), ["tybalt@verona"])
        romeo.interfaces.set(*both)
        advance(self.clock, 3)
        self.assertEqual(romeo.names(), ["juliet@pronto", "tybalt@verona"])
        self.assertEqual(romeo.signedOn, ["romeo@forza"])

    def test_noLinkAtFirst(self):
        """
        Without a link nobody signs on; with the first one the name is asked for.
        """
        juliet = self.node()
        interfaces = juliet.interfaces.interfaces
        juliet.interfaces.set()
        juliet.start()
        advance(self.clock, 3)
        self.assertEqual(juliet.signedOn, [])
        juliet.interfaces.set(*interfaces)
        advance(self.clock, 2)
        self.assertEqual(juliet.signedOn, ["juliet@pronto"])

    def test_linkLostWhileProbing(self):
        """
        The link whose answer is waited for goes down: the name is won on the others.
        """
        juliet = self.node("juliet", "pronto", self.link, self.second).start()
        advance(self.clock, 1.5)
        both = list(juliet.interfaces.interfaces)
        juliet.signedOn.clear()
        juliet.discovery._won = False
        juliet.interfaces.set(both[0])
        self.assertEqual(juliet.signedOn, ["juliet@pronto"])

    def test_oneCable(self):
        """
        Two interfaces in one network: what we send on one comes in on the other, and is no conflict.
        """
        juliet = self.node("juliet", "pronto", self.link, self.link).start()
        romeo = self.node("romeo", "forza", self.link).start()
        advance(self.clock, 10)
        self.assertEqual(juliet.signedOn, ["juliet@pronto"])
        juliet.discovery.setPresence(Presence("away"))
        advance(self.clock, 10)
        self.assertEqual(juliet.signedOn, ["juliet@pronto"])
        self.assertEqual(romeo.events[-1], ("status", "juliet@pronto", "away", ""))
        self.assertEqual(juliet.names(), ["romeo@forza"])

    def test_conflictOnOneLink(self):
        """
        The name is taken on one of two links: another one is taken on both, and on the free link the
        old name is given back.
        """
        other = self.node("juliet", "pronto", self.second).start()
        witness = self.node("nurse", "verona", self.link).start()
        advance(self.clock, 3)
        juliet = self.node("juliet", "pronto", self.link, self.second, seed=3).start()
        advance(self.clock, 5)
        self.assertEqual(juliet.signedOn, ["juliet1@pronto"])
        self.assertEqual(other.signedOn, ["juliet@pronto"])
        self.assertEqual(witness.names(), ["juliet1@pronto"])
        self.assertEqual(juliet.names(), ["juliet@pronto", "nurse@verona"])

    def test_conflictOnNewLink(self):
        """
        A link comes on which our name is somebody else's: on the old link the name, which was ours there, is
        given back at once; on the new one it stays with whom it belongs to.
        """
        self.node("juliet", "pronto", self.second).start()
        witnesses = [self.node("nurse", "verona", link).start() for link in (self.link, self.second)]
        juliet = self.node("juliet", "pronto", self.link, self.second, seed=3)
        both = list(juliet.interfaces.interfaces)
        juliet.interfaces.interfaces = both[:1]
        juliet.start()
        advance(self.clock, 3)
        self.assertEqual(witnesses[0].names(), ["juliet@pronto"])
        juliet.interfaces.set(*both)
        advance(self.clock, 5)
        self.assertEqual(juliet.signedOn, ["juliet@pronto", "juliet1@pronto"])
        self.assertEqual(witnesses[0].names(), ["juliet1@pronto"])
        self.assertEqual(witnesses[1].names(), ["juliet1@pronto", "juliet@pronto"])

    def test_addressChanged(self):
        """
        Another address on the same link: found at the next question, and the person stays.
        """
        juliet = self.node().start()
        romeo = self.node("romeo", "forza").start()
        advance(self.clock, 5)
        juliet.interfaces.set(juliet.interface(0, 77))
        advance(self.clock, 2)
        found = []
        romeo.discovery.resolve("juliet@pronto").addCallback(found.extend)
        advance(self.clock, 3)
        self.assertEqual(found[0].addresses, ("fe80::77%eth0", "169.254.0.77"))
        self.assertEqual(romeo.events, [("on", "juliet@pronto", "avail")])


@dataclass
class Stream:
    """
    A stream, as far as the policy looks at it.
    """

    address: str
    ownAddress: str
    addresses: frozenset[str] = frozenset()


class ResolveTests(DiscoveryTestCase):
    """
    Where people can be reached.
    """

    def test_everyLink(self):
        """
        A location for each link on which the person is.
        """
        second = MemoryLink(self.clock)
        self.node("juliet", "pronto", self.link, second).start(port=4242)
        romeo = self.node("romeo", "forza", self.link, second).start()
        advance(self.clock, 5)
        found = []
        romeo.discovery.resolve("Juliet@pronto").addCallback(found.extend)
        advance(self.clock, 2.5)
        self.assertEqual([(where.interface, where.port) for where in found], [("eth0", 4242), ("eth1", 4242)])
        self.assertEqual(found[1].addresses, ("fe80::1%eth1", "169.254.1.1"))

    def test_justHeard(self):
        """
        What was heard within the last second is not asked for again.
        """
        self.node("juliet", "pronto").start()
        romeo = self.node("romeo", "forza").start()
        advance(self.clock, 5)
        found, again = [], []
        romeo.discovery.resolve("juliet@pronto").addCallback(found.extend)
        advance(self.clock, 0.3)
        asked = len(self.link.sent)
        for _ in range(20):
            romeo.discovery.resolve("juliet@pronto").addCallback(again.extend)
        advance(self.clock, 0.3)
        self.assertEqual(again, found * 20)
        self.assertEqual(len(self.link.sent), asked)

    def test_linkOf(self):
        """
        Over which link a connection runs: our own address tells, or the scope of the other one.
        """
        second = MemoryLink(self.clock)
        romeo = self.node("romeo", "forza", self.link, second).start()
        discovery = romeo.discovery
        own = [discovery.ownAddresses(link)[0] for link in ("eth0", "eth1")]
        self.assertEqual([discovery.linkOf("169.254.9.9", one) for one in own], ["eth0", "eth1"])
        self.assertEqual(discovery.linkOf("fe80::9%eth1", "fe80::1"), "eth1")
        self.assertIsNone(discovery.linkOf("fe80::9%eth7", own[0]))
        self.assertIsNone(discovery.linkOf("169.254.9.9", "203.0.113.7"))

    def test_streamhostsOfOneLink(self):
        """
        Of somebody who is on two links only the addresses of the link on which we speak are connected to.
        """
        second = MemoryLink(self.clock)
        juliet = self.node("juliet", "pronto", self.link, second).start()
        romeo = self.node("romeo", "forza", self.link, second).start()
        advance(self.clock, 5)
        romeo.discovery.resolve("juliet@pronto")
        advance(self.clock, 2.5)
        theirs = [juliet.discovery.ownAddresses(link) for link in ("eth0", "eth1")]
        ours = [romeo.discovery.ownAddresses(link) for link in ("eth0", "eth1")]
        for index, link in enumerate(("eth0", "eth1")):
            stream = Stream(theirs[index][0], ours[index][0])
            policy = PeerPolicy("juliet@pronto", lambda stream=stream: stream, romeo.discovery)
            self.assertEqual(policy.admit(theirs[index][0]), theirs[index][0])
            self.assertEqual(policy.admit("fe80::1"), f"fe80::1%{link}")
            for wrong in (theirs[1 - index][0], f"fe80::1%eth{1 - index}"):
                error = self.assertRaises(NotReachable, policy.admit, wrong)
                self.assertIn("on the link that we speak over", str(error))

    def test_streamhostsWithoutLink(self):
        """
        When the link of a stream is down only the very address that it comes from remains.
        """
        self.node("juliet", "pronto").start()
        romeo = self.node("romeo", "forza").start()
        advance(self.clock, 5)
        stream = Stream("169.254.0.1", "203.0.113.7")
        policy = PeerPolicy("juliet@pronto", lambda: stream, romeo.discovery)
        self.assertEqual(policy.admit("169.254.0.1"), "169.254.0.1")
        self.assertRaises(NotReachable, policy.admit, "fe80::1")

    def test_streamhostsLater(self):
        """
        The addresses that somebody had when the stream began count until others are heard: libpurple offers
        files on IPv4 only, also when the stream is on IPv6 and its address records have long expired.
        """
        self.node("juliet", "pronto").start()
        romeo = self.node("romeo", "forza").start()
        advance(self.clock, 5)
        known = romeo.discovery.knownAddresses("juliet@pronto", "eth0")
        self.assertEqual(known, {"169.254.0.1", "fe80::1%eth0"})
        stream = Stream("fe80::1%eth0", "fe80::2%eth0", frozenset(known))
        policy = PeerPolicy("juliet@pronto", lambda: stream, romeo.discovery)
        advance(self.clock, 300, 0.5)
        self.assertEqual(romeo.discovery.knownAddresses("juliet@pronto", "eth0"), set())
        self.assertEqual(policy.admit("169.254.0.1"), "169.254.0.1")

    def test_nobody(self):
        """
        Nobody of that name.
        """
        romeo = self.node("romeo", "forza").start()
        self.failureResultOf(romeo.discovery.resolve("juliet@pronto"), NotReachable)

    def test_crashed(self):
        """
        Somebody who vanished without a goodbye: last known addresses serve, and asking drops him.
        """
        juliet = self.node().start()
        romeo = self.node("romeo", "forza").start()
        advance(self.clock, 5)
        self.link.loss = 1.0
        found = []
        romeo.discovery.resolve("juliet@pronto").addCallback(found.extend)
        advance(self.clock, 2.5)
        self.assertEqual(found[0].port, 5562)
        romeo.discovery.confirm("juliet@pronto")
        advance(self.clock, 5.1)
        self.assertEqual(romeo.events[-1], ("off", "juliet@pronto"))
        advance(self.clock, 200, 0.5)
        self.assertEqual(juliet.names(), ["romeo@forza"])

    def test_questions(self):
        """
        What streams need to know: who is on a link, and our addresses there.
        """
        juliet = self.node().start()
        self.node("romeo", "forza").start()
        advance(self.clock, 3)
        self.assertEqual(juliet.discovery.everybody("eth0"), ["romeo@forza"])
        self.assertEqual(juliet.discovery.everybody("eth9"), [])
        self.assertEqual(juliet.discovery.ownAddresses("eth0"), ("169.254.0.1", "fe80::1%eth0"))
        self.assertEqual(juliet.discovery.ownAddresses("eth9"), ())
        self.assertEqual([interface.name for interface in juliet.discovery.interfaces()], ["eth0"])
        buddy = juliet.roster.get("romeo@forza")
        self.assertEqual(len(juliet.discovery.browsers(buddy)), 1)


class HostileTests(DiscoveryTestCase):
    """
    What strangers send.
    """

    def test_mutatedPackets(self):
        """
        20,000 mutated packets: no exception, and a roster that still works.
        """
        juliet = self.node().start(icon=b"icon")
        self.node("romeo", "forza").start()
        advance(self.clock, 5)
        seeds = [datagram for _, _, datagram in self.link.sent]
        random = Random(42)
        for number in range(20_000):
            mutant = bytearray(random.choice(seeds))
            for _ in range(random.randint(1, 5)):
                mutant[random.randrange(len(mutant))] = random.choice((0, 0xC0, 0xFF, random.randrange(256)))
            port = random.choice((5353, 5353, 40000))
            session = juliet.discovery._sessions[1]
            session.datagram(
                bytes(mutant[: random.choice((len(mutant), random.randint(1, len(mutant))))]),
                ("169.254.7.66", port),
            )
            if number % 200 == 0:
                self.clock.advance(0.05)
        advance(self.clock, 120, 0.1)
        self.assertTrue(juliet.signedOn)
        self.assertIn("romeo@forza", juliet.names())

    def test_wrongPort(self):
        """
        Answers that do not come from port 5353 are ignored.
        """
        juliet = self.node().start()
        advance(self.clock, 3)
        record = serviceRecord(instanceName("juliet@pronto"), Service((b"evil", b"local"), 1))
        self.link.inject(packed(Message(True, answers=(record,))), ("169.254.7.66", 40000))
        self.assertTrue(juliet.discovery._sessions[1].responder.isEstablished)
