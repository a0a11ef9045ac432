"""
The people around: one entry for each presence name, whatever the links it is seen on.
XEP-0174 sections 4, 5 and 12.1.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from xmppbytes.core.quota import Quota
from xmppbytes.linklocal.names import foldText
from xmppbytes.linklocal.presence import Presence
from xmppbytes.linklocal.timers import cancelAll

MAX_BUDDIES = 2048
# How long a person without a text record is waited for before he is shown without one.
TEXT_PATIENCE = 1.5
# Who tells something else more often than this, which no responder may, is told about so often only: the
# last of what he tells counts.
STATUS_INTERVAL = 1.0


@dataclass
class Buddy:
    """
    One person.

    @ivar name: the presence name, C{user@machine}, as it is published.
    @ivar presence: the newest of what is told on any link.
    @ivar links: names of the interfaces on which the person is seen.
    @ivar iconPath: where the avatar lies, or C{None} while there is none.
    @ivar iconHash: SHA-1 of that avatar.
    """

    name: str
    presence: Presence = field(default_factory=Presence)
    links: set[str] = field(default_factory=set)
    iconPath: str | None = None
    iconHash: str = ""
    shown: bool = False


class IRosterListener(Protocol):
    """
    Is told who comes, changes and goes.
    """

    def buddyOn(self, buddy: Buddy) -> None:
        """
        Somebody is there.
        """

    def buddyStatus(self, buddy: Buddy) -> None:
        """
        Somebody tells something else about himself.
        """

    def buddyIcon(self, buddy: Buddy) -> None:
        """
        Somebody has another avatar, or none any more.
        """

    def buddyOff(self, buddy: Buddy) -> None:
        """
        Somebody has left.
        """


class Roster:
    """
    Merges what the links tell.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        """
        @param clock: the reactor, or a L{twisted.internet.task.Clock}.
        """
        self._clock = clock
        self._buddies: dict[str, Buddy] = {}
        self._texts: dict[str, dict[str, tuple[float, bytes]]] = {}
        self._waiting: dict[str, IDelayedCall] = {}
        # When each person's last change was told; and those changes that are told later.
        self._changed: dict[str, float] = {}
        self._changing: dict[str, IDelayedCall] = {}
        self._listeners: list[IRosterListener] = []
        self._own = ""
        self._complaints = Quota(clock.seconds, 1, 1)

    def addListener(self, listener: IRosterListener) -> None:
        """
        Tell somebody from now on.
        """
        self._listeners.append(listener)

    def __iter__(self) -> Iterator[Buddy]:
        return iter([buddy for buddy in self._buddies.values() if buddy.shown])

    def get(self, name: str) -> Buddy | None:
        """
        Find a person.
        """
        buddy = self._buddies.get(foldText(name))
        return buddy if buddy is not None and buddy.shown else None

    def setOwnName(self, name: str) -> None:
        """
        Tell which name is ours: it is not shown. The one that was before may be somebody else's now.
        """
        before, self._own = self._own, foldText(name)
        if before != self._own:
            self._review(before)
            self._review(self._own)

    def seen(self, link: str, name: str, text: tuple[float, bytes] | None) -> None:
        """
        Take notice of a person on one link.

        @param text: when the text came, and the data of the record; C{None} if not known yet.
        """
        key = foldText(name)
        buddy = self._buddies.get(key)
        if buddy is None:
            if len(self._buddies) >= MAX_BUDDIES:
                self._complain()
                return
            buddy = self._buddies[key] = Buddy(name)
        buddy.links.add(link)
        if text is not None:
            self._texts.setdefault(key, {})[link] = text
        self._review(key)

    def _complain(self) -> None:
        if self._complaints.admits(""):
            self.log.warn(
                "more than {count} people are announced: the others are not shown", count=MAX_BUDDIES
            )

    def lost(self, link: str, name: str) -> None:
        """
        Take notice that a person has left one link.
        """
        key = foldText(name)
        buddy = self._buddies.get(key)
        if buddy is None or link not in buddy.links:
            return
        buddy.links.discard(link)
        self._texts.get(key, {}).pop(link, None)
        self._review(key)
        if not buddy.links:
            del self._buddies[key]
            self._texts.pop(key, None)

    def linkLost(self, link: str) -> None:
        """
        Take notice that a whole link is down.
        """
        for buddy in list(self._buddies.values()):
            self.lost(link, buddy.name)

    def setIcon(self, name: str, path: str | None, sha1: str) -> None:
        """
        Note a person's avatar.
        """
        buddy = self._buddies.get(foldText(name))
        if buddy is not None and (buddy.iconPath, buddy.iconHash) != (path, sha1):
            buddy.iconPath, buddy.iconHash = path, sha1
            if buddy.shown:
                self._tell("buddyIcon", buddy)

    def stop(self) -> None:
        """
        Wait for nothing any more.
        """
        cancelAll([*self._waiting.values(), *self._changing.values()])
        self._waiting.clear()
        self._changing.clear()

    def _review(self, key: str) -> None:
        """
        Tell the difference between what is shown and what is known.
        """
        buddy = self._buddies.get(key)
        if buddy is None:
            return
        texts = self._texts.get(key, {}).values()
        wanted = bool(buddy.links) and key != self._own
        if not wanted:
            self._cancelWait(key)
            self._changed.pop(key, None)
            if key in self._changing:
                self._changing.pop(key).cancel()
            if buddy.shown:
                buddy.shown = False
                self._tell("buddyOff", buddy)
            return
        if not texts and not buddy.shown:
            if key not in self._waiting:
                self._waiting[key] = self._clock.callLater(TEXT_PATIENCE, self._showAnyway, key)
            return
        presence = Presence.fromText(max(texts)[1]) if texts else buddy.presence
        changed, buddy.presence = presence != buddy.presence, presence
        self._show(key, buddy, changed)

    def _show(self, key: str, buddy: Buddy, changed: bool) -> None:
        self._cancelWait(key)
        if not buddy.shown:
            buddy.shown = True
            self._tell("buddyOn", buddy)
        elif changed and key not in self._changing:
            wait = self._changed.get(key, float("-inf")) + STATUS_INTERVAL - self._clock.seconds()
            if wait > 0:
                self._changing[key] = self._clock.callLater(wait, self._tellChange, key)
            else:
                self._tellChange(key)

    def _tellChange(self, key: str) -> None:
        self._changing.pop(key, None)
        self._changed[key] = self._clock.seconds()
        self._tell("buddyStatus", self._buddies[key])

    def _showAnyway(self, key: str) -> None:
        del self._waiting[key]
        self._show(key, self._buddies[key], False)

    def _cancelWait(self, key: str) -> None:
        call = self._waiting.pop(key, None)
        if call is not None:
            call.cancel()

    def _tell(self, event: str, buddy: Buddy) -> None:
        for listener in list(self._listeners):
            getattr(listener, event)(buddy)
