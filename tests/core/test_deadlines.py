"""
Tests for L{xmppbytes.core.deadlines}.
"""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from xmppbytes.core.deadlines import Deadlines


class DeadlinesTests(SynchronousTestCase):
    """
    Many timeouts, one timer.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.late: list[tuple[str, float]] = []
        self.deadlines: Deadlines[str] = Deadlines(self.clock, 10, self.expired)

    def expired(self, item: str) -> None:
        self.late.append((item, self.clock.seconds()))

    def test_eachInItsTime(self) -> None:
        """
        Each item has the whole time from when it was added.
        """
        self.deadlines.add("a")
        self.clock.advance(4)
        self.deadlines.add("b")
        self.clock.pump([5.9, 0.1, 3.9, 0.1])
        self.assertEqual(self.late, [("a", 10), ("b", 14)])
        self.assertEqual(len(self.deadlines), 0)

    def test_oneTimer(self) -> None:
        """
        However many wait, there is one timer, and none when nobody does.
        """
        for item in "abc":
            self.deadlines.add(item)
            self.clock.advance(1)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for item in "abc":
            self.deadlines.discard(item)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_discarded(self) -> None:
        """
        What was discarded is not called; to discard it again does nothing.
        """
        self.deadlines.add("a")
        self.deadlines.add("b")
        self.deadlines.discard("a")
        self.deadlines.discard("a")
        self.clock.advance(10)
        self.assertEqual(self.late, [("b", 10)])

    def test_atTheSameTime(self) -> None:
        """
        All that are due are called, in the order in which they were added.
        """
        for item in "abc":
            self.deadlines.add(item)
        self.clock.advance(11)
        self.assertEqual([item for item, _ in self.late], ["a", "b", "c"])

    def test_callbackDiscardsAnother(self) -> None:
        """
        An item that is discarded while others are called is not called any more.
        """
        deadlines: Deadlines[str] = Deadlines(self.clock, 1, lambda item: deadlines.discard("b"))
        deadlines.add("a")
        deadlines.add("b")
        self.clock.advance(1)
        self.assertEqual((len(deadlines), self.clock.getDelayedCalls()), (0, []))

    def test_callbackAdds(self) -> None:
        """
        An item that is added by a callback does not put off those which wait longer already.
        """
        late = []

        def expired(item: str) -> None:
            late.append((item, self.clock.seconds()))
            if item == "a":
                deadlines.add("c")

        deadlines: Deadlines[str] = Deadlines(self.clock, 10, expired)
        deadlines.add("a")
        self.clock.advance(5)
        deadlines.add("b")
        self.clock.pump([5, 5, 5])
        self.assertEqual(late, [("a", 10), ("b", 15), ("c", 20)])
