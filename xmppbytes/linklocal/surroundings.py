"""
What an S5B client knows of its surroundings on the link: names that are hashed as they are, no proxies,
and addresses of the link on which the peer is (an L{IBytestreamSurroundings}).
"""

import hashlib
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Any

from zope.interface import implementer

from xmppbytes.connecting.addresses import parseAddress, plainAddress
from xmppbytes.errors import NegotiationError, NotReachable
from xmppbytes.interfaces import IAddressPolicy, IBytestreamSurroundings
from xmppbytes.linklocal.discovery import Discovery
from xmppbytes.linklocal.mesh import Mesh
from xmppbytes.linklocal.stream import PeerStream


@implementer(IBytestreamSurroundings)
class LinkSurroundings:
    """
    People on the links of this machine.
    """

    def __init__(self, discovery: Discovery, mesh: Mesh) -> None:
        """
        @param discovery: knows who is where.
        @param mesh: knows over which connection each peer speaks.
        """
        self._discovery = discovery
        self._mesh = mesh

    def attached(self, stream: Any) -> None:
        """
        See L{IBytestreamSurroundings}: the mesh itself is asked.
        """

    def ownName(self) -> str:
        """
        See L{IBytestreamSurroundings}.
        """
        if self._mesh.xmlstream is None:
            raise NegotiationError("no presence name is won at present; try again later")
        return self._discovery.name

    def nameOf(self, address: str) -> str:
        """
        See L{IBytestreamSurroundings}: the name as it is published. It is never prepared as a JID, which
        would change the hash.
        """
        buddy = self._discovery.roster.get(address)
        return buddy.name if buddy is not None else address

    def hashesOf(self, sid: str, requester: str, target: str) -> tuple[str, ...]:
        """
        See L{IBytestreamSurroundings}.
        """
        text = f"{sid}{requester}{target}"
        return (hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(),)

    def streamHostJID(self, sid: str) -> str:
        """
        See L{IBytestreamSurroundings}: the sid, as libpurple has it.
        """
        return sid

    def isRequesters(self, streamHostJID: str, requester: str, sid: str) -> bool:
        """
        See L{IBytestreamSurroundings}: there are no proxies here, and libpurple's streamhosts are named by
        the sid.
        """
        return True

    def proxyServer(self) -> str | None:
        """
        See L{IBytestreamSurroundings}.
        """
        return None

    def offeredAddresses(self, peer: str) -> list[str]:
        """
        See L{IBytestreamSurroundings}: ours on the link on which we speak with this peer, the one that we
        speak from first. Without scope: it would be ours, not the peer's.
        """
        stream = self._mesh.stream(peer)
        if stream is None:
            return []
        own = stream.ownAddress
        link = self._discovery.linkOf(stream.address, own)
        addresses = [own, *(self._discovery.ownAddresses(link) if link is not None else ())]
        return [address.partition("%")[0] for address in dict.fromkeys(addresses)]

    def mayConnect(self, peer: str, address: str) -> bool:
        """
        Tell whether an address is one of a peer's: only the peer itself may fetch what is for it.
        """
        try:
            self.policyFor(peer).admit(plainAddress(address).partition("%")[0])
        except NotReachable:
            return False
        return True

    def policyFor(self, peer: str) -> "PeerPolicy":
        """
        See L{IBytestreamSurroundings}: only the peer's own addresses, on the link over which it speaks, are
        connected to.
        """
        return PeerPolicy(peer, lambda: self._mesh.stream(peer), self._discovery)


@implementer(IAddressPolicy)
class PeerPolicy:
    """
    Permits the addresses that a peer has published on the link over which it speaks.
    """

    def __init__(self, peer: str, stream: Callable[[], PeerStream | None], discovery: Discovery) -> None:
        self._peer = peer
        self._stream = stream
        self._discovery = discovery

    def admit(self, address: str) -> str:
        """
        See L{IAddressPolicy}.
        """
        stream = self._stream()
        ip = parseAddress(address)
        if stream is None or ip is None:
            raise NotReachable(f"{address!r} is no IP address, or {self._peer} is gone")
        link = self._discovery.linkOf(stream.address, stream.ownAddress)
        known = self._discovery.knownAddresses(self._peer, link) if link is not None else set()
        # Address records live for two minutes, streams for hours.
        permitted = {stream.address, *(known or stream.addresses)}
        candidates = [str(ip)]
        if isinstance(ip, IPv6Address) and ip.is_link_local and not ip.scope_id:
            candidates = [one for one in permitted if one.partition("%")[0] == str(ip)]
        for candidate in candidates:
            if candidate in permitted:
                return candidate
        raise NotReachable(f"{address} is not an address of {self._peer} on the link that we speak over")
