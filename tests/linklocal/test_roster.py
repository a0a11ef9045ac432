"""
Tests for L{xmppbytes.linklocal.roster}.
"""

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from tests.linklocal.helpers import Recorder
from xmppbytes.linklocal import roster as module
from xmppbytes.linklocal.presence import Presence
from xmppbytes.linklocal.roster import Roster

JULIET = "juliet@pronto"


def text(status="avail", message="", phsh=""):
    return Presence(status, message, phsh=phsh).toText()


class RosterTests(TestCase):
    """
    One entry for each name.
    """

    def setUp(self):
        self.clock = Clock()
        self.roster = Roster(self.clock)
        self.recorder = Recorder(self.clock)
        self.roster.addListener(self.recorder)
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))
        self.addCleanup(self.roster.stop)

    def test_comesChangesGoes(self):
        """
        Somebody comes, changes status, and goes.
        """
        self.roster.seen("eth0", JULIET, (1.0, text()))
        self.roster.seen("eth0", JULIET, (2.0, text("away", "lunch")))
        self.roster.seen("eth0", JULIET, (3.0, text("away", "lunch")))
        self.roster.lost("eth0", JULIET)
        self.assertEqual(
            self.recorder.events,
            [("on", JULIET, "avail"), ("status", JULIET, "away", "lunch"), ("off", JULIET)],
        )
        self.assertEqual(list(self.roster), [])

    def test_severalLinks(self):
        """
        The same name on two links is one entry, with the newest text, until it has left both.
        """
        self.roster.seen("eth0", JULIET, (1.0, text()))
        self.roster.seen("eth1", "Juliet@PRONTO", (2.0, text("dnd")))
        self.roster.seen("eth0", JULIET, (1.5, text("away")))
        self.assertEqual([(buddy.name, buddy.presence.status) for buddy in self.roster], [(JULIET, "dnd")])
        self.roster.linkLost("eth1")
        self.assertEqual(self.roster.get("JULIET@pronto").presence.status, "away")
        self.roster.lost("eth0", JULIET)
        self.assertEqual(self.recorder.events[-1], ("off", JULIET))

    def test_self(self):
        """
        Our own name is not shown; when we take another it may be somebody else's.
        """
        self.roster.setOwnName(JULIET)
        self.roster.seen("eth0", "Juliet@pronto", (1.0, text()))
        self.assertEqual(self.recorder.events, [])
        self.roster.setOwnName("juliet1@pronto")
        self.assertEqual(self.recorder.events, [("on", "Juliet@pronto", "avail")])
        self.roster.setOwnName(JULIET)
        self.assertEqual(self.recorder.events[-1], ("off", "Juliet@pronto"))

    def test_withoutText(self):
        """
        Somebody whose text does not come is shown without it after 1.5 s.
        """
        self.roster.seen("eth0", JULIET, None)
        self.assertIs(self.roster.get(JULIET), None)
        self.clock.advance(1.5)
        self.assertEqual(self.recorder.events, [("on", JULIET, "avail")])

    def test_textComesLate(self):
        """
        A text that comes within that time is shown at once, and only once.
        """
        self.roster.seen("eth0", JULIET, None)
        self.roster.seen("eth0", JULIET, None)
        self.clock.advance(1)
        self.roster.seen("eth0", JULIET, (1.0, text("dnd")))
        self.clock.advance(5)
        self.assertEqual(self.recorder.events, [("on", JULIET, "dnd")])

    def test_manyChanges(self):
        """
        Who changes his status a hundred times a second is told about once a second, and in the end as he is.
        """
        self.roster.seen("eth0", JULIET, (0.0, text()))
        for number in range(1, 1001):
            self.roster.seen("eth0", JULIET, (number / 100, text(message=f"{number}")))
            self.clock.advance(0.01)
        self.clock.advance(1)
        changes = [event for event in self.recorder.events if event[0] == "status"]
        self.assertTrue(10 <= len(changes) <= 12, changes)
        self.assertEqual((changes[0][3], changes[-1][3]), ("1", "1000"))

    def test_goneBeforeTold(self):
        """
        Who goes before his last change was told has gone, and is told about no more.
        """
        self.roster.seen("eth0", JULIET, (0.0, text()))
        for number in (1, 2):
            self.roster.seen("eth0", JULIET, (number, text(message=f"{number}")))
        self.roster.lost("eth0", JULIET)
        self.clock.advance(5)
        self.assertEqual([event[0] for event in self.recorder.events], ["on", "status", "off"])
        self.roster.seen("eth0", JULIET, (0.0, text()))
        for number in (3, 4):
            self.roster.seen("eth0", JULIET, (number, text(message=f"{number}")))
        self.roster.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_goneBeforeShown(self):
        """
        Whoever goes before he was shown is not told about at all.
        """
        self.roster.seen("eth0", JULIET, None)
        self.roster.lost("eth0", JULIET)
        self.roster.lost("eth0", JULIET)
        self.clock.advance(5)
        self.assertEqual(self.recorder.events, [])

    def test_icon(self):
        """
        Another avatar is told once, and of nobody who is not there.
        """
        self.roster.setIcon(JULIET, "/a", "a")
        self.roster.seen("eth0", JULIET, (1.0, text()))
        self.roster.setIcon(JULIET, "/a", "a")
        self.roster.setIcon(JULIET, "/a", "a")
        self.assertEqual(self.recorder.events[1:], [("icon", JULIET, "a")])

    def test_limit(self):
        """
        More people than anybody can read are not remembered.
        """
        self.patch(module, "MAX_BUDDIES", 2)
        for number in range(5):
            self.roster.seen("eth0", f"u{number}@m", (1.0, text()))
        self.assertEqual(len(list(self.roster)), 2)
        self.roster.linkLost("eth0")
        self.roster.seen("eth0", "u4@m", (1.0, text()))
        self.assertEqual([buddy.name for buddy in self.roster], ["u4@m"])
