"""
Tests for L{xmppbytes.linklocal.pace}.
"""

from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase

from xmppbytes.linklocal.pace import LineDamper, PerMinute


class PerMinuteTests(TestCase):
    """
    So much a minute.
    """

    def setUp(self):
        self.clock = Clock()
        self.pace = PerMinute(self.clock.seconds, 2, 3)

    def test_each(self):
        """
        So much for one key; the others have theirs; after a minute there is more.
        """
        self.assertEqual([self.pace.admits("a") for _ in range(3)], [True, True, False])
        self.assertTrue(self.pace.isUsedUp("a"))
        self.assertTrue(self.pace.admits("b"))
        self.clock.advance(59)
        self.assertEqual(self.pace.remaining(), 1)
        self.assertFalse(self.pace.admits("a"))
        self.clock.advance(1)
        self.assertTrue(self.pace.admits("a"))

    def test_together(self):
        """
        So much for all keys, of which no more are remembered than that.
        """
        self.assertEqual(sum(self.pace.admits(str(number)) for number in range(10_000)), 3)
        self.assertFalse(self.pace.isUsedUp("9999"))
        self.assertEqual(len(self.pace._counts), 3)


class LineDamperTests(TestCase):
    """
    Lines of the log.
    """

    def setUp(self):
        self.clock = Clock()
        self.damper = LineDamper(self.clock, 2, 4)
        self.told = []
        globalLogPublisher.addObserver(self.note)
        self.addCleanup(globalLogPublisher.removeObserver, self.note)

    def note(self, event):
        if event["log_namespace"] == LineDamper.log.namespace:
            self.told.append((event["about"], event["count"]))

    def test_leftOut(self):
        """
        At the end of the minute it is told how many lines were left out, once.
        """
        self.assertEqual(sum(self.damper.admits("romeo@forza") for _ in range(6000)), 2)
        self.assertEqual(self.told, [])
        self.clock.advance(60)
        self.assertEqual(self.told, [("romeo@forza", 5998)])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertTrue(self.damper.admits("romeo@forza"))

    def test_manyNames(self):
        """
        Who takes a new name for each line is counted among the others.
        """
        self.assertEqual(sum(self.damper.admits(str(number)) for number in range(1000)), 4)
        self.clock.advance(60)
        self.assertEqual(self.told, [("others", 996)])

    def test_stopped(self):
        """
        It is told at the latest when the program ends; then no timer runs any more.
        """
        for _ in range(3):
            self.damper.admits("a")
        self.damper.stop()
        self.assertEqual(self.told, [("a", 1)])
        self.assertFalse(self.damper.admits("a"))
        self.damper.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
