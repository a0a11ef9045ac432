"""
Answering requests: the small part that all XMPP faces share.

Like wokkel's C{IQHandlerMixin}, but requests are found by one look into a table instead of one XPath
query each, an answer goes to the stream on which the request came or nowhere, and what goes wrong
here costs one log line, whoever caused it.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID, InvalidFormat
from twisted.words.protocols.jabber.xmlstream import toResponse
from twisted.words.xish.domish import Element
from wokkel.subprotocols import XMPPHandler


class RequestHandler(XMPPHandler):  # type: ignore[misc]
    """
    A subprotocol that answers IQ requests.

    @cvar requests: (type, namespace, name) of the request's child element -> name of the method that
        gets the whole C{iq} and returns an element, several, or C{None} for an empty result, or a
        Deferred of those. It raises L{StanzaError} to refuse.
    """

    log = Logger()
    requests: ClassVar[Mapping[tuple[str, str, str], str]] = {}

    def connectionInitialized(self) -> None:
        """
        See L{XMPPHandler}.
        """
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
        stream = self.xmlstream
        answer: Deferred[Any] = maybeDeferred(getattr(self, method), iq)
        answer.addCallback(_toResult, iq)
        answer.addErrback(self._toError, iq)
        answer.addCallback(lambda response: self._reply(stream, response))

    def _toError(self, failure: Failure, iq: Element) -> Element:
        error = failure.value
        if not isinstance(error, StanzaError):
            self.log.failure(
                "A request from {sender} failed", failure=failure, sender=iq.getAttribute("from")
            )
            error = StanzaError("internal-server-error", text="This is our fault; its log says more.")
        response: Element = error.toResponse(iq)
        return response

    def _reply(self, stream: Any, response: Element) -> None:
        # A reply that was late is not for the stream that came after: its ids mean something else there.
        if stream is self.xmlstream and stream is not None:
            stream.send(response)


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
        return JID(text)
    except (InvalidFormat, UnicodeError) as e:
        raise StanzaError("jid-malformed", text=f"{what} {text!r} is not a valid address: {e}") from e
