"""
The one stream manager that all wokkel handlers share: to them the mesh of streams looks like a single XML
stream.

What a handler sends goes to whom its C{to} names. What comes in bears the name to which the stream
belongs, whatever the stanza itself claims.
"""

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.xmlstream import XMPPHandlerCollection
from twisted.words.xish.domish import Element
from twisted.words.xish.utility import EventDispatcher

from xmppbytes.errors import BytestreamError
from xmppbytes.linklocal.discovery import Discovery
from xmppbytes.linklocal.requests import NotAnswered, PendingRequests
from xmppbytes.linklocal.safety import Security
from xmppbytes.linklocal.stream import PeerStream
from xmppbytes.linklocal.streams import PeerStreams

REQUEST_TIMEOUT = 30.0


class MeshStream(EventDispatcher):  # type: ignore[misc]
    """
    What wokkel's handlers take for their XML stream.
    """

    def __init__(self, mesh: "Mesh") -> None:
        super().__init__()
        self._mesh = mesh

    def send(self, stanza: Element) -> None:
        """
        Send a stanza to whom it is for. What cannot be delivered is logged.
        """
        self._mesh.send(stanza)


class Mesh(XMPPHandlerCollection, PeerStreams):  # type: ignore[misc]
    """
    All streams of one person, as the stream manager of the handlers.

    @ivar xmlstream: what the handlers take for their stream; C{None} while there is no name.
    """

    log = Logger()
    timeout = REQUEST_TIMEOUT

    def __init__(self, reactor: Any, discovery: Discovery, security: Security) -> None:
        """
        @param reactor: connects, tells the time.
        @param discovery: knows who is where.
        @param security: how streams are secured.
        """
        XMPPHandlerCollection.__init__(self)
        PeerStreams.__init__(self, reactor, discovery, security)
        self._requests = PendingRequests(reactor)
        self.xmlstream: MeshStream | None = None

    @property
    def isOpen(self) -> bool:
        """
        See L{PeerStreams}: there is a name.
        """
        return self.xmlstream is not None

    def start(self) -> None:
        """
        Let the handlers work.
        """
        self.xmlstream = MeshStream(self)
        for handler in list(self):
            handler.makeConnection(self.xmlstream)
        for handler in list(self):
            handler.connectionInitialized()

    def stop(self, reason: str) -> "Deferred[None]":
        """
        Close all streams.

        @return: fires when they are closed.
        """
        self.xmlstream = None
        error = Failure(ConnectionLost(reason))
        for handler in list(self):
            handler.connectionLost(error)
        self._requests.failAll(reason)
        return self.closeAll(reason)

    def addHandler(self, handler: Any) -> None:
        """
        See L{XMPPHandlerCollection}.
        """
        super().addHandler(handler)
        if self.xmlstream is not None:
            handler.makeConnection(self.xmlstream)
            handler.connectionInitialized()

    def send(self, stanza: Element) -> None:
        """
        Send a stanza to whom its C{to} names, opening a stream if there is none. What cannot be
        delivered is logged.
        """
        recipient = stanza.getAttribute("to")
        if not recipient:
            self.log.warn("a <{name}/> without a recipient is dropped", name=stanza.name)
            return
        self.deliver(recipient, stanza).addErrback(self._notDelivered, recipient, stanza)

    def _notDelivered(self, failure: Failure, recipient: str, stanza: Element) -> None:
        failure.trap(BytestreamError)
        if self._lines.admits(recipient):
            self.log.info(
                "a <{name}/> to {recipient} is not delivered: {error}",
                name=stanza.name,
                recipient=recipient,
                error=failure.value,
            )

    def deliver(self, recipient: str, stanza: Element) -> "Deferred[PeerStream]":
        """
        Send a stanza, opening a stream if there is none.

        @return: fires with the stream on which it was written; fails with a L{BytestreamError}.
        """

        def write(stream: PeerStream) -> PeerStream:
            stanza["from"], stanza["to"] = self.ownName(), stream.peer
            stream.send(stanza)
            return stream

        return self.streamTo(recipient).addCallback(write)

    def request(self, request: Any) -> "Deferred[Element]":
        """
        Send a request and wait for its answer, which must come from whom it was sent to.

        @param request: has C{toElement}, C{stanzaID} and perhaps a C{timeout}, as wokkel's have.
        @return: fires with the answer; fails with L{StanzaError}, L{RequestTimeout}, or
            L{NotAnswered} when it could not be sent or the peer is gone.
        """
        element = request.toElement()
        if not element.getAttribute("id"):
            element.addUniqueId()
            request.stanzaID = element["id"]
        identifier, recipient = element["id"], element.getAttribute("to", "")
        if self.xmlstream is None:
            return fail(NotAnswered("the service is not signed on at present; try again later"))
        try:
            answer = self._requests.add(identifier, recipient, getattr(request, "timeout", 0) or self.timeout)
        except NotAnswered as error:
            return fail(error)
        self.deliver(recipient, element).addErrback(self._notAsked, identifier)
        return answer

    def _notAsked(self, failure: Failure, identifier: str) -> None:
        failure.trap(BytestreamError)
        self._requests.fail(identifier, str(failure.value))

    def peerGone(self, name: str, reason: str) -> None:
        """
        Take notice that somebody will not answer any more.
        """
        self._requests.failAll(reason, name)

    def stanzaReceived(self, stream: PeerStream, stanza: Element) -> None:
        """
        A stanza has come.
        """
        if self.xmlstream is None:
            return
        stanza["from"], stanza["to"] = stream.peer, self.ownName()
        if stanza.name == "iq" and stanza.getAttribute("type") in ("result", "error"):
            self._requests.answered(stream.peer, stanza)
            return
        self.xmlstream.dispatch(stanza)
