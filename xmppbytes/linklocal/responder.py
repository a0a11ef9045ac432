"""
Publishes our records on one link, defends them, changes them and takes them back.
RFC 6762 sections 6, 8, 9 and 10.

    publish -> probing --(nobody objects)--> established -> announce, answer
                 |  ^                            |
     (taken) conflict \\---------(contested)------/
"""

from collections import deque
from collections.abc import Callable
from random import Random

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from xmppbytes.linklocal.answering import RECORD_INTERVAL, AnswerQueue, PerSecond, legacyReply
from xmppbytes.linklocal.ilink import PORT, ILinkPort, Source
from xmppbytes.linklocal.prober import Prober
from xmppbytes.linklocal.zone import Zone
from xmppbytes.wire.mdns import Message, Record, fold
from xmppbytes.wire.mdnspack import pack

# One Ethernet frame without the headers of IPv6 and UDP.
DATAGRAM_ROOM = 1440
# A receiver spares records that are younger than 1 s when new ones flush its cache (section 10.2): new
# data goes out no sooner than this after the old, and is repeated after this time.
ANNOUNCE_INTERVAL = 1.05
ANNOUNCEMENTS = 2
# RFC 6762 section 8.4: records are not updated more often than ten times a minute.
UPDATES_PER_MINUTE = 10
LEGACY_REPLIES_PER_SECOND = 20


class Responder:
    """
    The publisher of one L{Zone} on one link.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        random: Random,
        link: ILinkPort,
        isOurs: Callable[[Record], bool],
        established: Callable[[], None],
        conflict: Callable[[bool], None],
    ) -> None:
        """
        @param isOurs: tells whether a record is, or was until just now, one of ours on any link: two
            links may be one cable, and what we sent on one comes in on the other.
        @param established: called when the names were won.
        @param conflict: called when a name is somebody else's; with whether it is the instance's (not
            the host's). The responder is silent until C{publish}.
        """
        self._clock = clock
        self._link = link
        self._isOurs = isOurs
        self._onEstablished = established
        self._onConflict = conflict
        self._prober = Prober(clock, random, self._sendQuery, self._probed)
        self._queue = AnswerQueue(clock, random, self._answer)
        self._legacy = PerSecond(clock, LEGACY_REPLIES_PER_SECOND)
        self._zone: Zone | None = None
        self._announcement: IDelayedCall | None = None
        self._updates: deque[float] = deque(maxlen=UPDATES_PER_MINUTE)
        self._notBefore = float("-inf")
        self.isEstablished = False

    # Publishing

    def publish(self, zone: Zone, delay: float | None = None) -> None:
        """
        Publish records under names that were not asked for yet: probe first.

        @param delay: seconds to wait before the first probe; C{None}: a random time below 250 ms.
        """
        self.silence()
        self._zone = zone
        self._prober.start(zone, delay)

    def update(self, zone: Zone) -> None:
        """
        Publish other data under the names that are ours or being probed for.
        """
        old, self._zone = self._zone, zone
        if old is None or old == zone:
            return
        if not self.isEstablished:
            self._prober.start(zone)
            return
        gone = _without(old.unique() + old.null(), zone.unique() + zone.null())
        for record in gone:
            self._queue.drop(record)
        # What is replaced by newer data is flushed by it; what has no successor says goodbye.
        successors = {record.key for record in zone.unique()}
        self._goodbye([record for record in gone if record.key not in successors])
        news = _without(zone.unique(), old.unique())
        if news:
            latest = max([self._queue.lastSent(record) for record in gone], default=float("-inf"))
            # Kept, since an update may itself be replaced before it has gone out.
            self._notBefore = max(self._notBefore, latest + ANNOUNCE_INTERVAL)
            self._announceAt(max(self._notBefore, self._updateAllowed()))

    def announceIcon(self) -> None:
        """
        Multicast the avatar once, because it has changed.
        """
        if self._zone is not None and self.isEstablished and self._zone.icon is not None:
            self._answer(self._zone.null())

    def silence(self) -> None:
        """
        Stop to answer, to probe and to announce, without a goodbye.
        """
        self.isEstablished = False
        self._zone = None
        self._prober.stop()
        self._queue.clear()
        self._stopAnnouncing()

    def withdraw(self, contested: bool = False) -> None:
        """
        Say goodbye and be silent.

        @param contested: the instance's name is somebody else's now: the pointer to it is not taken
            back, or that person would vanish for everybody.
        """
        zone, wasEstablished = self._zone, self.isEstablished
        self.silence()
        if zone is None or not wasEstablished:
            return
        records = [*zone.shared()[:1], *zone.unique(), *zone.null()]
        if contested:
            records = [record for record in records if fold(record.name) == fold(zone.host)]
        self._goodbye(records)

    # What comes in

    def query(self, message: Message, source: Source) -> None:
        """
        Answer a query.
        """
        zone = self._zone
        if zone is None:
            return
        names = zone.names()
        probed = any(fold(record.name) in names for record in message.authorities)
        if not self.isEstablished:
            if probed and not all(self._isOurs(record) for record in message.authorities):
                self._prober.proposed(message.authorities)
            return
        for record in message.answers:
            self._queue.known(record, source[0])
        answers = self._answersTo(message, zone)
        if not answers:
            return
        if source[1] != PORT:
            self._replyAlone(message, source, answers, zone)
            return
        self._queue.add(answers, source[0], message.truncated, probed)

    def response(self, message: Message) -> None:
        """
        Look whether somebody else publishes what is ours.
        """
        zone = self._zone
        if zone is None:
            return
        for record in (*message.answers, *message.additionals):
            self._queue.seen(record)
            if self._isOurs(record):
                if record.ttl == 0 and self.isEstablished and record.identity == zone.shared()[0].identity:
                    # Somebody takes our own pointer back: tell everybody that we are still here.
                    self._announceAt(self._clock.seconds() + ANNOUNCE_INTERVAL)
            elif record.ttl and fold(record.name) in zone.names():
                if self._contests(record, zone):
                    self._contested(record, zone)
                    return

    def _contests(self, record: Record, zone: Zone) -> bool:
        if self._prober.asking:
            return True
        return self.isEstablished and record.key in {ours.key for ours in zone.unique()}

    def _contested(self, record: Record, zone: Zone) -> None:
        isInstance = fold(record.name) == fold(zone.instance)
        if self._prober.asking:
            self.silence()
            self._onConflict(isInstance)
            return
        self.log.info("{name} is contested on {link}: asking again", name=_text(record), link=self._link.name)
        self.publish(zone)

    # What goes out

    def _probed(self) -> None:
        self.isEstablished = True
        self._announceAt(self._clock.seconds())
        self._onEstablished()

    def _answersTo(self, message: Message, zone: Zone) -> list[Record]:
        known = {record.identity: record.ttl for record in message.answers}
        found: dict[object, Record] = {}
        for question in message.questions:
            for record in zone.answers(question):
                if known.get(record.identity, 0) * 2 < record.ttl:
                    found[record.identity] = record
        return list(found.values())

    def _replyAlone(self, message: Message, source: Source, answers: list[Record], zone: Zone) -> None:
        # The address of the asker may be forged: no avatar of 64 KiB goes to somebody who has not asked.
        answers = [record for record in answers if len(record.data) < DATAGRAM_ROOM]
        if answers and self._legacy.admits():
            for datagram in pack(legacyReply(message, answers, zone.additionals(answers)), DATAGRAM_ROOM):
                self._link.send(datagram, source)

    def _answer(self, records: list[Record]) -> None:
        zone = self._zone
        if zone is None:
            return
        now = self._clock.seconds()
        additionals = [
            record
            for record in zone.additionals(records)
            if now - self._queue.lastSent(record) >= RECORD_INTERVAL
        ]
        self._queue.sent([*records, *additionals])
        self._sendResponse(Message(response=True, answers=tuple(records), additionals=tuple(additionals)))

    def _goodbye(self, records: list[Record]) -> None:
        if records:
            self._sendResponse(Message(response=True, answers=tuple(_asGoodbyes(records))))

    def _sendResponse(self, message: Message) -> None:
        for datagram in pack(message, DATAGRAM_ROOM):
            self._link.send(datagram)

    def _sendQuery(self, message: Message) -> None:
        for datagram in pack(message, DATAGRAM_ROOM):
            self._link.send(datagram)

    # Announcing

    def _updateAllowed(self) -> float:
        """
        When the next update may go out.
        """
        if len(self._updates) < UPDATES_PER_MINUTE:
            return float("-inf")
        return self._updates[0] + 60

    def _announceAt(self, when: float) -> None:
        self._stopAnnouncing()
        wait = max(0.0, when - self._clock.seconds())
        self._announcement = self._clock.callLater(wait, self._announce, ANNOUNCEMENTS)

    def _announce(self, left: int) -> None:
        self._announcement = None
        assert self._zone is not None
        if left == ANNOUNCEMENTS:
            self._updates.append(self._clock.seconds())
        records = self._zone.shared() + self._zone.unique()
        self._queue.sent(records)
        self._sendResponse(Message(response=True, answers=tuple(records)))
        if left > 1:
            self._announcement = self._clock.callLater(ANNOUNCE_INTERVAL, self._announce, left - 1)

    def _stopAnnouncing(self) -> None:
        if self._announcement is not None:
            self._announcement.cancel()
            self._announcement = None


def _without(records: list[Record], others: list[Record]) -> list[Record]:
    kept = {record.identity for record in others}
    return [record for record in records if record.identity not in kept]


def _asGoodbyes(records: list[Record]) -> list[Record]:
    return [Record(record.name, record.type, 0, record.data, record.flush) for record in records]


def _text(record: Record) -> str:
    return ".".join(label.decode("utf-8", "replace") for label in record.name)
