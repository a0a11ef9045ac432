"""
What others have published on one link. RFC 6762 sections 5.2, 10.1 and 10.2.
"""

from collections.abc import Callable
from random import Random

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from xmppbytes.core.quota import Quota
from xmppbytes.wire.mdns import Name, Record, fold

# Strangers fill this: everything beyond is not remembered.
MAX_RECORDS = 8192
MAX_BYTES = 4 << 20
# Of one name and type; a host may have a handful of addresses. The pointers to all persons are one set.
MAX_PER_KEY = 2048
# Whatever a stranger claims, nothing stays longer without being heard again, in seconds.
MAX_TTL = 7200
# What has been taken back lives this long, so that another owner can object (section 10.1).
GOODBYE_DELAY = 1.0
# A record that is wanted is asked for again at these parts of its life, 2 % more at random.
REFRESH_AT = (0.80, 0.85, 0.90, 0.95)
_REFRESH_SPREAD = 0.02

Identity = tuple[Name, int, bytes]
Key = tuple[Name, int]


class Entry:
    """
    One cached record.

    @ivar received: when it came last, by the clock.
    @ivar expires: when it ends.
    """

    __slots__ = ("expires", "received", "record", "stage", "timer")

    def __init__(self, record: Record, now: float) -> None:
        self.record = record
        self.received = now
        self.expires = now + min(record.ttl, MAX_TTL)
        self.stage = 0
        self.timer: IDelayedCall | None = None


class Cache:
    """
    The records heard on one link, until they expire.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        random: Random,
        removed: Callable[[Record], None],
        refresh: Callable[[Record], None],
    ) -> None:
        """
        @param removed: called with a record after it was forgotten.
        @param refresh: called with a record that ends soon: whoever wants it asks for it again.
        """
        self._clock = clock
        self._random = random
        self._removed = removed
        self._refresh = refresh
        self._entries: dict[Key, dict[Identity, Entry]] = {}
        self._count = 0
        self._bytes = 0
        self._complaints = Quota(clock.seconds, 1, 1)

    def __len__(self) -> int:
        return self._count

    def get(self, name: Name, kind: int) -> list[Entry]:
        """
        Give what is known, the newest first.
        """
        entries = self._entries.get((fold(name), kind), {}).values()
        return sorted(entries, key=lambda entry: -entry.received)

    def add(self, records: list[Record]) -> list[Record]:
        """
        Take in the records of one message.

        @return: those that were not known before.
        """
        now = self._clock.seconds()
        news = [record for record in records if self._take(record, now)]
        for key in {record.key for record in records if record.flush}:
            for entry in self._entries.get(key, {}).values():
                # In the same second another datagram of the same answer may have brought it.
                if now - entry.received > GOODBYE_DELAY:
                    self._endIn(entry, GOODBYE_DELAY)
        return news

    def _take(self, record: Record, now: float) -> bool:
        entries = self._entries.get(record.key, {})
        entry = entries.get(record.identity)
        if record.ttl == 0:
            if entry is not None:
                self._endIn(entry, GOODBYE_DELAY)
            return False
        if entry is not None:
            entry.record, entry.received, entry.stage = record, now, 0
            entry.expires = now + min(record.ttl, MAX_TTL)
            self._arm(entry)
            return False
        if not self._hasRoom(record, entries):
            return False
        entry = Entry(record, now)
        self._entries.setdefault(record.key, entries)[record.identity] = entry
        self._count += 1
        self._bytes += len(record.data)
        self._arm(entry)
        return True

    def _hasRoom(self, record: Record, siblings: dict[Identity, Entry]) -> bool:
        if (
            self._count < MAX_RECORDS
            and self._bytes + len(record.data) <= MAX_BYTES
            and len(siblings) < MAX_PER_KEY
        ):
            return True
        if self._complaints.admits(""):
            self.log.warn("too many records on this link: no more are remembered until some expire")
        return False

    def _endIn(self, entry: Entry, seconds: float) -> None:
        entry.expires = min(entry.expires, self._clock.seconds() + seconds)
        entry.stage = len(REFRESH_AT)
        self._arm(entry)

    def _arm(self, entry: Entry) -> None:
        if entry.timer is not None:
            entry.timer.cancel()
        when = entry.expires
        if entry.stage < len(REFRESH_AT):
            part = REFRESH_AT[entry.stage] + self._random.uniform(0, _REFRESH_SPREAD)
            when = entry.received + part * (entry.expires - entry.received)
        entry.timer = self._clock.callLater(max(0.0, when - self._clock.seconds()), self._due, entry)

    def _due(self, entry: Entry) -> None:
        entry.timer = None
        if entry.stage < len(REFRESH_AT):
            entry.stage += 1
            self._arm(entry)
            self._refresh(entry.record)
            return
        self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        record = entry.record
        siblings = self._entries[record.key]
        del siblings[record.identity]
        if not siblings:
            del self._entries[record.key]
        if entry.timer is not None:
            entry.timer.cancel()
            entry.timer = None
        self._count -= 1
        self._bytes -= len(record.data)
        self._removed(record)

    def drop(self, name: Name, kind: int) -> None:
        """
        Forget what is known of one name and type at once: nobody has confirmed it.
        """
        for entry in self.get(name, kind):
            self._forget(entry)

    def remove(self, record: Record) -> None:
        """
        Forget one record at once.
        """
        entry = self._entries.get(record.key, {}).get(record.identity)
        if entry is not None:
            self._forget(entry)

    def clear(self) -> None:
        """
        Forget everything, without telling.
        """
        for siblings in self._entries.values():
            for entry in siblings.values():
                if entry.timer is not None:
                    entry.timer.cancel()
        self._entries.clear()
        self._count = self._bytes = 0
