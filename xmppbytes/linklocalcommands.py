"""
What the clients of the control socket can tell C{twistd linklocal} to do. docs/linklocal.md has the table.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from twisted.internet.defer import inlineCallbacks
from twisted.logger import Logger

from xmppbytes.errors import ConfigurationError, NotReachable
from xmppbytes.linklocal.avatar import loadIcon
from xmppbytes.linklocal.discovery import Discovery
from xmppbytes.linklocal.events import Event, describe
from xmppbytes.linklocal.mesh import Mesh
from xmppbytes.linklocal.messages import MessageHandler
from xmppbytes.linklocal.presence import STATUSES, Presence
from xmppbytes.linklocal.safety import safety, safetyText
from xmppbytes.linklocalfiles import Files

Text, Maybe = (str,), (str, type(None))


class Commands:
    """
    The commands.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        discovery: Discovery,
        mesh: Mesh,
        messages: MessageHandler,
        files: Files,
        presence: Presence,
        mayShowAvatar: bool,
    ) -> None:
        """
        @param reactor: is stopped by C{quit}.
        @param discovery: knows who is there, and tells about us.
        @param mesh: has the streams.
        @param messages: speaks to people.
        @param files: has the transfers.
        @param presence: what is told about us at first.
        @param mayShowAvatar: whether one may be set.
        """
        self._reactor = reactor
        self._discovery = discovery
        self._mesh = mesh
        self._messages = messages
        self._files = files
        self._presence = presence
        self._mayShowAvatar = mayShowAvatar

    def table(self) -> Mapping[str, tuple[Callable[..., Any], Mapping[str, tuple[type, ...]]]]:
        """
        Give each command, and the types that its arguments may have.
        """
        return {
            "roster": (self.listRoster, {}),
            "im": (self.say, {"to": Text, "text": Text}),
            "file": (self.sendFile, {"to": Text, "path": Text}),
            "accept": (self._files.accept, {"id": Text}),
            "decline": (self._files.decline, {"id": Text}),
            "cancel": (self._files.cancel, {"id": Text}),
            "status": (self.setStatus, {"status": Text, "message": Maybe}),
            "avatar": (self.setAvatar, {"path": Maybe}),
            "close": (self.close, {"to": Text}),
            "verify": (self.verify, {"to": Text}),
            "quit": (self.quit, {}),
        }

    def listRoster(self) -> Event:
        """
        List who is there.
        """
        people = [{**describe(buddy), **self._safetyOf(buddy.name)} for buddy in self._discovery.roster]
        return {"name": self._discovery.name, "roster": people}

    def _safetyOf(self, name: str) -> Event:
        stream = self._mesh.stream(name)
        return {} if stream is None else safety(stream)

    @inlineCallbacks
    def say(self, to: str, text: str) -> Any:
        """
        Say something to somebody.
        """
        stream = yield self._messages.say(to, text)
        self.log.info(
            "to {name} ({safety}): {text!r}", name=stream.peer, safety=safetyText(stream), text=text
        )
        return {"to": stream.peer, **safety(stream)}

    def sendFile(self, to: str, path: str) -> Event:
        """
        Offer a file to somebody.
        """
        buddy = self._discovery.roster.get(to)
        if buddy is None:
            raise NotReachable(f"nobody of the name {to} is here: look at the roster")
        return {"id": self._files.send(buddy.name, path), "to": buddy.name}

    def setStatus(self, status: str, message: str | None) -> None:
        """
        Tell another status.
        """
        if status not in STATUSES:
            raise ConfigurationError(f"a status is one of {', '.join(STATUSES)}, not {status!r}")
        self._presence = replace(self._presence, status=status, message=message or "")
        self._discovery.setPresence(self._presence)

    def setAvatar(self, path: str | None) -> None:
        """
        Show another avatar, or none.
        """
        if path is not None and not self._mayShowAvatar:
            raise ConfigurationError("no avatar is shown: --no-personal-info is set")
        self._discovery.setIcon(None if path is None else loadIcon(path))

    def close(self, to: str) -> None:
        """
        Close the stream with somebody.
        """
        if not self._mesh.close(to, "closed by hand"):
            raise NotReachable(f"there is no stream with {to}")

    @inlineCallbacks
    def verify(self, to: str) -> Any:
        """
        Give the code that two people compare.
        """
        stream = yield self._mesh.streamTo(to)
        if not stream.tls:
            raise NotReachable(f"the stream with {stream.peer} is not encrypted: there is nothing to compare")
        pin = self._mesh.security.pins.get(stream.peer)
        return {"to": stream.peer, "code": stream.code, "fingerprint": pin, **safety(stream)}

    def quit(self) -> None:
        """
        End the program.
        """
        self._reactor.callLater(0.05, self._reactor.stop)
