"""
Which lines of the log about people and addresses are written, and how many are left out.
"""

from collections import Counter

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from xmppbytes.core.quota import Quota


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
        self._pace = Quota(clock.seconds, each, together)
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
