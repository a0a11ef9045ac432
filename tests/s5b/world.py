"""
A world in memory for the tests of the S5B client: a server, machines, two users, and a proxy.
"""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.words.xish.domish import Element
from zope.interface import implementer

from xmppbytes.compat import disco
from xmppbytes.core.access import AccessRules
from xmppbytes.core.bytestream import BytestreamAddress, BytestreamOffer
from xmppbytes.core.handshake import handshakeDeadlines
from xmppbytes.core.hangup import NoHangupWatch
from xmppbytes.core.limits import Limits
from xmppbytes.core.pairing import Rendezvous
from xmppbytes.core.relay import CopyEngine
from xmppbytes.core.sessions import Sessions
from xmppbytes.errors import BytestreamError
from xmppbytes.interfaces import IBytestreamAcceptor
from xmppbytes.s5b.client import BytestreamsClientHandler
from xmppbytes.s5b.options import BytestreamOptions
from xmppbytes.s5b.protocol import StreamHostFactory
from xmppbytes.s5b.proxy import ProxyHandler
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS, StreamHost
from xmppbytes.stanza import RequestHandler
from xmppbytes.testing import MemoryInternet, MemoryXMPPServer

REQUESTER = "romeo@montague.example/orchard"
TARGET = "juliet@capulet.example/balcony"
REQUESTER_IP = "192.0.2.1"
TARGET_IP = "192.0.2.2"
PROXY_IP = "192.0.2.3"
LATENCY = 0.001
PROXY = "proxy.montague.example"


class Recorder(Protocol):
    """
    Notes what happens to it.
    """

    transport: Any

    def __init__(self, address: BytestreamAddress) -> None:
        self.address = address
        self.data = b""
        self.lost: Failure | None = None
        self.connected_ = False

    def connectionMade(self) -> None:
        self.connected_ = True

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


class RecorderFactory(Factory):
    """
    Makes and keeps L{Recorder}s.
    """

    noisy = False

    def __init__(self) -> None:
        self.made: list[Recorder] = []

    def buildProtocol(self, addr: Any) -> Recorder:
        self.made.append(Recorder(addr))
        return self.made[-1]


@implementer(IBytestreamAcceptor)
class Acceptor:
    """
    Answers what the test wants.

    @ivar answer: an exception to raise, or what is returned.
    """

    def __init__(self, answer: Any = None) -> None:
        self.factory = RecorderFactory()
        self.answer: IProtocolFactory | Deferred[IProtocolFactory] | Exception = answer or self.factory
        self.offers: list[BytestreamOffer] = []
        self.failures: list[BytestreamError] = []

    def bytestreamRequested(self, offer: BytestreamOffer) -> Any:
        self.offers.append(offer)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def bytestreamFailed(self, offer: BytestreamOffer, error: BytestreamError) -> None:
        self.failures.append(error)


class ServiceDiscovery(RequestHandler):
    """
    What a server, or a service on it, tells about itself.
    """

    requests = {
        ("get", disco.NS_DISCO_ITEMS, "query"): "onItems",
        ("get", disco.NS_DISCO_INFO, "query"): "onInfo",
    }

    def __init__(self, *items: str, identity: tuple[str, str] = ("server", "im")) -> None:
        super().__init__()
        self.items = list(items)
        self.identity = identity
        self.asked = 0

    def onItems(self, iq: Element) -> Element:
        self.asked += 1
        query = Element((disco.NS_DISCO_ITEMS, "query"))
        for jid in self.items:
            query.addElement("item")["jid"] = jid
        return query

    def onInfo(self, iq: Element) -> Element:
        query = Element((disco.NS_DISCO_INFO, "query"))
        identity = query.addElement("identity")
        identity["category"], identity["type"] = self.identity
        return query


class Canned(RequestHandler):
    """
    Answers requests of the bytestreams namespace with what the test has prepared.

    @ivar answers: kind -> an element, an exception, a Deferred, or a callable that gets the iq.
    """

    requests = {
        ("get", NS_BYTESTREAMS, "query"): "onGet",
        ("set", NS_BYTESTREAMS, "query"): "onSet",
    }

    def __init__(self, **answers: Any) -> None:
        super().__init__()
        self.answers = answers
        self.received: list[Element] = []

    def onGet(self, iq: Element) -> Any:
        return self._answer("get", iq)

    def onSet(self, iq: Element) -> Any:
        return self._answer("set", iq)

    def _answer(self, kind: str, iq: Element) -> Any:
        self.received.append(iq)
        answer = self.answers[kind]
        if isinstance(answer, Exception):
            raise answer
        return answer(iq) if callable(answer) else answer


class World:
    """
    Everything, on one clock.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.server = MemoryXMPPServer(self.clock, LATENCY)
        self.internet = MemoryInternet(self.clock, LATENCY)
        self.machines = {
            REQUESTER: self.internet.machine(REQUESTER_IP),
            TARGET: self.internet.machine(TARGET_IP),
            PROXY: self.internet.machine(PROXY_IP),
        }
        self.managers: dict[str, Any] = {}

    def connect(self, jid: str, *handlers: Any, **kwargs: Any) -> Any:
        """
        Connect somebody to the server.
        """
        manager = self.server.connect(jid, **kwargs)
        for handler in handlers:
            handler.setHandlerParent(manager)
        self.managers[jid] = manager
        return manager

    def client(self, jid: str, acceptor: Acceptor | None = None, **options: Any) -> BytestreamsClientHandler:
        """
        Connect a user with a bytestreams client.
        """
        machine = self.machines[jid]
        options.setdefault("addresses", machine.addresses)
        options.setdefault("discoverProxies", False)
        handler = BytestreamsClientHandler(machine, acceptor, BytestreamOptions(**options))
        self.connect(jid, handler)
        return handler

    def tick(self, seconds: float = 0.2) -> None:
        """
        Let time pass in small steps.
        """
        self.clock.pump([0.01] * max(1, round(seconds / 0.01)))

    def proxy(self, access: tuple[str, ...] = ("*",), host: str = PROXY_IP, port: int = 7777) -> Rendezvous:
        """
        Start a proxy, with service discovery.
        """
        machine = self.machines[PROXY]
        limits = Limits()
        sessions = Sessions(self.clock, limits, [CopyEngine(self.clock)])
        rendezvous = Rendezvous(self.clock, limits, sessions, NoHangupWatch())
        machine.listenTCP(port, StreamHostFactory(rendezvous, handshakeDeadlines(self.clock, 10)))
        self.proxyHandler = ProxyHandler([StreamHost(PROXY, host, port)], rendezvous, AccessRules(access))
        about = ServiceDiscovery(identity=("proxy", "bytestreams"))
        self.connect(PROXY, self.proxyHandler, about)
        return rendezvous

    @property
    def queries(self) -> list[str]:
        """
        The stanzas that were routed, of the bytestreams namespace.
        """
        return [stanza for stanza in self.server.stanzas if NS_BYTESTREAMS in stanza]

    def leftOvers(self) -> list[object]:
        """
        What is still there: connections, ports (but for the proxy's), timers, entries of tables.
        """
        found: list[object] = list(self.internet.transports)
        for jid, machine in self.machines.items():
            if jid != PROXY:
                found += machine.ports
        found += self.clock.getDelayedCalls()
        for manager in self.managers.values():
            found += manager._iqDeferreds
            for handler in manager:
                if isinstance(handler, BytestreamsClientHandler):
                    found += [*handler._incoming, *handler._outgoing, *handler._unexpected]
                    host = handler._means.streamHost
                    found += [*host._waiting, *host._offers, *host._inUse]
        return found

    @property
    def sockets(self) -> int:
        """
        How many connections and ports are open.
        """
        ports = sum(len(machine.ports) for machine in self.machines.values())
        return ports + len(self.internet.transports)
