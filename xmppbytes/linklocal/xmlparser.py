"""
The parser of an XML stream from a stranger: bounded, and restricted as RFC 6120 section 11.1 demands.
"""

from collections.abc import Callable
from typing import Any

from twisted.words.xish.domish import Element, ExpatElementStream, ParserError

from xmppbytes.errors import WireError

# One stanza. The largest that people send are messages with text twice, plain and formatted.
MAX_STANZA = 256 * 1024
MAX_ELEMENTS = 2000
MAX_DEPTH = 64


def _refuse(*_: Any) -> None:
    raise ParserError("comments, processing instructions and document types are not allowed in a stream")


class StreamParser(ExpatElementStream):  # type: ignore[misc]
    """
    Parses one XML stream, piece by piece.
    """

    maxStanzaSize = MAX_STANZA
    maxElementCount = MAX_ELEMENTS

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
        self.parser.StartDoctypeDeclHandler = _refuse
        self.parser.CommentHandler = _refuse
        self.parser.ProcessingInstructionHandler = _refuse

    def feed(self, data: bytes) -> None:
        """
        Parse the next piece.

        @raise WireError: when it is not well-formed, not allowed or too much.
        """
        try:
            self.parse(data)
        except ParserError as e:
            raise WireError(f"the XML stream breaks the rules: {e}") from e

    def mute(self) -> None:
        """
        Tell nothing any more, whatever is left of the piece that is being parsed.
        """
        self.DocumentStartEvent = self.ElementEvent = lambda element: None
        self.DocumentEndEvent = lambda: None

    def _onStartElement(self, name: str, attrs: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ParserError(f"elements are nested more than {MAX_DEPTH} deep")
        super()._onStartElement(name, attrs)

    def _onEndElement(self, name: str) -> None:
        self._depth -= 1
        super()._onEndElement(name)
