"""
The control socket of C{twistd linklocal}: commands and events, one JSON object on each line.
docs/linklocal.md has both tables.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from xmppbytes.errors import BytestreamError
from xmppbytes.linklocal.events import Event, EventHub

# A command; a message of 64 KiB fits even when every character is escaped.
MAX_LINE = 512 * 1024
MAX_CONNECTIONS = 32
# Commands of one connection that are not answered yet: messages that wait for a stream, mostly.
MAX_PENDING = 100
# How many events are kept for a client that does not read, before it is dropped.
MAX_BACKLOG = 2000

Command = Callable[..., Any]


class CommandError(BytestreamError):
    """
    A command cannot be understood.
    """


@implementer(IPushProducer)
class ControlConnection(LineOnlyReceiver):
    """
    One client of the control socket.
    """

    log = Logger()
    delimiter = b"\n"
    MAX_LENGTH = MAX_LINE
    factory: "ControlFactory"

    def __init__(self) -> None:
        self._paused = False
        self._backlog: list[bytes] = []
        self._pending = 0

    def connectionMade(self) -> None:
        """
        See L{LineOnlyReceiver}.
        """
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]
        for event in self.factory.greeting():
            self.tell(event)
        self.factory.hub.addListener(self.tell)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See L{LineOnlyReceiver}.
        """
        self.factory.hub.removeListener(self.tell)
        self.factory.connections -= 1

    def tell(self, event: Event) -> None:
        """
        Tell something to this client.
        """
        line = json.dumps(event, ensure_ascii=False).encode()
        if not self._paused:
            self.sendLine(line)
        elif len(self._backlog) < MAX_BACKLOG:
            self._backlog.append(line)
        else:
            self.log.warn("a control connection does not read: dropped")
            self.transport.abortConnection()  # type: ignore[union-attr]

    def pauseProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self._paused = True

    def resumeProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self._paused = False
        while self._backlog and not self._paused:
            self.sendLine(self._backlog.pop(0))

    def stopProducing(self) -> None:
        """
        See L{IPushProducer}.
        """

    def lineLengthExceeded(self, line: bytes) -> None:
        """
        See L{LineOnlyReceiver}.
        """
        self.tell({"event": "error", "re": None, "text": f"a command has at most {MAX_LINE} bytes"})
        self.transport.loseConnection()  # type: ignore[union-attr]

    def lineReceived(self, line: bytes) -> None:
        """
        See L{LineOnlyReceiver}: a command.
        """
        if not line.strip():
            return
        request: dict[str, Any] = {}
        try:
            request = _parse(line)
            if self._pending >= MAX_PENDING:
                raise CommandError("too many commands are not answered yet; wait for their answers")
            command, arguments = self.factory.find(request)
        except CommandError as error:
            self._answer(request, "error", {"text": str(error)})
            return
        self._pending += 1
        done: Deferred[Any] = maybeDeferred(command, **arguments)
        done.addCallbacks(
            lambda values: self._answer(request, "ok", values or {}), lambda why: self._failed(request, why)
        )
        done.addBoth(self._finished)

    def _finished(self, _: None) -> None:
        self._pending -= 1

    def _failed(self, request: dict[str, Any], failure: Failure) -> None:
        if failure.check(BytestreamError):
            self._answer(request, "error", {"text": failure.getErrorMessage()})
            return
        self.log.failure("the command {name!r} failed by our own fault", failure=failure, name=request["cmd"])
        self._answer(request, "error", {"text": "this is our own fault; the log says more"})

    def _answer(self, request: dict[str, Any], event: str, values: dict[str, Any]) -> None:
        answer = {"event": event, "re": request.get("cmd"), **values}
        if "tag" in request:
            answer["tag"] = request["tag"]
        self.tell(answer)


def _parse(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"a command is one JSON object on one line ({error})") from error
    if not isinstance(request, dict) or not isinstance(request.get("cmd"), str):
        raise CommandError('a command is a JSON object with the key "cmd"')
    try:
        json.dumps(request, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise CommandError("half of a surrogate pair is no text and cannot be sent") from error
    return request


class ControlFactory(Factory):
    """
    Accepts the clients of the control socket.
    """

    log = Logger()
    noisy = False

    def __init__(
        self,
        hub: EventHub,
        commands: Mapping[str, tuple[Command, Mapping[str, tuple[type, ...]]]],
        greeting: Callable[[], list[Event]],
    ) -> None:
        """
        @param hub: whose events are told.
        @param commands: name -> what does it, and the types that each of its arguments may have. An
            argument that may be C{None} may be left out.
        @param greeting: what a new client is told.
        """
        self.hub = hub
        self.greeting = greeting
        self.connections = 0
        self._commands = commands

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """
        See L{Factory}.
        """
        if self.connections >= MAX_CONNECTIONS:
            self.log.warn("more than {count} control connections: refused", count=MAX_CONNECTIONS)
            return None
        self.connections += 1
        connection = ControlConnection()
        connection.factory = self
        return connection

    def find(self, request: dict[str, Any]) -> tuple[Command, dict[str, Any]]:
        """
        Find what does a command, and its arguments.

        @raise CommandError: when there is none, or the arguments are wrong.
        """
        name = request["cmd"]
        if name not in self._commands:
            raise CommandError(f"there is no command {name!r}; there are {', '.join(sorted(self._commands))}")
        command, wanted = self._commands[name]
        arguments = {key: value for key, value in request.items() if key not in ("cmd", "tag")}
        for key, types in wanted.items():
            if not isinstance(arguments.get(key), types):
                names = " or ".join("null" if one is type(None) else "a text" for one in types)
                raise CommandError(f"{name!r} needs {key!r}, {names}")
        unknown = sorted(set(arguments) - set(wanted))
        if unknown:
            raise CommandError(f"{name!r} has no {', '.join(map(repr, unknown))}")
        return command, {key: arguments.get(key) for key in wanted}
