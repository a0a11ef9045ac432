"""
Tests for L{xmppbytes.linklocal.responder} and the modules that it is made of.
"""

import itertools
from random import Random

from twisted.internet.task import Clock
from twisted.names import dns
from twisted.trial.unittest import TestCase

from tests.linklocal.helpers import HOST, SERVICE, advance, makeZone, messages
from xmppbytes.linklocal.ilink import PORT, NetworkInterface
from xmppbytes.linklocal.names import SERVICE_TYPES, instanceName
from xmppbytes.linklocal.own import OwnRecords
from xmppbytes.linklocal.prober import Comparison, compareProposals
from xmppbytes.linklocal.responder import Responder
from xmppbytes.testing.multicast import MemoryLink
from xmppbytes.wire.dnsdata import (
    Service,
    addressRecord,
    pointerRecord,
    serviceRecord,
    textRecord,
)
from xmppbytes.wire.mdns import NSEC, Message, Question, Record

JULIET = instanceName("juliet@pronto")
ROMEO = ("169.254.7.2", PORT)
THEIRS = serviceRecord(JULIET, Service((b"other", b"local"), 1))


class ResponderTestCase(TestCase):
    """
    One responder on a link in memory.
    """

    def setUp(self):
        self.clock = Clock()
        self.link = MemoryLink(self.clock)
        self.own = OwnRecords(self.clock)
        self.events = []
        port = self.link.attach(NetworkInterface("eth0", 1, ("169.254.7.1",)), lambda *_: None)
        self.port = port
        self.responder = Responder(
            self.clock,
            Random(1),
            port,
            self.own.__contains__,
            lambda: self.events.append("established"),
            lambda isInstance: self.events.append(("conflict", isInstance)),
        )

    def publish(self, zone=None, delay=0.0):
        zone = zone or makeZone()
        self.own.set(1, zone)
        self.responder.publish(zone, delay)

    def update(self, zone):
        self.own.set(1, zone)
        self.responder.update(zone)

    def establish(self, zone=None, settle=3.0):
        self.publish(zone)
        advance(self.clock, 0.8 + settle)
        self.link.sent.clear()

    def ask(self, *questions, source=ROMEO, answers=(), authorities=(), truncated=False):
        self.responder.query(
            Message(questions=questions, answers=answers, authorities=authorities, truncated=truncated),
            source,
        )

    def assertTimes(self, actual, expected):
        """
        Compare times, which the clock's steps make a little late.
        """
        self.assertEqual(len(actual), len(expected), actual)
        for one, other in zip(actual, expected, strict=True):
            self.assertTrue(-0.001 <= one - other <= 0.06, (actual, expected))

    def sent(self):
        return [message for _, _, message in messages(self.link)]

    def answers(self):
        return [record for message in self.sent() for record in message.answers]


class ProbingTests(ResponderTestCase):
    """
    Before a name is ours.
    """

    def test_sequence(self):
        """
        Three probes 250 ms apart for instance and host, then two announcements 1.05 s apart.
        """
        self.publish()
        advance(self.clock, 3)
        log = messages(self.link)
        self.assertTimes([when for when, _, _ in log], [0.0, 0.25, 0.5, 0.75, 1.8])
        for _, _, probe in log[:3]:
            self.assertFalse(probe.response)
            self.assertEqual(
                probe.questions, (Question(JULIET, dns.ALL_RECORDS), Question(HOST, dns.ALL_RECORDS))
            )
            self.assertEqual([r.type for r in probe.authorities], [dns.SRV, dns.TXT, dns.A, dns.AAAA])
        for _, _, announcement in log[3:]:
            self.assertTrue(announcement.response)
            self.assertEqual(
                [(r.type, r.flush, r.ttl) for r in announcement.answers],
                [
                    (dns.PTR, False, 4500),
                    (dns.PTR, False, 4500),
                    (dns.SRV, True, 120),
                    (dns.TXT, True, 4500),
                    (dns.A, True, 120),
                    (dns.AAAA, True, 120),
                ],
            )
        self.assertEqual(self.events, ["established"])

    def test_silentWhileProbing(self):
        """
        Nothing is answered before the name is won.
        """
        self.publish()
        self.ask(Question(SERVICE, dns.PTR))
        advance(self.clock, 0.2)
        self.assertEqual(self.answers(), [])

    def test_taken(self):
        """
        Somebody answers with a record of the instance: it is his, and the responder is silent.
        """
        self.publish()
        advance(self.clock, 0.3)
        self.responder.response(Message(True, answers=(THEIRS,)))
        sent = len(self.link.sent)
        advance(self.clock, 3)
        self.assertEqual(self.events, [("conflict", True)])
        self.assertEqual(len(self.link.sent), sent)

    def test_hostTaken(self):
        """
        The host name is somebody else's.
        """
        self.publish()
        advance(self.clock, 0.1)
        self.responder.response(Message(True, additionals=(addressRecord(HOST, "10.0.0.9"),)))
        self.assertEqual(self.events, [("conflict", False)])

    def test_nullIsARecordToo(self):
        """
        While probing any record of that name shows that it is taken.
        """
        self.publish()
        advance(self.clock, 0.1)
        self.responder.response(Message(True, answers=(Record(JULIET, dns.NULL, 120, b"x"),)))
        self.assertEqual(self.events, [("conflict", True)])

    def test_goodbyeIsNoConflict(self):
        """
        Whoever takes his records back leaves the name to us.
        """
        self.publish()
        advance(self.clock, 0.1)
        self.responder.response(Message(True, answers=(Record(THEIRS.name, dns.SRV, 0, THEIRS.data),)))
        advance(self.clock, 3)
        self.assertEqual(self.events, ["established"])

    def test_ourOwnRecordsAreNoConflict(self):
        """
        What we send comes back on the same or another link.
        """
        self.publish()
        advance(self.clock, 0.1)
        zone = makeZone()
        self.responder.response(Message(True, answers=tuple(zone.shared() + zone.unique())))
        self.ask(Question(JULIET, dns.ALL_RECORDS), authorities=tuple(zone.unique()))
        advance(self.clock, 3)
        self.assertEqual(self.events, ["established"])
        self.assertTimes([messages(self.link)[3][0]], [0.75])

    def test_tieLost(self):
        """
        Another probe proposes records that sort later: wait one second, then ask again.
        """
        self.publish()
        advance(self.clock, 0.1)
        later = serviceRecord(JULIET, Service((b"zzz", b"local"), 0xFFFF))
        self.ask(Question(JULIET, dns.ALL_RECORDS), authorities=(later,))
        advance(self.clock, 3)
        self.assertTimes([w for w, _, _ in messages(self.link)], [0.0, 1.1, 1.35, 1.6, 1.85, 2.9])

    def test_tieWon(self):
        """
        Another probe proposes records that sort earlier: go on.
        """
        self.publish()
        advance(self.clock, 0.1)
        earlier = serviceRecord(JULIET, Service((b"a", b"local"), 0))
        self.ask(Question(JULIET, dns.ALL_RECORDS), authorities=(earlier, makeZone().unique()[1]))
        advance(self.clock, 0.72)
        self.assertEqual(self.events, ["established"])

    def test_comparison(self):
        """
        RFC 6762 section 8.2.1's example, and sets of different length.
        """
        first, second = addressRecord(HOST, "169.254.99.200"), addressRecord(HOST, "169.254.200.50")
        third = addressRecord(HOST, "169.254.200.51")
        self.assertIs(compareProposals(HOST, [second], [first]), Comparison.WE_WIN)
        self.assertIs(compareProposals(HOST, [first], [second]), Comparison.WE_YIELD)
        self.assertIs(compareProposals(HOST, [second], [third, second]), Comparison.WE_YIELD)
        self.assertIs(compareProposals(HOST, [second], [second]), Comparison.EQUAL)
        self.assertIs(compareProposals(HOST, [second], [THEIRS]), Comparison.EQUAL)

    def test_updateWhileProbing(self):
        """
        Other data while probing: it is the new that is proposed.
        """
        self.publish()
        advance(self.clock, 0.1)
        self.update(makeZone(text=b"\3a=b"))
        advance(self.clock, 2)
        self.assertIn(b"\3a=b", [record.data for record in self.answers()])
        self.assertNotIn(b"\x09txtvers=1", [record.data for record in self.answers()])


class AnsweringTests(ResponderTestCase):
    """
    Once a name is ours.
    """

    def setUp(self):
        super().setUp()
        self.establish()

    def test_pointer(self):
        """
        Who is there: answered after 20 to 120 ms, with everything that is asked next, the avatar never.
        """
        self.establish(makeZone(icon=b"icon"))
        start = self.clock.seconds()
        self.ask(Question(SERVICE, dns.PTR))
        advance(self.clock, 1)
        [(when, _, message)] = messages(self.link)
        self.assertTrue(0.02 <= when - start <= 0.13, when - start)
        self.assertEqual([record.type for record in message.answers], [dns.PTR])
        self.assertEqual([r.type for r in message.additionals], [dns.SRV, dns.TXT, dns.A, dns.AAAA])

    def test_uniqueAtOnce(self):
        """
        What only we can answer is answered at once.
        """
        start = self.clock.seconds()
        self.ask(Question(JULIET, dns.SRV))
        advance(self.clock, 1)
        [(when, _, message)] = messages(self.link)
        self.assertTrue(when - start <= 0.011)
        self.assertEqual([r.type for r in message.answers], [dns.SRV])
        self.assertEqual([r.type for r in message.additionals], [dns.A, dns.AAAA, NSEC])

    def test_types(self):
        """
        The list of service types names ours.
        """
        self.ask(Question(SERVICE_TYPES, dns.PTR))
        advance(self.clock, 1)
        self.assertEqual(self.answers(), [pointerRecord(SERVICE_TYPES, SERVICE)])
        self.assertEqual(self.sent()[0].additionals, ())

    def test_any(self):
        """
        A question for everything gets everything but the avatar.
        """
        self.establish(makeZone(icon=b"icon"))
        self.ask(Question(JULIET, dns.ALL_RECORDS))
        advance(self.clock, 1)
        self.assertEqual({record.type for record in self.answers()}, {dns.SRV, dns.TXT})

    def test_null(self):
        """
        The avatar goes out when it is asked for, shared, 120 s, in a datagram of its own.
        """
        self.establish(makeZone(icon=b"icon"))
        self.ask(Question(JULIET, dns.NULL), Question(JULIET, dns.TXT))
        advance(self.clock, 1)
        [record] = [record for record in self.answers() if record.type == dns.NULL]
        self.assertEqual((record.flush, record.ttl, record.data), (False, 120, b"icon"))
        self.assertEqual([len(message.answers) for message in self.sent()], [1, 1])

    def test_denial(self):
        """
        For what a name of ours does not have there is a record that says so.
        """
        self.ask(Question(JULIET, dns.NULL), Question(HOST, 99))
        advance(self.clock, 1)
        self.assertEqual([record.type for record in self.answers()], [NSEC, NSEC])

    def test_others(self):
        """
        Questions for other names are none of ours.
        """
        self.ask(
            Question(instanceName("romeo@forza"), dns.SRV), Question((b"_ipp", b"_tcp", b"local"), dns.PTR)
        )
        self.ask(Question(JULIET, dns.SRV, cls=dns.CH))
        advance(self.clock, 1)
        self.assertEqual(self.answers(), [])

    def test_knownAnswer(self):
        """
        What the asker knows, with at least half of its life left, is not told.
        """
        known = pointerRecord(SERVICE, JULIET)
        self.ask(Question(SERVICE, dns.PTR), answers=(known,))
        advance(self.clock, 1)
        self.assertEqual(self.answers(), [])
        self.ask(Question(SERVICE, dns.PTR), answers=(Record(known.name, known.type, 2249, known.data),))
        advance(self.clock, 1)
        self.assertEqual(len(self.answers()), 1)

    def test_truncatedKnownAnswers(self):
        """
        A truncated query is answered after 400 ms, without what the asker has told meanwhile.
        """
        self.ask(Question(SERVICE, dns.PTR), Question(JULIET, dns.SRV), truncated=True)
        advance(self.clock, 0.3)
        self.ask(answers=(pointerRecord(SERVICE, JULIET),))
        self.assertEqual(self.answers(), [])
        advance(self.clock, 0.3)
        self.assertEqual([record.type for record in self.answers()], [dns.SRV])

    def test_knownAnswerOfAnother(self):
        """
        What one asker knows is told to another who does not.
        """
        self.ask(Question(SERVICE, dns.PTR), truncated=True)
        self.ask(Question(SERVICE, dns.PTR), source=("169.254.7.3", PORT))
        self.ask(answers=(pointerRecord(SERVICE, JULIET),))
        advance(self.clock, 1)
        self.assertEqual([record.type for record in self.answers()], [dns.PTR])

    def test_duplicateAnswer(self):
        """
        What somebody else has just told is not told again.
        """
        self.ask(Question(SERVICE_TYPES, dns.PTR))
        self.responder.response(Message(True, answers=(pointerRecord(SERVICE_TYPES, SERVICE),)))
        advance(self.clock, 1)
        self.assertEqual(self.answers(), [])

    def test_rateLimit(self):
        """
        A record is multicast once a second at most; who asks sooner waits, and gets it.
        """
        start = self.clock.seconds()
        for _ in range(40):
            self.ask(Question(JULIET, dns.TXT), Question(SERVICE, dns.PTR))
            advance(self.clock, 0.05)
        advance(self.clock, 2)
        for kind in (dns.TXT, dns.PTR, dns.A):
            times = [
                when
                for when, _, message in messages(self.link)
                for record in (*message.answers, *message.additionals)
                if record.type == kind
            ]
            gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
            self.assertTrue(times, kind)
            self.assertTrue(all(gap >= 0.999 for gap in gaps), (kind, gaps))
            self.assertTrue(times[0] - start < 0.2)

    def test_probeIsAnsweredSooner(self):
        """
        Who probes for a name of ours is told at once, though it was told 300 ms ago.
        """
        self.ask(Question(JULIET, dns.SRV))
        advance(self.clock, 0.3)
        self.link.sent.clear()
        self.ask(Question(JULIET, dns.ALL_RECORDS), authorities=(THEIRS,))
        advance(self.clock, 0.02)
        self.assertEqual([record.type for record in self.answers()], [dns.SRV, dns.TXT])

    def test_legacy(self):
        """
        A plain DNS query is answered to the asker alone, with its id and question, 10 s, no flush.
        """
        question = Question(JULIET, dns.SRV)
        self.responder.query(Message(questions=(question,), id=77), ("169.254.7.9", 40000))
        [(datagram, destination)] = self.port.unicasts
        reply = Message.parse(datagram)
        self.assertEqual(destination, ("169.254.7.9", 40000))
        self.assertEqual((reply.id, reply.questions), (77, (question,)))
        self.assertEqual({(r.ttl, r.flush) for r in reply.answers + reply.additionals}, {(10, False)})

    def test_legacyAvatar(self):
        """
        A big avatar goes to the group only: the address of whoever asks for it alone may be forged.
        """
        self.responder.update(makeZone(icon=bytes(20_000)))
        self.responder.query(Message(questions=(Question(JULIET, dns.NULL),)), ("169.254.7.9", 40000))
        self.assertEqual(self.port.unicasts, [])
        self.responder.update(makeZone(icon=bytes(1000)))
        self.responder.query(Message(questions=(Question(JULIET, dns.NULL),)), ("169.254.7.9", 40000))
        self.assertEqual(len(self.port.unicasts), 1)

    def test_legacyLimit(self):
        """
        Plain queries are answered so many times a second.
        """
        for _ in range(50):
            self.responder.query(Message(questions=(Question(JULIET, dns.SRV),)), ("169.254.7.9", 40000))
        self.assertEqual(len(self.port.unicasts), 20)
        advance(self.clock, 1, 1)
        self.responder.query(Message(questions=(Question(JULIET, dns.SRV),)), ("169.254.7.9", 40000))
        self.assertEqual(len(self.port.unicasts), 21)


class ConflictTests(ResponderTestCase):
    """
    Somebody else publishes what is ours.
    """

    def setUp(self):
        super().setUp()
        self.establish()

    def test_defended(self):
        """
        Another record under our name: it is asked for again, and kept when nobody objects.
        """
        self.responder.response(Message(True, answers=(THEIRS,)))
        self.assertFalse(self.responder.isEstablished)
        advance(self.clock, 2)
        self.assertTrue(self.responder.isEstablished)
        self.assertEqual(self.events, ["established", "established"])

    def test_lost(self):
        """
        ... and lost when somebody does.
        """
        self.responder.response(Message(True, answers=(THEIRS,)))
        advance(self.clock, 0.4)
        self.responder.response(Message(True, answers=(THEIRS,)))
        self.assertEqual(self.events, ["established", ("conflict", True)])

    def test_otherTypes(self):
        """
        A record of a type that we do not publish is no conflict.
        """
        self.responder.response(Message(True, answers=(Record(JULIET, dns.NULL, 120, b"x"),)))
        self.assertTrue(self.responder.isEstablished)

    def test_formerData(self):
        """
        Our own old data, come back late, is no conflict; ten seconds later it is somebody else's.
        """
        old = textRecord(JULIET, b"\x09txtvers=1")
        self.update(makeZone(text=b"\3a=b"))
        self.responder.response(Message(True, answers=(old,)))
        self.assertTrue(self.responder.isEstablished)
        advance(self.clock, 11, 0.5)
        self.responder.response(Message(True, answers=(old,)))
        self.assertFalse(self.responder.isEstablished)

    def test_pointerTakenBack(self):
        """
        Somebody takes our own pointer back (he has lost our name): everybody is told that we are here.
        """
        pointer = pointerRecord(SERVICE, JULIET)
        self.responder.response(Message(True, answers=(Record(pointer.name, dns.PTR, 0, pointer.data),)))
        advance(self.clock, 1.2)
        self.assertIn(pointer, self.answers())


class UpdateTests(ResponderTestCase):
    """
    Other data under the same names, and the end.
    """

    def times(self, data):
        return [
            when
            for when, _, message in messages(self.link)
            if data in [record.data for record in message.answers]
        ]

    def test_update(self):
        """
        New text is announced at once, and again 1.05 s later.
        """
        self.establish()
        start = self.clock.seconds()
        self.update(makeZone(text=b"\3a=b"))
        advance(self.clock, 3)
        first, second = self.times(b"\3a=b")
        self.assertTrue(first - start < 0.02)
        self.assertTimes([second - first], [1.05])

    def test_sameDataAgain(self):
        """
        What has not changed is not announced.
        """
        self.establish()
        self.update(makeZone())
        advance(self.clock, 3)
        self.assertEqual(self.link.sent, [])

    def test_quickUpdate(self):
        """
        New text right after the old one went out waits for 1.05 s, or other caches would keep both.
        """
        self.publish()
        advance(self.clock, 1.9)  # the second announcement was at 1.81
        self.update(makeZone(text=b"\3a=b"))
        advance(self.clock, 4)
        self.assertTimes(self.times(b"\3a=b"), [2.86, 3.91])

    def test_replacedUpdate(self):
        """
        An update that is replaced before it went out is never sent; the newest keeps the distance.
        """
        self.publish()
        advance(self.clock, 1.9)
        self.update(makeZone(text=b"\3a=b"))
        advance(self.clock, 0.1)
        self.update(makeZone(text=b"\3a=c"))
        advance(self.clock, 4)
        self.assertEqual(self.times(b"\3a=b"), [])
        self.assertTimes(self.times(b"\3a=c"), [2.86, 3.91])

    def test_everyUpdateKeepsItsDistance(self):
        """
        Whatever the updates, old data never goes out less than 1.05 s before its successor.
        """
        self.establish()
        random = Random(7)
        for number in range(30):
            self.update(makeZone(text=b"\4%4d" % number))
            self.ask(Question(JULIET, dns.TXT))
            advance(self.clock, random.uniform(0.05, 3))
        advance(self.clock, 70)
        texts = [
            (when, record.data)
            for when, _, message in messages(self.link)
            for record in (*message.answers, *message.additionals)
            if record.type == dns.TXT
        ]
        self.assertEqual(texts[-1][1], b"\4  29")
        last = {}
        for when, data in texts:
            last[data] = when
        final = [when for when, data in texts if data == texts[-1][1]][-1]
        self.assertTrue(
            all(final - when >= 1.05 - 0.001 for data, when in last.items() if data != texts[-1][1])
        )

    def test_tenUpdatesAMinute(self):
        """
        No more than ten updates are announced within a minute.
        """
        self.establish()
        for number in range(40):
            self.update(makeZone(text=b"\4%4d" % number))
            advance(self.clock, 2.2)
        starts = {}
        for when, _, message in messages(self.link):
            for record in message.answers:
                if record.type == dns.TXT:
                    starts.setdefault(record.data, when)
        times = sorted(starts.values())
        self.assertTrue(all(b - a >= 59.9 for a, b in zip(times, times[10:], strict=False)), times)

    def test_addressGone(self):
        """
        An address that the link has no more is taken back when no other of its kind replaces it.
        """
        self.establish()
        self.update(makeZone(addresses=("169.254.7.1",)))
        [record] = self.answers()
        self.assertEqual((record.type, record.ttl), (dns.AAAA, 0))
        advance(self.clock, 2)
        self.assertEqual(len(self.sent()), 1)

    def test_icon(self):
        """
        An avatar is taken back, and the new one announced alone.
        """
        self.establish(makeZone(icon=b"old"))
        self.update(makeZone())
        [record] = self.answers()
        self.assertEqual((record.type, record.ttl, record.data), (dns.NULL, 0, b"old"))
        self.responder.announceIcon()
        self.update(makeZone(icon=b"new"))
        self.responder.announceIcon()
        [_, record] = self.answers()
        self.assertEqual((record.type, record.ttl, record.data), (dns.NULL, 120, b"new"))

    def test_withdraw(self):
        """
        At the end everything is taken back in one datagram, the list of service types excepted.
        """
        self.establish(makeZone(icon=b"icon"))
        self.responder.withdraw()
        self.assertEqual(len(self.link.sent), 1)
        self.assertEqual({record.ttl for record in self.answers()}, {0})
        self.assertEqual(
            [record.type for record in self.answers()],
            [dns.PTR, dns.SRV, dns.TXT, dns.A, dns.AAAA, dns.NULL],
        )
        advance(self.clock, 5)
        self.assertEqual(len(self.link.sent), 1)
        self.responder.withdraw()
        self.responder.announceIcon()
        self.assertEqual(len(self.link.sent), 1)

    def test_withdrawContested(self):
        """
        When the name is somebody else's the pointer is left alone: it is his now.
        """
        self.establish()
        self.responder.withdraw(contested=True)
        self.assertEqual([record.type for record in self.answers()], [dns.A, dns.AAAA])

    def test_nothingBeforePublish(self):
        """
        Without a zone there is nothing to answer or to defend.
        """
        self.ask(Question(SERVICE, dns.PTR))
        self.responder.response(Message(True, answers=(THEIRS,)))
        self.responder.update(makeZone())
        advance(self.clock, 1)
        self.assertEqual(self.link.sent, [])
