"""
An XMPP server in memory: joins stream managers, with real XML between them.
"""

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorTime, ITransport
from twisted.python.failure import Failure
from twisted.words.protocols.jabber import xmlstream
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish.domish import Element, elementStream
from zope.interface import implementer

from xmppbytes.stream import StreamManager

_HEADER = (
    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='memory'>"
).encode("ascii")

# What becomes of a stanza on its way: the stanza to deliver, or None to lose it.
Interceptor = Callable[[Element], Element | None]


class MemoryXMPPServer:
    """
    Routes stanzas between whoever is connected: users and services alike, each by its address.

    @ivar stanzas: a copy of everything that was routed, as XML text.
    @ivar intercept: may change or lose stanzas on their way.
    """

    def __init__(self, clock: IReactorTime, latency: float = 0.0) -> None:
        """
        @param clock: schedules the deliveries, each in a later turn.
        @param latency: seconds that a stanza takes.
        """
        self.latency = latency
        self.stanzas: list[str] = []
        self.intercept: Interceptor = lambda stanza: stanza
        self._clock = clock
        self._wires: dict[str, _Wire] = {}
        self._rooms: dict[str, dict[str, str]] = {}

    def connect(self, address: str, host: str = "192.0.2.100", peer: str = "192.0.2.200") -> StreamManager:
        """
        Connect somebody.

        @param address: the full JID of a user, or the domain of a service.
        @param host: the IP address that it seems to connect from.
        @param peer: the IP address at which it seems to have reached the server.
        @return: the stream manager, with a stream that is ready.
        """
        authenticator = _Authenticator(address)
        factory = xmlstream.XmlStreamFactory(authenticator)
        manager = StreamManager(factory, self._clock)
        wire = _Wire(self, self._clock, address, (host, peer))
        wire.attach(factory.buildProtocol(None))
        self._wires[address] = wire
        return manager

    def disconnect(self, address: str) -> None:
        """
        Break somebody's connection.
        """
        self._wires.pop(address).lose()

    def addRoom(self, room: str, occupants: Mapping[str, str]) -> None:
        """
        Make a multi-user chat that hides who is in it.

        @param room: its bare JID.
        @param occupants: nick -> full JID.
        """
        self._rooms[room] = dict(occupants)

    def route(self, sender: str, stanza: Element) -> None:
        """
        Deliver a stanza to whom it is for, or answer that nobody is there.
        """
        stanza["from"] = sender
        if not stanza.getAttribute("to"):
            stanza["to"] = JID(sender).host
        self.stanzas.append(stanza.toXml())
        intercepted = self.intercept(stanza)
        if intercepted is None:
            return
        self._translate(intercepted)
        wire = self._wires.get(intercepted["to"])
        if wire is not None:
            wire.deliver(intercepted)
        elif intercepted.getAttribute("type") in ("get", "set"):
            self._bounce(intercepted)

    def _translate(self, stanza: Element) -> None:
        """
        Put the addresses of a room's occupants in place of each other's.
        """
        room, _, nick = stanza["to"].partition("/")
        occupants = self._rooms.get(room)
        if occupants is None:
            return
        nicks = {address: nick for nick, address in occupants.items()}
        stanza["to"] = occupants.get(nick, "")
        stanza["from"] = f"{room}/{nicks[stanza['from']]}"

    def _bounce(self, stanza: Element) -> None:
        wire = self._wires.get(stanza["from"])
        if wire is not None:
            wire.deliver(StanzaError("service-unavailable").toResponse(stanza))


class _Authenticator(xmlstream.Authenticator):  # type: ignore[misc]
    """
    Believes everything.
    """

    def __init__(self, address: str) -> None:
        super().__init__()
        self.jid = JID(address)

    def streamStarted(self, rootElement: Element) -> None:
        super().streamStarted(rootElement)
        stream: Any = self.xmlstream
        stream.dispatch(stream, xmlstream.STREAM_AUTHD_EVENT)


@implementer(ITransport)
class _Wire:
    """
    The transport of one stream; what is written to it is parsed and routed.
    """

    disconnecting = False

    def __init__(
        self, server: MemoryXMPPServer, clock: IReactorTime, address: str, ends: tuple[str, str]
    ) -> None:
        self._server = server
        self._clock = clock
        self._address = address
        self._ends = ends
        self._stream: Any = None
        self._parser = elementStream()
        self._parser.DocumentStartEvent = lambda root: None
        self._parser.DocumentEndEvent = lambda: None
        self._parser.ElementEvent = self._sent
        self._parser.parse(_HEADER)

    def attach(self, stream: Any) -> None:
        """
        Let a stream live on this.
        """
        self._stream = stream
        stream.makeConnection(self)
        stream.dataReceived(_HEADER)

    def _sent(self, stanza: Element) -> None:
        self._clock.callLater(self._server.latency, self._server.route, self._address, stanza)

    def deliver(self, stanza: Element) -> None:
        """
        Send a stanza to the stream.
        """
        if self._stream is not None:
            self._stream.dataReceived(stanza.toXml().encode("utf-8"))

    def lose(self) -> None:
        """
        Break.
        """
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.connectionLost(Failure(ConnectionDone()))

    def write(self, data: bytes) -> None:
        """
        See L{ITransport}.
        """
        self._parser.parse(data)

    def writeSequence(self, iovec: Any) -> None:
        """
        See L{ITransport}.
        """
        self.write(b"".join(iovec))

    def loseConnection(self) -> None:
        """
        See L{ITransport}.
        """
        self.lose()

    def getHost(self) -> IPv4Address:
        """
        See L{ITransport}.
        """
        return IPv4Address("TCP", self._ends[0], 40000)

    def getPeer(self) -> IPv4Address:
        """
        See L{ITransport}.
        """
        return IPv4Address("TCP", self._ends[1], 5222)
