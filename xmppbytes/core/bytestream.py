"""
What an application sees of a bytestream: the offer of one, and where the other end is.
"""

from dataclasses import dataclass

from twisted.internet.interfaces import IAddress
from zope.interface import implementer


@dataclass(frozen=True, slots=True)
class BytestreamOffer:
    """
    Somebody asks us for a bytestream.

    @ivar requester: who asks: a prepared JID, or an instance name over a link-local stream. In a
        multi-user chat it is the occupant's room address.
    @ivar target: the address of ours that was asked.
    @ivar sid: the stream ID that the requester has chosen.
    """

    requester: str
    target: str
    sid: str


@dataclass(frozen=True, slots=True)
class Route:
    """
    Which way the bytes of a bytestream go.

    @ivar address: the IP address at the other end of our connection.
    @ivar port: its port.
    @ivar proxy: the JID of the proxy or relay that is there; C{None} when it is the peer itself.
    @ivar encrypted: whether the bytes are encrypted from end to end, by TLS.
    """

    address: str
    port: int
    proxy: str | None = None
    encrypted: bool = False

    def __str__(self) -> str:
        way = f"direct to {self.address}" if self.proxy is None else f"through {self.proxy}"
        return f"{way}, encrypted" if self.encrypted else way


@implementer(IAddress)
@dataclass(frozen=True, slots=True)
class BytestreamAddress:
    """
    The other end of a bytestream: what C{buildProtocol} is called with.

    @ivar peer: the XMPP address of the other party.
    @ivar sid: the stream ID.
    @ivar route: which way the bytes go.
    """

    peer: str
    sid: str
    route: Route
