"""
Tests for L{xmppbytes.core.sessions}.
"""

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import FakeEngine, FakeLeg, FakeRelayed, FakeUsage, lines
from xmppbytes.core.limits import Limits
from xmppbytes.core.outcome import Outcome
from xmppbytes.core.sessions import LINES_PERIOD, MAX_LINES, Parties, Session, Sessions
from xmppbytes.errors import LimitReached

ROMEO = "romeo@example.org/orchard"
JULIET = "juliet@example.com/balcony"


class SessionsCase(SynchronousTestCase):
    """
    Sessions that move nothing by themselves.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.engine = FakeEngine()
        self.usage = FakeUsage()
        self.sessions = self.make(Limits())

    def make(self, limits: Limits, *engines: FakeEngine) -> Sessions:
        return Sessions(self.clock, limits, engines or (self.engine,), self.usage, lambda: 1e9)

    def start(self, sid: str, requester: str = ROMEO, target: str = JULIET) -> Session:
        legs = FakeLeg(address="192.0.2.1"), FakeLeg(address="192.0.2.2")
        return self.sessions.start(sid.encode(), Parties(requester, target, sid), *legs)

    def relayed(self, session: Session) -> FakeRelayed:
        assert isinstance(session.relayed, FakeRelayed)
        return session.relayed


class TableTests(SessionsCase):
    """
    What is known of active bytestreams.
    """

    def test_found(self) -> None:
        """
        A session is found by its key, and by who asked for it under which sid, until it ends.
        """
        session = self.start("a")
        self.assertIs(self.sessions.find(b"a"), session)
        self.assertIs(self.sessions.findRequest(ROMEO, "a"), session)
        self.assertIsNone(self.sessions.find(b"b"))
        self.assertIsNone(self.sessions.findRequest(JULIET, "a"))
        self.assertEqual((len(self.sessions), list(self.sessions)), (1, [session]))
        self.relayed(session).end()
        self.assertIsNone(self.sessions.find(b"a"))
        self.assertIsNone(self.sessions.findRequest(ROMEO, "a"))
        self.assertEqual(len(self.sessions), 0)

    def test_firstEngineThatAccepts(self) -> None:
        """
        Engines are asked in their order.
        """
        picky = FakeEngine("picky", takes=False)
        self.sessions = self.make(Limits(rateLimit=7), picky, self.engine)
        with capturedLogs() as events:
            self.start("a")
        self.assertEqual((len(picky.sessions), len(self.engine.sessions)), (0, 1))
        self.assertEqual(self.engine.sessions[0].rate, 7)
        self.assertEqual(
            lines(events),
            [f"Activated {ROMEO} -> {JULIET} (sid 'a'): 192.0.2.1 and 192.0.2.2, relay fake"],
        )

    def test_engineFails(self) -> None:
        """
        An engine that cannot start leaves nothing behind.
        """
        self.engine.error = OSError(24, "Too many open files")
        self.sessions = self.make(Limits(maxSessionsPerJid=1, idleTimeout=10))
        self.assertRaises(OSError, self.start, "a")
        self.assertEqual((len(self.sessions), self.sessions.find(b"a")), (0, None))
        self.assertIsNone(self.sessions.findRequest(ROMEO, "a"))
        self.clock.pump([1] * 20)
        self.engine.error = None
        self.start("a")

    def test_noEngine(self) -> None:
        """
        Nor does a pair that no engine takes.
        """
        self.sessions = self.make(Limits(), FakeEngine(takes=False))
        self.assertRaises(StopIteration, self.start, "a")
        self.assertEqual(len(self.sessions), 0)

    def test_sidCannotForgeLines(self) -> None:
        """
        A sid with a line end in it stays on its line.
        """
        self.assertNotIn("\n", str(Parties(ROMEO, JULIET, "a)\nEnded everything (b")))


class LogTests(SessionsCase):
    """
    What the log says of many.
    """

    def test_tooManyLines(self) -> None:
        """
        Of very many bytestreams at once not each has its lines; their number is told. Later each has again.
        """
        with capturedLogs() as events:
            for number in range(MAX_LINES + 3):
                session = self.start(f"s{number}", f"user{number % 7}@example.org/x")
                self.relayed(session).end(Outcome.FINISHED)
            self.clock.advance(LINES_PERIOD)
            self.start("later")
        told = lines(events)
        self.assertEqual(len([line for line in told if line.startswith("Activated")]), MAX_LINES + 1)
        self.assertEqual(len([line for line in told if line.startswith("Ended")]), MAX_LINES)
        self.assertEqual(len([line for line in told if line.startswith("Left out 3 more lines like")]), 2)

    def test_service(self) -> None:
        """
        What was left out is told at once when the service ends.
        """
        with capturedLogs() as events:
            for number in range(MAX_LINES + 1):
                self.start(f"s{number}")
            self.sessions.finishLog()
        self.assertIn("Left out 1 more lines like 'Activated", lines(events)[-1])


class LimitTests(SessionsCase):
    """
    How many.
    """

    def test_inAll(self) -> None:
        """
        One too many is refused; one that has ended makes room.
        """
        self.sessions = self.make(Limits(maxSessions=2))
        first = self.start("a", "a@x/r")
        self.start("b", "b@x/r")
        error = self.assertRaises(LimitReached, self.start, "c", "c@x/r")
        self.assertIn("2 bytestreams are active", str(error))
        self.relayed(first).end()
        self.start("c", "c@x/r")

    def test_perBareJID(self) -> None:
        """
        A requester cannot get round its limit by other resources; others have their own.
        """
        self.sessions = self.make(Limits(maxSessionsPerJid=1))
        first = self.start("a", "a@x/1")
        error = self.assertRaises(LimitReached, self.start, "b", "a@x/2")
        self.assertIn("a@x has 1 active", str(error))
        self.start("b", "b@x/1")
        self.relayed(first).end()
        self.start("c", "a@x/2")

    def test_newLimits(self) -> None:
        """
        New limits count from now on; the rate also for what is running.
        """
        session = self.start("a")
        self.sessions.setLimits(Limits(maxSessions=1, rateLimit=5))
        self.assertEqual(self.relayed(session).rate, 5)
        self.assertRaises(LimitReached, self.start, "b", "b@x")
        self.relayed(session).rate = -1
        self.sessions.setLimits(Limits(maxSessions=2, rateLimit=5))
        self.assertEqual(self.relayed(session).rate, -1, "a rate that stays is not set again")


class IdleTests(SessionsCase):
    """
    Bytestreams in which nothing moves.
    """

    def setUp(self) -> None:
        super().setUp()
        self.sessions = self.make(Limits(idleTimeout=100))

    def test_idle(self) -> None:
        """
        Nothing in either direction for the timeout, and at most a tenth longer, ends it.
        """
        session = self.start("a")
        self.clock.pump([9.9] * 10)
        self.assertIsNone(self.relayed(session).aborted)
        self.clock.pump([5] * 3)
        self.assertIs(self.relayed(session).aborted, Outcome.IDLE)

    def test_eitherDirectionCounts(self) -> None:
        """
        One byte in either direction is enough to stay.
        """
        one, other = self.start("a"), self.start("b")
        for n in range(1, 40):
            self.clock.advance(10)
            self.relayed(one).moved = (n, 0)
            self.relayed(other).moved = (0, n)
        self.assertIsNone(self.relayed(one).aborted)
        self.assertIsNone(self.relayed(other).aborted)

    def test_noTimerWithoutSessions(self) -> None:
        """
        The search ends with the last session, and begins with the next.
        """
        self.relayed(self.start("a")).end()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        session = self.start("b")
        self.clock.pump([10] * 12)
        self.assertIs(self.relayed(session).aborted, Outcome.IDLE)
        self.relayed(session).end()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_off(self) -> None:
        """
        0 turns it off.
        """
        self.sessions = self.make(Limits(idleTimeout=0))
        session = self.start("a")
        self.clock.advance(10**6)
        self.assertIsNone(self.relayed(session).aborted)

    def test_turnedOffLater(self) -> None:
        """
        To turn it off ends nothing.
        """
        session = self.start("a")
        self.sessions.setLimits(Limits(idleTimeout=0))
        self.clock.pump([10] * 30)
        self.assertIsNone(self.relayed(session).aborted)

    def test_endsWithinTheSearch(self) -> None:
        """
        A session that ends at once when it is aborted does not disturb the search.
        """
        session = self.start("a")
        relayed = self.relayed(session)
        relayed.abort = relayed.end  # type: ignore[method-assign]
        self.clock.pump([10] * 12)
        self.assertEqual((len(self.sessions), self.clock.getDelayedCalls()), (0, []))


class EndTests(SessionsCase):
    """
    What is left when a bytestream has ended.
    """

    def test_recorded(self) -> None:
        """
        A record and a log line tell all about it.
        """
        session = self.start("a")
        self.clock.advance(2.5)
        self.relayed(session).moved = (3, 4)
        with capturedLogs() as events:
            self.relayed(session).end(Outcome.BROKEN)
        (record,) = self.usage.records
        self.assertEqual((record.started, record.seconds), (1e9, 2.5))
        self.assertEqual((record.requester, record.target), (ROMEO, JULIET))
        self.assertEqual((record.addresses, record.kind), (("192.0.2.1", "192.0.2.2"), "TCP"))
        self.assertEqual((record.byteCounts, record.datagramCounts), ((3, 4), None))
        self.assertEqual(record.outcome, "broken")
        self.assertEqual(
            lines(events),
            [f"Ended {ROMEO} -> {JULIET} (sid 'a'): broken by a party, 3 and 4 bytes in 2.500 s"],
        )

    def test_datagrams(self) -> None:
        """
        A relay that counts datagrams is asked for them.
        """
        session: Any = self.start("a")
        session.relayed.datagramCounts = lambda: (5, 6)
        session.relayed.end()
        self.assertEqual(self.usage.records[0].datagramCounts, (5, 6))

    def test_withoutUsage(self) -> None:
        """
        Records are optional.
        """
        self.sessions = Sessions(self.clock, Limits(), [self.engine])
        self.relayed(self.start("a")).end()
        self.assertEqual(len(self.sessions), 0)

    def test_whenEmpty(self) -> None:
        """
        One can wait for the end of all; with none active there is nothing to wait for.
        """
        self.successResultOf(self.sessions.whenEmpty())
        first, second = self.start("a"), self.start("b")
        waiting, cancelled = self.sessions.whenEmpty(), self.sessions.whenEmpty()
        cancelled.addErrback(lambda _: None)
        cancelled.cancel()
        self.relayed(first).end()
        self.assertNoResult(waiting)
        self.relayed(second).end()
        self.successResultOf(waiting)

    def test_abortAll(self) -> None:
        """
        All are ended with one reason.
        """
        sessions = [self.start("a"), self.start("b")]
        self.sessions.abortAll()
        self.assertEqual([self.relayed(s).aborted for s in sessions], [Outcome.SHUTDOWN] * 2)
