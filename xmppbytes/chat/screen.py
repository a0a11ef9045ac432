"""
The terminal: a line to type on, everything else above it, running transfers below.
"""

import asyncio
import sys
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.patch_stdout import patch_stdout

from xmppbytes.chat import lines
from xmppbytes.chat.connection import CommandFailed, ControlClient, Event
from xmppbytes.errors import BytestreamError

# Seconds that commands have which are not answered when the person leaves.
LAST_WORDS = 2.0


class NameCompleter(Completer):  # type: ignore[misc]
    """
    Completes commands, and names after C{/to}.
    """

    def __init__(self, situation: lines.Situation) -> None:
        self._situation = situation

    def get_completions(self, document: Document, complete_event: Any) -> Any:
        """
        See L{Completer}.
        """
        text = document.text_before_cursor
        if text.startswith("/to "):
            typed, choices = text[4:], self._situation.names
        elif text.startswith("/") and " " not in text:
            typed, choices = text, lines.COMMANDS
        else:
            return
        for choice in choices:
            if choice.lower().startswith(typed.lower()):
                yield Completion(choice, start_position=-len(typed))


class Screen:
    """
    One person at a terminal.
    """

    def __init__(self) -> None:
        self.situation = lines.Situation()
        self._roster: set[str] = set()
        self._transfers: dict[str, str] = {}
        # Who is here at the beginning is shown as one list.
        self._begun = False
        self._session: PromptSession[str] | None = None
        self._client: ControlClient | None = None
        self._doing: set[asyncio.Future[None]] = set()

    def told(self, event: Event) -> None:
        """
        The service tells something.
        """
        kind = event["event"]
        if kind == "buddy-on":
            self._roster.add(event["name"])
        elif kind == "buddy-off":
            self._roster.discard(event["name"])
        elif kind == "file-request":
            self.situation.offered = event["id"]
        elif kind == "file-progress":
            self._transfers[event["id"]] = lines.progress(event)
        elif kind in ("file-done", "file-cancel"):
            self._transfers.pop(event["id"], None)
        elif kind == "im" and not self.situation.partner:
            self.situation.partner = event["from"]
        self.situation.names = tuple(sorted(self._roster))
        line = lines.show(event)
        if line is not None and self._begun:
            print(line)
        if self._session is not None:
            self._session.app.invalidate()

    def _prompt(self) -> str:
        return f"{self.situation.partner or '(nobody: /to NAME)'}> "

    def _toolbar(self) -> str:
        return "  ".join(self._transfers.values())

    async def run(self, client: ControlClient) -> None:
        """
        Talk until the person, or the service, has enough.
        """
        self._client = client
        reading = asyncio.ensure_future(client.run())
        await self._listRoster()
        self._begun = True
        self._session = PromptSession(
            completer=NameCompleter(self.situation), complete_while_typing=False, bottom_toolbar=self._toolbar
        )
        with patch_stdout(raw=True):
            typing = asyncio.ensure_future(self._type())
            await asyncio.wait([reading, typing], return_when=asyncio.FIRST_COMPLETED)
            if not typing.done():
                print("the service has ended")
                typing.cancel()
            elif self._doing:
                # The last words are to arrive.
                await asyncio.wait(list(self._doing), timeout=LAST_WORDS)
        client.close()
        await asyncio.gather(reading, typing, return_exceptions=True)

    async def _type(self) -> None:
        assert self._session is not None
        while True:
            try:
                line = await self._session.prompt_async(self._prompt)
            except (EOFError, KeyboardInterrupt):
                return
            if not self._obey(line):
                return

    def _obey(self, line: str) -> bool:
        """
        Do what was typed.

        @return: whether to go on.
        """
        try:
            order = lines.understand(line, self.situation)
            if order is None:
                return True
            if order.kind == "quit":
                return False
            if order.kind == "help":
                print(lines.HELP)
            elif order.kind == "to":
                self.situation.partner = (order.arguments or {})["name"]
            else:
                # The line is free for the next words while this is being done.
                doing = asyncio.ensure_future(self._command(order))
                self._doing.add(doing)
                doing.add_done_callback(self._doing.discard)
        except BytestreamError as error:
            print(f"! {error}")
        return True

    async def _command(self, order: lines.Order) -> None:
        assert self._client is not None
        try:
            answer = await self._client.do(order.command, **(order.arguments or {}))
        except CommandFailed as error:
            print(f"! {error}")
            return
        if order.command == "roster":
            self._showRoster(answer)
        elif order.command == "im":
            print(f"{lines.safetyMark(answer)}you: {(order.arguments or {})['text']}")
        elif order.command == "verify":
            known = "the key is known" if answer["pinned"] else "the key was not known before"
            print(f"compare by voice with {answer['to']}: {answer['code']} ({known})")
        elif order.command == "file":
            print(f"offered to {answer['to']} (transfer {answer['id']})")

    async def _listRoster(self) -> None:
        assert self._client is not None
        try:
            self._showRoster(await self._client.do("roster"))
        except CommandFailed as error:
            print(f"! {error}")

    def _showRoster(self, answer: Event) -> None:
        self._roster = {entry["name"] for entry in answer["roster"]}
        self.situation.names = tuple(sorted(self._roster))
        others = "here are:" if answer["roster"] else "nobody else is here (yet)"
        print(f"you are {answer['name']}; {others}")
        for entry in answer["roster"]:
            print(lines.person(entry))
        sys.stdout.flush()
