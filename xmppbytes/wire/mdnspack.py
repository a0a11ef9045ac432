"""
Writing multicast DNS messages: names are compressed (RFC 1035 section 4.1.4), and what does not fit in one
datagram is spread over several (RFC 6762 section 7.2).
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

import twisted.names.dns as dns

from xmppbytes.wire.mdns import (
    AUTHORITATIVE,
    HEADER,
    QUESTION,
    RECORD,
    RESPONSE,
    TOP_BIT,
    TRUNCATED,
    Message,
    Name,
    Question,
    Record,
    decodeName,
)


@dataclass(slots=True)
class _Datagram:
    """
    One datagram in the making, with the places of the names that later ones can refer to.
    """

    flags: int
    id: int
    body: bytearray = field(default_factory=lambda: bytearray(HEADER.size))
    places: dict[Name, int] = field(default_factory=dict)
    counts: list[int] = field(default_factory=lambda: [0, 0, 0, 0])

    def add(self, section: int, item: Question | Record, room: int) -> bool:
        """
        Append a question or record unless it makes the datagram, which holds something already,
        longer than C{room}.
        """
        mark = len(self.body)
        if isinstance(item, Question):
            self._name(item.name)
            self.body += QUESTION.pack(item.type, item.cls | (TOP_BIT if item.unicast else 0))
        else:
            self._record(item)
        if len(self.body) > room and any(self.counts):
            del self.body[mark:]
            self.places = {name: at for name, at in self.places.items() if at < mark}
            return False
        self.counts[section] += 1
        return True

    def _record(self, record: Record) -> None:
        self._name(record.name)
        cls = record.cls | (TOP_BIT if record.flush else 0)
        self.body += RECORD.pack(record.type, cls, record.ttl, 0)
        start = len(self.body)
        if record.type == dns.PTR:
            self._name(decodeName(record.data)[0])
        else:
            self.body += record.data
        struct.pack_into("!H", self.body, start - 2, len(self.body) - start)

    def _name(self, name: Name) -> None:
        for index in range(len(name)):
            rest = name[index:]
            if rest in self.places:
                self.body += struct.pack("!H", 0xC000 | self.places[rest])
                return
            if len(self.body) < 0x4000:
                self.places[rest] = len(self.body)
            self.body += bytes((len(name[index]),)) + name[index]
        self.body += b"\0"

    def finish(self, truncated: bool) -> bytes:
        flags = self.flags | (TRUNCATED if truncated else 0)
        HEADER.pack_into(self.body, 0, self.id, flags, *self.counts)
        return bytes(self.body)


def pack(message: Message, room: int) -> list[bytes]:
    """
    Encode a message as one or more datagrams.

    All but the last datagram of a query say that they are truncated, so that the answerer waits for
    the rest of the known answers (RFC 6762 section 7.2). What does not fit of the additional records
    is left out: they are a courtesy.

    @param message: its C{truncated} is not used.
    @param room: how long a datagram may be, in bytes. A record that is longer gets one of its own.
    @return: the datagrams, at least one.
    """
    flags = (RESPONSE | AUTHORITATIVE) if message.response else 0
    done: list[bytes] = []
    current = _Datagram(flags, message.id)
    sections: tuple[Iterable[Question | Record], ...] = (
        message.questions,
        message.answers,
        message.authorities,
        message.additionals,
    )
    for section, items in enumerate(sections):
        for item in items:
            if current.add(section, item, room) or section == 3:
                continue
            done.append(current.finish(truncated=not message.response))
            current = _Datagram(flags, message.id)
            current.add(section, item, room)
    return [*done, current.finish(truncated=False)]
