"""
The parsers of XML streams: bounded, and restricted as RFC 6120 section 11.1 demands.

A stanza is counted here and not left to Twisted, which does so only since some version.
"""

from collections.abc import Callable
from typing import Any

from twisted.words.xish.domish import Element, ExpatElementStream, ParserError

from xmppbytes.errors import WireError

# One stanza of a stranger. The largest that people send are messages with text twice, plain and formatted.
MAX_STANZA = 256 * 1024
MAX_ELEMENTS = 2000
MAX_DEPTH = 64
# One stanza that a server passes on. Servers take up to 512 KiB of each other, and what was a quotation
# mark there is six bytes long here: less would let strangers end our stream.
MAX_SERVER_STANZA = 4 * 1024 * 1024
MAX_SERVER_ELEMENTS = 20000
# Text that is put together before it is looked at.
TEXT_BUFFER = 65536


class StreamBroken(WireError):
    """
    What came is no XML stream that we take.

    @ivar condition: the stream error for it (RFC 6120 section 4.9.3).
    """

    def __init__(self, text: str, condition: str) -> None:
        super().__init__(text)
        self.condition = condition


class _Refusal(ParserError):  # type: ignore[misc]
    """
    Well-formed, but not taken.
    """

    def __init__(self, text: str, condition: str) -> None:
        super().__init__(text)
        self.condition = condition


def _refuse(*_: Any) -> None:
    raise _Refusal(
        "comments, processing instructions and document types are not allowed in a stream", "restricted-xml"
    )


class StreamParser(ExpatElementStream):  # type: ignore[misc]
    """
    Parses one XML stream from a stranger, piece by piece.

    @cvar maximum: bytes of one stanza, give or take one piece.
    @cvar maximumElements: elements of one stanza.
    """

    maximum = MAX_STANZA
    maximumElements = MAX_ELEMENTS

    def __init__(
        self,
        started: Callable[[Element], None],
        element: Callable[[Element], None],
        ended: Callable[[], None],
    ) -> None:
        """
        @param started: called with the root element.
        @param element: called with each whole child of it.
        @param ended: called at the closing tag of the root.
        """
        super().__init__()
        self.DocumentStartEvent = started
        self.ElementEvent = element
        self.DocumentEndEvent = ended
        self._depth = 0
        self._size = 0
        self._elements = 0
        # Else text comes in as many pieces as it has entities and lines, and each is put behind the others
        # by copying all: half a megabyte of quotation marks would keep us busy for seconds.
        self.parser.buffer_text = True
        self.parser.buffer_size = TEXT_BUFFER
        self.parser.StartDoctypeDeclHandler = _refuse
        self.parser.CommentHandler = _refuse
        self.parser.ProcessingInstructionHandler = _refuse

    def feed(self, data: bytes) -> None:
        """
        Parse the next piece.

        @raise StreamBroken: when it is not well-formed, not allowed or too much.
        """
        self._size += len(data)
        try:
            self.parser.Parse(data)
            if self._size > self.maximum:
                raise _Refusal(f"a stanza is larger than {self.maximum >> 10} KiB", "policy-violation")
        except (self.error, ParserError) as e:
            condition = getattr(e, "condition", "not-well-formed")
            raise StreamBroken(f"the XML stream breaks the rules: {e}", condition) from e

    def mute(self) -> None:
        """
        Tell nothing any more, whatever is left of the piece that is being parsed.
        """
        self.DocumentStartEvent = self.ElementEvent = lambda element: None
        self.DocumentEndEvent = lambda: None

    def _onStartElement(self, name: str, attrs: dict[str, str]) -> None:
        if self._depth >= MAX_DEPTH:
            self._tooMuch(f"elements are nested more than {MAX_DEPTH} deep")
        elif self._elements >= self.maximumElements:
            self._tooMuch(f"a stanza has more than {self.maximumElements} elements")
        else:
            self._depth += 1
            self._elements += 1
            super()._onStartElement(name, attrs)

    def _tooMuch(self, text: str) -> None:
        """
        An element begins that is not taken any more.
        """
        raise _Refusal(text, "policy-violation")

    def _onEndElement(self, name: str) -> None:
        self._depth -= 1
        super()._onEndElement(name)
        if self._depth == 1:
            self._size = self._elements = 0


class ServerStreamParser(StreamParser):
    """
    Parses one XML stream from a server, which passes on what strangers have written. They are not to end
    the stream of everybody: elements that are too many, or too deep, are left out of their stanza.
    """

    maximum = MAX_SERVER_STANZA
    maximumElements = MAX_SERVER_ELEMENTS
    # How many elements, each within the one before, are being left out.
    _skipping = 0

    def _tooMuch(self, text: str) -> None:
        """
        Hear nothing until the element ends.
        """
        parser = self.parser
        taking = parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler

        def started(name: str, attrs: dict[str, str]) -> None:
            self._skipping += 1
            # Its prefixes would be taken for those of the next element that is kept.
            self.localPrefixes = {}

        def ended(name: str) -> None:
            self._skipping -= 1
            if not self._skipping:
                parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = taking

        parser.StartElementHandler, parser.EndElementHandler = started, ended
        parser.CharacterDataHandler = None
        started("", {})
