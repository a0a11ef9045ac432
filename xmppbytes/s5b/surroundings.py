"""
What an S5B client knows of its surroundings when its XML stream runs through a server: names, hashes and
network addresses (XEP-0065 sections 5.3.2, 6.3.2 and 7).
"""

from typing import Any

from twisted.words.protocols.jabber.jid import JID, InvalidFormat
from zope.interface import implementer

from xmppbytes.connecting.addresses import LocalAddress, localAddresses, parseAddress, plainAddress
from xmppbytes.connecting.policy import AddressPolicy
from xmppbytes.errors import NegotiationError
from xmppbytes.interfaces import IBytestreamSurroundings
from xmppbytes.s5b.address import destinationAddress, preparedAddress
from xmppbytes.s5b.options import BytestreamOptions

# Psi looks at five streamhosts of an offer: leave one for a proxy.
MAX_OWN_ADDRESSES = 4


@implementer(IBytestreamSurroundings)
class ServerSurroundings:
    """
    Users and components of XMPP servers.
    """

    def __init__(self, options: BytestreamOptions, jid: str | None = None) -> None:
        """
        @param options: of which addresses and allowAddresses are used.
        @param jid: our own full JID, for a component that acts as one of its users; C{None}: what
            the stream is bound to.
        @raise ConfigurationError: when an allowed address is none.
        """
        self._addresses = options.addresses
        self._allow = tuple(options.allowAddresses)
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
        own: JID = getattr(self._stream.authenticator, "jid", None) or self._stream.thisEntity
        return str(own.full())

    def nameOf(self, address: str) -> str:
        """
        See L{IBytestreamSurroundings}.
        """
        return str(JID(address).full())

    def hashesOf(self, sid: str, requester: str, target: str) -> tuple[str, ...]:
        """
        See L{IBytestreamSurroundings}: the hash of the prepared addresses; then, where it differs,
        of the addresses as they are, since several clients do not prepare what they hash.
        """
        prepared = preparedAddress(sid, requester, target)
        received = destinationAddress(sid, requester, target)
        return (prepared,) if prepared == received else (prepared, received)

    def streamHostJID(self, sid: str) -> str:
        """
        See L{IBytestreamSurroundings}.
        """
        return self.ownName()

    def isRequesters(self, streamHostJID: str, requester: str, sid: str) -> bool:
        """
        See L{IBytestreamSurroundings}. In a multi-user chat the requester's streamhosts have its real
        JID, which we do not know: whatever has a local part is taken for a user, not for a proxy.
        """
        try:
            jid = JID(streamHostJID)
        except (InvalidFormat, UnicodeError):
            return False
        return jid.full() == requester or bool(jid.user)

    def proxyServer(self) -> str | None:
        """
        See L{IBytestreamSurroundings}.
        """
        own = JID(self.ownName())
        if own.user:
            return own.host
        return own.host.partition(".")[2] or own.host

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
        if self._stream is None:
            return ""
        address = getattr(self._stream.transport, which)()
        return plainAddress(str(getattr(address, "host", "")))


def _isUseful(address: LocalAddress, loopback: bool) -> bool:
    """
    Tell whether an address of ours means anything to somebody who comes by way of a server.
    """
    if address.ip.is_loopback:
        return loopback
    return not address.ip.is_link_local
