"""
When answers go out: aggregation, known answers, and one second between two multicasts of a record.
RFC 6762 sections 6, 6.4, 6.5 and 7.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.names import dns

from xmppbytes.wire.mdns import Message, Record

# RFC 6762 section 6: a record is not multicast again within this time; a probe may be answered sooner.
RECORD_INTERVAL = 1.0
PROBE_ANSWER_INTERVAL = 0.25
# What others answer too is delayed at random so that answers do not collide.
SHARED_DELAY = (0.02, 0.12)
# The rest of a truncated list of known answers is waited for (section 7.2).
TRUNCATED_DELAY = (0.4, 0.5)

Identity = tuple[tuple[bytes, ...], int, bytes]


@dataclass
class _Pending:
    record: Record
    due: float
    askers: set[str] = field(default_factory=set)


class AnswerQueue:
    """
    The answers that are about to be multicast on one link. Grows no further than our own records.
    """

    def __init__(
        self,
        clock: IReactorTime,
        random: Random,
        multicast: Callable[[list[Record]], None],
    ) -> None:
        """
        @param multicast: sends records, which are answers, now.
        """
        self._clock = clock
        self._random = random
        self._multicast = multicast
        self._pending: dict[Identity, _Pending] = {}
        self._sent: dict[Identity, float] = {}
        self._timer: IDelayedCall | None = None

    def add(self, records: Iterable[Record], asker: str, truncated: bool, probe: bool) -> None:
        """
        Answer somebody, as soon as the rules allow.

        @param asker: who asks.
        @param truncated: more of what the asker knows is to follow.
        @param probe: the asker is about to take a name of ours: it is answered at once.
        """
        now = self._clock.seconds()
        for record in records:
            due = now
            if truncated:
                due += self._random.uniform(*TRUNCATED_DELAY)
            elif not record.flush and not probe:
                due += self._random.uniform(*SHARED_DELAY)
            interval = PROBE_ANSWER_INTERVAL if probe else RECORD_INTERVAL
            due = max(due, self.lastSent(record) + interval)
            pending = self._pending.setdefault(record.identity, _Pending(record, due))
            pending.record = record
            pending.due = min(pending.due, due)
            pending.askers.add(asker)
        self._schedule()

    def known(self, record: Record, asker: str) -> None:
        """
        Take notice that an asker knows a record already (RFC 6762 section 7.1).
        """
        pending = self._pending.get(record.identity)
        if pending is None or record.ttl * 2 < pending.record.ttl:
            return
        pending.askers.discard(asker)
        if not pending.askers:
            del self._pending[record.identity]

    def seen(self, record: Record) -> None:
        """
        Take notice that somebody else has multicast this very record (RFC 6762 section 7.4).
        """
        pending = self._pending.get(record.identity)
        if pending is not None and record.ttl >= pending.record.ttl:
            del self._pending[record.identity]

    def lastSent(self, record: Record) -> float:
        """
        When a record was multicast last, by the clock; minus infinity when it never was.
        """
        return self._sent.get(record.identity, float("-inf"))

    def sent(self, records: Iterable[Record]) -> None:
        """
        Note what is being multicast now.
        """
        now = self._clock.seconds()
        self._sent = {key: when for key, when in self._sent.items() if now - when < 2 * RECORD_INTERVAL}
        for record in records:
            self._sent[record.identity] = now

    def clear(self) -> None:
        """
        Forget every answer that has not gone out.
        """
        self._pending.clear()
        self._schedule()

    def drop(self, record: Record) -> None:
        """
        Forget one answer: the record is ours no more.
        """
        self._pending.pop(record.identity, None)

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pending:
            due = min(pending.due for pending in self._pending.values())
            self._timer = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._flush)

    def _flush(self) -> None:
        self._timer = None
        # Shared answers that are due within the same window go along.
        horizon = self._clock.seconds() + SHARED_DELAY[0]
        due = [pending.record for pending in self._pending.values() if self._mayGo(pending, horizon)]
        for record in due:
            del self._pending[record.identity]
        self._schedule()
        # The avatar makes a datagram of many fragments: it goes alone.
        for group in (
            [record for record in due if record.type != dns.NULL],
            [record for record in due if record.type == dns.NULL],
        ):
            if group:
                self._multicast(group)

    def _mayGo(self, pending: _Pending, horizon: float) -> bool:
        now = self._clock.seconds()
        return pending.due <= now or (
            pending.due <= horizon and now - self.lastSent(pending.record) >= RECORD_INTERVAL
        )


class PerSecond:
    """
    Bounds what others can make us send: unicast answers to plain DNS queries, questions that a flood of
    announcements raises.
    """

    def __init__(self, clock: IReactorTime, perSecond: int) -> None:
        """
        @param perSecond: how many may go out in any one second.
        """
        self._clock = clock
        self._perSecond = perSecond
        self._second = 0
        self._count = 0

    def admits(self) -> bool:
        """
        Tell whether one more may go out, and count it.
        """
        second = int(self._clock.seconds())
        if second != self._second:
            self._second, self._count = second, 0
        self._count += 1
        return self._count <= self._perSecond


def legacyReply(query: Message, answers: list[Record], additionals: list[Record]) -> Message:
    """
    Make the answer to a query that does not come from port 5353 (RFC 6762 section 6.7).
    """

    def plain(records: list[Record]) -> tuple[Record, ...]:
        return tuple(Record(record.name, record.type, min(record.ttl, 10), record.data) for record in records)

    return Message(
        response=True,
        id=query.id,
        questions=query.questions,
        answers=plain(answers),
        additionals=plain(additionals),
    )
