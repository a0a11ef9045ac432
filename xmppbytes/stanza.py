"""
Answering requests and asking them: the small part that all XMPP faces share.

Like wokkel's C{IQHandlerMixin}, but requests are found by one look into a table instead of one XPath
query each, an answer goes to the stream on which the request came or nowhere, and what goes wrong
here costs one log line, whoever caused it.
"""

import secrets
from collections.abc import Callable, Mapping
from inspect import iscoroutine
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID, InvalidFormat
from twisted.words.protocols.jabber.xmlstream import TimeoutError as RequestTimeout
from twisted.words.protocols.jabber.xmlstream import toResponse
from twisted.words.xish.domish import Element
from wokkel.subprotocols import XMPPHandler

from xmppbytes.jids import prepareJID

# Why a request of ours may go without an answer that is of use.
REQUEST_FAILURES = (StanzaError, RequestTimeout, ConnectionLost, ConnectionDone)


class RequestHandler(XMPPHandler):  # type: ignore[misc]
    """
    A subprotocol that answers IQ requests.

    @cvar requests: (type, namespace, name) of the request's child element -> name of the method that
        gets the whole C{iq} and returns an element, several, or C{None} for an empty result, or a
        Deferred of those. It raises L{StanzaError} to refuse.
    @cvar exclusive: whether nobody else on the stream answers these requests. Then they are found
        without any XPath, where the stream has a C{requestTable}.
    """

    log = Logger()
    requests: ClassVar[Mapping[tuple[str, str, str], str]] = {}
    exclusive: ClassVar[bool] = False

    def connectionInitialized(self) -> None:
        """
        See L{XMPPHandler}.
        """
        table = getattr(self.xmlstream, "requestTable", None)
        if table is not None and self.exclusive:
            table |= dict.fromkeys(self.requests, self.handleRequest)
        else:
            self.xmlstream.addObserver("/iq", self.handleRequest)

    def handleRequest(self, iq: Any) -> None:
        """
        Answer an IQ stanza, when it is a request for this handler.
        """
        if iq.handled or iq.getAttribute("type") not in ("get", "set"):
            return
        child = iq.firstChildElement()
        if child is None:
            return
        method = self.requests.get((iq["type"], child.uri, child.name))
        if method is None:
            return
        iq.handled = True
        self._respond(iq, getattr(self, method))

    def _respond(self, iq: Element, method: Callable[[Element], Any]) -> None:
        stream = self.xmlstream
        try:
            result = method(iq)
            if result is not None and iscoroutine(result):
                result = Deferred.fromCoroutine(result)
            if not isinstance(result, Deferred):
                # The common case, without the cost of a Deferred.
                response = _toResult(result, iq)
        except Exception:
            result, response = None, self._toError(Failure(), iq)
        if not isinstance(result, Deferred):
            self._reply(stream, response)
            return
        result.addCallback(_toResult, iq)
        result.addErrback(self._toError, iq)
        result.addCallback(lambda response: self._reply(stream, response))

    def ask(
        self,
        recipient: str | JID,
        kind: str,
        payload: Element,
        timeout: float | None = None,
        sender: str | None = None,
    ) -> "Deferred[Element]":
        """
        Send a request of our own.

        @param recipient: a JID, or whatever names an entity on this stream.
        @param kind: C{"get"} or C{"set"}.
        @param payload: the request's child element.
        @param timeout: seconds; C{None}: as long as the stream manager waits.
        @param sender: our own address, where the stream may have several.
        @return: fires with the answering stanza; fails with L{StanzaError}, with
            L{TimeoutError<twisted.words.protocols.jabber.xmlstream.TimeoutError>}, or with the
            reason why there is no stream. May be cancelled.
        """
        request = Request(recipient, kind, payload, sender)
        if timeout is not None:
            request.timeout = timeout
        return self.request(request)  # type: ignore[no-any-return]

    def _toError(self, failure: Failure, iq: Element) -> Element:
        error = failure.value
        if not isinstance(error, StanzaError):
            self.log.failure(
                "A request from {sender} failed", failure=failure, sender=iq.getAttribute("from")
            )
            error = StanzaError(
                "internal-server-error", type="cancel", text="This is our fault; its log says more."
            )
        response: Element = error.toResponse(iq)
        return response

    def _reply(self, stream: Any, response: Element) -> None:
        # A reply that was late is not for the stream that came after: its ids mean something else there.
        if stream is self.xmlstream and stream is not None:
            stream.send(response)


class Request:
    """
    A request, as wokkel's stream managers take it.

    Its id cannot be guessed, so that nobody but its recipient can answer it.
    """

    stanzaKind = "iq"
    timeout: float

    def __init__(self, recipient: str | JID, kind: str, payload: Element, sender: str | None = None) -> None:
        """
        @param recipient: a JID, or whatever names an entity on this stream.
        @param kind: C{"get"} or C{"set"}.
        @param payload: the child element.
        @param sender: our own address; C{None}: that of the stream.
        """
        self._sender = sender
        self.stanzaType = kind
        self.stanzaID = secrets.token_hex(8)
        self._recipient = recipient.full() if isinstance(recipient, JID) else recipient
        self._payload = payload

    def toElement(self) -> Element:
        """
        Write the stanza.
        """
        iq = Element((None, "iq"))
        iq["type"] = self.stanzaType
        iq["id"] = self.stanzaID
        iq["to"] = self._recipient
        if self._sender is not None:
            iq["from"] = self._sender
        iq.addChild(self._payload)
        return iq


def _toResult(payload: Any, iq: Element) -> Element:
    response: Element = toResponse(iq, "result")
    if payload is None:
        return response
    for element in [payload] if isinstance(payload, Element) else payload:
        response.addChild(element)
    return response


def senderOf(stanza: Element) -> JID:
    """
    The address that a stanza comes from.

    @raise StanzaError: C{jid-malformed}, when it has none that is valid.
    """
    return parseJID(stanza.getAttribute("from", ""), "the sender's address")


def parseJID(text: str, what: str) -> JID:
    """
    Prepare an address that came over the wire. It is not kept anywhere.

    @param text: the address.
    @param what: what it is, for the error text.
    @raise StanzaError: C{jid-malformed}, when it is none.
    """
    try:
        return prepareJID(text)
    except InvalidFormat as e:
        # The sender knows what it has sent: a piece will do, however long it is.
        raise StanzaError("jid-malformed", text=f"{what} {text[:100]!r} is not a valid address: {e}") from e


def failureText(error: Exception) -> str:
    """
    Say why a request failed.

    @param error: one of L{REQUEST_FAILURES}.
    """
    if isinstance(error, StanzaError):
        return f"{error.condition} ({error.text})" if error.text else str(error.condition)
    if isinstance(error, RequestTimeout):
        return "no answer in time"
    return "the XMPP connection was lost"
