"""
What happens, told to everybody who listens: as one line in the log, and as one JSON object to each
control connection. docs/linklocal.md has the table of events.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from xmppbytes.linklocal.pace import LineDamper
from xmppbytes.linklocal.pins import Pin
from xmppbytes.linklocal.roster import Buddy
from xmppbytes.linklocal.safety import safety, safetyText
from xmppbytes.linklocal.stream import PeerStream

Event = dict[str, Any]


def describe(buddy: Buddy) -> Event:
    """
    Tell everything about a person that a person may want to see.
    """
    presence = buddy.presence
    told: Event = {
        "name": buddy.name,
        "status": presence.status,
        "message": presence.message,
        "links": sorted(buddy.links),
    }
    for key, value in (
        ("nick", presence.nick),
        ("first", presence.first),
        ("last", presence.last),
        ("email", presence.email),
        ("jid", presence.jid),
        ("icon", buddy.iconPath),
        ("sha1", buddy.iconHash),
    ):
        if value:
            told[key] = value
    return told


class EventHub:
    """
    Spreads events. Is the listener of the roster, of the mesh and of the messages.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        """
        @param clock: the reactor, or a L{twisted.internet.task.Clock}.
        """
        # Who changes his status, or his name, a hundred times a second is not to fill the disk; nor is what
        # he says, of which people say less.
        self._presenceLines = LineDamper(clock)
        self._textLines = LineDamper(clock, each=60)
        self._listeners: list[Callable[[Event], None]] = []
        self.streamOf: Callable[[str], PeerStream | None] = lambda name: None

    def addListener(self, listener: Callable[[Event], None]) -> None:
        """
        Tell somebody from now on.
        """
        self._listeners.append(listener)

    def removeListener(self, listener: Callable[[Event], None]) -> None:
        """
        Tell somebody no more.
        """
        self._listeners.remove(listener)

    def emit(self, event: str, **values: Any) -> None:
        """
        Tell everybody.
        """
        for listener in list(self._listeners):
            listener({"event": event, **values})

    def stop(self) -> None:
        """
        Log what was left out so far.
        """
        self._presenceLines.stop()
        self._textLines.stop()

    # The roster's listener

    def buddyOn(self, buddy: Buddy) -> None:
        """
        Somebody is there.
        """
        if self._presenceLines.admits(buddy.name):
            self.log.info(
                "{name} is here: {status} {message!r}",
                name=buddy.name,
                status=buddy.presence.status,
                message=buddy.presence.message,
            )
        self.emit("buddy-on", **describe(buddy))

    def buddyStatus(self, buddy: Buddy) -> None:
        """
        Somebody tells something else.
        """
        if self._presenceLines.admits(buddy.name):
            self.log.info(
                "{name} is {status} {message!r}",
                name=buddy.name,
                status=buddy.presence.status,
                message=buddy.presence.message,
            )
        self.emit("buddy-status", **describe(buddy))

    def buddyIcon(self, buddy: Buddy) -> None:
        """
        Somebody has another avatar.
        """
        if self._presenceLines.admits(buddy.name):
            self.log.info("{name} has the avatar {path}", name=buddy.name, path=buddy.iconPath)
        self.emit("buddy-icon", name=buddy.name, path=buddy.iconPath, sha1=buddy.iconHash)

    def buddyOff(self, buddy: Buddy) -> None:
        """
        Somebody has left.
        """
        if self._presenceLines.admits(buddy.name):
            self.log.info("{name} has left", name=buddy.name)
        self.emit("buddy-off", name=buddy.name)

    # The mesh's listener

    def streamChanged(self, stream: PeerStream) -> None:
        """
        There is a stream with somebody.
        """
        self.emit(
            "stream",
            name=stream.peer,
            state="open",
            new=stream.pin is Pin.NEW,
            code=stream.code,
            **safety(stream),
        )

    def streamClosed(self, stream: PeerStream, reason: str) -> None:
        """
        There is none any more.
        """
        self.emit("stream", name=stream.peer, state="closed", reason=reason, **safety(stream))

    # The messages' listener

    def messageReceived(self, name: str, text: str) -> None:
        """
        Somebody says something to us.
        """
        stream = self.streamOf(name)
        if self._textLines.admits(name):
            self.log.info(
                "{name} says ({safety}): {text!r}",
                name=name,
                safety=safetyText(stream) if stream is not None else "stream closed",
                text=text,
            )
        self.emit("im", **{"from": name}, text=text, **safety(stream))
