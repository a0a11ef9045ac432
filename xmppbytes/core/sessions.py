"""
The bytestreams that are active: started, counted, ended when idle, recorded, and drained at the end.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from xmppbytes.core.damper import LogDamper
from xmppbytes.core.limits import Limits
from xmppbytes.core.outcome import Outcome
from xmppbytes.core.usage import NoUsage, UsageRecord
from xmppbytes.errors import LimitReached
from xmppbytes.interfaces import ILeg, IRelayedSession, IRelayEngine, IUsage

# Idleness is looked for in rounds, so that it costs a session nothing while bytes move: at most a
# tenth of the timeout late.
_IDLE_ROUNDS = 10
_ACTIVATED = "Activated {summary}"
_ENDED = "Ended {summary}"
# How many lines of each in so many seconds, before they are only counted. A line takes nearly as long to
# write as a bytestream to start; the usage log has them all.
MAX_LINES = 50
LINES_PERIOD = 5.0


@dataclass(frozen=True, slots=True)
class Parties:
    """
    Who a bytestream belongs to.

    @ivar requester: the requester's JID, as text.
    @ivar target: the target's JID, as text.
    @ivar sid: the stream ID.
    """

    requester: str
    target: str
    sid: str

    @property
    def account(self) -> str:
        """
        The requester's bare JID: whose limit counts.
        """
        return self.requester.partition("/")[0]

    def __str__(self) -> str:
        # The sid may be any text, line ends as well.
        return f"{self.requester} -> {self.target} (sid {self.sid!r})"


@dataclass(slots=True, eq=False)
class Session:
    """
    One active bytestream.
    """

    key: bytes
    parties: Parties
    kind: str
    addresses: tuple[str, str]
    started: float
    startedAt: float
    movedAt: float
    seen: tuple[int, int] = (0, 0)
    relayed: IRelayedSession = field(init=False, repr=False)


class Sessions:
    """
    All active bytestreams of a stream host.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        limits: Limits,
        engines: Sequence[IRelayEngine],
        usage: IUsage | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """
        @param clock: an C{IReactorTime}.
        @param limits: of which maxSessions, maxSessionsPerJid, idleTimeout and rateLimit are used.
        @param engines: those that can relay, the best first. The first that accepts a pair gets it.
        @param usage: takes note of what has ended.
        @param now: tells the time of day.
        """
        self.limits = limits
        self._clock = clock
        self._engines = tuple(engines)
        self._usage = usage or NoUsage()
        self._now = now
        # Twisted makes a logger anew each time that it is asked for.
        self._log = self.log
        self._damper = LogDamper(clock, MAX_LINES, MAX_LINES, LINES_PERIOD)
        self._byKey: dict[bytes, Session] = {}
        self._byRequest: dict[tuple[str, str], Session] = {}
        self._perAccount: Counter[str] = Counter()
        self._idleTimer: IDelayedCall | None = None
        self._emptied: list[Deferred[None]] = []

    def __len__(self) -> int:
        return len(self._byKey)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._byKey.values()))

    def find(self, key: bytes) -> Session | None:
        """
        The active bytestream with this key.
        """
        return self._byKey.get(key)

    def findRequest(self, requester: str, sid: str) -> Session | None:
        """
        The active bytestream that this requester activated under this sid.
        """
        return self._byRequest.get((requester, sid))

    def check(self, parties: Parties) -> None:
        """
        @raise LimitReached: when no further bytestream may be started for these parties.
        """
        if len(self) >= self.limits.maxSessions:
            raise LimitReached(
                f"{len(self)} bytestreams are active, which is this proxy's limit; try again later"
            )
        running = self._perAccount[parties.account]
        if running >= self.limits.maxSessionsPerJid:
            raise LimitReached(
                f"{parties.account} has {running} active bytestreams, which is the limit for one address; "
                "try again when one has ended"
            )

    def start(self, key: bytes, parties: Parties, first: ILeg, second: ILeg) -> Session:
        """
        Relay between two legs.

        @raise LimitReached: when a limit would be passed; the legs are untouched.
        @raise Exception: whatever the engine raises; nothing is remembered of the session.
        """
        self.check(parties)
        engine = next(engine for engine in self._engines if engine.accepts(first, second))
        moment = self._clock.seconds()
        session = Session(
            key, parties, first.kind.value, (first.address, second.address), self._now(), moment, moment
        )
        self._byKey[key] = session
        self._byRequest[parties.requester, parties.sid] = session
        self._perAccount[parties.account] += 1
        self._watchIdle()

        def ended(outcome: Outcome) -> None:
            self._ended(session, outcome)

        try:
            session.relayed = engine.link(first, second, self.limits.rateLimit, ended)
        except Exception:
            self._remove(session)
            raise
        if self._damper.permits(self._log, parties.account, _ACTIVATED):
            # One field that is formatted here: the log's own formatting is slow.
            self._log.info(
                _ACTIVATED,
                summary=f"{parties}: {first.address} and {second.address}, relay {engine.name}",
                session=session,
            )
        return session

    def setLimits(self, limits: Limits) -> None:
        """
        Use other limits from now on. Only the rate applies to what is running.
        """
        changed = limits.rateLimit != self.limits.rateLimit
        self.limits = limits
        if changed:
            for session in self:
                session.relayed.setRate(limits.rateLimit)

    def whenEmpty(self) -> Deferred[None]:
        """
        Fires when no bytestream is active (any more).
        """
        if not self._byKey:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._emptied.remove)
        self._emptied.append(waiting)
        return waiting

    def abortAll(self, outcome: Outcome = Outcome.SHUTDOWN) -> None:
        """
        End everything now.
        """
        for session in self:
            session.relayed.abort(outcome)

    def finishLog(self) -> None:
        """
        Log now how many lines were left out lately: the service ends.
        """
        self._damper.flush()

    def _remove(self, session: Session) -> None:
        parties = session.parties
        del self._byKey[session.key]
        del self._byRequest[parties.requester, parties.sid]
        self._perAccount[parties.account] -= 1
        if not self._perAccount[parties.account]:
            del self._perAccount[parties.account]

    def _ended(self, session: Session, outcome: Outcome) -> None:
        self._remove(session)
        record = self._recordOf(session, outcome)
        if self._damper.permits(self._log, session.parties.account, _ENDED):
            sent, returned = record.byteCounts
            self._log.info(
                _ENDED,
                summary=f"{session.parties}: {outcome.value}, "
                f"{sent} and {returned} bytes in {record.seconds:.3f} s",
                usage=record,
            )
        self._usage.record(record)
        if not self._byKey:
            self._becameEmpty()

    def _recordOf(self, session: Session, outcome: Outcome) -> UsageRecord:
        datagrams: Any = getattr(session.relayed, "datagramCounts", None)
        return UsageRecord(
            started=session.started,
            seconds=self._clock.seconds() - session.startedAt,
            requester=session.parties.requester,
            target=session.parties.target,
            addresses=session.addresses,
            kind=session.kind,
            byteCounts=session.relayed.counts(),
            datagramCounts=datagrams() if datagrams is not None else None,
            outcome=outcome.name.lower(),
        )

    def _becameEmpty(self) -> None:
        if self._idleTimer is not None:
            self._idleTimer.cancel()
            self._idleTimer = None
        waiting, self._emptied = self._emptied, []
        for deferred in waiting:
            deferred.callback(None)

    def _watchIdle(self) -> None:
        if self.limits.idleTimeout and self._idleTimer is None:
            self._idleTimer = self._clock.callLater(self.limits.idleTimeout / _IDLE_ROUNDS, self._lookForIdle)

    def _lookForIdle(self) -> None:
        self._idleTimer = None
        moment = self._clock.seconds()
        for session in self:
            counts = session.relayed.counts()
            if counts != session.seen:
                session.seen = counts
                session.movedAt = moment
            elif 0 < self.limits.idleTimeout <= moment - session.movedAt:
                session.relayed.abort(Outcome.IDLE)
        if self._byKey:
            self._watchIdle()
