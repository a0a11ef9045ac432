"""
A token bucket, for rate limits.
"""

from collections.abc import Callable

# How long whoever found no room waits, in seconds; twice that much of the rate may go at once. Short,
# so that a slow stream trickles: some receivers give up when no byte comes for a while.
BURST_SECONDS = 0.25


class TokenBucket:
    """
    Tells how much may be moved now so that a rate is kept.
    """

    __slots__ = ("_now", "_tokens", "_updated", "rate")

    def __init__(self, rate: int, now: Callable[[], float]) -> None:
        """
        @param rate: bytes a second, at least 1.
        @param now: tells the time in seconds.
        """
        if rate < 1:
            raise ValueError(f"a rate limit is at least 1 byte a second, not {rate}")
        self.rate = rate
        self._now = now
        self._tokens = self._burst()
        self._updated = now()

    def _burst(self) -> float:
        # Twice what comes in while one waits: a timer that is late, or a byte that is cut in two, is
        # not to cost anything of the rate.
        return 1.0 + self.rate * BURST_SECONDS * 2

    def room(self) -> int:
        """
        How many bytes may be moved now; when 0, ask again after L{BURST_SECONDS}.
        """
        now = self._now()
        self._tokens = min(self._burst(), self._tokens + (now - self._updated) * self.rate)
        self._updated = now
        return int(self._tokens)

    def spend(self, count: int) -> None:
        """
        Take note of what was moved.

        @param count: bytes, not more than the C{room} that was told.
        """
        self._tokens -= count
