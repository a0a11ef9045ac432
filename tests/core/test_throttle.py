"""
Tests for L{xmppbytes.core.throttle}.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from xmppbytes.core.throttle import BURST_SECONDS, TokenBucket


def moved(bucket: TokenBucket, clock: Clock, seconds: float, late: float = 0.0) -> tuple[int, float]:
    """
    Move all that may be moved for some time, asking each C{BURST_SECONDS}, and C{late} later.

    @return: how much that was, and the longest pause between two bytes.
    """
    total, last, longest = 0, clock.seconds(), 0.0
    end = clock.seconds() + seconds
    while clock.seconds() < end:
        room = bucket.room()
        if room:
            longest, last = max(longest, clock.seconds() - last), clock.seconds()
        bucket.spend(room)
        total += room
        clock.advance(BURST_SECONDS + late)
    return total, longest


class TokenBucketTests(SynchronousTestCase):
    """
    A rate limit.
    """

    def test_atLeastOne(self) -> None:
        """
        A rate below 1 byte a second is none.
        """
        self.assertRaises(ValueError, TokenBucket, 0, Clock().seconds)

    def test_nothingLeft(self) -> None:
        """
        What was spent comes back with time only.
        """
        clock = Clock()
        bucket = TokenBucket(1000, clock.seconds)
        first = bucket.room()
        bucket.spend(first)
        self.assertEqual(bucket.room(), 0)
        clock.advance(0.1)
        self.assertEqual(bucket.room(), 100)

    def test_burstIsBounded(self) -> None:
        """
        Who was silent for an hour may not send for an hour at once.
        """
        clock = Clock()
        bucket = TokenBucket(1000, clock.seconds)
        clock.advance(3600)
        self.assertLessEqual(bucket.room(), 1000)

    @given(st.integers(1, 10**9), st.floats(0, BURST_SECONDS / 2))
    def test_rateIsKept(self, rate: int, late: float) -> None:
        """
        Over a minute the rate is reached and not passed, also when the timer is late, and at 1 byte a
        second and more there is no pause longer than a second.
        """
        clock = Clock()
        total, pause = moved(TokenBucket(rate, clock.seconds), clock, 60, late)
        self.assertLessEqual(total, rate * 61 + 1)
        self.assertGreaterEqual(total, rate * 59 - 1)
        self.assertLessEqual(pause, 1 + BURST_SECONDS + 2 * late)
