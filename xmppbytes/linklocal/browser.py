"""
Who publishes presence on one link. RFC 6762 section 5, RFC 6763 section 4, XEP-0174 section 4.

The pointers to all persons are asked for again and again, and so is the text of whoever has not told it.
Where somebody can be reached is asked only when he is about to be called (L{Resolver}).
"""

from collections.abc import Callable
from random import Random

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.names import dns

from xmppbytes.errors import WireError
from xmppbytes.linklocal.answering import PerSecond
from xmppbytes.linklocal.cache import Cache
from xmppbytes.linklocal.doubts import Doubts
from xmppbytes.linklocal.ilink import ILinkPort
from xmppbytes.linklocal.names import SERVICE, foldText, instanceName, presenceName
from xmppbytes.linklocal.people import concerned, isPerson, pointsToPerson
from xmppbytes.linklocal.responder import DATAGRAM_ROOM
from xmppbytes.linklocal.timers import cancelAll
from xmppbytes.wire.dnsdata import pointerOf, serviceOf
from xmppbytes.wire.mdns import Message, Name, Question, Record, fold
from xmppbytes.wire.mdnspack import pack

# RFC 6762 section 5.2: the first two queries one second apart, then ever longer, one hour at most.
FIRST_DELAY = (0.02, 0.12)
FIRST_INTERVAL = 1.0
LONGEST_INTERVAL = 3600.0
# How often, and when, the text of a person is asked for who has not told it by himself.
TEXT_RETRIES = (0.1, 1.0, 3.0, 9.0)
# Strangers may announce any number of people in one datagram: their texts are asked for at this pace.
TEXT_QUESTIONS_PER_SECOND = 50

_ADDRESSES = (dns.A, dns.AAAA)


class Browser:
    """
    Watches the persons on one link.
    """

    def __init__(
        self,
        clock: IReactorTime,
        random: Random,
        link: ILinkPort,
        changed: Callable[[str], None],
        gone: Callable[[str], None],
    ) -> None:
        """
        @param changed: called with the presence name of somebody who is new, or whose text is.
        @param gone: called with the presence name of somebody who has left this link.
        """
        self._clock = clock
        self._random = random
        self._link = link
        self._changed = changed
        self._gone = gone
        self.cache = Cache(clock, random, self._expired, self._refresh)
        self._interval = FIRST_INTERVAL
        self._query: IDelayedCall | None = None
        self._retries: dict[str, IDelayedCall] = {}
        self._doubts = Doubts(clock, self._askService, self._unconfirmed)
        # How many pointers lead to each instance: more than one when they differ in case.
        self._pointers: dict[Name, int] = {}
        self._lastPointerQuery = float("-inf")
        self._pace = PerSecond(clock, TEXT_QUESTIONS_PER_SECOND)
        self._watchers: list[Callable[[list[Record]], None]] = []
        self._wanted: dict[Name, int] = {}

    def start(self) -> None:
        """
        Begin to ask who is there.
        """
        self._query = self._clock.callLater(self._random.uniform(*FIRST_DELAY), self._ask)

    def stop(self) -> None:
        """
        Ask no more, and forget everything without telling.
        """
        cancelAll([*self._retries.values(), *([self._query] if self._query else [])])
        self._query = None
        self._retries.clear()
        self._doubts.clear()
        self._pointers.clear()
        self.cache.clear()

    # Asking

    def _ask(self) -> None:
        self._query = self._clock.callLater(self._interval, self._ask)
        self._interval = min(2 * self._interval, LONGEST_INTERVAL)
        self._askPointers()

    def _askPointers(self) -> None:
        self._lastPointerQuery = self._clock.seconds()
        self.ask([Question(SERVICE, dns.PTR)], self._knownPointers())

    def _knownPointers(self) -> tuple[Record, ...]:
        """
        The pointers that nobody needs to repeat: those in the first half of their life, with the time
        that is left (RFC 6762 section 7.1).
        """
        now = self._clock.seconds()
        return tuple(
            Record(entry.record.name, entry.record.type, int(entry.expires - now), entry.record.data)
            for entry in self.cache.get(SERVICE, dns.PTR)
            if (entry.expires - now) * 2 > entry.record.ttl
        )

    def ask(self, questions: list[Question], known: tuple[Record, ...] = ()) -> None:
        """
        Multicast a query.
        """
        for datagram in pack(Message(questions=tuple(questions), answers=known), DATAGRAM_ROOM):
            self._link.send(datagram)

    def _askService(self, name: str) -> None:
        self.ask([Question(instanceName(name), dns.SRV)])

    def _refresh(self, record: Record) -> None:
        if record.type == dns.PTR:
            # One query refreshes all that end soon.
            if self._clock.seconds() - self._lastPointerQuery >= FIRST_INTERVAL:
                self._askPointers()
        elif record.type == dns.TXT and self._pace.admits():
            # Otherwise it is asked for at the next part of its life.
            self.ask([Question(record.name, dns.TXT)])

    # What is known

    def names(self) -> list[str]:
        """
        The presence names that are published on this link.
        """
        found = (presenceName(pointerOf(entry.record)) for entry in self.cache.get(SERVICE, dns.PTR))
        return [name for name in found if name is not None]

    def text(self, name: str) -> tuple[float, bytes] | None:
        """
        The newest text of a person: when it came, and the data of the TXT record.
        """
        entries = self.cache.get(instanceName(name), dns.TXT)
        return (entries[0].received, entries[0].record.data) if entries else None

    def isPublished(self, name: str) -> bool:
        """
        Tell whether somebody of this name is on this link.
        """
        return fold(instanceName(name)) in self._pointers

    # What comes in

    def response(self, message: Message) -> None:
        """
        Take in an answer or announcement.
        """
        records = [record for record in (*message.answers, *message.additionals) if record.cls == dns.IN]
        pointers = [record for record in records if pointsToPerson(record)]
        news = self.cache.add(pointers)
        self._count(news, 1)
        # Data of somebody to whom nobody points would only take up room: it comes again with the pointer.
        services = [record for record in records if isPerson(record) and self._isWanted(record.name)]
        news += self.cache.add(services)
        hosts = self._hostsOf(services)
        self.cache.add(
            [record for record in records if record.type in _ADDRESSES and fold(record.name) in hosts]
        )
        for record in services:
            if record.type == dns.SRV and record.ttl:
                self._doubts.settle(presenceName(record.name) or "")
        # The text of somebody who is being called may come after his pointer has ended: he has left, and
        # nothing would ever take him out of the roster again.
        for name in filter(self.isPublished, dict.fromkeys(concerned(news))):
            if self.text(name) is None:
                self._retryText(name, 0)
            self._changed(name)
        for watcher in list(self._watchers):
            watcher(records)

    def _count(self, pointers: list[Record], difference: int) -> None:
        for record in pointers:
            instance = fold(pointerOf(record))
            count = self._pointers.pop(instance, 0) + difference
            if count:
                self._pointers[instance] = count

    def _isWanted(self, name: Name) -> bool:
        return fold(name) in self._pointers or fold(name) in self._wanted

    def _hostsOf(self, services: list[Record]) -> set[Name]:
        hosts = set(self._wanted)
        for record in services:
            if record.type == dns.SRV:
                try:
                    hosts.add(fold(serviceOf(record).target))
                except WireError:
                    pass  # whoever asks for this service finds that it cannot be read
        return hosts

    def _retryText(self, name: str, attempt: int) -> None:
        key = foldText(name)
        if key not in self._retries and attempt < len(TEXT_RETRIES):
            self._retries[key] = self._clock.callLater(TEXT_RETRIES[attempt], self._askText, name, attempt)

    def _askText(self, name: str, attempt: int) -> None:
        key = foldText(name)
        del self._retries[key]
        if self.text(name) is not None:
            return
        if self._pace.admits():
            instance = instanceName(name)
            self.ask([Question(instance, dns.TXT), Question(instance, dns.SRV)])
            self._retryText(name, attempt + 1)
        else:
            self._retries[key] = self._clock.callLater(1.0, self._askText, name, attempt)

    def _expired(self, record: Record) -> None:
        if record.type == dns.PTR:
            self._count([record], -1)
            name = presenceName(pointerOf(record))
            if name is not None and not self.isPublished(name):
                self._forget(name)
                self._gone(name)
        elif record.type == dns.TXT:
            name = presenceName(record.name)
            # The newest text may now be the one that came before.
            if name is not None and self.isPublished(name):
                self._changed(name)

    def _forget(self, name: str) -> None:
        self._doubts.settle(name)
        if foldText(name) in self._retries:
            self._retries.pop(foldText(name)).cancel()
        self.cache.drop(instanceName(name), dns.SRV)
        self.cache.drop(instanceName(name), dns.TXT)

    # Somebody who may have gone without a goodbye

    def confirm(self, name: str) -> None:
        """
        Ask whether somebody is still there, because he could not be reached; forget him if nobody
        answers.
        """
        if self.isPublished(name):
            self._doubts.raiseAbout(name)

    def _unconfirmed(self, name: str) -> None:
        wanted = fold(instanceName(name))
        for entry in self.cache.get(SERVICE, dns.PTR):
            if fold(pointerOf(entry.record)) == wanted:
                self.cache.remove(entry.record)

    # For the resolver

    def watch(self, watcher: Callable[[list[Record]], None]) -> None:
        """
        Call C{watcher} with the records of every response, after they were cached.
        """
        self._watchers.append(watcher)

    def unwatch(self, watcher: Callable[[list[Record]], None]) -> None:
        """
        Stop calling a watcher.
        """
        self._watchers.remove(watcher)

    def want(self, name: Name) -> None:
        """
        Remember the records of a name that is asked for, until L{unwant}.
        """
        self._wanted[fold(name)] = self._wanted.get(fold(name), 0) + 1

    def unwant(self, name: Name) -> None:
        """
        Undo one L{want}.
        """
        left = self._wanted[fold(name)] - 1
        if left:
            self._wanted[fold(name)] = left
        else:
            del self._wanted[fold(name)]
