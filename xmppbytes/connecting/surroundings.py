"""
What a client knows of itself and of the network when its XML stream runs through a server.
"""

from collections.abc import Sequence
from typing import Any

from twisted.words.protocols.jabber.jid import JID

from xmppbytes.connecting.addresses import LocalAddress, localAddresses, parseAddress, plainAddress
from xmppbytes.connecting.policy import AddressPolicy
from xmppbytes.errors import NegotiationError
from xmppbytes.jids import prepareJID

# Psi looks at five streamhosts of an offer: leave one for a proxy.
MAX_OWN_ADDRESSES = 4


class ServerEntity:
    """
    A user or component of an XMPP server: the part of an
    L{IBytestreamSurroundings<xmppbytes.interfaces.IBytestreamSurroundings>} that is not about SOCKS5.
    """

    def __init__(
        self, addresses: Sequence[str] | None = None, allow: Sequence[str] = (), jid: str | None = None
    ) -> None:
        """
        @param addresses: our own IP addresses or names to offer; C{None}: those of this machine.
        @param allow: addresses or networks that may be connected to in any case.
        @param jid: our own full JID, for a component that acts as one of its users; C{None}: what
            the stream is bound to.
        @raise ConfigurationError: when an allowed address is none.
        """
        self._addresses = addresses
        self._allow = tuple(allow)
        self._jid = jid
        self._stream: Any = None
        AddressPolicy(allow=self._allow)

    def attached(self, stream: Any) -> None:
        """
        See L{IBytestreamSurroundings}.
        """
        self._stream = stream

    def ownName(self) -> str:
        """
        See L{IBytestreamSurroundings}.
        """
        if self._jid is not None:
            return self.nameOf(self._jid)
        if self._stream is None:
            raise NegotiationError("there is no connection to the XMPP server at present; try again later")
        authenticator = getattr(self._stream, "authenticator", None)
        own: JID = getattr(authenticator, "jid", None) or self._stream.thisEntity
        return str(own.full())

    def nameOf(self, address: str) -> str:
        """
        See L{IBytestreamSurroundings}.
        """
        return str(prepareJID(address).full())

    def offeredAddresses(self, peer: str) -> list[str]:
        """
        See L{IBytestreamSurroundings}: the address over which the server was reached, then the others;
        those of the loopback only when the server was reached over it, and last.
        """
        if self._addresses is not None:
            return list(self._addresses)
        over = parseAddress(self._end("getHost"))
        loopback = over is not None and over.is_loopback
        found = [one for one in localAddresses() if _isUseful(one, loopback)]
        found.sort(key=lambda one: (one.ip.is_loopback, one.ip != over))
        return [str(one) for one in found][:MAX_OWN_ADDRESSES]

    def policyFor(self, peer: str) -> AddressPolicy:
        """
        See L{IBytestreamSurroundings}: what is as near to us as the server is may be connected to.
        """
        return AddressPolicy.reachedOver(self._end("getPeer"), self._allow)

    def _end(self, which: str) -> str:
        """
        The IP address of one end of the connection to the server; empty when it has none.
        """
        transport = getattr(self._stream, "transport", None)
        if transport is None:
            return ""
        address = getattr(transport, which)()
        return plainAddress(str(getattr(address, "host", "")))


def _isUseful(address: LocalAddress, loopback: bool) -> bool:
    """
    Tell whether an address of ours means anything to somebody who comes by way of a server.
    """
    if address.ip.is_loopback:
        return loopback
    return not address.ip.is_link_local
