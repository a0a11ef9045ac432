"""
One timer for many equal timeouts.

A connection that waits costs an entry in a dict instead of a timer of its own: all entries of one
queue wait equally long, so they end in the order in which they began.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

T = TypeVar("T")


class Deadlines(Generic[T]):
    """
    Calls back for each item that was not discarded within a fixed time.
    """

    def __init__(self, clock: IReactorTime, seconds: float, expired: Callable[[T], None]) -> None:
        """
        @param clock: tells and schedules the time.
        @param seconds: how long each item may stay.
        @param expired: called with an item whose time is over; the item is forgotten before.
        """
        self.seconds = seconds
        self._clock = clock
        self._expired = expired
        self._ends: dict[T, float] = {}
        self._timer: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, item: T) -> None:
        """
        Begin to wait for an item that is not waited for yet.
        """
        self._ends[item] = self._clock.seconds() + self.seconds
        self._schedule()

    def discard(self, item: T) -> None:
        """
        Stop to wait for an item; does nothing when it is not waited for.
        """
        self._ends.pop(item, None)
        if not self._ends and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        due = []
        for item, end in self._ends.items():
            if end > now:
                break
            due.append(item)
        for item in due:
            # An earlier callback may have discarded a later item.
            if self._ends.pop(item, None) is not None:
                self._expired(item)
        self._schedule()

    def _schedule(self) -> None:
        if self._ends and self._timer is None:
            # Not the new item's: a callback may add one while older ones still wait.
            soonest = next(iter(self._ends.values()))
            self._timer = self._clock.callLater(max(0.0, soonest - self._clock.seconds()), self._fire)
