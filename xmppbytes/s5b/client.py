"""
The S5B client on XMPP, Requester and Target (XEP-0065 sections 3, 5, 6 and 7).
"""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.logger import Logger
from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish.domish import Element
from zope.interface import implementer

from xmppbytes.compat import disco, iwokkel
from xmppbytes.interfaces import IBytestreamAcceptor, IBytestreamSurroundings
from xmppbytes.s5b.options import BytestreamOptions
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS
from xmppbytes.stanza import RequestHandler


@implementer(iwokkel.IDisco)
class BytestreamsClientHandler(RequestHandler):
    """
    Opens bytestreams to others and accepts theirs, over any stream manager.
    """

    log = Logger()
    requests = {("set", NS_BYTESTREAMS, "query"): "onBytestreamRequest"}

    def __init__(
        self,
        reactor: Any,
        acceptor: IBytestreamAcceptor | None = None,
        options: BytestreamOptions | None = None,
        surroundings: IBytestreamSurroundings | None = None,
    ) -> None:
        """
        @param reactor: connects, listens, resolves names, tells the time.
        @param acceptor: decides about bytestreams that nobody expects; C{None}: all are refused.
        @param options: see L{BytestreamOptions}.
        @param surroundings: what kind of XMPP stream this is; C{None}: one to a server.
        """
        raise NotImplementedError

    def requestBytestream(
        self,
        target: str | JID,
        protocolFactory: IProtocolFactory,
        sid: str | None = None,
        options: BytestreamOptions | None = None,
    ) -> "Deferred[IProtocol]":
        """
        Open a bytestream: we are the Requester.

        The protocol is built, with a L{xmppbytes.core.bytestream.BytestreamAddress} whose C{route}
        tells which way the bytes go, once the target has connected and, through a proxy, the
        bytestream is active. Cancelling the Deferred leaves nothing behind.

        @param target: the full JID of the other side, or its room JID.
        @param protocolFactory: makes the protocol.
        @param sid: the stream ID; C{None}: a new one.
        @param options: for this bytestream only; C{None}: those of the handler.
        @return: fires with the connected protocol. Fails with L{Refused
            <xmppbytes.errors.Refused>} when the target says no, with L{NotReachable
            <xmppbytes.errors.NotReachable>} when no way to connect was found (another method, such
            as in-band bytestreams, may do), or another L{NegotiationError
            <xmppbytes.errors.NegotiationError>}.
        """
        raise NotImplementedError

    def expectBytestream(self, requester: str | JID, sid: str, acceptor: IBytestreamAcceptor) -> None:
        """
        Let this acceptor decide when this requester asks for a bytestream of this sid, as agreed
        upon before (by stream initiation, say). It stays until L{forgetBytestream}.

        @raise ValueError: when the bytestream is expected already.
        """
        raise NotImplementedError

    def forgetBytestream(self, requester: str | JID, sid: str) -> None:
        """
        Expect a bytestream no longer. One that is being connected is given up and refused; one that
        is connected is not touched. Does nothing when it is not expected.
        """
        raise NotImplementedError

    def onBytestreamRequest(self, iq: Element) -> Any:
        """
        Sections 5.3.1 and 6.3.1: somebody asks for a bytestream.
        """
        raise NotImplementedError

    def getDiscoInfo(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[object]:
        """
        Section 3, see L{iwokkel.IDisco}.
        """
        return [] if nodeIdentifier else [disco.DiscoFeature(NS_BYTESTREAMS)]

    def getDiscoItems(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[object]:
        """
        See L{iwokkel.IDisco}.
        """
        return []
