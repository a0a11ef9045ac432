"""
The request for a bytestream, and its answer (XEP-0065 sections 5.3.1, 5.3.3, 7 and 9).
"""

from dataclasses import dataclass

from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish.domish import Element

from xmppbytes.s5b.address import isDestinationAddress
from xmppbytes.s5b.stanzas import MAX_SID, NS_BYTESTREAMS, StreamHost, queryElement

MODES = ("tcp", "udp")


@dataclass(frozen=True, slots=True)
class BytestreamRequest:
    """
    What a Requester sends to a Target.

    @ivar sid: the stream ID.
    @ivar streamHosts: where the Target may connect to, those that can be used.
    @ivar mode: C{"tcp"} or C{"udp"}.
    @ivar destination: the requester's DST.ADDR; C{None} when it leaves that to the Target.
    """

    sid: str
    streamHosts: tuple[StreamHost, ...]
    mode: str = "tcp"
    destination: str | None = None

    @classmethod
    def fromElement(cls, query: Element) -> "BytestreamRequest":
        """
        Read a C{<query/>}.

        @raise StanzaError: C{bad-request}, when it breaks the protocol.
        """
        sid = query.getAttribute("sid", "")
        if not sid:
            raise StanzaError("bad-request", text="the query has no sid attribute")
        if len(sid) > MAX_SID:
            raise StanzaError("bad-request", text=f"the sid is longer than {MAX_SID} characters")
        mode = query.getAttribute("mode", "tcp")
        if mode not in MODES:
            raise StanzaError("bad-request", text="the query's mode is neither tcp nor udp")
        destination = query.getAttribute("dstaddr")
        if destination is not None and not isDestinationAddress(destination.encode("utf-8")):
            raise StanzaError("bad-request", text="the query's dstaddr is not 40 hexadecimal digits")
        elements = [e for e in query.elements() if e.name == "streamhost" and e.uri == NS_BYTESTREAMS]
        if not elements:
            raise StanzaError("bad-request", text="the query names no streamhost")
        # A streamhost that cannot be named in the answer, or be connected to, is of no use.
        usable = (one for one in map(StreamHost.fromElement, elements) if one is not None and one.jid)
        return cls(sid, tuple(dict.fromkeys(usable)), mode, destination)

    def toElement(self) -> Element:
        """
        Write a C{<query/>}.
        """
        query = queryElement(self.sid)
        query["mode"] = self.mode
        if self.destination is not None:
            query["dstaddr"] = self.destination
        for streamHost in self.streamHosts:
            query.addChild(streamHost.toElement())
        return query


def usedElement(sid: str, jid: str) -> Element:
    """
    Write the answer of a Target that is connected (section 5.3.3).

    @param sid: the stream ID.
    @param jid: that of the streamhost which was used.
    """
    query = queryElement(sid)
    query.addElement("streamhost-used")["jid"] = jid
    return query


def usedStreamHost(answer: Element) -> str | None:
    """
    Read the answer of a Target: which streamhost it has used.

    @param answer: the IQ stanza.
    @return: the streamhost's JID; C{None} when the answer names none.
    """
    for query in answer.elements():
        if query.uri != NS_BYTESTREAMS or query.name != "query":
            continue
        for used in query.elements():
            if used.name == "streamhost-used" and used.uri == NS_BYTESTREAMS:
                return used.getAttribute("jid") or None
    return None


def activationElement(sid: str, target: str) -> Element:
    """
    Write the request to activate a bytestream (section 6.3.5).

    @param sid: the stream ID.
    @param target: the target's address.
    """
    query = queryElement(sid)
    query.addElement("activate", content=target)
    return query
