"""
An XMPP router in this process: users on in-memory pipes, components over TCP. No server to install.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.words.protocols.jabber import component, xmlstream
from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish.domish import Element
from twisted.words.xish.xmlstream import BootstrapMixin

from xmppbytes.compat import generic
from xmppbytes.stream import StreamManager

Observer = Callable[[Element], None]


class DemoRouter(component.Router):  # type: ignore[misc]
    """
    Routes stanzas by the domain of their recipient, and tells an observer of each.
    """

    def __init__(self, reactor: Any, observer: Observer) -> None:
        """
        @param reactor: listens, and tells the time.
        @param observer: called with each stanza that passes.
        """
        super().__init__()
        self._reactor = reactor
        self._observer = observer
        self._joined: dict[str, Deferred[None]] = {}
        self._port: Any = None

    async def listen(self, secret: str) -> int:
        """
        Accept components on loopback.

        @param secret: what they have to know.
        @return: the port.
        """
        factory = component.XMPPComponentServerFactory(self, secret)
        endpoint = TCP4ServerEndpoint(self._reactor, 0, interface="127.0.0.1")
        self._port = await endpoint.listen(factory)
        return int(self._port.getHost().port)

    def stop(self) -> Any:
        """
        Accept no components any more.
        """
        return self._port.stopListening() if self._port is not None else None

    def whenJoined(self, domain: str) -> "Deferred[None]":
        """
        Fires when a component of this domain is connected.
        """
        return self._joined.setdefault(domain, Deferred())

    def addRoute(self, destination: Any, xs: Any) -> None:
        """
        See L{component.Router}.
        """
        super().addRoute(destination, xs)
        joined = self.whenJoined(str(destination))
        if not joined.called:
            joined.callback(None)

    def route(self, stanza: Element) -> None:
        """
        See L{component.Router}. What is for nobody comes back as an error.
        """
        self._observer(stanza)
        try:
            host = JID(stanza["to"]).host
            self.routes[host].send(stanza)
        except KeyError:
            if stanza.getAttribute("type") in ("get", "set"):
                answer = generic.error.StanzaError("remote-server-not-found").toResponse(stanza)
                self.routes[JID(answer["to"]).host].send(answer)

    def join(self, address: str) -> StreamManager:
        """
        Make a user.

        @param address: the user's full JID; each has a domain of its own.
        @return: the user's connected stream manager, for any handlers.
        """
        pipe = generic.XmlPipe()
        send = pipe.source.send

        def sendFrom(stanza: Element) -> None:
            stanza["from"] = address
            # As over TCP: what was sent is not what is received, even within one process.
            self._reactor.callLater(0, send, stanza)

        pipe.source.send = sendFrom
        pipe.source.thisEntity = JID(address)
        self.addRoute(JID(address).host, pipe.sink)
        stream = BootstrapMixin()
        manager = StreamManager(stream, self._reactor)
        stream.installBootstraps(pipe.source)
        pipe.source.dispatch(pipe.source, xmlstream.STREAM_CONNECTED_EVENT)
        pipe.source.dispatch(pipe.source, xmlstream.STREAM_AUTHD_EVENT)
        return manager
