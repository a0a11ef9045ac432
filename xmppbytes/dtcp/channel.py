"""
TLS on a DTCP connection: who must have it, and whose certificate is the right one (XEP-0046 3.3.1).

By default each process shows a self-signed certificate and tells its fingerprint in the IQ, so that the
channel is as trustworthy as the XMPP stream. An application may bring contexts of its own instead, with
an authority and service_identity: they decide then, and no fingerprint is told.
"""

from collections.abc import Callable
from enum import Enum
from typing import Any

from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)

from xmppbytes.tls import (
    Identity,
    PinnedClient,
    PinnedServer,
    createIdentity,
    peerFingerprint,
    sameFingerprint,
)


class TLSMode(Enum):
    """
    Whether a channel is encrypted.

    @cvar OFF: never; C{starttls} is answered by C{error}.
    @cvar OPTIONAL: whenever the other side can. When it tells a fingerprint it can, and the channel is
        encrypted and verified or not made at all.
    @cvar REQUIRED: always, and verified.
    """

    OFF = "off"
    OPTIONAL = "optional"
    REQUIRED = "required"


class ChannelTLS:
    """
    The TLS of one client's channels.
    """

    def __init__(
        self,
        mode: TLSMode = TLSMode.OPTIONAL,
        identity: Identity | None = None,
        serverContext: IOpenSSLServerConnectionCreator | None = None,
        clientContext: Callable[[str], IOpenSSLClientConnectionCreator] | None = None,
    ) -> None:
        """
        @param identity: our certificate; C{None}: a new one.
        @param serverContext: used when we serve, instead of the identity.
        @param clientContext: gets the peer's JID, makes what is used when we connect to that peer.
        @raise ValueError: when only one of the two contexts is given.
        """
        if (serverContext is None) is not (clientContext is None):
            raise ValueError("give both contexts or none: either side may be the one that connects")
        self.mode = mode
        self._identity = identity
        self._serverContext = serverContext
        self._clientContext = clientContext

    @property
    def wanted(self) -> bool:
        """
        Whether TLS is asked for and offered.
        """
        return self.mode is not TLSMode.OFF

    @property
    def pinned(self) -> bool:
        """
        Whether certificates are verified by fingerprint.
        """
        return self.wanted and self._clientContext is None

    @property
    def identity(self) -> Identity:
        """
        Our certificate, made when it is needed first.
        """
        if self._identity is None:
            self._identity = createIdentity()
        return self._identity

    @property
    def fingerprint(self) -> str | None:
        """
        What the other side is told.
        """
        return self.identity.fingerprint if self.pinned else None

    def forServing(self) -> IOpenSSLServerConnectionCreator:
        """
        What is given to C{startTLS} where we serve.
        """
        if self._serverContext is not None:
            return self._serverContext
        context: IOpenSSLServerConnectionCreator = PinnedServer(self.identity)
        return context

    def forConnecting(self, peer: str, fingerprint: str | None) -> IOpenSSLClientConnectionCreator:
        """
        What is given to C{startTLS} where we connect.

        @param peer: the other side's JID.
        @param fingerprint: what it told.
        """
        if self._clientContext is not None:
            return self._clientContext(peer)
        context: IOpenSSLClientConnectionCreator = PinnedClient(self.identity, fingerprint)
        return context

    def objectionToPeer(self, fingerprint: str | None) -> str | None:
        """
        Tell why no channel to a peer can be good enough, if so.

        @param fingerprint: what the peer told.
        """
        if self.mode is TLSMode.REQUIRED and self.pinned and fingerprint is None:
            return "verified TLS is required here, and the other side tells no fingerprint of a certificate"
        return None

    def objectionTo(self, transport: Any, secured: bool, fingerprint: str | None) -> str | None:
        """
        Tell why a connection may not be used as it is, if so.

        @param secured: whether TLS was begun on it.
        @param fingerprint: what the peer told.
        """
        if not secured:
            if self.mode is TLSMode.REQUIRED or (self.pinned and fingerprint is not None):
                return "starttls first"
            return None
        if not self.pinned:
            return None
        if fingerprint is None:
            return self.objectionToPeer(None)
        if not sameFingerprint(peerFingerprint(transport), fingerprint):
            return "the certificate is not the one whose fingerprint was told over XMPP"
        return None
