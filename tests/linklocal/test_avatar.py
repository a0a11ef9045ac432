"""
Tests for L{xmppbytes.linklocal.avatar}.
"""

import os
from pathlib import Path
from random import Random

from twisted.internet.task import Clock
from twisted.names import dns
from twisted.trial.unittest import TestCase

from tests.linklocal.helpers import Recorder, advance, messages
from xmppbytes.errors import ConfigurationError
from xmppbytes.linklocal import avatar as module
from xmppbytes.linklocal.avatar import MAX_PUBLISHED, AvatarFetcher, AvatarStore, loadIcon, sha1
from xmppbytes.linklocal.browser import Browser
from xmppbytes.linklocal.ilink import NetworkInterface
from xmppbytes.linklocal.names import instanceName
from xmppbytes.linklocal.presence import Presence
from xmppbytes.linklocal.roster import Roster
from xmppbytes.testing.multicast import MemoryLink
from xmppbytes.wire.dnsdata import nullRecord
from xmppbytes.wire.mdns import Message, Record

NAME = "juliet@pronto"
OLD, NEW = b"old picture", b"new picture"


class StoreTests(TestCase):
    """
    Avatars on disk.
    """

    def setUp(self):
        self.now = 1_000_000.0
        self.folder = Path(self.mktemp()) / "icons"
        self.store = AvatarStore(self.folder, lambda: self.now)

    def test_kept(self):
        """
        What was added is found by its hash, in a folder for our eyes only.
        """
        path = self.store.add(OLD)
        self.assertEqual(self.store.find(sha1(OLD)), path)
        self.assertEqual(Path(path).read_bytes(), OLD)
        self.assertEqual(self.folder.stat().st_mode & 0o777, 0o700)
        self.assertIs(self.store.find(sha1(NEW)), None)

    def test_tamperedWith(self):
        """
        A file that does not fit its hash is none.
        """
        Path(self.store.add(OLD)).write_bytes(b"x")
        self.assertIs(self.store.find(sha1(OLD)), None)

    def test_expiry(self):
        """
        What was not used for a month is removed when another is added.
        """
        old, used = self.store.add(OLD), self.store.add(b"used")
        self.now += 20 * 86400
        self.store.find(sha1(b"used"))
        self.now += 15 * 86400
        self.store.add(NEW)
        self.assertFalse(os.path.exists(old))
        self.assertTrue(os.path.exists(used))

    def test_limits(self):
        """
        The oldest go when there are too many files or bytes.
        """
        self.patch(module, "MAX_FILES", 3)
        paths = []
        for number in range(5):
            self.now += 1
            paths.append(self.store.add(b"%d" % number))
        self.assertEqual([os.path.exists(path) for path in paths], [False, False, True, True, True])
        self.patch(module, "MAX_STORED", 10)
        self.now += 1
        self.store.add(bytes(10))
        self.assertEqual(len(list(self.folder.iterdir())), 1)

    def test_notWritable(self):
        """
        A folder that cannot be made costs the picture and one line in the log.
        """
        Path(self.mktemp()).touch()
        self.folder.parent.write_bytes(b"")
        self.assertIs(self.store.add(OLD), None)

    def test_loadIcon(self):
        """
        Our own avatar is read; one that is missing, empty or too big is refused with a reason.
        """
        path = self.mktemp()
        self.assertRaises(ConfigurationError, loadIcon, path)
        for data in (b"", bytes(MAX_PUBLISHED + 1)):
            Path(path).write_bytes(data)
            self.assertRaises(ConfigurationError, loadIcon, path)
        Path(path).write_bytes(OLD)
        self.assertEqual(loadIcon(path), OLD)


class FetcherTests(TestCase):
    """
    Avatars of others.
    """

    def setUp(self):
        self.clock = Clock()
        self.link = MemoryLink(self.clock)
        port = self.link.attach(NetworkInterface("eth0", 1, ("169.254.7.2",)), lambda *_: None)
        self.browser = Browser(self.clock, Random(1), port, lambda name: None, lambda name: None)
        self.roster = Roster(self.clock)
        self.recorder = Recorder(self.clock)
        self.roster.addListener(self.recorder)
        self.store = AvatarStore(Path(self.mktemp()), lambda: 1e6)
        self.fetcher = AvatarFetcher(self.clock, self.roster, self.store, lambda buddy: [self.browser])
        self.roster.addListener(self.fetcher)
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))
        self.addCleanup(self.fetcher.stop)

    def see(self, digest, name=NAME, message=""):
        self.roster.seen(
            "eth0", name, (self.clock.seconds(), Presence(message=message, phsh=digest).toText())
        )

    def answer(self, data, name=NAME, ttl=120):
        record = nullRecord(instanceName(name), data)
        self.browser.response(Message(True, answers=(Record(record.name, dns.NULL, ttl, data),)))

    def icons(self):
        return [event[2] for event in self.recorder.events if event[0] == "icon"]

    def queries(self):
        return [
            round(when, 1)
            for when, _, message in messages(self.link)
            if message.questions[0].type == dns.NULL
        ]

    def test_fetched(self):
        """
        A new hash: the picture is asked for until it comes, then no more.
        """
        self.see(sha1(NEW))
        advance(self.clock, 1.5)
        self.answer(NEW)
        advance(self.clock, 10)
        self.assertEqual(self.icons(), [sha1(NEW)])
        self.assertEqual(self.queries(), [0.0, 1.0])
        self.assertEqual(Path(self.roster.get(NAME).iconPath).read_bytes(), NEW)

    def test_wrongPicture(self):
        """
        A picture that does not fit the hash, is somebody else's or is taken back is not used.
        """
        self.see(sha1(NEW))
        advance(self.clock, 0.5)
        self.answer(OLD)
        self.answer(NEW, name="romeo@forza")
        self.answer(NEW, ttl=0)
        self.assertEqual(self.icons(), [])

    def test_fromDisk(self):
        """
        A picture that is known is not asked for.
        """
        self.store.add(OLD)
        self.see(sha1(OLD))
        advance(self.clock, 5)
        self.assertEqual((self.icons(), self.queries()), ([sha1(OLD)], []))

    def test_retries(self):
        """
        Without an answer it is tried again later, and given up in the end; the old picture stays.
        """
        self.see(sha1(OLD))
        advance(self.clock, 0.1)
        self.answer(OLD)
        self.see(sha1(NEW))
        advance(self.clock, 200, 0.1)
        self.assertEqual(len(self.queries()), 1 + 4 * 4)
        self.assertEqual(self.roster.get(NAME).iconHash, sha1(OLD))

    def test_otherChanges(self):
        """
        Another message while the picture is being fetched does not begin anew.
        """
        self.see(sha1(NEW))
        advance(self.clock, 0.5)
        self.see(sha1(NEW), message="lunch")
        advance(self.clock, 0.4)
        self.assertEqual(self.queries(), [0.0])

    def test_changedWhileFetching(self):
        """
        Yet another hash: only the newest picture is taken.
        """
        self.see(sha1(OLD))
        advance(self.clock, 0.5)
        self.see(sha1(NEW))
        self.answer(OLD)
        self.answer(NEW)
        self.assertEqual(self.icons(), [sha1(NEW)])

    def test_removed(self):
        """
        Without a hash, or with one that is none, there is no picture.
        """
        self.store.add(OLD)
        for digest in (sha1(OLD), "", sha1(OLD), "../../etc/passwd"):
            self.see(digest)
            self.clock.advance(1)
        self.assertEqual(self.icons(), [sha1(OLD), "", sha1(OLD), ""])

    def test_gone(self):
        """
        The query for somebody who leaves is cancelled, also while it waits to be tried again.
        """
        for seconds in (0.5, 8):
            self.see(sha1(NEW))
            advance(self.clock, seconds)
            self.roster.lost("eth0", NAME)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_fewAtOnce(self):
        """
        Four pictures are fetched at a time; the next when one has come.
        """
        names = [f"u{number}@m" for number in range(6)]
        for name in names:
            self.see(sha1(name.encode()), name)
        advance(self.clock, 0.1)
        self.assertEqual(len(self.queries()), 4)
        self.answer(names[0].encode(), names[0])
        advance(self.clock, 0.1)
        self.assertEqual(len(self.queries()), 5)
        self.roster.lost("eth0", names[5])
        for name in names[1:5]:
            self.answer(name.encode(), name)
        self.assertEqual(len(self.icons()), 5)
