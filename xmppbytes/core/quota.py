"""
What strangers can make happen, so often in a period and no oftener: lines in the log, questions, connections.
"""

from collections import Counter
from collections.abc import Callable

MINUTE = 60.0


class Quota:
    """
    Counts what is permitted in a period, for each key and for all keys together; the next period begins
    with the first thing after it. Remembers no more keys than it permits things.
    """

    def __init__(self, now: Callable[[], float], each: int, together: int, period: float = MINUTE) -> None:
        """
        @param now: tells the time in seconds.
        @param each: how much is permitted for one key.
        @param together: how much for all.
        @param period: seconds.
        """
        self._now = now
        self._each = each
        self._together = together
        self._period = period
        self._began = float("-inf")
        self._counts: Counter[str] = Counter()
        self._total = 0

    def admits(self, key: str) -> bool:
        """
        Tell whether one more is permitted, and count it if so.
        """
        now = self._now()
        if now - self._began >= self._period:
            self._began, self._total = now, 0
            self._counts.clear()
        if self.isUsedUp(key) or self._total >= self._together:
            return False
        self._counts[key] += 1
        self._total += 1
        return True

    def isUsedUp(self, key: str) -> bool:
        """
        Tell whether it is this very key for which no more is permitted.
        """
        return self._counts[key] >= self._each

    def knows(self, key: str) -> bool:
        """
        Tell whether something was permitted for this key.
        """
        return key in self._counts

    def remaining(self) -> float:
        """
        Give the seconds until everything is counted anew.
        """
        return max(0.0, self._began + self._period - self._now())
