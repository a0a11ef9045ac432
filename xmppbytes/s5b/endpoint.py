"""
A bytestream as a Twisted endpoint.
"""

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.words.protocols.jabber.jid import JID
from zope.interface import implementer

from xmppbytes.s5b.options import BytestreamOptions

if TYPE_CHECKING:
    from xmppbytes.s5b.client import BytestreamsClientHandler


@implementer(IStreamClientEndpoint)
class BytestreamEndpoint:
    """
    Connects to a JID: what takes an endpoint can run over a bytestream.
    """

    def __init__(
        self,
        handler: "BytestreamsClientHandler",
        target: str | JID,
        options: BytestreamOptions | None = None,
    ) -> None:
        """
        @param handler: the client, on its XML stream.
        @param target: the full JID of the other side.
        @param options: C{None}: those of the handler.
        """
        self._handler = handler
        self._target = target
        self._options = options

    def connect(self, protocolFactory: Any) -> "Deferred[Any]":
        """
        See L{IStreamClientEndpoint}; each call opens a bytestream of its own.
        """
        return self._handler.requestBytestream(self._target, protocolFactory, options=self._options)
