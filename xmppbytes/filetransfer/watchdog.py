"""
Ends what does not move.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime


class Watchdog:
    """
    Calls back when it was not fed for a while. Feeding costs one look at the clock.
    """

    def __init__(self, clock: IReactorTime, seconds: float, bark: Callable[[], None]) -> None:
        """
        @param clock: an C{IReactorTime}.
        @param seconds: the patience.
        @param bark: called once.
        """
        self._clock = clock
        self._seconds = seconds
        self._bark = bark
        self._fed = clock.seconds()
        self._timer: Any = clock.callLater(seconds, self._look)

    def feed(self) -> None:
        """
        Something has moved.
        """
        self._fed = self._clock.seconds()

    def stop(self) -> None:
        """
        Watch no longer.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        left = self._fed + self._seconds - self._clock.seconds()
        if left > 0:
            self._timer = self._clock.callLater(left, self._look)
        else:
            self._bark()
