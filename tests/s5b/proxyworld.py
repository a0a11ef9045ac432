"""
A whole proxy without sockets: its XMPP face on a pipe, its connections on fake transports.
"""

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.words.protocols.jabber import jid
from twisted.words.xish.domish import Element
from twisted.words.xish.utility import EventDispatcher

from tests.fakes import FakeTransport, FakeUsage, FakeWatch
from xmppbytes.compat import disco, generic, ping
from xmppbytes.core.access import AccessRules
from xmppbytes.core.damper import LogDamper
from xmppbytes.core.handshake import handshakeDeadlines
from xmppbytes.core.limits import Limits
from xmppbytes.core.pairing import Rendezvous
from xmppbytes.core.relay import CopyEngine
from xmppbytes.core.sessions import Sessions
from xmppbytes.s5b.address import destinationAddress
from xmppbytes.s5b.protocol import StreamHostFactory
from xmppbytes.s5b.proxy import ProxyHandler
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS, StreamHost
from xmppbytes.serviceinfo import ServiceInfoHandler
from xmppbytes.stream import StreamManager

PROXY = "streamer.example.com"
REQUESTER = "requester@example.com/foo"
TARGET = "target@example.org/bar"
SID = "vxf9n471bn46"
NS_COMPONENT = "jabber:component:accept"
NS_STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"


def interned() -> int:
    """
    How many addresses Twisted keeps for ever.
    """
    return len(jid.__dict__["__internJIDs"])


def stanza(xml: str) -> Element:
    """
    Parse a stanza as it comes over a component's stream.
    """
    name = xml.split(None, 1)[0]
    element: Element = generic.parseXml(
        xml.replace(name, f"{name} xmlns='{NS_COMPONENT}'", 1).encode("utf-8")
    )
    return element


class NoFactory:
    """
    Makes no streams: a test has its own.
    """

    def addBootstrap(self, event: str, observer: Any) -> None:
        pass


class Face:
    """
    Handlers on a stream that is a pipe.
    """

    def __init__(self, *handlers: Any) -> None:
        self.manager = StreamManager(NoFactory(), Clock())
        self.output: list[Element] = []
        self.stream: Any = None
        for handler in handlers:
            handler.setHandlerParent(self.manager)
        self.openStream()

    def openStream(self) -> list[Element]:
        """
        A new stream is there.

        @return: what is sent over it.
        """
        self.output = []
        self.stream = EventDispatcher()
        self.stream.send = self.output.append
        self.manager._connected(self.stream)
        self.manager._authd(self.stream)
        return self.output

    def closeStream(self) -> None:
        """
        The stream is lost.
        """
        self.manager._disconnected(None)

    def send(self, xml: str) -> list[Element]:
        """
        Let a stanza come in.

        @return: what was answered.
        """
        before = len(self.output)
        self.stream.dispatch(stanza(xml))
        return self.output[before:]

    def ask(self, xml: str) -> Element:
        """
        Let a request come in.

        @return: the only answer.
        """
        (answer,) = self.send(xml)
        return answer


def errorOf(answer: Element) -> tuple[str, str, str]:
    """
    Condition, type and text of an error.
    """
    assert answer["type"] == "error", answer.toXml()
    error = next(e for e in answer.elements() if e.name == "error")
    names = {e.name: str(e) for e in error.elements() if e.uri == NS_STANZAS}
    (condition,) = names.keys() - {"text"}
    return condition, error["type"], names.get("text", "")


class ProxyWorld(Face):
    """
    The proxy of XEP-0065's examples.
    """

    def __init__(self, limits: Limits | None = None, allow: Any = ("example.com",), deny: Any = ()) -> None:
        limits = limits or Limits()
        self.clock = Clock()
        self.watch = FakeWatch()
        self.usage = FakeUsage()
        self.sessions = Sessions(self.clock, limits, [CopyEngine(self.clock)], self.usage)
        self.rendezvous = Rendezvous(self.clock, limits, self.sessions, self.watch)
        self.factory = StreamHostFactory(
            self.rendezvous, handshakeDeadlines(self.clock, limits.handshakeTimeout)
        )
        self.damper = LogDamper(self.clock)
        self.proxy = ProxyHandler(
            [StreamHost(PROXY, "24.24.24.1", 7625)],
            self.rendezvous,
            AccessRules(allow, deny),
            damper=self.damper,
        )
        super().__init__(
            self.proxy,
            disco.DiscoHandler(),
            ping.PingHandler(),
            generic.VersionHandler("a proxy", "1"),
            ServiceInfoHandler("a proxy", "for tests", "proxy", "bytestreams", lambda: 1e9),
            generic.FallbackHandler(),
        )

    def connect(self, address: str = "192.0.2.1", transport: Any = None) -> Any:
        """
        A party connects.
        """
        transport = transport or FakeTransport(self.clock, address)
        transport.protocol = self.factory.buildProtocol(IPv4Address("TCP", address, 4321))
        transport.protocol.makeConnection(transport)
        return transport

    def party(self, key: str, address: str = "192.0.2.1") -> Any:
        """
        A party connects, and asks for a bytestream.

        @return: its transport, with nothing sent yet that was not read.
        """
        transport = self.connect(address)
        transport.receive(b"\5\1\0")
        transport.receive(b"\5\1\0\3\x28" + key.encode("ascii") + b"\0\0")
        assert transport.writes[0] == b"\5\0", transport.writes
        transport.answer = transport.writes[1]
        transport.sent, transport.writes = b"", []
        return transport

    def pair(self, sid: str = SID, requester: str = REQUESTER, target: str = TARGET) -> tuple[Any, Any]:
        """
        Both parties connect.
        """
        key = destinationAddress(sid, requester, target)
        return self.party(key), self.party(key, "192.0.2.2")

    def activate(
        self, sid: str = SID, requester: str = REQUESTER, target: str = TARGET, to: str = PROXY
    ) -> Element:
        """
        Ask for activation.
        """
        return self.ask(
            f"<iq from='{requester}' id='oqx6t1c9' to='{to}' type='set'>"
            f"<query xmlns='{NS_BYTESTREAMS}' sid='{sid}'><activate>{target}</activate></query></iq>"
        )

    def settle(self) -> None:
        """
        Let what was put off to the next turn happen.
        """
        for _ in range(3):
            self.clock.advance(0)
