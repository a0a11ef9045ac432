"""
What we publish on one link, and which of it answers a question. XEP-0174 section 3, RFC 6763.
"""

from dataclasses import dataclass

from twisted.names import dns

from xmppbytes.linklocal.names import SERVICE, SERVICE_TYPES
from xmppbytes.wire.dnsdata import (
    Service,
    addressRecord,
    denialRecord,
    nullRecord,
    pointerRecord,
    serviceRecord,
    textRecord,
)
from xmppbytes.wire.mdns import Name, Question, Record, fold

ADDRESS_TYPES = (dns.A, dns.AAAA)


@dataclass(frozen=True)
class Zone:
    """
    Our records on one link.

    @ivar instance: the name of the service instance, C{user@machine._presence._tcp.local}.
    @ivar host: our own host name; the addresses of this link, and only those, are its records.
    @ivar text: the data of the TXT record.
    @ivar icon: the avatar, or C{None}.
    """

    instance: Name
    host: Name
    port: int
    text: bytes
    addresses: tuple[str, ...]
    icon: bytes | None = None

    def shared(self) -> list[Record]:
        """
        The records that others have beside us.
        """
        return [pointerRecord(SERVICE, self.instance), pointerRecord(SERVICE_TYPES, SERVICE)]

    def unique(self) -> list[Record]:
        """
        The records that must be ours alone.
        """
        return [
            serviceRecord(self.instance, Service(self.host, self.port)),
            textRecord(self.instance, self.text),
            *(addressRecord(self.host, address) for address in self.addresses),
        ]

    def null(self) -> list[Record]:
        """
        The avatar's record. Its owner is the instance, whatever both versions of XEP-0174 print: that is
        where every client looks. It goes out only when it is asked for or has changed.
        """
        return [] if self.icon is None else [nullRecord(self.instance, self.icon)]

    def names(self) -> tuple[Name, Name]:
        """
        The names that must be ours alone, in the compared form.
        """
        return fold(self.instance), fold(self.host)

    def answers(self, question: Question) -> list[Record]:
        """
        Give the records that answer a question; for a name of ours without a record of that type, the
        NSEC record that says so (RFC 6762 section 6.1).
        """
        everything = self.shared() + self.unique()
        if question.type == dns.NULL:
            everything += self.null()
        found = [record for record in everything if question.asksFor(record)]
        if not found and question.cls in (dns.IN, dns.ANY):
            found = [record for record in self._denials() if fold(record.name) == fold(question.name)]
        return found

    def _denials(self) -> list[Record]:
        ours = {dns.TXT, dns.SRV} | {record.type for record in self.null()}
        addresses = {record.type for record in self.unique() if record.type in ADDRESS_TYPES}
        return [denialRecord(self.instance, sorted(ours)), denialRecord(self.host, sorted(addresses))]

    def additionals(self, answers: list[Record]) -> list[Record]:
        """
        Give the records that whoever gets these answers will ask for next (RFC 6763 section 12).
        """
        unique = self.unique()
        types = {record.type for record in answers if fold(record.name) in (*self.names(), SERVICE)}
        extra: list[Record] = []
        if dns.PTR in types:
            extra = unique
        elif dns.SRV in types or types & set(ADDRESS_TYPES):
            extra = [record for record in unique if record.type in ADDRESS_TYPES]
            extra += [record for record in self._denials() if fold(record.name) == fold(self.host)]
        given = {record.identity for record in answers}
        return [record for record in extra if record.identity not in given]
