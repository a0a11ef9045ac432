"""
The client side of the control socket: commands are sent and their answers awaited, events are told.
"""

import asyncio
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xmppbytes.errors import BytestreamError

Event = dict[str, Any]

# The longest line that is read; a roster of as many people as there can be, who tell all they can, fits.
MAX_LINE = 16 << 20


class CommandFailed(BytestreamError):
    """
    The service says why it has not done what it was told.
    """


class ControlClient:
    """
    One connection to a control socket.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, told: Callable[[Event], None]
    ) -> None:
        """
        @param told: called with each event.
        """
        self._reader = reader
        self._writer = writer
        self._told = told
        self._tags = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Event]] = {}

    @classmethod
    async def connect(cls, path: Path, told: Callable[[Event], None]) -> "ControlClient":
        """
        Connect.

        @raise OSError: when nobody listens there.
        """
        reader, writer = await asyncio.open_unix_connection(str(path), limit=MAX_LINE)
        return cls(reader, writer, told)

    async def run(self) -> None:
        """
        Read until the service closes the connection.
        """
        try:
            while line := await self._reader.readline():
                event = json.loads(line)
                waiting = self._waiting.pop(event.get("tag"), None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(event)
                else:
                    self._told(event)
        except (OSError, ValueError):
            pass  # the same as a closed connection; whoever waits is told so
        finally:
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(CommandFailed("the service has ended"))
            self._waiting.clear()

    async def do(self, command: str, **arguments: Any) -> Event:
        """
        Tell a command, and wait for its answer.

        @raise CommandFailed: when it is not done; says why.
        """
        tag = next(self._tags)
        answer: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._waiting[tag] = answer
        line = json.dumps({"cmd": command, "tag": tag, **arguments})
        self._writer.write(line.encode() + b"\n")
        try:
            await self._writer.drain()
        except OSError as error:
            raise CommandFailed("the service has ended") from error
        event = await answer
        if event["event"] == "error":
            raise CommandFailed(event["text"])
        return event

    def close(self) -> None:
        """
        Close the connection.
        """
        self._writer.close()
