"""
The data of the record types that DNS-SD needs: RFC 1035 section 3.3, RFC 2782, RFC 3596, RFC 4034.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

import twisted.names.dns as dns

from xmppbytes.errors import WireError
from xmppbytes.wire.mdns import NSEC, Name, Record, checkName, decodeName, encodeName

# RFC 6762 section 10: 120 s for what holds a host name, 75 min for everything else.
HOST_TTL = 120
OTHER_TTL = 4500

_SERVICE = struct.Struct("!3H")


@dataclass(frozen=True, slots=True)
class Service:
    """
    The data of an SRV record.
    """

    target: Name
    port: int
    priority: int = 0
    weight: int = 0


def pointerRecord(name: Name, target: Name) -> Record:
    """
    Make a PTR record, which others may have beside ours.
    """
    return Record(name, dns.PTR, OTHER_TTL, encodeName(checkName(target)))


def pointerOf(record: Record) -> Name:
    """
    Read the target of a PTR record.
    """
    return decodeName(record.data)[0]


def serviceRecord(name: Name, service: Service) -> Record:
    """
    Make an SRV record that is ours alone.
    """
    head = _SERVICE.pack(service.priority, service.weight, service.port)
    return Record(name, dns.SRV, HOST_TTL, head + encodeName(checkName(service.target)), flush=True)


def serviceOf(record: Record) -> Service:
    """
    Read an SRV record.

    @raise WireError: when it is too short.
    """
    if len(record.data) <= _SERVICE.size:
        raise WireError("an SRV record is too short")
    priority, weight, port = _SERVICE.unpack_from(record.data)
    return Service(decodeName(record.data, _SERVICE.size)[0], port, priority, weight)


def textRecord(name: Name, data: bytes) -> Record:
    """
    Make a TXT record that is ours alone, of data from L{xmppbytes.wire.txt}.
    """
    return Record(name, dns.TXT, OTHER_TTL, data, flush=True)


def addressRecord(name: Name, address: str) -> Record:
    """
    Make an A or AAAA record that is ours alone.

    @param address: the IP address; a scope (C{%eth0}) is left out.
    """
    bare = address.partition("%")[0]
    made = dns.Record_AAAA(bare) if ":" in bare else dns.Record_A(bare)
    return Record(name, made.TYPE, HOST_TTL, made.address or b"", flush=True)


def addressOf(record: Record) -> str:
    """
    Read the address of an A or AAAA record.

    @raise WireError: when its length is wrong.
    """
    made = dns.Record_A() if record.type == dns.A else dns.Record_AAAA()
    if len(record.data) != len(made.address or b""):
        raise WireError(f"an address record has {len(record.data)} bytes")
    made.address = record.data
    return str(made.dottedQuad() if isinstance(made, dns.Record_A) else made._address)


def nullRecord(name: Name, data: bytes) -> Record:
    """
    Make a NULL record as Bonjour does for icons: shared, 120 s.
    """
    return Record(name, dns.NULL, HOST_TTL, data)


def denialRecord(name: Name, types: Iterable[int]) -> Record:
    """
    Make the NSEC record which says that a name has records of these types and of no others
    (RFC 6762 section 6.1).

    @param types: all below 256, as the short form of RFC 6762 demands.
    """
    bitmap = bytearray()
    for kind in types:
        bitmap.extend(bytes(max(0, kind // 8 + 1 - len(bitmap))))
        bitmap[kind // 8] |= 0x80 >> kind % 8
    return Record(
        name, NSEC, HOST_TTL, encodeName(name) + bytes((0, len(bitmap))) + bytes(bitmap), flush=True
    )
