"""
What an S5B client knows of its surroundings when its XML stream runs through a server: names, hashes and
network addresses (XEP-0065 sections 5.3.2, 6.3.2 and 7).
"""

from twisted.words.protocols.jabber.jid import InvalidFormat
from zope.interface import implementer

from xmppbytes.connecting.surroundings import ServerEntity
from xmppbytes.interfaces import IBytestreamSurroundings
from xmppbytes.jids import prepareJID
from xmppbytes.s5b.address import destinationAddress, latin1Address, preparedAddress
from xmppbytes.s5b.options import BytestreamOptions


@implementer(IBytestreamSurroundings)
class ServerSurroundings(ServerEntity):
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
        super().__init__(options.addresses, options.allowAddresses, jid)

    def hashesOf(self, sid: str, requester: str, target: str) -> tuple[str, ...]:
        """
        See L{IBytestreamSurroundings}: the hash of the prepared addresses; then, where it differs,
        of the addresses as they are, since several clients do not prepare what they hash; and of their
        Latin-1, which QXmpp hashes.
        """
        prepared = preparedAddress(sid, requester, target)
        received = destinationAddress(sid, requester, target)
        return tuple(dict.fromkeys((prepared, received, latin1Address(sid, requester, target))))

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
            name = self.nameOf(streamHostJID)
        except InvalidFormat:
            return False
        return name == requester or "@" in name.partition("/")[0]

    def proxyServer(self) -> str | None:
        """
        See L{IBytestreamSurroundings}.
        """
        own = prepareJID(self.ownName())
        if own.user:
            return own.host
        return own.host.partition(".")[2] or own.host
