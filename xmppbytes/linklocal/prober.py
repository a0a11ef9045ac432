"""
Asking whether a name is free, and who yields when two ask at once. RFC 6762 section 8.1 and 8.2.
"""

from collections.abc import Callable, Iterable
from enum import Enum
from random import Random

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.names import dns

from xmppbytes.linklocal.zone import Zone
from xmppbytes.wire.mdns import Message, Name, Question, Record, fold

INTERVAL = 0.25
PROBES = 3
# How long the loser of a tie waits before it asks again.
TIE_DELAY = 1.0


class Comparison(Enum):
    """
    How the records that two hosts propose for one name compare.
    """

    EQUAL = 0
    WE_WIN = 1
    WE_YIELD = 2


def compareProposals(name: Name, ours: Iterable[Record], theirs: Iterable[Record]) -> Comparison:
    """
    Compare two sets of records for one name: the one that sorts later wins (RFC 6762 section 8.2).

    @param name: in the compared form.
    """
    first, second = (
        sorted((record.cls, record.type, record.data) for record in records if fold(record.name) == name)
        for records in (ours, theirs)
    )
    if first == second or not second:
        return Comparison.EQUAL
    return Comparison.WE_WIN if first > second else Comparison.WE_YIELD


class Prober:
    """
    Probes for the two unique names of a zone.
    """

    def __init__(
        self, clock: IReactorTime, random: Random, send: Callable[[Message], None], won: Callable[[], None]
    ) -> None:
        """
        @param send: multicasts a query.
        @param won: called when nobody has objected.
        """
        self._clock = clock
        self._random = random
        self._send = send
        self._won = won
        self._zone: Zone | None = None
        self._left = 0
        self._call: IDelayedCall | None = None

    @property
    def asking(self) -> bool:
        """
        Whether at least one probe is out, so that what others say about the names is the answer to it.
        """
        return self._zone is not None and self._left < PROBES

    def start(self, zone: Zone, delay: float | None = None) -> None:
        """
        Begin, or begin again, to probe.

        @param delay: seconds to wait before the first probe; by default a random time below 250 ms, so
            that machines which were switched on together do not all ask at once.
        """
        self.stop()
        self._zone = zone
        self._left = PROBES
        wait = self._random.uniform(0, INTERVAL) if delay is None else delay
        self._call = self._clock.callLater(wait, self._probe)

    def stop(self) -> None:
        """
        Stop probing; does nothing when it is over already.
        """
        self._zone = None
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _probe(self) -> None:
        self._call = None
        zone = self._zone
        assert zone is not None
        if not self._left:
            self._zone = None
            self._won()
            return
        self._left -= 1
        self._call = self._clock.callLater(INTERVAL, self._probe)
        # Not "unicast answer wanted": another responder on this host may hold the unicast port.
        questions = (Question(zone.instance, dns.ALL_RECORDS), Question(zone.host, dns.ALL_RECORDS))
        self._send(Message(questions=questions, authorities=tuple(zone.unique())))

    def proposed(self, theirs: tuple[Record, ...]) -> None:
        """
        Take notice of another host's probe, which proposes records for names of ours.
        """
        zone = self._zone
        if zone is None:
            return
        ours = zone.unique()
        if any(compareProposals(name, ours, theirs) is Comparison.WE_YIELD for name in zone.names()):
            self.start(zone, TIE_DELAY)
