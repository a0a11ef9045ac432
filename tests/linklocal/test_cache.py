"""
Tests for L{xmppbytes.linklocal.cache}.
"""

from random import Random

from twisted.internet.task import Clock
from twisted.names import dns
from twisted.trial.unittest import TestCase

from xmppbytes.linklocal import cache as module
from xmppbytes.linklocal.cache import Cache
from xmppbytes.linklocal.names import SERVICE, instanceName
from xmppbytes.wire.dnsdata import pointerRecord, textRecord
from xmppbytes.wire.mdns import Record

JULIET = instanceName("juliet@pronto")


class CacheTests(TestCase):
    """
    Records that come, are renewed, and go.
    """

    def setUp(self):
        self.clock = Clock()
        self.removed = []
        self.refreshed = []
        self.cache = Cache(
            self.clock,
            Random(1),
            lambda record: self.removed.append((self.clock.seconds(), record)),
            lambda record: self.refreshed.append(self.clock.seconds()),
        )

    def texts(self):
        return [entry.record.data for entry in self.cache.get(JULIET, dns.TXT)]

    def advance(self, seconds, step=0.5):
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(min(step, end - self.clock.seconds()))

    def test_expiry(self):
        """
        A record is asked for at 80, 85, 90 and 95 % of its life and forgotten at its end.
        """
        self.cache.add([pointerRecord(SERVICE, JULIET)])
        self.advance(4501, 1.0)
        for when, part in zip(self.refreshed, (0.80, 0.85, 0.90, 0.95), strict=True):
            self.assertTrue(part * 4500 <= when <= (part + 0.02) * 4500 + 1, when)
        self.assertEqual(len(self.removed), 1)
        self.assertEqual(len(self.cache), 0)

    def test_spread(self):
        """
        Records that came at once are asked for at random times, so that not everybody asks at once.
        """
        self.cache.add([Record((b"%d" % number, *SERVICE), dns.TXT, 1000, b"\0") for number in range(50)])
        self.advance(830, 1.0)
        self.assertEqual(len(self.refreshed), 50)
        self.assertGreater(len(set(self.refreshed)), 10)

    def test_longestLife(self):
        """
        A record that claims to be valid for years is forgotten after two hours, renewed or not.
        """
        record = Record(JULIET, dns.TXT, 2**31 - 1, b"\3a=b")
        self.cache.add([record])
        self.advance(60)
        self.cache.add([record])
        self.advance(module.MAX_TTL - 1, 10)
        self.assertEqual(len(self.cache), 1)
        self.advance(2)
        self.assertEqual((len(self.cache), len(self.refreshed)), (0, 4))

    def test_renewal(self):
        """
        A record that comes again lives on, and is not news.
        """
        record = Record(JULIET, dns.TXT, 10, b"\3a=b")
        self.assertEqual(self.cache.add([record]), [record])
        self.advance(9)
        self.assertEqual(self.cache.add([record]), [])
        self.advance(9)
        self.assertEqual(self.texts(), [b"\3a=b"])
        self.advance(2)
        self.assertEqual(self.texts(), [])

    def test_goodbye(self):
        """
        A record that is taken back is forgotten one second later, unless it comes again.
        """
        record = pointerRecord(SERVICE, JULIET)
        self.cache.add([record])
        goodbye = Record(record.name, record.type, 0, record.data)
        self.cache.add([goodbye])
        self.advance(0.9)
        self.cache.add([record])
        self.advance(5)
        self.assertEqual(self.removed, [])
        self.cache.add([goodbye])
        self.advance(1.1)
        self.assertEqual(len(self.removed), 1)

    def test_unknownGoodbye(self):
        """
        Taking back what nobody knows changes nothing.
        """
        self.assertEqual(self.cache.add([Record(JULIET, dns.TXT, 0, b"")]), [])
        self.assertEqual(len(self.cache), 0)

    def test_flush(self):
        """
        New data replaces old data that is older than a second, one second later.
        """
        self.cache.add([textRecord(JULIET, b"old")])
        self.advance(1.5)
        self.cache.add([textRecord(JULIET, b"new")])
        self.assertEqual(self.texts(), [b"new", b"old"])
        self.advance(1.1)
        self.assertEqual(self.texts(), [b"new"])

    def test_flushSparesTheYoung(self):
        """
        Data younger than a second is spared: this is why updates keep 1.05 s between them.
        """
        self.cache.add([textRecord(JULIET, b"old")])
        self.advance(0.9)
        self.cache.add([textRecord(JULIET, b"new")])
        self.advance(30)
        self.assertEqual(self.texts(), [b"new", b"old"])

    def test_limits(self):
        """
        Beyond the limits nothing new is remembered until something has expired; one line tells.
        """
        self.patch(module, "MAX_RECORDS", 2)
        records = [Record(instanceName(f"u{n}@m"), dns.TXT, 10 + n, b"x") for n in range(4)]
        self.assertEqual(self.cache.add(records), records[:2])
        self.advance(10.5)
        self.assertEqual(self.cache.add(records[2:]), records[2:3])
        self.assertEqual(len(self.cache), 2)

    def test_limitsOfBytesAndKeys(self):
        """
        Bytes in all and records of one name are limited, too.
        """
        self.patch(module, "MAX_BYTES", 10)
        self.assertEqual(self.cache.add([textRecord(JULIET, bytes(11))]), [])
        self.patch(module, "MAX_PER_KEY", 1)
        records = [pointerRecord(SERVICE, (b"a",)), pointerRecord(SERVICE, (b"b",))]
        self.assertEqual(self.cache.add(records), records[:1])

    def test_dropAndRemove(self):
        """
        What nobody has confirmed is forgotten at once.
        """
        records = [textRecord(JULIET, b"old"), pointerRecord(SERVICE, JULIET)]
        self.cache.add(records)
        self.cache.drop(JULIET, dns.TXT)
        self.cache.remove(records[1])
        self.cache.remove(records[1])
        self.assertEqual([record for _, record in self.removed], records)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_clear(self):
        """
        Clearing tells nothing and leaves no timer.
        """
        self.cache.add([textRecord(JULIET, b"old")])
        self.cache.clear()
        self.assertEqual((self.removed, len(self.cache), self.clock.getDelayedCalls()), ([], 0, []))
