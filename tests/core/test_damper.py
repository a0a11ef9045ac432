"""
Tests for L{xmppbytes.core.damper}.
"""

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import Logger, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from xmppbytes.core.damper import NAMED, LogDamper

REFUSED = "Refused {address}: {reason}"
CLOSED = "Closed {address}"


class Book:
    """
    A damper whose lines are kept.
    """

    def __init__(self, **limits: Any) -> None:
        self.clock = Clock()
        self.damper = LogDamper(self.clock, **limits)
        self.log = Logger(namespace="book", observer=self.events)
        self.lines: list[str] = []

    def events(self, event: Any) -> None:
        self.lines.append(formatEvent(event))

    def refuse(self, origin: str, times: int = 1) -> None:
        """
        Let an origin cause lines.
        """
        for number in range(times):
            self.damper.info(self.log, origin, REFUSED, address=origin, reason=number)

    def taken(self) -> list[str]:
        """
        What was written since the last look.
        """
        lines, self.lines = self.lines, []
        return lines


class LogDamperTests(SynchronousTestCase):
    """
    Log lines that strangers cause.
    """

    def test_ordinary(self) -> None:
        """
        What is not too much is written as it is, and costs no timer.
        """
        book = Book(perOrigin=3)
        book.refuse("192.0.2.1", 3)
        self.assertEqual(book.taken(), [f"Refused 192.0.2.1: {n}" for n in range(3)])
        self.assertEqual(book.clock.getDelayedCalls(), [])

    def test_tooMuchOfOne(self) -> None:
        """
        What an origin causes beyond its share is counted, and told at the end of the period, once.
        """
        book = Book(perOrigin=2, period=60)
        book.refuse("192.0.2.1", 2)
        book.clock.advance(20)
        book.refuse("192.0.2.1", 40)
        self.assertEqual(len(book.taken()), 2)
        book.clock.advance(39.9)
        self.assertEqual(book.taken(), [])
        book.clock.advance(0.1)
        self.assertEqual(
            book.taken(),
            ["Left out 40 more lines like 'Refused {address}: {reason}' of the last 60 s: 40 of 192.0.2.1"],
        )
        self.assertEqual(book.clock.getDelayedCalls(), [])

    def test_anew(self) -> None:
        """
        Each period begins with nothing written.
        """
        book = Book(perOrigin=1, period=60)
        for _ in range(2):
            book.refuse("192.0.2.1", 2)
            book.clock.advance(60)
            self.assertEqual(len(book.taken()), 2)
        book.refuse("192.0.2.1")
        book.clock.advance(3600)
        book.refuse("192.0.2.1")
        self.assertEqual(book.taken(), ["Refused 192.0.2.1: 0"] * 2)

    def test_othersHaveTheirs(self) -> None:
        """
        Somebody who is loud takes nothing from the lines about others.
        """
        book = Book(perOrigin=2)
        book.refuse("192.0.2.1", 10)
        book.refuse("192.0.2.2")
        self.assertIn("Refused 192.0.2.2: 0", book.taken())

    def test_kinds(self) -> None:
        """
        Each message format is counted by itself, and told by itself.
        """
        book = Book(perOrigin=1)
        book.refuse("192.0.2.1", 2)
        for _ in range(3):
            book.damper.info(book.log, "192.0.2.1", CLOSED, address="192.0.2.1")
        self.assertEqual(book.taken(), ["Refused 192.0.2.1: 0", "Closed 192.0.2.1"])
        book.clock.advance(60)
        self.assertEqual(
            [line.partition(" of the")[0] for line in book.taken()],
            [f"Left out 1 more lines like '{REFUSED}'", f"Left out 2 more lines like '{CLOSED}'"],
        )

    def test_crowd(self) -> None:
        """
        All origins together have a limit too; who came too late to be known is summed up with the others.
        """
        book = Book(perOrigin=10, inAll=3)
        for number in range(100):
            book.refuse(f"192.0.2.{number}")
        book.refuse("192.0.2.1", 5)
        self.assertEqual(len(book.taken()), 3)
        book.clock.advance(60)
        (line,) = book.taken()
        self.assertTrue(line.endswith("60 s: 5 of 192.0.2.1, 97 of others"), line)

    def test_namesTheLoudest(self) -> None:
        """
        The line about what was left out names few, those with the most first.
        """
        book = Book(perOrigin=1)
        for number in range(1, NAMED + 3):
            book.refuse(f"h{number}", 1 + number)
        book.taken()
        book.clock.advance(60)
        (line,) = book.taken()
        self.assertTrue(line.endswith(": 7 of h7, 6 of h6, 5 of h5, 4 of h4, 3 of h3, 3 of others"), line)

    def test_flush(self) -> None:
        """
        At the end of the service what was left out is told at once, and no timer is left.
        """
        book = Book(perOrigin=1)
        book.refuse("192.0.2.1", 2)
        book.clock.advance(10)
        book.damper.flush()
        self.assertIn("Left out 1 more lines", book.taken()[-1])
        self.assertEqual(book.clock.getDelayedCalls(), [])
        book.damper.flush()
        self.assertEqual(book.taken(), [])

    def test_lateTimer(self) -> None:
        """
        A line that comes after the end, but before a late timer, belongs to the next period.
        """
        book = Book(perOrigin=1, period=60)
        book.refuse("192.0.2.1", 3)
        # A busy reactor: time goes on and its timers wait.
        book.clock.rightNow += 61
        book.refuse("192.0.2.1")
        self.assertEqual([line[:10] for line in book.taken()], ["Refused 19", "Left out 2", "Refused 19"])
        self.assertEqual(book.clock.getDelayedCalls(), [])

    @given(
        st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from((0, 1, 7))), max_size=80),
        st.integers(1, 4),
        st.integers(1, 9),
    )
    def test_nothingIsLost(self, steps: list[tuple[str, int]], perOrigin: int, inAll: int) -> None:
        """
        What is written and what is told to be left out are as many as there were; no period has more
        than it may.
        """
        book = Book(perOrigin=perOrigin, inAll=inAll, period=10)
        for origin, pause in steps:
            book.refuse(origin)
            book.clock.advance(pause)
        book.damper.flush()
        told = [re.match(r"Left out (\d+) ", line) for line in book.lines]
        written = told.count(None)
        self.assertEqual(written + sum(int(each[1]) for each in told if each), len(steps))
        periods = 1 + sum(pause for _, pause in steps) // 10
        self.assertLessEqual(written, periods * inAll)
        self.assertEqual(book.clock.getDelayedCalls(), [])
