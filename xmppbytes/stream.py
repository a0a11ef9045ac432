"""
The connection to an XMPP server: a stream manager that never answers late, and a service that
connects for ever.
"""

from collections.abc import Callable
from typing import Any

from twisted.application.internet import ClientService, backoffPolicy
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint, ITCPTransport
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure
from twisted.words.protocols.jabber import xmlstream
from twisted.words.protocols.jabber.error import CODES_TO_CONDITIONS, StanzaError, StreamError
from twisted.words.xish.domish import Element
from wokkel.subprotocols import StreamManager as WokkelStreamManager
from zope.interface import implementer

from xmppbytes.serverstream import CLOSING_TIMEOUT, StreamLife
from xmppbytes.xmlparser import StreamBroken

# Seconds until a request without an answer fails.
REQUEST_TIMEOUT = 30.0
# Seconds between attempts after the server has refused us: trying faster would not help.
REFUSED_DELAY = 60.0
# How deep the elements of a stanza may be nested; a data form in a disco answer has five levels.
MAX_DEPTH = 32
# Stream errors by which a server refuses us, and what to do about them.
_REFUSALS = {
    "not-authorized": "the server refuses the secret (not-authorized); "
    "compare it with the server's configuration",
    "host-unknown": "the server knows no component of this name (host-unknown); "
    "add it to the server's configuration",
    "conflict": "the server has a connection of this component already (conflict); "
    "is another instance running?",
}
# What a numeric error code that nobody knows is taken for: internal-server-error.
_UNKNOWN_CODE = "500"


class StreamManager(WokkelStreamManager):  # type: ignore[misc]
    """
    wokkel's stream manager, without its queue: what cannot be sent now is dropped, and requests fail.

    wokkel keeps what is sent while there is no stream and sends it on the next one; a reply would then
    come minutes late, to somebody who has given up.
    """

    timeout = REQUEST_TIMEOUT

    @property
    def connected(self) -> bool:
        """
        Whether there is an initialised stream.
        """
        return bool(self._initialized)

    def _authd(self, xs: Any) -> None:
        xs.addObserver("/iq", prune, 101)
        # Before the handlers: some of wokkel's would answer to a second child what others answered already.
        xs.addObserver("/iq", refuseCrowded, 100, xs)
        super()._authd(xs)

    def _onIQResponse(self, iq: Any) -> None:
        # Twisted breaks down over a numeric error code that it does not know.
        for child in iq.elements():
            if child.name == "error" and child.getAttribute("code", _UNKNOWN_CODE) not in CODES_TO_CONDITIONS:
                child["code"] = _UNKNOWN_CODE
        super()._onIQResponse(iq)

    def send(self, obj: Any) -> None:
        """
        Send over the stream, if there is one.
        """
        if self.connected:
            self.xmlstream.send(obj)

    def request(self, request: Any) -> "Deferred[Element]":
        """
        Send a request and wait for its answer.

        @return: fires with the answer; fails with L{StanzaError}, L{xmlstream.TimeoutError}, or
            L{ConnectionLost} when there is no stream.
        """
        if not self.connected:
            return fail(ConnectionLost("there is no connection to the XMPP server at present"))
        if getattr(request, "timeout", None) is None:
            # wokkel's requests have C{None} here, for which its manager waits for ever.
            request.timeout = self.timeout
        answer: Deferred[Element] = super().request(request)

        def forget(result: Any) -> Any:
            # wokkel would keep what is cancelled until the stream ends.
            self._iqDeferreds.pop(request.stanzaID, None)
            return result

        return answer.addBoth(forget)


def prune(stanza: Any) -> None:
    """
    Cut off what is nested deeper than anything sensible. An answer repeats its request, and Twisted writes
    elements by recursion: a few thousand levels, from whoever it may be, would end the stream.
    """
    level = [stanza]
    for _ in range(MAX_DEPTH):
        level = [child for element in level for child in element.children if isinstance(child, Element)]
        if not level:
            return
    for element in level:
        element.children = []


def refuseCrowded(stream: Any, iq: Any) -> None:
    """
    Answer a request that asks for several things at once, which RFC 6120 8.2.3 forbids, and empty it.
    """
    if iq.getAttribute("type") not in ("get", "set") or len(list(iq.elements())) < 2:
        return
    iq.handled = True
    error = StanzaError("bad-request", text="a request has exactly one child element")
    iq.children = []
    stream.send(error.toResponse(iq))


class StreamService(ClientService):
    """
    Keeps an XML stream connected, with back-off, for ever. One log line for each change.
    """

    log = Logger()
    # L{ClientService} writes a line for each attempt, and for ever is often. What changes is told here.
    _log = Logger(observer=LogPublisher())

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        factory: Any,
        clock: IReactorTime,
        description: str,
        backoff: Callable[[int], float] | None = None,
        refusedDelay: float = REFUSED_DELAY,
    ) -> None:
        """
        @param endpoint: where the server is.
        @param factory: makes the streams, such as a L{ComponentFactory}.
        @param clock: an C{IReactorTime}.
        @param description: who connects where, for the log.
        @param backoff: number of failed attempts -> seconds until the next.
        @param refusedDelay: seconds until the next attempt when the server has said no.
        """
        self._clockForStream = clock
        self._description = description
        self._backoff = backoff or backoffPolicy(initialDelay=1.0, maxDelay=60.0)
        self._refusedDelay = refusedDelay
        self._refused = False
        self._failures = 0
        self._lastTrouble = ""
        self._protocol: Any = None
        super().__init__(
            _ReportingEndpoint(endpoint, self._trouble),
            factory,
            retryPolicy=self._delay,
            clock=clock,
            prepareConnection=self._connected,
        )

    def stopService(self) -> "Deferred[None]":
        """
        Close the stream, if need be without the server's agreement.
        """
        stopped = super().stopService()
        limit = self._clockForStream.callLater(CLOSING_TIMEOUT, self.cut)
        return stopped.addBoth(lambda _: limit.cancel() if limit.active() else None)

    def cut(self) -> None:
        """
        Break the connection, if there is one: a server that does not read would keep us for ever.
        """
        if self._protocol is not None:
            self._protocol.transport.abortConnection()

    def _delay(self, _: int) -> float:
        """
        Say how long to wait before the next attempt. L{ClientService} counts a stream that was refused
        as a success, since its connection was made; so the attempts are counted here.
        """
        self._failures += 1
        refused, self._refused = self._refused, False
        return self._refusedDelay if refused else self._backoff(self._failures)

    def _trouble(self, text: str) -> None:
        if text != self._lastTrouble:
            self.log.warn(
                "{description}: {trouble}; will try again", description=self._description, trouble=text
            )
        self._lastTrouble = text

    def _connected(self, protocol: Any) -> None:
        """
        Follow a new stream until it ends.

        L{ClientService} is not made to wait until the stream can be used: it could not bear the loss of
        the connection meanwhile.
        """
        if ITCPTransport.providedBy(protocol.transport):
            protocol.transport.setTcpNoDelay(True)
            protocol.transport.setTcpKeepAlive(True)
        self._protocol = protocol
        life = StreamLife(self, protocol, self._clockForStream)
        protocol.addOnetimeObserver(xmlstream.STREAM_AUTHD_EVENT, life.succeeded)
        protocol.addObserver(xmlstream.STREAM_ERROR_EVENT, life.failed)
        protocol.addOnetimeObserver(xmlstream.INIT_FAILED_EVENT, life.failed)
        protocol.addOnetimeObserver(xmlstream.STREAM_END_EVENT, life.ended)

    def streamSucceeded(self) -> int:
        """
        A stream can be used.

        @return: how many attempts had failed before.
        """
        failures, self._failures = self._failures, 0
        self._refused, self._lastTrouble = False, ""
        self.log.info("{description}: connected", description=self._description)
        return failures

    def streamFailed(self, error: Any, failures: int | None) -> None:
        """
        A stream is ended because of an error.

        @param error: an exception or a failure.
        @param failures: how many attempts count as failed before; C{None}: as many as hitherto.
        """
        value = getattr(error, "value", error)
        condition = getattr(value, "condition", None)
        self._refused = condition in _REFUSALS
        if failures is not None:
            self._failures = failures
        self._trouble(_explain(value, condition))

    def streamEnded(self, told: bool) -> None:
        """
        The connection of a stream is gone.

        @param told: whether its error was told.
        """
        self._protocol = None
        if self.running and not told:
            self._trouble("the stream has ended")


@implementer(IStreamClientEndpoint)
class _ReportingEndpoint:
    """
    Tells of failed connection attempts, which L{ClientService} keeps to itself.
    """

    def __init__(self, endpoint: IStreamClientEndpoint, trouble: Callable[[str], None]) -> None:
        self._endpoint = endpoint
        self._report = trouble

    def connect(self, protocolFactory: Any) -> "Deferred[Any]":
        """
        See L{IStreamClientEndpoint}.
        """

        def failed(failure: Failure) -> Failure:
            self._report(f"cannot connect ({failure.getErrorMessage()})")
            return failure

        return self._endpoint.connect(protocolFactory).addErrback(failed)


def _explain(error: Any, condition: str | None) -> str:
    if condition in _REFUSALS:
        return _REFUSALS[condition]
    if isinstance(error, StreamError):
        return f"the server ends the stream with {condition} ({error.text or 'no text'})"
    if isinstance(error, StreamBroken):
        return f"the stream was closed ({error})"
    return f"the stream could not be set up ({error})"
