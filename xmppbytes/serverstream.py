"""
An XML stream with a server, of which nothing grows without a limit, and what becomes of it.
"""

from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.words.protocols.jabber import xmlstream
from twisted.words.protocols.jabber.error import StreamError

from xmppbytes.xmlparser import ServerStreamParser, StreamBroken

# Seconds until a stream that gets nowhere is given up.
STREAM_TIMEOUT = 30.0
# Seconds that a server has for closing a stream; TLS waits for its agreement.
CLOSING_TIMEOUT = 5.0
# Seconds that a stream must have lasted to make up for failures before: a server may let us in and break
# the rules each time.
STEADY = 60.0


class ServerStream(xmlstream.XmlStream):  # type: ignore[misc]
    """
    A stream whose server is told when it breaks the rules, and not listened to from then on.
    """

    stream: Any
    _broken = False

    def _initializeStream(self) -> None:
        self.stream = ServerStreamParser(self.onDocumentStart, self.onElement, self.onDocumentEnd)

    def dataReceived(self, data: bytes) -> None:
        """
        See L{Protocol<twisted.internet.protocol.Protocol>}.
        """
        if self._broken:
            return
        try:
            self.stream.feed(data)
        except StreamBroken as e:
            self._broken = True
            self.dispatch(Failure(), xmlstream.STREAM_ERROR_EVENT)
            self.sendStreamError(StreamError(e.condition))


class StreamLife:
    """
    One stream of a L{StreamService<xmppbytes.stream.StreamService>}, from its connection to its end.
    """

    def __init__(self, service: Any, protocol: Any, clock: IReactorTime) -> None:
        """
        @param service: is told what becomes of it.
        @param protocol: the stream; it is connected.
        @param clock: tells and schedules the time.
        """
        self._service = service
        self._transport = protocol.transport
        self._clock = clock
        self._timer = clock.callLater(STREAM_TIMEOUT, protocol.transport.abortConnection)
        self._since = clock.seconds()
        self._failures: int | None = None
        self._told = False
        self._over = False

    def succeeded(self, _: Any) -> None:
        """
        It can be used.
        """
        self._timer.cancel()
        self._since = self._clock.seconds()
        self._failures = self._service.streamSucceeded()

    def failed(self, error: Any) -> None:
        """
        It is being closed, or of no use, because of an error.
        """
        self._told = True
        self._stopTimer()
        if not self._over:
            # To close needs a server that reads, and over TLS one that agrees.
            self._timer = self._clock.callLater(CLOSING_TIMEOUT, self._transport.abortConnection)
        broken = isinstance(getattr(error, "value", error), StreamBroken)
        short = self._clock.seconds() - self._since < STEADY
        self._service.streamFailed(error, self._failures if broken and short else None)

    def ended(self, _: Any) -> None:
        """
        Its connection is gone.
        """
        self._over = True
        self._stopTimer()
        self._service.streamEnded(self._told)

    def _stopTimer(self) -> None:
        if self._timer.active():
            self._timer.cancel()
