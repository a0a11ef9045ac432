"""
The lines of DTCP: XEP-0046 section 3.3, version 0.8.

    connecting                serving
    starttls LF           ->
                          <-  ok LF           (TLS begins)  or  error LF
    key:KEY LF            ->
                          <-  ok:KEY LF                     or  error LF
    ok LF                 ->                  (only when the connecting client is the requester)

A line is C{word} or C{word:argument}, split at the first colon; errors may carry a text (libpsi of
2002 sends one, and so do we). What a byte behind a line means depends on the answer to that line: a
line, TLS, or the application's data. So the parser gives out one line, holds what follows, and goes on
only when it is told to.

A serving client also understands C{CONNECT NUL ...} of L{xmppbytes.wire.dtcprelay} as the first thing
that it hears.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from xmppbytes.wire.buffer import ReceiveBuffer
from xmppbytes.wire.dtcprelay import Request, RequestParser, Verb

MAX_LINE = 1024

STARTTLS = b"starttls"
KEY = b"key"
OK = b"ok"
ERROR = b"error"

_RELAY_OPENING = Verb.CONNECT.value + b"\0"


@dataclass(frozen=True, slots=True)
class Line:
    """
    A command or an answer.

    @ivar word: what stands before the first colon.
    @ivar argument: what stands behind it; C{None} when there is no colon.
    """

    word: bytes
    argument: bytes | None = None

    def says(self, word: bytes) -> bool:
        """
        Tell whether this is a certain word without an argument. The colon "need not be present" then
        (section 3.3); so it may be.
        """
        return self.word == word and not self.argument

    def toBytes(self) -> bytes:
        """
        Write it as it goes over the wire.

        @raise ValueError: when it cannot be a line.
        """
        line = self.word if self.argument is None else self.word + b":" + self.argument
        if b"\n" in line or b":" in self.word or len(line) > MAX_LINE:
            raise ValueError(f"{line[:80]!r} is no line of DTCP: one LF too many, or too long")
        return line + b"\n"


ServerEvent: TypeAlias = Line | Request


class LineParser:
    """
    Reads lines, one at a time.
    """

    __slots__ = ("_buffer", "_holding")

    def __init__(self, received: bytes = b"") -> None:
        """
        @param received: what has arrived already; C{feed(b"")} gives its first line.
        """
        self._buffer = ReceiveBuffer()
        self._buffer.append(received)
        self._holding = False

    def feed(self, data: bytes) -> list[Line]:
        """
        Take what has arrived.

        @return: the next line when it is complete, and nothing more until L{proceed}.
        @raise WireError: when a line is longer than L{MAX_LINE}. Nothing must be fed any more.
        """
        self._buffer.append(data)
        if self._holding:
            return []
        line = self._buffer.takeUntil(b"\n", MAX_LINE)
        if line is None:
            return []
        self._holding = True
        word, colon, argument = line.partition(b":")
        return [Line(word, argument if colon else None)]

    def proceed(self) -> None:
        """
        The last line was dealt with, and what follows is a line as well: C{feed(b"")} gives it.
        """
        self._holding = False

    def rest(self) -> bytes:
        """
        Take what follows the last line: it is none of the lines.
        """
        return self._buffer.rest()


class ServerParser:
    """
    Reads what a connecting client sends: lines, and maybe a CONNECT before them.
    """

    __slots__ = ("_opening", "_parser")

    def __init__(self) -> None:
        self._opening = b""
        self._parser: LineParser | RequestParser | None = None

    def feed(self, data: bytes) -> Sequence[ServerEvent]:
        """
        See L{LineParser.feed}.
        """
        if self._parser is None:
            data = self._opening + data
            if len(data) < len(_RELAY_OPENING) and _RELAY_OPENING.startswith(data):
                self._opening = data
                return []
            self._opening = b""
            self._parser = RequestParser() if data.startswith(_RELAY_OPENING) else LineParser()
        return self._parser.feed(data)

    def proceed(self) -> None:
        """
        See L{LineParser.proceed}.
        """
        if isinstance(self._parser, RequestParser):
            self._parser = LineParser(self._parser.rest())
        elif self._parser is not None:
            self._parser.proceed()

    def rest(self) -> bytes:
        """
        See L{LineParser.rest}.
        """
        return self._opening if self._parser is None else self._parser.rest()
