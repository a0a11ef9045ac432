"""
Which records are about people. XEP-0174 section 4.
"""

from twisted.names import dns

from xmppbytes.linklocal.names import SERVICE, presenceName
from xmppbytes.wire.dnsdata import pointerOf
from xmppbytes.wire.mdns import Record, fold


def pointsToPerson(record: Record) -> bool:
    """
    Tell whether a record says that there is somebody.
    """
    return (
        record.type == dns.PTR
        and fold(record.name) == SERVICE
        and presenceName(pointerOf(record)) is not None
    )


def isPerson(record: Record) -> bool:
    """
    Tell whether a record says where somebody is, or something about him.
    """
    return record.type in (dns.SRV, dns.TXT) and presenceName(record.name) is not None


def concerned(news: list[Record]) -> list[str]:
    """
    Name the persons whose pointer or text has come.
    """
    names = []
    for record in news:
        if record.type != dns.SRV:
            name = presenceName(pointerOf(record) if record.type == dns.PTR else record.name)
            if name is not None:
                names.append(name)
    return names
