"""
Lines that strangers cause, in bounded number: what is too much of one kind is counted, not written.

Whoever may connect, or send a stanza, decides how often we refuse it; a line for each would let anybody
fill the disk. So of each kind of line an origin gets a fixed number in a period, and so do all origins
together. What was left out is told at the end of the period in a single line, with exact counts.
"""

from collections import Counter
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from xmppbytes.core.quota import Quota

# Lines of one kind in one period: far more than a person reads, far less than a disk holds.
PER_ORIGIN = 100
IN_ALL = 500
# Seconds.
PERIOD = 60.0
# How many origins the line about what was left out names; the rest is summed up.
NAMED = 5
_OTHERS = "others"


class Undamped:
    """
    Writes every line: for who is not open to strangers.
    """

    def info(self, log: Logger, origin: str, format: str, **fields: Any) -> None:
        """
        Write a line.

        @param log: writes it.
        @param origin: who is the cause: an address as L{xmppbytes.core.origin.originOf} writes it, or a
            bare JID.
        @param format: the message format, a constant of the code: it names the kind.
        @param fields: of the format.
        """
        log.info(format, **fields)

    def permits(self, log: Logger, origin: str, format: str) -> bool:
        """
        Tell whether a line may be written. For lines whose fields are dear to make; the parameters are those
        of L{info}.
        """
        return True

    def flush(self) -> None:
        """
        Tell now what was left out: the service ends.
        """


class LogDamper(Undamped):
    """
    Writes log lines, unless there were too many of the kind lately. A kind is a message format.

    Costs memory for at most C{inAll} origins of each kind, which is a constant of the code: an origin is
    known by the lines that were written for it. Has a timer only while there is something to tell.
    """

    def __init__(
        self, clock: IReactorTime, perOrigin: int = PER_ORIGIN, inAll: int = IN_ALL, period: float = PERIOD
    ) -> None:
        """
        @param clock: tells and schedules the time.
        @param perOrigin: lines of one kind about one origin in a period.
        @param inAll: lines of one kind in a period.
        @param period: seconds, from the first line of a kind.
        """
        self.perOrigin = perOrigin
        self.inAll = inAll
        self.period = period
        self._clock = clock
        self._kinds: dict[str, _Period] = {}

    def info(self, log: Logger, origin: str, format: str, **fields: Any) -> None:
        """
        Write a line, or count it; see L{Undamped}.
        """
        if self.permits(log, origin, format):
            log.info(format, **fields)

    def flush(self) -> None:
        """
        See L{Undamped}.
        """
        for format in list(self._kinds):
            self._close(format)

    def permits(self, log: Logger, origin: str, format: str) -> bool:
        """
        Tell whether a line may be written, or count it; see L{Undamped}.
        """
        period = self._kinds.get(format)
        if period is not None and not period.quota.remaining():
            # Its timer, if it has one, is late.
            self._close(format)
            period = None
        if period is None:
            quota = Quota(self._clock.seconds, self.perOrigin, self.inAll, self.period)
            period = self._kinds[format] = _Period(log, quota)
        if period.quota.admits(origin):
            return True
        period.leftOut[origin if period.quota.knows(origin) else _OTHERS] += 1
        if period.timer is None:
            period.timer = self._clock.callLater(period.quota.remaining(), self._close, format)
        return False

    def _close(self, format: str) -> None:
        period = self._kinds.pop(format)
        if period.timer is None:
            return
        if period.timer.active():
            period.timer.cancel()
        seconds = self.period - period.quota.remaining()
        period.log.info(
            "Left out {count} more lines like '{kind}' of the last {seconds:.0f} s: {origins}",
            count=period.leftOut.total(),
            kind=format,
            seconds=seconds,
            origins=_summary(period.leftOut),
        )


class _Period:
    """
    The lines of one kind, until the end of the period that began with the first.
    """

    __slots__ = ("leftOut", "log", "quota", "timer")

    def __init__(self, log: Logger, quota: Quota) -> None:
        self.log = log
        self.quota = quota
        self.leftOut: Counter[str] = Counter()
        self.timer: IDelayedCall | None = None


def _summary(leftOut: Counter[str]) -> str:
    """
    Name those with the most lines, and count the rest.
    """
    ranked = [(origin, count) for origin, count in leftOut.most_common() if origin != _OTHERS]
    parts = [f"{count} of {origin}" for origin, count in ranked[:NAMED]]
    rest = leftOut[_OTHERS] + sum(count for _, count in ranked[NAMED:])
    return ", ".join([*parts, *([f"{rest} of {_OTHERS}"] if rest else [])])
