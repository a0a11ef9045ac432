"""
Real clients as child processes, driven by lines of JSON.

A command goes to the child's standard input as C{{"cmd": ..., ...}}; the child reports on its standard
output as C{{"event": ..., ...}}. What it prints beside that goes into its log.
"""

import json
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError

from tests.interop.processes import Child


class CallFailed(Exception):
    """
    A command of a peer ended in an error.

    @ivar condition: the XMPP stanza error condition, or empty when the failure was of another kind.
    @ivar kind: the type of the stanza error.
    @ivar text: its text.
    """

    def __init__(self, condition: str, kind: str, text: str) -> None:
        super().__init__(f"{condition or 'failed'} ({kind}): {text}")
        self.condition = condition
        self.kind = kind
        self.text = text


class Peer(Child):
    """
    A client that is told what to do.

    @ivar events: those that were reported and not taken by L{wait} yet.
    """

    ready = "signed-on"  # the event after which it is ready
    startTimeout = 120.0
    grace = 3.0

    def __init__(self, reactor: Any, name: str) -> None:
        super().__init__(reactor, name)
        self.events: list[dict[str, Any]] = []
        self._buffer = b""
        self._waits: list[tuple[frozenset[str], dict[str, Any], Deferred[dict[str, Any]]]] = []
        self._calls = 0

    def descriptors(self, nothing: int, log: int) -> dict[int, Any]:
        return {0: "w", 1: "r", 2: log}

    def prepare(self) -> None:
        self.events, self._buffer = [], b""

    async def untilReady(self) -> None:
        event = await self.wait(self.ready, "conn-error", timeout=self.startTimeout)
        if event["event"] != self.ready:
            raise self.failed(f"could not log in ({event})")

    async def stop(self, name: str = "TERM") -> int:
        """
        End it by closing its standard input; signals follow when that does not help.
        """
        if self.running:
            self.process.closeStdin()
            ended = self.whenEnded()
            ended.addTimeout(self.grace, self.reactor)
            try:
                return await ended
            except TimeoutError:
                pass
        return await super().stop(name)

    # What it reports.

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                event = {"event": "junk", "text": line.decode("utf-8", "replace")}
            self._reported(event)

    def _reported(self, event: dict[str, Any]) -> None:
        for index, (names, match, deferred) in enumerate(self._waits):
            if _fits(event, names, match):
                del self._waits[index]
                deferred.callback(event)
                return
        self.events.append(event)

    def processEnded(self, reason: Any) -> None:
        super().processEnded(reason)
        waits, self._waits = self._waits, []
        for names, _match, deferred in waits:
            deferred.errback(self.failed(f"ended with {self.exitCode} before {sorted(names)}"))

    def wait(self, *names: str, timeout: float = 90.0, **match: Any) -> Deferred[dict[str, Any]]:
        """
        Wait for an event, or take one that was reported before.

        @param names: the names that will do.
        @param match: what the event must contain.
        @return: fires with the event; fails with L{ChildFailed} after C{timeout} seconds or when the
            peer ends.
        """
        wanted = frozenset(names)
        deferred: Deferred[dict[str, Any]] = Deferred(self._giveUp)
        for index, event in enumerate(self.events):
            if _fits(event, wanted, match):
                deferred.callback(self.events.pop(index))
                return deferred
        if not self.running:
            deferred.errback(self.failed(f"ended with {self.exitCode} before {sorted(names)}"))
            return deferred
        self._waits.append((wanted, match, deferred))
        deferred.addTimeout(timeout, self.reactor)
        deferred.addErrback(self._late, f"reported no {sorted(names)} {match or ''} within {timeout:g} s")
        return deferred

    def _giveUp(self, deferred: Deferred[dict[str, Any]]) -> None:
        self._waits = [entry for entry in self._waits if entry[2] is not deferred]

    def _late(self, reason: Any, what: str) -> None:
        reason.trap(TimeoutError)
        seen = [event["event"] for event in self.events][-20:]
        raise self.failed(f"{what} (not taken: {seen})")

    # What it is told.

    def tell(self, command: str, **arguments: Any) -> None:
        """
        Give a command that answers by events, or not at all.
        """
        if not self.running:
            raise self.failed(f"cannot be told {command!r}: it ended with {self.exitCode}")
        self.process.write(json.dumps({"cmd": command, **arguments}).encode() + b"\n")

    async def call(self, command: str, timeout: float = 90.0, **arguments: Any) -> Any:
        """
        Give a command and wait for its result.

        @return: what the command returns.
        @raise CallFailed: when it ended in an error.
        """
        self._calls += 1
        number = self._calls
        self.tell(command, call=number, **arguments)
        event = await self.wait("result", "failure", timeout=timeout, call=number)
        if event["event"] == "failure":
            raise CallFailed(event["condition"], event["type"], event["text"])
        return event["value"]


def _fits(event: dict[str, Any], names: frozenset[str], match: dict[str, Any]) -> bool:
    return event.get("event") in names and all(event.get(key) == value for key, value in match.items())
