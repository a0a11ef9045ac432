"""
Racing: several ways to the same end are tried side by side, each a little later than the one before.

A way that is dead costs the time of its head start instead of its timeout (RFC 8305 does the same for
the addresses of one host).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from xmppbytes.errors import NotReachable

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceTiming:
    """
    The times of a race, in seconds.

    @ivar stagger: the head start of each attempt before the next.
    @ivar relayLag: how much later still an attempt through a relay begins.
    @ivar attempt: how long one attempt may take.
    @ivar overall: how long the whole race may take.
    """

    stagger: float = 0.2
    relayLag: float = 0.2
    attempt: float = 5.0
    overall: float = 30.0


@dataclass(slots=True, eq=False)
class Attempt(Generic[T]):
    """
    One way that can be tried.

    @ivar name: what it is, for the text of the error when nothing succeeds.
    @ivar start: begins it. The Deferred may be cancelled; what it fires with is the success.
    @ivar lag: how much later than its turn it begins, in seconds.
    """

    name: str
    start: Callable[[], Deferred[T]]
    lag: float = 0.0
    running: Deferred[T] | None = field(default=None, init=False, repr=False)
    timeout: IDelayedCall | None = field(default=None, init=False, repr=False)
    timedOut: bool = field(default=False, init=False, repr=False)


def race(
    clock: IReactorTime,
    attempts: Sequence[Attempt[T]],
    discard: Callable[[T], None],
    timing: RaceTiming | None = None,
) -> Deferred[tuple[Attempt[T], T]]:
    """
    Try several ways; the first success wins, what is under way then is cancelled.

    An attempt begins when its turn comes, or as soon as no other is under way.

    @param clock: an C{IReactorTime}.
    @param attempts: in the order in which they are to be tried.
    @param discard: gets a success that came too late, to undo it.
    @param timing: see L{RaceTiming}.
    @return: fires with the attempt that won and its result. Fails with L{NotReachable}, whose text
        tells how each attempt went. Cancelling it cancels all attempts.
    """
    return _Race(clock, attempts, discard, timing or RaceTiming()).begin()


class _Race(Generic[T]):
    """
    A race that is being run.
    """

    def __init__(
        self,
        clock: IReactorTime,
        attempts: Sequence[Attempt[T]],
        discard: Callable[[T], None],
        timing: RaceTiming,
    ) -> None:
        self._clock = clock
        self._discard = discard
        self._timing = timing
        turns = [(n * timing.stagger + one.lag, one) for n, one in enumerate(attempts)]
        self._waiting = sorted(turns, key=lambda turn: turn[0])
        self._running: list[Attempt[T]] = []
        self._failures: list[str] = []
        self._done: Deferred[tuple[Attempt[T], T]] = Deferred(lambda _: self._stop())
        self._over = False
        self._proceeding = False
        self._began = 0.0
        self._nextTimer: IDelayedCall | None = None
        self._overallTimer: IDelayedCall | None = None

    def begin(self) -> Deferred[tuple[Attempt[T], T]]:
        """
        Let them run.
        """
        self._overallTimer = self._clock.callLater(self._timing.overall, self._tookTooLong)
        self._began = self._clock.seconds()
        self._proceed()
        return self._done

    def _proceed(self) -> None:
        """
        Start whatever is due, and see to it that the next is started in time.
        """
        if self._proceeding:
            # An attempt that fails while it is being started: the loop below goes on anyway.
            return
        self._proceeding = True
        self._cancelTimer(self._nextTimer)
        self._startDue()
        self._proceeding = False
        if not self._running and not self._over:
            self._failed("; ".join(self._failures) or "there was nothing to try")

    def _startDue(self) -> None:
        while self._waiting and not self._over:
            offset, attempt = self._waiting[0]
            now = self._clock.seconds()
            if not self._running:
                # Nobody is under way, so that waiting would win nothing: all turns move forward.
                self._began = min(self._began, now - offset)
            elif self._began + offset > now:
                self._nextTimer = self._clock.callLater(self._began + offset - now, self._proceed)
                return
            del self._waiting[0]
            self._start(attempt)

    def _start(self, attempt: Attempt[T]) -> None:
        self._running.append(attempt)
        attempt.running = maybeDeferred(attempt.start)
        if not attempt.running.called:
            attempt.timeout = self._clock.callLater(self._timing.attempt, self._attemptTimedOut, attempt)
        attempt.running.addCallbacks(
            self._succeeded, self._attemptFailed, callbackArgs=(attempt,), errbackArgs=(attempt,)
        )

    def _attemptTimedOut(self, attempt: Attempt[T]) -> None:
        attempt.timedOut = True
        assert attempt.running is not None
        attempt.running.cancel()

    def _ended(self, attempt: Attempt[T]) -> None:
        if attempt.timeout is not None and attempt.timeout.active():
            attempt.timeout.cancel()
        if attempt in self._running:
            self._running.remove(attempt)

    def _succeeded(self, result: T, attempt: Attempt[T]) -> None:
        self._ended(attempt)
        if self._over:
            self._discard(result)
            return
        self._stop()
        self._done.callback((attempt, result))

    def _attemptFailed(self, failure: Failure, attempt: Attempt[T]) -> None:
        self._ended(attempt)
        if self._over:
            return
        if attempt.timedOut:
            text = f"no answer within {self._timing.attempt:g} s"
        else:
            text = failure.getErrorMessage().rstrip(".")
        self._failures.append(f"{attempt.name}: {text}")
        if not self._running:
            self._proceed()

    def _tookTooLong(self) -> None:
        failures = [*self._failures, f"nothing else succeeded within {self._timing.overall:g} s"]
        self._failed("; ".join(failures))

    def _failed(self, why: str) -> None:
        self._stop()
        self._done.errback(NotReachable(why))

    def _stop(self) -> None:
        self._over = True
        self._waiting.clear()
        self._cancelTimer(self._nextTimer)
        self._cancelTimer(self._overallTimer)
        for attempt in list(self._running):
            if attempt.running is not None:
                attempt.running.cancel()

    @staticmethod
    def _cancelTimer(timer: Any) -> None:
        if timer is not None and timer.active():
            timer.cancel()
