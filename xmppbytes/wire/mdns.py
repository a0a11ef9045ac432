"""
Multicast DNS messages: RFC 1035 section 4 as RFC 6762 section 18 uses it.

Names are label-exact: a tuple of raw labels, so that an instance name may hold dots, spaces and any
UTF-8 text (RFC 6763 section 4.1.1). The names inside PTR, SRV and NSEC data are decompressed when a
message is parsed, so that the data of two records can be compared as bytes.

L{Message.parse} takes one whole datagram of at most L{MAX_MESSAGE} bytes and raises
L{WireError} for anything that is not one well-formed message, trailing bytes included.
L{xmppbytes.wire.mdnspack} writes them.
"""

import struct
from dataclasses import dataclass
from typing import TypeAlias

import twisted.names.dns as dns

from xmppbytes.errors import WireError

Name: TypeAlias = tuple[bytes, ...]

MAX_MESSAGE = 65535
MAX_LABEL = 63
MAX_NAME = 255
# What one datagram may hold; a full Ethernet frame has room for about 130 of the smallest records.
MAX_QUESTIONS = 256
MAX_RECORDS = 1024
# How often one name may refer to another place. Encoders need one or two.
_MAX_POINTERS = 32

# The top bit of the class field: "unicast answer wanted" of a question, "cache flush" of a record.
TOP_BIT = 0x8000
HEADER = struct.Struct("!6H")
QUESTION = struct.Struct("!2H")
RECORD = struct.Struct("!2HIH")

RESPONSE, AUTHORITATIVE, TRUNCATED = 0x8000, 0x0400, 0x0200
_OPCODE_AND_RCODE = 0x780F

NSEC = 47


def fold(name: Name) -> Name:
    """
    Give the form of a name by which it is compared: ASCII letters in lower case (RFC 6762 section 16).
    """
    return tuple(label.lower() for label in name)


def checkName(name: Name) -> Name:
    """
    Give the name back when it can be sent.

    @raise ValueError: when a label is empty or too long, or the name as a whole is.
    """
    for label in name:
        if not 0 < len(label) <= MAX_LABEL:
            raise ValueError(f"a label has 1 to {MAX_LABEL} bytes, not {len(label)}")
    if sum(len(label) + 1 for label in name) + 1 > MAX_NAME:
        raise ValueError(f"a name has at most {MAX_NAME} bytes")
    return name


@dataclass(frozen=True, slots=True)
class Question:
    """
    What is asked. C{unicast}: the asker would rather have the answer alone (RFC 6762 section 5.4).
    """

    name: Name
    type: int
    unicast: bool = False
    cls: int = dns.IN

    def asksFor(self, record: "Record") -> bool:
        """
        Tell whether a record answers this question.
        """
        return (
            self.type in (record.type, dns.ALL_RECORDS)
            and self.cls in (record.cls, dns.ANY)
            and fold(self.name) == fold(record.name)
        )


@dataclass(frozen=True, slots=True)
class Record:
    """
    One resource record. C{data} holds no compressed name; C{flush}: it replaces what was known before.
    """

    name: Name
    type: int
    ttl: int
    data: bytes
    flush: bool = False
    cls: int = dns.IN

    @property
    def key(self) -> tuple[Name, int]:
        """
        What the record is about: the name in its compared form, and the type.
        """
        return fold(self.name), self.type

    @property
    def identity(self) -> tuple[Name, int, bytes]:
        """
        What makes two records the same one, whatever their time to live and flush bit.
        """
        return fold(self.name), self.type, self.data


@dataclass(frozen=True, slots=True)
class Message:
    """
    One message: a query when C{response} is false.
    """

    response: bool = False
    questions: tuple[Question, ...] = ()
    answers: tuple[Record, ...] = ()
    authorities: tuple[Record, ...] = ()
    additionals: tuple[Record, ...] = ()
    truncated: bool = False
    id: int = 0

    @classmethod
    def parse(cls, data: bytes) -> "Message":
        """
        Parse a datagram.

        @raise WireError: when it is not one whole message with opcode and rcode 0.
        """
        return _Parser(data).message()


class _Parser:
    """
    Reads one message. Every read checks the end; a name may only point backwards.
    """

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        if len(data) > MAX_MESSAGE:
            raise WireError(f"a message has at most {MAX_MESSAGE} bytes, not {len(data)}")
        self._data = data
        self._at = 0

    def message(self) -> Message:
        identifier, flags, *counts = self._unpack(HEADER)
        if flags & _OPCODE_AND_RCODE:
            raise WireError(f"opcode and rcode of a multicast message are 0, the flags are 0x{flags:04x}")
        if counts[0] > MAX_QUESTIONS or sum(counts[1:]) > MAX_RECORDS:
            raise WireError(f"more than {MAX_QUESTIONS} questions or {MAX_RECORDS} records: {counts}")
        questions = tuple(self._question() for _ in range(counts[0]))
        answers, authorities, additionals = (
            tuple(self._record() for _ in range(count)) for count in counts[1:]
        )
        if self._at != len(self._data):
            raise WireError(f"{len(self._data) - self._at} bytes behind the last record")
        response, truncated = bool(flags & RESPONSE), bool(flags & TRUNCATED)
        return Message(response, questions, answers, authorities, additionals, truncated, identifier)

    def _unpack(self, form: struct.Struct) -> tuple[int, ...]:
        end = self._at + form.size
        if end > len(self._data):
            raise WireError("the message ends in the middle")
        values = form.unpack_from(self._data, self._at)
        self._at = end
        return values

    def _question(self) -> Question:
        name = self._name(len(self._data))
        kind, cls = self._unpack(QUESTION)
        return Question(name, kind, bool(cls & TOP_BIT), cls & ~TOP_BIT)

    def _record(self) -> Record:
        name = self._name(len(self._data))
        kind, cls, ttl, length = self._unpack(RECORD)
        end = self._at + length
        if end > len(self._data):
            raise WireError("the data of a record is longer than the message")
        data = self._recordData(kind, end)
        # A time to live with the top bit set is 0 (RFC 2181 section 8).
        return Record(name, kind, 0 if ttl >> 31 else ttl, data, bool(cls & TOP_BIT), cls & ~TOP_BIT)

    def _recordData(self, kind: int, end: int) -> bytes:
        # OPT records have no name inside, and their class is no class: they are kept as bytes.
        fixed, hasName = {dns.PTR: (0, True), dns.CNAME: (0, True), dns.SRV: (6, True), NSEC: (0, True)}.get(
            kind, (0, False)
        )
        if not hasName:
            return self._bytes(end)
        if self._at + fixed > end:
            raise WireError("a record is too short for its type")
        head = self._bytes(self._at + fixed)
        target = self._name(end)
        rest = self._bytes(end)
        if rest and kind != NSEC:
            raise WireError("a record is too long for its type")
        return head + encodeName(target) + rest

    def _bytes(self, end: int) -> bytes:
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def _name(self, end: int) -> Name:
        """
        Read a name whose own bytes end before C{end}.
        """
        labels: list[bytes] = []
        data, at, start, size, pointers = self._data, self._at, self._at, 1, 0
        behind: int | None = None
        while True:
            limit = end if behind is None else len(data)
            if at >= limit:
                raise WireError("a name runs over its end")
            length = data[at]
            if length >= 0xC0:
                if at + 2 > limit:
                    raise WireError("a name runs over its end")
                target = (length & 0x3F) << 8 | data[at + 1]
                behind = at + 2 if behind is None else behind
                pointers += 1
                if target >= start or pointers > _MAX_POINTERS:
                    raise WireError("a name points forwards, to itself, or too often")
                at = start = target
                continue
            if length > MAX_LABEL:
                raise WireError(f"a label starts with 0x{length:02x}")
            if length == 0:
                break
            if at + 1 + length > limit:
                raise WireError("a name runs over its end")
            size += length + 1
            if size > MAX_NAME:
                raise WireError(f"a name has more than {MAX_NAME} bytes")
            labels.append(data[at + 1 : at + 1 + length])
            at += 1 + length
        self._at = at + 1 if behind is None else behind
        return tuple(labels)


def encodeName(name: Name) -> bytes:
    """
    Encode a name without compression.
    """
    return b"".join(bytes((len(label),)) + label for label in name) + b"\0"


def decodeName(data: bytes, at: int = 0) -> tuple[Name, int]:
    """
    Decode a name that is not compressed, as record data holds it.

    @return: the name, and where its bytes end.
    @raise WireError: when there is no whole name.
    """
    labels = []
    while at < len(data) and 0 < data[at] <= MAX_LABEL:
        labels.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    if at >= len(data) or data[at] != 0:
        raise WireError("there is no whole name in this data")
    return tuple(labels), at + 1
