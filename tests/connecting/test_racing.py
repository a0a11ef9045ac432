"""
Racing several ways to the same end.
"""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from xmppbytes.connecting.racing import Attempt, RaceTiming, race
from xmppbytes.errors import NotReachable


class Runner:
    """
    Attempts that the test lets succeed or fail.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.started: dict[str, float] = {}
        self.cancelled: list[str] = []
        self.discarded: list[str] = []
        self.running: dict[str, Deferred[str]] = {}

    def attempt(self, name: str, lag: float = 0.0) -> Attempt[str]:
        def start() -> Deferred[str]:
            self.started[name] = round(self.clock.seconds(), 1)
            self.running[name] = Deferred(lambda _: self.cancelled.append(name))
            return self.running[name]

        return Attempt(name, start, lag)

    def race(self, *attempts: Attempt[str], timing: RaceTiming | None = None) -> Deferred[object]:
        won = race(self.clock, attempts, self.discarded.append, timing)
        return won.addCallback(lambda result: (result[0].name, result[1]))


class RaceTests(SynchronousTestCase):
    """
    L{race}.
    """

    def setUp(self) -> None:
        self.runner = Runner()
        self.clock = self.runner.clock

    def three(self, **kwargs: object) -> Deferred[object]:
        attempt = self.runner.attempt
        return self.runner.race(attempt("a"), attempt("b"), attempt("c"), **kwargs)  # type: ignore[arg-type]

    def tick(self, seconds: float) -> None:
        """
        Let time pass in small steps.
        """
        self.clock.pump([0.01] * round(seconds / 0.01))

    def test_eachHasAHeadStart(self) -> None:
        """
        The second attempt starts 200 ms after the first, the third 200 ms after that.
        """
        self.three()
        self.tick(1)
        self.assertEqual(self.runner.started, {"a": 0.0, "b": 0.2, "c": 0.4})

    def test_relaysStartLater(self) -> None:
        """
        An attempt with a lag waits that much longer, and holds up nobody behind it.
        """
        attempt = self.runner.attempt
        self.runner.race(attempt("a"), attempt("p", 0.2), attempt("b"))
        self.tick(1)
        self.assertEqual(self.runner.started, {"a": 0.0, "p": 0.4, "b": 0.4})

    def test_firstSuccessWins(self) -> None:
        """
        The first success is the result; what is under way is cancelled, and no timer stays.
        """
        won = self.three()
        self.tick(0.3)
        self.runner.running["b"].callback("B")
        self.assertEqual(self.successResultOf(won), ("b", "B"))
        self.assertEqual(self.runner.cancelled, ["a"])
        self.assertNotIn("c", self.runner.started)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_noWaitingWhenNobodyIsUnderWay(self) -> None:
        """
        When all that were started have failed, the next starts at once, and the others move up.
        """
        self.three()
        self.runner.running["a"].errback(RuntimeError("no"))
        self.assertEqual(self.runner.started, {"a": 0.0, "b": 0.0})
        self.tick(0.3)
        self.assertEqual(self.runner.started["c"], 0.2)

    def test_failureWhileOthersRunChangesNoTurn(self) -> None:
        """
        While one attempt is under way, the failure of another does not bring the next forward.
        """
        self.three()
        self.tick(0.25)
        self.runner.running["b"].errback(RuntimeError("no"))
        self.assertNotIn("c", self.runner.started)

    def test_attemptTimesOut(self) -> None:
        """
        An attempt has 5 seconds; its failure says so.
        """
        won = self.runner.race(self.runner.attempt("a"))
        self.tick(4.9)
        self.assertNoResult(won)
        self.tick(0.2)
        error = self.failureResultOf(won, NotReachable)
        self.assertEqual(str(error.value), "a: no answer within 5 s")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_allFail(self) -> None:
        """
        The error tells how each attempt went.
        """
        failing: Callable[[str], Attempt[str]] = lambda text: Attempt(  # noqa: E731
            text, lambda: fail(RuntimeError(f"not {text}"))
        )
        won = self.runner.race(failing("a"), failing("b"), failing("c"))
        error = self.failureResultOf(won, NotReachable)
        self.assertEqual(str(error.value), "a: not a; b: not b; c: not c")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_synchronousFailureThenPending(self) -> None:
        """
        An attempt that fails while it is started leaves one timer for the one after the next.
        """
        failing: Attempt[str] = Attempt("a", lambda: fail(RuntimeError("no")))
        self.runner.race(failing, self.runner.attempt("b"), self.runner.attempt("c"))
        self.tick(0.15)
        self.assertEqual(self.runner.started, {"b": 0.0})
        self.tick(0.1)
        self.assertEqual(self.runner.started["c"], 0.2)

    def test_startThatRaises(self) -> None:
        """
        An attempt that cannot even be started has failed.
        """

        def broken() -> Deferred[str]:
            raise RuntimeError("broken")

        won = self.runner.race(Attempt("x", broken), Attempt("y", lambda: succeed("Y")))
        self.assertEqual(self.successResultOf(won), ("y", "Y"))

    def test_nothingToTry(self) -> None:
        """
        A race without attempts fails at once.
        """
        error = self.failureResultOf(self.runner.race(), NotReachable)
        self.assertEqual(str(error.value), "there was nothing to try")

    def test_overallTimeout(self) -> None:
        """
        The whole race ends after 30 seconds even though attempts are still to come.
        """
        timing = RaceTiming(stagger=20, attempt=25)
        won = self.three(timing=timing)
        self.tick(29.9)
        self.assertNoResult(won)
        self.tick(0.2)
        error = self.failureResultOf(won, NotReachable)
        self.assertIn("nothing else succeeded within 30 s", str(error.value))
        self.assertEqual(self.runner.cancelled, ["a", "b"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancel(self) -> None:
        """
        Cancelling a race cancels all attempts and leaves no timer.
        """
        won = self.three()
        self.tick(0.3)
        won.cancel()
        self.failureResultOf(won, CancelledError)
        self.assertEqual(self.runner.cancelled, ["a", "b"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lateSuccessIsDiscarded(self) -> None:
        """
        An attempt that cannot be cancelled and succeeds after the race is undone.
        """
        stubborn: Deferred[str] = Deferred(lambda d: d.callback("late"))
        won = self.runner.race(Attempt("s", lambda: stubborn), Attempt("q", lambda: succeed("Q")))
        self.tick(0.3)
        self.assertEqual(self.successResultOf(won), ("q", "Q"))
        self.assertEqual(self.runner.discarded, ["late"])


# Of one attempt: whether it succeeds, after how many tenths of a second, its lag.
PLANS = st.tuples(st.booleans(), st.integers(0, 120), st.sampled_from([0.0, 0.2]))


class RaceModelTests(SynchronousTestCase):
    """
    Any number of attempts with any outcomes.
    """

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.tuples(st.booleans(), st.integers(0, 120), st.sampled_from([0.0, 0.2])),
            min_size=1,
            max_size=16,
        )
    )
    def test_anyRace(self, plan: list[tuple[bool, int, float]]) -> None:
        """
        Somebody who succeeds wins; the first of them; nothing is left over; nobody takes too long.
        """
        clock = Clock()
        finished: list[str] = []
        discarded: list[str] = []

        def attempt(name: str, succeeds: bool, tenths: int, lag: float) -> Attempt[str]:
            def start() -> Deferred[str]:
                def end() -> None:
                    if succeeds:
                        finished.append(name)
                        running.callback(name)
                    else:
                        running.errback(RuntimeError(name))

                delay = clock.callLater(tenths / 10, end)
                running: Deferred[str] = Deferred(lambda _: delay.cancel())
                return running

            return Attempt(name, start, lag)

        attempts = [attempt(str(number), *one) for number, one in enumerate(plan)]
        won = race(clock, attempts, discarded.append)
        results: list[object] = []
        won.addBoth(results.append)
        clock.pump([0.05] * round(31 / 0.05))
        [result] = results
        self.assertEqual(clock.getDelayedCalls(), [])
        self.assertEqual(discarded, [])
        if finished:
            self.assertEqual(result[1], finished[0])  # type: ignore[index]
            self.assertEqual(len(finished), 1)
        else:
            self.assertFalse(any(succeeds and tenths < 50 for succeeds, tenths, _ in plan))
