"""
Avatars: kept on disk by their SHA-1, fetched as NULL records. XEP-0174 section 12.2.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.names import dns

from xmppbytes.errors import ConfigurationError, NotReachable
from xmppbytes.linklocal.browser import Browser
from xmppbytes.linklocal.names import instanceName
from xmppbytes.linklocal.roster import Buddy, Roster
from xmppbytes.linklocal.timers import cancelAll
from xmppbytes.wire.mdns import Question, Record, fold

# What fits in one UDP datagram of IPv4 beside the names.
MAX_PUBLISHED = 65000
# RFC 6762 section 17: a bigger message may not get through everywhere.
COMFORTABLE = 8 * 1024
# What is kept of others.
MAX_AGE = 30 * 86400.0
MAX_FILES = 512
MAX_STORED = 16 << 20

# A responder that has multicast the record within the last second stays silent, and a datagram of many
# fragments is easily lost.
ASK_AT = (0.0, 1.0, 2.0, 4.0)
FETCH_TIMEOUT = 6.0
# The new icon may not be published yet when the new hash is.
RETRY_AFTER = 15.0
RETRIES = 3
# Datagrams of up to 64 KiB: not too many at once.
MAX_FETCHES = 4

_SHA1 = re.compile("[0-9a-f]{40}")


def sha1(data: bytes) -> str:
    """
    Give the hash by which an avatar is known, in hex.
    """
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def loadIcon(path: str) -> bytes:
    """
    Read the avatar that a person wants to publish.

    @raise ConfigurationError: when there is none, or it is too big.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_PUBLISHED + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot read the avatar {path}: {error.strerror}") from error
    if not data or len(data) > MAX_PUBLISHED:
        raise ConfigurationError(
            f"the avatar {path} is empty or has more than {MAX_PUBLISHED} bytes: take a smaller picture, "
            f"at best of less than {COMFORTABLE} bytes"
        )
    return data


class AvatarStore:
    """
    The avatars of others, on disk. The newest used are kept.
    """

    log = Logger()

    def __init__(self, folder: Path, now: Callable[[], float]) -> None:
        """
        @param folder: made when it is needed; nobody else may read it.
        @param now: the time of day, in seconds.
        """
        self._folder = folder
        self._now = now

    def find(self, digest: str) -> str | None:
        """
        Find an avatar by its hash.

        @return: its path, or C{None}. A file that has been tampered with is none.
        """
        path = self._folder / digest
        try:
            data = path.read_bytes()
            if sha1(data) != digest:
                return None
            os.utime(path, (self._now(), self._now()))
        except OSError:
            return None  # not there: it is fetched
        return str(path)

    def add(self, data: bytes) -> str | None:
        """
        Keep an avatar.

        @return: its path, or C{None} when it cannot be written, which the log tells.
        """
        path = self._folder / sha1(data)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self._folder)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(temporary, path)
            os.utime(path, (self._now(), self._now()))
            self._expire(path)
        except OSError as error:
            self.log.warn("cannot keep an avatar in {folder}: {error}", folder=self._folder, error=error)
            return None
        return str(path)

    def _expire(self, fresh: Path) -> None:
        files = [(path.stat().st_mtime, path.stat().st_size, path) for path in self._folder.iterdir()]
        room = MAX_STORED
        for count, (used, size, path) in enumerate(sorted(files, reverse=True)):
            room -= size
            isOld = self._now() - used > MAX_AGE
            if path != fresh and (isOld or room < 0 or count >= MAX_FILES):
                path.unlink()


class _Fetch:
    """
    Asks one link, until it answers, for the avatar of one person.
    """

    def __init__(self, clock: IReactorTime, browsers: list[Browser], buddy: str, digest: str) -> None:
        self._clock = clock
        self._browsers = browsers
        self._instance = instanceName(buddy)
        self._digest = digest
        self._calls: list[IDelayedCall] = []
        self._done: Deferred[bytes] = Deferred(lambda _: self._end())

    def start(self) -> Deferred[bytes]:
        for browser in self._browsers:
            browser.watch(self._heard)
        self._calls = [self._clock.callLater(delay, self._ask) for delay in ASK_AT]
        self._calls.append(self._clock.callLater(FETCH_TIMEOUT, self._timedOut))
        return self._done

    def _ask(self) -> None:
        for browser in self._browsers:
            browser.ask([Question(self._instance, dns.NULL)])

    def _heard(self, records: list[Record]) -> None:
        for record in records:
            if (
                record.type == dns.NULL
                and record.ttl
                and fold(record.name) == fold(self._instance)
                and sha1(record.data) == self._digest
            ):
                # XEP-0174: the query is cancelled as soon as it is answered.
                self._end()
                self._done.callback(record.data)
                return

    def _timedOut(self) -> None:
        self._end()
        self._done.errback(NotReachable("nobody has answered with the avatar of this hash"))

    def _end(self) -> None:
        cancelAll(self._calls)
        for browser in self._browsers:
            browser.unwatch(self._heard)


class AvatarFetcher:
    """
    Gets the avatar of everybody whose hash has changed (an L{xmppbytes.linklocal.roster.IRosterListener}).
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        roster: Roster,
        store: AvatarStore,
        browsersOf: Callable[[Buddy], list[Browser]],
    ) -> None:
        """
        @param browsersOf: gives the browsers of the links on which somebody is seen.
        """
        self._clock = clock
        self._roster = roster
        self._store = store
        self._browsersOf = browsersOf
        self._running: dict[str, tuple[str, Deferred[bytes]]] = {}
        self._queue: dict[str, tuple[str, int]] = {}
        self._retries: dict[str, IDelayedCall] = {}
        # The hash that each person's avatar is sought by, from the first try to the last.
        self._wanted: dict[str, str] = {}

    def buddyOn(self, buddy: Buddy) -> None:
        """
        Somebody is there: look at the hash of the avatar.
        """
        digest = buddy.presence.phsh
        if digest == self._wanted.get(buddy.name, buddy.iconHash):
            return
        self.buddyOff(buddy)
        if not _SHA1.fullmatch(digest):
            self._roster.setIcon(buddy.name, None, "")
            return
        path = self._store.find(digest)
        if path is not None:
            self._roster.setIcon(buddy.name, path, digest)
            return
        self._wanted[buddy.name] = digest
        self._queue[buddy.name] = (digest, RETRIES)
        self._next()

    def buddyStatus(self, buddy: Buddy) -> None:
        """
        The hash may have changed.
        """
        self.buddyOn(buddy)

    def buddyIcon(self, buddy: Buddy) -> None:
        """
        That was our own doing.
        """

    def buddyOff(self, buddy: Buddy) -> None:
        """
        Somebody has left: cancel the query (XEP-0174 section 7).
        """
        self._wanted.pop(buddy.name, None)
        self._queue.pop(buddy.name, None)
        if buddy.name in self._retries:
            self._retries.pop(buddy.name).cancel()
        if buddy.name in self._running:
            self._running.pop(buddy.name)[1].cancel()

    def stop(self) -> None:
        """
        Fetch nothing any more.
        """
        self._queue.clear()
        for call in self._retries.values():
            call.cancel()
        self._retries.clear()
        while self._running:
            self._running.popitem()[1][1].cancel()

    def _next(self) -> None:
        while self._queue and len(self._running) < MAX_FETCHES:
            name = next(iter(self._queue))
            digest, retries = self._queue.pop(name)
            buddy = self._roster.get(name)
            if buddy is None:
                continue
            fetching = _Fetch(self._clock, self._browsersOf(buddy), name, digest).start()
            self._running[name] = (digest, fetching)
            fetching.addCallback(self._fetched, name, digest)
            fetching.addErrback(self._failed, name, digest, retries)
            fetching.addBoth(self._ended)

    def _fetched(self, data: bytes, name: str, digest: str) -> None:
        del self._running[name], self._wanted[name]
        self._roster.setIcon(name, self._store.add(data), digest)

    def _failed(self, failure: object, name: str, digest: str, retries: int) -> None:
        if self._running.get(name, ("", None))[0] != digest:
            return  # cancelled
        del self._running[name]
        if retries:
            self._retries[name] = self._clock.callLater(RETRY_AFTER, self._again, name, digest, retries - 1)
        else:
            self.log.info("the avatar of {name} cannot be fetched: the old one stays", name=name)

    def _again(self, name: str, digest: str, retries: int) -> None:
        del self._retries[name]
        self._queue[name] = (digest, retries)
        self._next()

    def _ended(self, _: None) -> None:
        self._next()
