"""
Tests for L{xmppbytes.dtcp.tickets}.
"""

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from xmppbytes.dtcp.tickets import Tickets
from xmppbytes.errors import LimitReached

ROMEO = "romeo@montague.example/orchard"
JULIET = "juliet@capulet.example/balcony"


class TicketTests(TestCase):
    """
    Who may CREATE.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.tickets = Tickets(self.clock, 60.0, 3, 2)

    def issue(self, jid: str = ROMEO) -> bytes:
        return self.tickets.issue(jid).encode()

    def test_once(self) -> None:
        """
        A ticket is good once.
        """
        key = self.issue()
        self.assertTrue(self.tickets.isOutstanding(key))
        self.assertTrue(self.tickets.redeem(key, ROMEO))
        self.assertFalse(self.tickets.redeem(key, ROMEO))
        self.assertFalse(self.tickets.isOutstanding(key))

    def test_holder(self) -> None:
        """
        Nobody else can use it, nor use it up.
        """
        key = self.issue()
        self.assertFalse(self.tickets.redeem(key, JULIET))
        self.assertTrue(self.tickets.redeem(key, ROMEO))

    def test_time(self) -> None:
        """
        It is good for a minute.
        """
        early, key = self.issue(), self.issue()
        self.clock.advance(59.9)
        self.assertTrue(self.tickets.redeem(early, ROMEO))
        self.clock.advance(0.2)
        self.assertFalse(self.tickets.redeem(key, ROMEO))
        self.assertEqual(len(self.tickets), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_limits(self) -> None:
        """
        The limits are of one account, whatever its resources, and of all.
        """
        self.issue()
        key = self.issue(ROMEO.replace("orchard", "street"))
        self.assertRaises(LimitReached, self.tickets.issue, ROMEO)
        self.issue(JULIET)
        self.assertRaises(LimitReached, self.tickets.issue, "nurse@capulet.example/x")
        self.tickets.redeem(key, ROMEO.replace("orchard", "street"))
        self.issue()
