"""
What strangers can make happen, so often a minute and no oftener: lines in the log, questions on the link.
"""

from collections import Counter
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

WINDOW = 60.0


class PerMinute:
    """
    Counts what is permitted, minute by minute, for each key and for all keys together. Remembers no more
    keys than it permits things.
    """

    def __init__(self, now: Callable[[], float], each: int, together: int) -> None:
        """
        @param now: tells the time in seconds.
        @param each: how much is permitted for one key.
        @param together: how much for all.
        """
        self._now = now
        self._each = each
        self._together = together
        self._began = float("-inf")
        self._counts: Counter[str] = Counter()
        self._total = 0

    def admits(self, key: str) -> bool:
        """
        Tell whether one more is permitted, and count it if so.
        """
        now = self._now()
        if now - self._began >= WINDOW:
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

    def remaining(self) -> float:
        """
        Give the seconds until everything is counted anew.
        """
        return max(0.0, self._began + WINDOW - self._now())


class LineDamper:
    """
    Decides which lines go into the log. The first ones of each minute do; then one line tells how many
    were left out.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, each: int = 20, together: int = 600) -> None:
        """
        @param clock: the reactor, or a L{twisted.internet.task.Clock}.
        @param each: how many lines a minute there may be about one person or address.
        @param together: how many about all.
        """
        self._clock = clock
        self._pace = PerMinute(clock.seconds, each, together)
        self._leftOut: Counter[str] = Counter()
        self._timer: IDelayedCall | None = None
        self._stopped = False

    def admits(self, about: str) -> bool:
        """
        Tell whether one more line is to be written.

        @param about: the name or address that it is about.
        """
        if self._pace.admits(about):
            return True
        self._leftOut[about if self._pace.isUsedUp(about) else ""] += 1
        if self._timer is None and not self._stopped:
            self._timer = self._clock.callLater(self._pace.remaining(), self._tell)
        return False

    def _tell(self) -> None:
        self._timer = None
        leftOut, self._leftOut = self._leftOut, Counter()
        for about, count in leftOut.items():
            self.log.warn(
                "{count} more lines about {about} were left out within a minute",
                count=count,
                about=about or "others",
            )

    def stop(self) -> None:
        """
        Tell now what was left out; lines that are too many are not counted from now on.
        """
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._tell()
