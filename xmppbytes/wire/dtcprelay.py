"""
The DTCP relay's opening, after the proposal of Dave Smith to standards-jig, 12 December 2002.

    initiator                                relay                                     target
    CREATE NUL key NUL initiator NUL target NUL ->
                                                   <- CONNECT NUL key NUL initiator NUL target NUL
                       <-  OK NUL                                        OK NUL  ->
                       <-  ERROR NUL, and the connection is closed

The listings of the two answers are lost in the mail's archive: C{OK NUL} and C{ERROR NUL} are our
choice, after its words. NUL cannot be part of a JID, which is why it separates.
"""

from dataclasses import dataclass
from enum import Enum

from xmppbytes.errors import WireError
from xmppbytes.wire.buffer import ReceiveBuffer

MAX_KEY = 128
# The whole request: two JIDs of 3071 bytes each fit.
MAX_REQUEST = 8192

_NUL = b"\0"
_FIELDS = ("key", "initiator", "target")


class Verb(Enum):
    """
    What a party wants of a relay.
    """

    CREATE = b"CREATE"
    CONNECT = b"CONNECT"


class Answer(Enum):
    """
    What a relay says.
    """

    OK = b"OK"
    ERROR = b"ERROR"

    def toBytes(self) -> bytes:
        """
        Write it as it goes over the wire.
        """
        return self.value + _NUL


_LONGEST_VERB = max(len(verb.value) for verb in Verb)
_LONGEST_ANSWER = max(len(answer.value) for answer in Answer)


@dataclass(frozen=True, slots=True)
class Request:
    """
    The opening of a connection to a relay.

    @ivar key: names the bytestream, at most L{MAX_KEY} bytes.
    @ivar initiator: the JID of the requester, as received.
    @ivar target: the JID of the target, as received.
    """

    verb: Verb
    key: bytes
    initiator: str
    target: str

    def toBytes(self) -> bytes:
        """
        Write it as it goes over the wire.

        @raise ValueError: when it cannot be written.
        """
        fields = (self.key, self.initiator.encode("utf-8"), self.target.encode("utf-8"))
        request = _NUL.join((self.verb.value, *fields)) + _NUL
        if not all(fields) or any(_NUL in field for field in fields):
            raise ValueError("a request to a relay has no empty field and no NUL in one")
        if len(self.key) > MAX_KEY or len(request) > MAX_REQUEST:
            raise ValueError(f"key or request too long: {len(self.key)} and {len(request)} bytes")
        return request


class RequestParser:
    """
    Reads the one request that a party sends.
    """

    __slots__ = ("_buffer", "_fields", "_room", "_verb")

    def __init__(self) -> None:
        self._buffer = ReceiveBuffer()
        self._verb: Verb | None = None
        self._fields: list[bytes] = []
        self._room = MAX_REQUEST

    def feed(self, data: bytes) -> list[Request]:
        """
        Take what has arrived.

        @return: the request when it is complete, once.
        @raise WireError: when this is none. Nothing must be fed any more.
        """
        self._buffer.append(data)
        if self._verb is None and not self._takeVerb():
            return []
        if len(self._fields) == len(_FIELDS):
            return []
        while len(self._fields) < len(_FIELDS):
            if not self._takeField():
                return []
        assert self._verb is not None
        key, initiator, target = self._fields
        return [Request(self._verb, key, _text(initiator), _text(target))]

    def rest(self) -> bytes:
        """
        Take what has arrived behind the request.
        """
        return self._buffer.rest()

    def _takeVerb(self) -> bool:
        word = self._buffer.takeUntil(_NUL, _LONGEST_VERB)
        if word is None:
            return False
        try:
            self._verb = Verb(word)
        except ValueError as e:
            raise WireError(f"neither CREATE nor CONNECT but {word!r}") from e
        self._room -= len(word) + 1
        return True

    def _takeField(self) -> bool:
        name = _FIELDS[len(self._fields)]
        longest = MAX_KEY if name == "key" else max(0, self._room - 1)
        field = self._buffer.takeUntil(_NUL, longest)
        if field is None:
            return False
        if not field:
            raise WireError(f"the {name} in the request is empty")
        self._room -= len(field) + 1
        self._fields.append(field)
        return True


class AnswerParser:
    """
    Reads the one answer of a relay.
    """

    __slots__ = ("_answered", "_buffer")

    def __init__(self) -> None:
        self._buffer = ReceiveBuffer()
        self._answered = False

    def feed(self, data: bytes) -> list[Answer]:
        """
        Take what has arrived.

        @return: the answer when it is complete, once.
        @raise WireError: when this is none. Nothing must be fed any more.
        """
        self._buffer.append(data)
        if self._answered:
            return []
        word = self._buffer.takeUntil(_NUL, _LONGEST_ANSWER)
        if word is None:
            return []
        self._answered = True
        try:
            return [Answer(word)]
        except ValueError as e:
            raise WireError(f"a relay says OK or ERROR, not {word!r}") from e

    def rest(self) -> bytes:
        """
        Take what has arrived behind the answer.
        """
        return self._buffer.rest()


def _text(field: bytes) -> str:
    try:
        return field.decode("utf-8")
    except UnicodeDecodeError as e:
        raise WireError("a JID in the request is not UTF-8") from e
