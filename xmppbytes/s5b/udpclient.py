"""
The S5B client on XMPP in UDP mode, Requester and Target (XEP-0065 section 8).
"""

from collections.abc import Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.words.protocols.jabber.jid import JID, InvalidFormat
from twisted.words.xish.domish import Element

from xmppbytes.core.bytestream import BytestreamOffer
from xmppbytes.interfaces import IBytestreamSurroundings, IDatagramAcceptor, IDatagramProtocol
from xmppbytes.s5b.associate import Associator
from xmppbytes.s5b.client import BytestreamsClientHandler
from xmppbytes.s5b.notices import NoticeBoard, noticeMessage
from xmppbytes.s5b.options import BytestreamOptions
from xmppbytes.s5b.request import BytestreamRequest
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS_UDP, udpSuccessIn
from xmppbytes.s5b.streamhost import LocalStreamHost
from xmppbytes.s5b.udphost import LocalDatagramHost
from xmppbytes.s5b.udpsession import DatagramMeans, DatagramRequester, DatagramTarget, StreamAcceptor


class DatagramsClientHandler(BytestreamsClientHandler):
    """
    Opens UDP bytestreams to others and accepts theirs. It stands beside a
    L{BytestreamsClientHandler}, which has those over TCP, on the same stream manager.
    """

    mode = "udp"
    feature = NS_BYTESTREAMS_UDP

    def __init__(
        self,
        reactor: Any,
        acceptor: IDatagramAcceptor | None = None,
        options: BytestreamOptions | None = None,
        surroundings: IBytestreamSurroundings | None = None,
    ) -> None:
        """
        @param reactor: connects, listens, resolves names, tells the time.
        @param acceptor: decides about bytestreams that nobody expects; C{None}: all are refused.
        @param options: see L{BytestreamOptions}; ports are those of TCP and of UDP.
        @param surroundings: what kind of XMPP stream this is; C{None}: one to a server.
        """
        wrapped = None if acceptor is None else StreamAcceptor(acceptor)
        super().__init__(reactor, cast(Any, wrapped), options, surroundings)
        self._board = NoticeBoard()
        names = self._surroundings.nameOf
        host = LocalDatagramHost(reactor, self.options.ports, self._notify)
        self._means = self._datagrams = DatagramMeans(
            reactor,
            self._surroundings,
            cast(LocalStreamHost, host),
            self._finder,
            self.ask,
            Associator(reactor, self._board, names),
        )

    def connectionInitialized(self) -> None:
        """
        See L{BytestreamsClientHandler}.
        """
        super().connectionInitialized()
        # Before the handler of TCP mode, which would refuse them.
        self.xmlstream.removeObserver("/iq", self.handleRequest)
        self.xmlstream.addObserver("/iq", self._handleDatagramRequest, 1)
        self.xmlstream.addObserver("/message/udpsuccess", self._onMessage)

    def _handleDatagramRequest(self, iq: Any) -> None:
        child = iq.firstChildElement()
        if child is not None and child.getAttribute("mode") == self.mode:
            self.handleRequest(iq)

    def requestDatagrams(
        self,
        target: str | JID,
        protocol: IDatagramProtocol,
        sid: str | None = None,
        options: BytestreamOptions | None = None,
    ) -> "Deferred[IDatagramProtocol]":
        """
        Open a UDP bytestream: we are the Requester.

        A target that does not name UDP mode among its features is not asked, and proxies that do not
        are not offered.

        @param target: the full JID of the other side.
        @param protocol: gets the bytestream, an L{IDatagramTransport
            <xmppbytes.interfaces.IDatagramTransport>}, once the target has initialised its channel
            and, through a proxy, the bytestream is active.
        @param sid: the stream ID; C{None}: a new one.
        @param options: for this bytestream only; C{None}: those of the handler.
        @return: fires with the protocol. Fails with L{Refused<xmppbytes.errors.Refused>}, with
            L{NotReachable<xmppbytes.errors.NotReachable>} when no way to connect was found, or
            another L{NegotiationError<xmppbytes.errors.NegotiationError>}. May be cancelled.
        """
        chosen = options or self.options
        return self._request(
            target, sid, lambda key: DatagramRequester(self._datagrams, *key, chosen).connect(protocol)
        )

    def expectDatagrams(self, requester: str | JID, sid: str, acceptor: IDatagramAcceptor) -> None:
        """
        Let this acceptor decide when this requester asks for a UDP bytestream of this sid. It stays
        until C{forgetBytestream}.

        @raise ValueError: when the bytestream is expected already.
        @raise InvalidFormat: when the requester's address is none.
        """
        self.expectBytestream(requester, sid, cast(Any, StreamAcceptor(acceptor)))

    def makeTargetSession(
        self, acceptor: Any, offer: BytestreamOffer, request: BytestreamRequest, destinations: Sequence[str]
    ) -> DatagramTarget:
        """
        See L{BytestreamsClientHandler}.
        """
        return DatagramTarget(self._datagrams, acceptor, offer, request, destinations, self.options)

    def _notify(self, jid: str, destination: str) -> bool:
        """
        Send a C{<udpsuccess/>}: we are the StreamHost.
        """
        if self.xmlstream is None:
            return False
        message = noticeMessage(jid, destination)
        message["from"] = self._surroundings.ownName()
        self.send(message)
        return True

    def _onMessage(self, message: Element) -> None:
        """
        Section 8.3.2: a StreamHost may have our initialization packet.
        """
        destination = udpSuccessIn(message)
        if destination is None:
            return
        try:
            sender = self._surroundings.nameOf(message.getAttribute("from", "") or "?")
        except (InvalidFormat, UnicodeError):
            return
        self._board.notice(sender, destination)
