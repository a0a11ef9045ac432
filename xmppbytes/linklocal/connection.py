"""
The connection below an XML stream: bytes to elements and back, the closing handshake, and a peer that
sends too much, reads too little, or is gone without a word.
"""

from collections.abc import Callable
from enum import Enum
from typing import Any
from xml.sax.saxutils import quoteattr

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.words.xish.domish import Element
from zope.interface import implementer

from xmppbytes.core.throttle import BURST_SECONDS, TokenBucket
from xmppbytes.errors import BytestreamError
from xmppbytes.linklocal.tcp import scopedAddress, tune, unacknowledgedBytes
from xmppbytes.xmlparser import StreamBroken, StreamParser

NS_STREAMS = "http://etherx.jabber.org/streams"
NS_CLIENT = "jabber:client"
NS_STREAM_ERRORS = "urn:ietf:params:xml:ns:xmpp-streams"

# Seconds that the other side has for its closing tag, and to close the connection.
CLOSE_TIMEOUT = 5.0
# What one address may send on average over all its connections, bytes a second.
BYTES_PER_SECOND = 1 << 20


class Phase(Enum):
    """
    How far a stream has come.
    """

    HEADER = 1
    FEATURES = 2
    PROCEED = 3
    HANDSHAKE = 4
    READY = 5
    CLOSING = 6
    OVER = 7


@implementer(IPushProducer)
class XmlConnection(Protocol):
    """
    One connection, of which a stream with one peer is made. Subclasses say what is done with the header
    and the elements.

    @ivar address: the peer's IP address, with scope.
    @ivar ownAddress: ours.
    """

    log = Logger()
    transport: Any

    def __init__(self, clock: IReactorTime, bucket: TokenBucket | None = None) -> None:
        """
        @param clock: the reactor, or a L{twisted.internet.task.Clock}.
        @param bucket: what may be read; C{None}: its own, of L{BYTES_PER_SECOND}.
        """
        self.address = ""
        self.ownAddress = ""
        self._clock = clock
        self._phase = Phase.HEADER
        self._reason = ""
        self._error: BytestreamError | None = None
        self._clean = False
        self._headerSent = False
        self._timer: IDelayedCall | None = None
        self._bucket = bucket or TokenBucket(BYTES_PER_SECOND, clock.seconds)
        self._throttle: IDelayedCall | None = None
        # Reasons not to read: what we have sent is not taken, or it is not known yet who speaks.
        self._blocked = False
        self._held = False
        self._events: list[Callable[[], None]] = []
        self._newParser()

    def connectionMade(self) -> None:
        """
        See L{Protocol}.
        """
        self.address = scopedAddress(self.transport.getPeer())
        self.ownAddress = scopedAddress(self.transport.getHost())
        tune(self.transport)

    def _setTimer(self, seconds: float, late: Callable[..., None], *arguments: Any) -> None:
        self._stopTimer()
        self._timer = self._clock.callLater(seconds, late, *arguments)

    def _stopTimer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    # What comes in

    def _newParser(self) -> None:
        self._parser = StreamParser(
            self._headerReceived,
            lambda element: self._inOrder(lambda: self._elementReceived(element)),
            lambda: self._inOrder(self._endReceived),
        )

    def _headerReceived(self, root: Element) -> None:
        """
        The peer's stream header has come.
        """
        raise NotImplementedError

    def _elementReceived(self, element: Element) -> None:
        """
        An element has come.
        """
        raise NotImplementedError

    def _inOrder(self, event: Callable[[], None]) -> None:
        """
        Do something now, or after L{_release}.
        """
        if self._held:
            self._events.append(event)
        else:
            event()

    def _hold(self) -> None:
        """
        Read nothing for now; what came in one piece with the header waits.
        """
        self._held = True
        self._updateReading()

    def _release(self) -> None:
        """
        Undo L{_hold}.
        """
        self._held = False
        self._updateReading()
        events, self._events = self._events, []
        for event in events:
            event()

    def dataReceived(self, data: bytes) -> None:
        """
        See L{Protocol}.
        """
        if self._phase is Phase.OVER:
            return
        self._bucket.spend(len(data))
        self._throttleReading()
        try:
            self._parser.feed(data)
        except StreamBroken as error:
            self.fail(error.condition, error)

    def _throttleReading(self) -> None:
        if self._throttle is None and self._bucket.room() <= 0:
            self._throttle = self._clock.callLater(BURST_SECONDS, self._readOn)
            self._updateReading()

    def _readOn(self) -> None:
        self._throttle = None
        self._throttleReading()
        self._updateReading()

    def _updateReading(self) -> None:
        if self._phase is Phase.OVER:
            return
        if self._blocked or self._held or self._throttle is not None:
            self.transport.pauseProducing()
        else:
            self.transport.resumeProducing()

    def pauseProducing(self) -> None:
        """
        See L{IPushProducer}: who does not read what we answer is not read either.
        """
        self._blocked = True
        self._updateReading()

    def resumeProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self._blocked = False
        self._updateReading()

    def stopProducing(self) -> None:
        """
        See L{IPushProducer}; connectionLost does what is to be done.
        """

    # What goes out

    def _write(self, text: str) -> None:
        self.transport.write(text.encode())

    def _writeHeader(self, own: str, peer: str) -> None:
        self._headerSent = True
        self._write(
            f"<?xml version='1.0' encoding='UTF-8'?><stream:stream xmlns='{NS_CLIENT}' "
            f"xmlns:stream='{NS_STREAMS}' from={quoteattr(own)} to={quoteattr(peer)} version='1.0'>"
        )

    def _writeElement(self, element: Element) -> None:
        self._write(
            element.toXml(prefixes={NS_STREAMS: "stream"}, defaultUri=NS_CLIENT, prefixesInScope=["stream"])
        )

    def unacknowledged(self) -> int:
        """
        How many of the bytes that were sent the peer's system has not confirmed yet; 0 where that
        cannot be told.
        """
        if self._phase is Phase.OVER:
            return 0
        return unacknowledgedBytes(self.transport)

    # The end

    def _endReceived(self) -> None:
        if self._phase is Phase.CLOSING:
            self._clean = True
            self._disconnect()
        elif self._phase is not Phase.OVER:
            self._clean = self._phase is Phase.READY
            self._reason = self._reason or "the other side has ended the stream"
            # The other side began to close: it is to close the connection as well.
            self._endStream()

    def close(self, reason: str) -> None:
        """
        Close the stream: say so, take what still comes, and wait for the other side's closing tag for
        five seconds.

        @param reason: why, for the log.
        """
        if self._phase not in (Phase.CLOSING, Phase.OVER):
            self._reason = reason
            self._endStream()

    def _endStream(self) -> None:
        self._phase = Phase.CLOSING
        self._stopTimer()
        if not self._headerSent:
            self._disconnect()
            return
        self._write("</stream:stream>")
        self._setTimer(CLOSE_TIMEOUT, self._giveUp)

    def _disconnect(self) -> None:
        # TLS waits for its producer, which has nothing more to say.
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _giveUp(self) -> None:
        self._disconnect()
        self._setTimer(CLOSE_TIMEOUT, self.transport.abortConnection)

    def fail(self, condition: str, error: BytestreamError) -> None:
        """
        End the stream because of an error.

        @param condition: what the other side is told (RFC 6120 section 4.9.3); empty: nothing.
        @param error: why, for a person.
        """
        if self._phase is Phase.OVER or self._error is not None:
            return
        self._error = error
        self._parser.mute()
        if condition:
            self._sendHeaderOnce()
            self._write(
                f"<stream:error><{condition} xmlns='{NS_STREAM_ERRORS}'/></stream:error></stream:stream>"
            )
        self._phase = Phase.CLOSING
        self._giveUp()

    def _sendHeaderOnce(self) -> None:
        """
        Send our header unless it was sent.
        """
        raise NotImplementedError

    def abort(self, reason: str) -> None:
        """
        Break the connection off.
        """
        self._reason = reason
        if self.transport is not None and self._phase is not Phase.OVER:
            self.transport.abortConnection()

    def _end(self) -> None:
        """
        The connection is gone: leave nothing behind.
        """
        self._phase = Phase.OVER
        self._parser.mute()
        self._events.clear()
        self._stopTimer()
        if self._throttle is not None:
            self._throttle.cancel()
