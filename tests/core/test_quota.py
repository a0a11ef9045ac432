"""
Tests for L{xmppbytes.core.quota}.
"""

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from xmppbytes.core.quota import Quota


class QuotaTests(TestCase):
    """
    So much a minute.
    """

    def setUp(self):
        self.clock = Clock()
        self.pace = Quota(self.clock.seconds, 2, 3)

    def test_each(self):
        """
        So much for one key; the others have theirs; after a minute there is more.
        """
        self.assertEqual([self.pace.admits("a") for _ in range(3)], [True, True, False])
        self.assertTrue(self.pace.isUsedUp("a"))
        self.assertEqual((self.pace.knows("a"), self.pace.knows("b")), (True, False))
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
