"""
Tests for L{xmppbytes.linklocal.pace}.
"""

from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase

from xmppbytes.linklocal.pace import LineDamper


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
