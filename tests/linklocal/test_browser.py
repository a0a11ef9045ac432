"""
Tests for L{xmppbytes.linklocal.browser} and L{xmppbytes.linklocal.resolver}.
"""

import itertools
from collections import Counter
from random import Random

from twisted.internet.task import Clock
from twisted.names import dns
from twisted.trial.unittest import TestCase

from tests.linklocal.helpers import HOST, SERVICE, advance, messages
from xmppbytes.errors import NotReachable
from xmppbytes.linklocal.browser import TEXT_QUESTIONS_PER_SECOND, TEXT_RETRIES, Browser
from xmppbytes.linklocal.ilink import NetworkInterface
from xmppbytes.linklocal.names import instanceName
from xmppbytes.linklocal.resolver import Location, Resolution
from xmppbytes.testing.multicast import MemoryLink
from xmppbytes.wire.dnsdata import Service, addressRecord, pointerRecord, serviceRecord, textRecord
from xmppbytes.wire.mdns import Message, Question, Record

NAME = "juliet@pronto"
JULIET = instanceName(NAME)
POINTER = pointerRecord(SERVICE, JULIET)
TEXT = textRecord(JULIET, b"\x0cstatus=avail")
SRV = serviceRecord(JULIET, Service(HOST, 5562))
IPV4 = addressRecord(HOST, "169.254.7.1")
IPV6 = addressRecord(HOST, "fe80::1")


class BrowserTestCase(TestCase):
    """
    One browser on a link in memory.
    """

    def setUp(self):
        self.clock = Clock()
        self.link = MemoryLink(self.clock)
        port = self.link.attach(NetworkInterface("eth0", 1, ("169.254.7.2",)), lambda *_: None)
        self.events = []
        self.browser = Browser(
            self.clock,
            Random(1),
            port,
            lambda name: self.events.append(("changed", name, self.browser.text(name))),
            lambda name: self.events.append(("gone", name)),
        )
        self.addCleanup(self.noTimerLeft)

    def noTimerLeft(self):
        self.browser.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def hear(self, *answers, additionals=()):
        self.browser.response(Message(True, answers=answers, additionals=additionals))

    def asked(self):
        return [
            (round(when, 1), [(question.name, question.type) for question in message.questions])
            for when, _, message in messages(self.link)
        ]


class BrowserTests(BrowserTestCase):
    """
    Who is there.
    """

    def test_queries(self):
        """
        It is asked after 20 to 120 ms, then after 1, 2, 4... seconds, an hour at most.
        """
        self.browser.start()
        advance(self.clock, 3 * 3600, 0.5)
        times = [when for when, _, _ in messages(self.link)]
        gaps = [round(later - earlier) for earlier, later in itertools.pairwise(times)]
        self.assertEqual(gaps[:4], [1, 2, 4, 8])
        self.assertEqual(gaps[-1], 3600)
        self.assertEqual(messages(self.link)[0][2].questions, (Question(SERVICE, dns.PTR),))

    def test_knownAnswers(self):
        """
        Pointers in the first half of their life are listed, so that nobody repeats them.
        """
        self.hear(POINTER, TEXT)
        self.browser.start()
        advance(self.clock, 0.2)
        [known] = messages(self.link)[0][2].answers
        self.assertEqual(known.identity, POINTER.identity)
        self.assertTrue(4490 < known.ttl < 4500)

    def test_knownAnswersGrowOld(self):
        """
        In the second half of its life a pointer is not listed: whoever publishes it is to repeat it.
        """
        self.hear(Record(POINTER.name, POINTER.type, 100, POINTER.data))
        self.browser.start()
        advance(self.clock, 70, 0.5)
        asked = [(when, message) for when, _, message in messages(self.link)]
        pointers = [(when, one) for when, one in asked if one.questions[0].type == dns.PTR]
        self.assertEqual([bool(one.answers) for when, one in pointers], [when < 50 for when, _ in pointers])
        self.assertGreater(pointers[-1][0], 50)

    def test_wholeAnswer(self):
        """
        A pointer that comes with its text is told once.
        """
        self.hear(POINTER, additionals=(SRV, TEXT, IPV4))
        self.assertEqual(self.events, [("changed", NAME, (0.0, TEXT.data))])
        advance(self.clock, 20, 0.1)
        self.assertEqual(self.asked(), [])
        self.assertEqual(self.browser.names(), [NAME])

    def test_textIsAskedFor(self):
        """
        A pointer without a text: text and service are asked for, four times at most.
        """
        self.hear(POINTER)
        advance(self.clock, 60, 0.1)
        question = [(JULIET, dns.TXT), (JULIET, dns.SRV)]
        self.assertEqual([asked for _, asked in self.asked()], [question] * 4)

    def test_manyTexts(self):
        """
        However many people are announced at once, and however short their texts live, only so many
        questions go out in one second, and in the end everybody was asked about.
        """
        names = [instanceName(f"n{number}@x") for number in range(160)]
        self.hear(*(pointerRecord(SERVICE, name) for name in names))
        advance(self.clock, 60, 0.05)
        asked = Counter(int(when) for when, _, _ in messages(self.link))
        self.assertLessEqual(max(asked.values()), TEXT_QUESTIONS_PER_SECOND)
        self.assertEqual(sum(asked.values()), len(names) * len(TEXT_RETRIES))
        since = self.clock.seconds()
        self.hear(*(Record(name, dns.TXT, 1, b"\x01x") for name in names))
        advance(self.clock, 2, 0.05)
        refreshed = Counter(int(when) for when, _, _ in messages(self.link, since))
        self.assertLessEqual(max(refreshed.values()), TEXT_QUESTIONS_PER_SECOND)

    def test_textCame(self):
        """
        Once the text has come it is not asked for any more.
        """
        self.hear(POINTER)
        advance(self.clock, 0.5)
        self.hear(TEXT)
        advance(self.clock, 60, 0.1)
        self.assertEqual(len(self.asked()), 1)
        self.assertEqual(self.events[-1][:2], ("changed", NAME))

    def test_textWithoutPointer(self):
        """
        The text of somebody to whom nobody points is not remembered, nor are stray addresses.
        """
        self.hear(TEXT, SRV, IPV4, Record(JULIET, dns.NULL, 120, b"x"))
        self.assertEqual((self.events, len(self.browser.cache)), ([], 0))

    def test_otherServices(self):
        """
        Printers are no persons; a broken service is no reason to fail.
        """
        self.hear(
            pointerRecord((b"_ipp", b"_tcp", b"local"), (b"printer", b"_ipp", b"_tcp", b"local")),
            pointerRecord(SERVICE, (b"\xff", *SERVICE)),
            POINTER,
            Record(JULIET, dns.SRV, 120, b"short"),
            Record(JULIET, dns.TXT, 4500, b"x", cls=dns.CH),
        )
        self.assertEqual(self.browser.names(), [NAME])

    def test_goodbye(self):
        """
        Whoever takes his pointer back is gone one second later, and so is what was known of him.
        """
        self.hear(POINTER, additionals=(SRV, TEXT))
        self.hear(Record(SERVICE, dns.PTR, 0, POINTER.data))
        advance(self.clock, 1.1)
        self.assertEqual(self.events[-1], ("gone", NAME))
        self.assertEqual(len(self.browser.cache), 0)

    def test_goodbyeWhileAsked(self):
        """
        Outstanding queries for whoever has gone are cancelled (XEP-0174 section 7).
        """
        self.hear(POINTER)
        self.browser.confirm(NAME)
        self.hear(Record(SERVICE, dns.PTR, 0, POINTER.data))
        advance(self.clock, 1.2)
        self.link.sent.clear()
        advance(self.clock, 20, 0.1)
        self.assertEqual(self.asked(), [])

    def test_refresh(self):
        """
        Pointer and text are asked for again before they end; without an answer the person is gone.
        """
        self.hear(POINTER, TEXT)
        advance(self.clock, 4600, 0.5)
        asked = [question for _, questions in self.asked() for question in questions]
        self.assertEqual(asked.count((SERVICE, dns.PTR)), 4)
        self.assertEqual(asked.count((JULIET, dns.TXT)), 4)
        self.assertEqual(self.events[-1], ("gone", NAME))

    def test_oneQueryRefreshesAll(self):
        """
        Pointers that end together are asked for with one query.
        """
        self.hear(*(pointerRecord(SERVICE, instanceName(f"u{n}@m")) for n in range(30)))
        self.hear(*(textRecord(instanceName(f"u{n}@m"), b"\0") for n in range(30)))
        advance(self.clock, 3800, 0.5)
        queries = [questions for _, questions in self.asked() if (SERVICE, dns.PTR) in questions]
        self.assertTrue(len(queries) <= 95, len(queries))

    def test_expiredText(self):
        """
        When the newest text ends first, the one before counts again.
        """
        self.hear(POINTER, TEXT)
        advance(self.clock, 0.5)
        self.hear(Record(JULIET, dns.TXT, 5, b"\3a=b", flush=True))
        advance(self.clock, 6)
        self.assertEqual(self.events[-1], ("changed", NAME, (0.0, TEXT.data)))

    def test_casesDiffer(self):
        """
        Two pointers that differ in case lead to one person.
        """
        other = pointerRecord(SERVICE, instanceName("Juliet@Pronto"))
        self.hear(POINTER, other, TEXT)
        self.hear(Record(SERVICE, dns.PTR, 0, other.data))
        advance(self.clock, 1.1)
        self.assertTrue(self.browser.isPublished(NAME))
        self.assertNotIn("gone", [event[0] for event in self.events])


class ConfirmTests(BrowserTestCase):
    """
    Somebody who could not be reached.
    """

    def test_gone(self):
        """
        Nobody answers for him: he is forgotten after five seconds.
        """
        self.hear(POINTER, TEXT)
        self.browser.confirm(NAME)
        self.browser.confirm(NAME)
        advance(self.clock, 5.1)
        self.assertEqual([asked for _, asked in self.asked()], [[(JULIET, dns.SRV)]] * 3)
        self.assertEqual(self.events[-1], ("gone", NAME))

    def test_there(self):
        """
        Somebody answers: he stays.
        """
        self.hear(POINTER, TEXT)
        self.browser.confirm(NAME)
        advance(self.clock, 0.5)
        self.hear(SRV)
        advance(self.clock, 10)
        self.assertEqual(len(self.asked()), 1)
        self.assertTrue(self.browser.isPublished(NAME))

    def test_unknown(self):
        """
        Nothing is asked about whoever is not there anyway.
        """
        self.browser.confirm(NAME)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ResolutionTests(BrowserTestCase):
    """
    Where somebody can be reached.
    """

    def resolve(self):
        found = []
        resolution = Resolution(self.clock, self.browser, "eth0", NAME).start()
        resolution.addBoth(found.append)
        self.addCleanup(resolution.cancel)
        return found

    def test_fresh(self):
        """
        Service and addresses are asked for and told with their scope, IPv6 first.
        """
        self.hear(POINTER, TEXT)
        found = self.resolve()
        advance(self.clock, 0.1)
        self.hear(SRV, additionals=(IPV4, IPV6))
        advance(self.clock, 0.2)
        self.assertEqual(found, [Location("eth0", 5562, ("fe80::1%eth0", "169.254.7.1"))])
        self.assertEqual([asked for _, asked in self.asked()], [[(JULIET, dns.SRV)]])

    def test_addressesAskedFor(self):
        """
        Addresses that do not come along are asked for.
        """
        found = self.resolve()
        advance(self.clock, 0.1)
        self.hear(SRV)
        self.assertEqual(self.asked()[-1][1], [(HOST, dns.A), (HOST, dns.AAAA)])
        self.hear(IPV4)
        advance(self.clock, 0.2)
        self.assertEqual(found, [Location("eth0", 5562, ("169.254.7.1",))])

    def test_changedAddress(self):
        """
        An address that was heard before is not used when a new one comes.
        """
        self.hear(POINTER, TEXT, SRV, IPV4)
        advance(self.clock, 30)
        found = self.resolve()
        advance(self.clock, 0.1)
        self.hear(SRV, addressRecord(HOST, "169.254.99.9"))
        advance(self.clock, 0.2)
        self.assertEqual(found[0].addresses, ("169.254.99.9",))
        self.assertEqual(self.asked()[-1][1], [(JULIET, dns.SRV), (HOST, dns.A), (HOST, dns.AAAA)])

    def test_nobodyRepeats(self):
        """
        Without an answer what was heard before and is still valid serves.
        """
        self.hear(POINTER, TEXT, SRV, IPV4)
        advance(self.clock, 30)
        found = self.resolve()
        advance(self.clock, 2.3)
        self.assertEqual(found, [Location("eth0", 5562, ("169.254.7.1",))])

    def test_nobody(self):
        """
        Without anything known there is no location; it was asked three times.
        """
        found = self.resolve()
        advance(self.clock, 3)
        found[0].trap(NotReachable)
        self.assertIn(NAME, found[0].getErrorMessage())
        self.assertEqual(len(self.asked()), 3)

    def test_afterGoodbye(self):
        """
        The text of somebody who is being called, and who has left in the meantime, brings nobody back.
        """
        self.hear(POINTER, TEXT, SRV)
        self.resolve()
        self.hear(Record(SERVICE, dns.PTR, 0, POINTER.data))
        advance(self.clock, 1.5)
        self.assertEqual(self.events[-1], ("gone", NAME))
        self.hear(TEXT, SRV)
        self.assertEqual(self.events[-1], ("gone", NAME))

    def test_foreignAddresses(self):
        """
        Addresses that no neighbour has, those of our own loopback interface first of all, are no addresses;
        on the loopback interface itself its own are.
        """
        local = [addressRecord(HOST, one) for one in ("127.0.0.1", "::1", "::ffff:127.0.0.2")]
        others = [
            addressRecord(HOST, one)
            for one in ("0.0.0.0", "::", "224.0.0.251", "ff02::fb", "255.255.255.255")
        ]
        self.hear(POINTER, TEXT, SRV, IPV4, *local, *others)
        self.assertEqual(Resolution(self.clock, self.browser, "eth0", NAME).known(), ("169.254.7.1",))
        known = Resolution(self.clock, self.browser, "lo", NAME, loopback=True).known()
        self.assertEqual(set(known), {"169.254.7.1", "127.0.0.1", "::1", "::ffff:127.0.0.2"})

    def test_brokenRecords(self):
        """
        Records that cannot be read are passed over.
        """
        found = self.resolve()
        advance(self.clock, 0.1)
        self.hear(Record(JULIET, dns.SRV, 120, b"x"), SRV, IPV4, Record(HOST, dns.A, 120, b"abc"))
        advance(self.clock, 0.2)
        self.assertEqual(found[0].addresses, ("169.254.7.1",))

    def test_cancelled(self):
        """
        It can be cancelled, and nothing is left.
        """
        resolution = Resolution(self.clock, self.browser, "eth0", NAME).start()
        resolution.addErrback(lambda failure: None)
        resolution.cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.hear(SRV, IPV4)
        self.assertEqual(len(self.browser.cache), 0)
