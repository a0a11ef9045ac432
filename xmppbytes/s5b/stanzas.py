"""
The schema of C{http://jabber.org/protocol/bytestreams} (XEP-0065 sections 9 and 14).
"""

import re
from dataclasses import dataclass

from twisted.words.xish.domish import Element

NS_BYTESTREAMS = "http://jabber.org/protocol/bytestreams"
NS_BYTESTREAMS_UDP = "http://jabber.org/protocol/bytestreams#udp"

# The port of a streamhost that names none (XEP-0065 9.2, the registered port of SOCKS).
DEFAULT_PORT = 1080

# The longest stream ID, in characters: it is kept and logged as long as the bytestream lives.
MAX_SID = 1024
# The longest name that DNS knows, in characters.
MAX_HOST = 255
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class StreamHost:
    """
    Where a StreamHost can be reached (XEP-0065 9.2).

    @ivar jid: whose it is; not always an address (libpurple over link-local sends the sid).
    @ivar host: an IP address or a domain name. IPv6 without brackets.
    @ivar port: a TCP port.
    """

    jid: str
    host: str
    port: int

    @classmethod
    def fromElement(cls, element: Element) -> "StreamHost | None":
        """
        Read a C{<streamhost/>}.

        @return: C{None} when it names no possible host (such as the old C{zeroconf} form) or port.
        """
        host = element.getAttribute("host", "").strip()
        jid = element.getAttribute("jid", "")
        port = element.getAttribute("port", str(DEFAULT_PORT)).strip()
        possible = port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536
        # Both go into the log: what is no name is not to write lines, or pages, of it.
        named = len(host) <= MAX_HOST and host.isprintable() and not _CONTROLS.search(jid)
        return cls(jid, host, int(port)) if host and named and possible else None

    def toElement(self) -> Element:
        """
        Write a C{<streamhost/>}; always with its port, without which several clients skip it.
        """
        element = Element((NS_BYTESTREAMS, "streamhost"))
        element["jid"] = self.jid
        element["host"] = self.host
        element["port"] = str(self.port)
        return element


def queryElement(sid: str | None = None) -> Element:
    """
    Make an empty C{<query/>} (XEP-0065 9.1).
    """
    query = Element((NS_BYTESTREAMS, "query"))
    if sid is not None:
        query["sid"] = sid
    return query


def udpSuccessElement(address: str) -> Element:
    """
    Make a C{<udpsuccess/>} (XEP-0065 8.3.2 and 9.5).

    @param address: the DST.ADDR of the initialization packet.
    """
    element = Element((NS_BYTESTREAMS, "udpsuccess"))
    element["dstaddr"] = address
    return element


def udpSuccessIn(message: Element) -> str | None:
    """
    Read the C{<udpsuccess/>} of a message.

    @return: the DST.ADDR, or C{None} when there is none.
    """
    for element in message.elements(NS_BYTESTREAMS, "udpsuccess"):
        address: str | None = element.getAttribute("dstaddr")
        return address
    return None
