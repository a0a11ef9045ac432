"""
In-Band Bytestreams on XMPP (XEP-0047): the last resort, when no connection can be made.

Has the face of the other kinds of bytestream: see
L{IBytestreamClient<xmppbytes.filetransfer.methods.IBytestreamClient>}.
"""

import secrets
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish.domish import Element
from zope.interface import implementer

from xmppbytes.compat import disco, iwokkel
from xmppbytes.core.bytestream import BytestreamAddress, BytestreamOffer
from xmppbytes.errors import LimitReached, Refused, WireError
from xmppbytes.filetransfer.blocks import (
    NS_IBB,
    InBandRoute,
    decodeBlock,
    readNumber,
    refuse,
)
from xmppbytes.filetransfer.carrier import Carrier
from xmppbytes.filetransfer.inband import Broken, InBandTransport
from xmppbytes.interfaces import IBytestreamAcceptor
from xmppbytes.stanza import RequestHandler

# What XEP-0047 recommends; servers limit the size of a stanza.
BLOCK_SIZE = 4096
MAX_BLOCK_SIZE = 65535
# In-band bytestreams of one stream manager, both roles.
MAX_STREAMS = 100


@implementer(iwokkel.IDisco)
class InBandHandler(RequestHandler):
    """
    Opens in-band bytestreams to others, and accepts those that are expected.
    """

    log = Logger()
    requests = {
        ("set", NS_IBB, "open"): "onOpen",
        ("set", NS_IBB, "data"): "onData",
        ("set", NS_IBB, "close"): "onClose",
    }

    def __init__(self, clock: IReactorTime, blockSize: int = BLOCK_SIZE) -> None:
        """
        @param clock: an C{IReactorTime}.
        @param blockSize: how large our blocks are, in bytes, unless the other side wants them smaller.
        """
        super().__init__()
        self._clock = clock
        self._blockSize = blockSize
        self._streams: dict[tuple[str, str], InBandTransport] = {}
        self._expected: dict[tuple[str, str], IBytestreamAcceptor] = {}
        # Not open yet: those that we have asked for, and those about which an acceptor thinks.
        self._asked: set[tuple[str, str]] = set()
        self._undecided: dict[tuple[str, str], Deferred[Any]] = {}

    def connectionInitialized(self) -> None:
        """
        See L{XMPPHandler<wokkel.subprotocols.XMPPHandler>}.
        """
        super().connectionInitialized()
        self.xmlstream.addObserver("/message", self.onMessage)
        self.xmlstream.addObserver("/presence[@type='unavailable']", self.onUnavailable)

    def connectionLost(self, reason: Any) -> None:
        """
        See L{XMPPHandler<wokkel.subprotocols.XMPPHandler>}: with the XML stream all are lost.
        """
        super().connectionLost(reason)
        for decision in list(self._undecided.values()):
            decision.cancel()
        for transport in list(self._streams.values()):
            transport.connectionLost(Failure(Broken("the connection to our own server was lost")))

    def onUnavailable(self, presence: Any) -> None:
        """
        Somebody has gone offline, perhaps in the middle of a stream.
        """
        sender = presence.getAttribute("from", "")
        for (peer, _), transport in list(self._streams.items()):
            if peer == sender:
                transport.peerOffline()

    # The side that opens.

    def requestBytestream(
        self, target: str | JID, protocolFactory: IProtocolFactory, sid: str | None = None
    ) -> "Deferred[IProtocol]":
        """
        Open a bytestream (section 2.1).

        @param target: the full JID of the other side, or what names it on this stream.
        @param protocolFactory: makes the protocol.
        @param sid: the stream ID; C{None}: a new one.
        @return: fires with the connected protocol; fails with L{Refused} or L{NotReachable}, or with
            L{LimitReached} or C{ValueError} before the other side is asked: when too many are open, or
            one of this sid.
        """
        peer = target.full() if isinstance(target, JID) else target
        return Deferred.fromCoroutine(self._open((peer, sid or secrets.token_hex(8)), protocolFactory))

    async def _open(self, key: tuple[str, str], factory: IProtocolFactory) -> Any:
        self._checkRoom()
        if key in self._asked or key in self._streams:
            raise ValueError(f"an in-band bytestream of sid {key[1]} with {key[0]} is open already")
        self._asked.add(key)
        carrier = self._carrier(key)
        try:
            blockSize = await carrier.open(self._blockSize)
        finally:
            self._asked.discard(key)
        try:
            return self._start(key, blockSize, factory, opener=True)
        except BaseException:
            # The other side has agreed.
            carrier.closeUnused()
            raise

    def _carrier(self, key: tuple[str, str]) -> Carrier:
        return Carrier(self.ask, *key, lambda: self._streams.pop(key, None))

    # The side that is opened to.

    def expectBytestream(self, requester: str | JID, sid: str, acceptor: IBytestreamAcceptor) -> None:
        """
        Let this acceptor decide when this requester opens a bytestream of this sid. It stays until
        L{forgetBytestream}.

        @raise ValueError: when the bytestream is expected already.
        """
        key = _key(requester, sid)
        if key in self._expected:
            raise ValueError(f"the bytestream {sid} of {requester} is expected already")
        self._expected[key] = acceptor

    def forgetBytestream(self, requester: str | JID, sid: str) -> None:
        """
        Expect a bytestream no longer: one about which is not decided yet is refused, one that is open
        is not touched.
        """
        key = _key(requester, sid)
        self._expected.pop(key, None)
        if key in self._undecided:
            self._undecided[key].cancel()

    def onOpen(self, iq: Element) -> Any:
        """
        Section 2.1: somebody opens a bytestream.
        """
        element = iq.firstChildElement()
        peer, sid = iq.getAttribute("from", ""), element.getAttribute("sid", "")
        blockSize = readNumber(element.getAttribute("block-size"), MAX_BLOCK_SIZE)
        if not sid or not blockSize:
            raise StanzaError("bad-request", text=f"give a sid, and a block-size of 1 to {MAX_BLOCK_SIZE}")
        key = peer, sid
        acceptor = self._expected.get(key)
        if acceptor is None or key in self._streams or key in self._undecided:
            raise StanzaError("not-acceptable", text="no such bytestream was agreed upon")
        offer = BytestreamOffer(peer, iq.getAttribute("to", ""), sid)
        return self._decide(acceptor, offer, blockSize).addCallbacks(lambda _: None, refuse)

    def _decide(self, acceptor: IBytestreamAcceptor, offer: BytestreamOffer, blockSize: int) -> Any:
        """
        Let the acceptor decide, when there is room.

        @return: a Deferred of the protocol.
        """
        try:
            self._checkRoom()
        except LimitReached:
            return fail()
        key = offer.requester, offer.sid
        decision = self._undecided[key] = maybeDeferred(acceptor.bytestreamRequested, offer)

        def decided(result: Any) -> Any:
            del self._undecided[key]
            return result

        decision.addBoth(decided)
        return decision.addCallback(lambda factory: self._start(key, blockSize, factory, opener=False))

    def _start(self, key: tuple[str, str], blockSize: int, factory: Any, opener: bool) -> Any:
        peer, sid = key
        address = BytestreamAddress(peer, sid, InBandRoute())  # type: ignore[arg-type]
        protocol = factory.buildProtocol(address)
        if protocol is None:
            raise Refused("the application does not want the connection")
        transport = InBandTransport(self._clock, self._carrier(key), address, blockSize, opener)
        self._streams[key] = transport
        self.log.info(
            "In-band bytestream {sid!r} with {peer}: blocks of {blockSize} bytes",
            sid=sid,
            peer=peer,
            blockSize=blockSize,
        )
        transport.start(protocol)
        # What the protocol writes at once is to follow the result of <open/>, not to overtake it.
        self._clock.callLater(0, transport.uncork)
        return protocol

    # The blocks.

    def onData(self, iq: Element) -> "Deferred[None]":
        """
        Section 2.2: a block, to be acknowledged.
        """
        return self._blockReceived(iq).addErrback(refuse)

    def onMessage(self, message: Any) -> None:
        """
        Section 4: a block in a message. There is no answer; what is wrong with it ends the stream.
        """
        element = next((e for e in message.elements() if e.name == "data" and e.uri == NS_IBB), None)
        if element is None or message.handled or message.getAttribute("type") == "error":
            return
        message.handled = True
        key = message.getAttribute("from", ""), element.getAttribute("sid", "")
        transport = self._streams.get(key)
        if transport is None:
            return

        def failed(failure: Any) -> None:
            self.log.info("In-band bytestream {sid!r} ended: {reason}", sid=key[1], reason=failure.value)
            if key in self._streams:
                transport.abortConnection()
            else:
                self._carrier(key).closeUnused()

        maybeDeferred(self._take, transport, element).addErrback(failed)

    def _blockReceived(self, iq: Element) -> "Deferred[None]":
        element = iq.firstChildElement()
        transport = self._streams.get((iq.getAttribute("from", ""), element.getAttribute("sid", "")))
        if transport is None:
            raise StanzaError("item-not-found", text="there is no such in-band bytestream")
        return maybeDeferred(self._take, transport, element)

    def _take(self, transport: InBandTransport, element: Element) -> "Deferred[None]":
        seq = readNumber(element.getAttribute("seq"), 0xFFFF)
        if seq is None:
            error = WireError("a block without a number")
            transport.connectionLost(Failure(error))
            raise error
        try:
            data = decodeBlock(str(element))
        except WireError as e:
            transport.connectionLost(Failure(e))
            raise
        return transport.blockReceived(seq, data)

    def onClose(self, iq: Element) -> None:
        """
        Section 2.3: the other side closes.
        """
        sid = iq.firstChildElement().getAttribute("sid", "")
        transport = self._streams.get((iq.getAttribute("from", ""), sid))
        if transport is None:
            raise StanzaError("item-not-found", text="there is no such in-band bytestream")
        transport.closeReceived()

    def _checkRoom(self) -> None:
        if len(self._streams) + len(self._asked) + len(self._undecided) >= MAX_STREAMS:
            raise LimitReached(f"{MAX_STREAMS} in-band bytestreams are open, which is the limit; wait")

    def getDiscoInfo(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[object]:
        """
        See L{iwokkel.IDisco}.
        """
        return [] if nodeIdentifier else [disco.DiscoFeature(NS_IBB)]

    def getDiscoItems(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[object]:
        """
        See L{iwokkel.IDisco}.
        """
        return []


def _key(requester: str | JID, sid: str) -> tuple[str, str]:
    return requester.full() if isinstance(requester, JID) else requester, sid
