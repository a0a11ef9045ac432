"""
Two DTCP clients on an in-memory XMPP router, with real sockets on loopback between them.
"""

from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.words.xish.domish import Element
from zope.interface import implementer

from xmppbytes.connecting.policy import AddressPolicy
from xmppbytes.connecting.surroundings import ServerEntity
from xmppbytes.core.bytestream import BytestreamOffer
from xmppbytes.demo.router import DemoRouter
from xmppbytes.dtcp.channel import ChannelTLS
from xmppbytes.dtcp.client import DTCPClientHandler
from xmppbytes.dtcp.options import DTCPOptions
from xmppbytes.errors import Refused
from xmppbytes.interfaces import IBytestreamAcceptor

REQUESTER = "romeo@montague.example/orchard"
TARGET = "juliet@capulet.example/balcony"
LOOPBACK = ("127.0.0.1",)


class Recorder(Protocol):
    """
    An application: keeps what arrives.
    """

    def __init__(self) -> None:
        self.received = b""
        self.made: Deferred[Recorder] = Deferred()
        self.lost: Deferred[None] = Deferred()
        self.reason: Failure | None = None
        self.wanted: list[tuple[int, Deferred[bytes]]] = []
        self.address: Any = None

    def connectionMade(self) -> None:
        self.made.callback(self)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        for entry in [entry for entry in self.wanted if len(self.received) >= entry[0]]:
            self.wanted.remove(entry)
            entry[1].callback(self.received)

    def whenReceived(self, count: int) -> "Deferred[bytes]":
        """
        Fires when so many bytes have arrived in all.
        """
        done: Deferred[bytes] = Deferred()
        self.wanted.append((count, done))
        self.dataReceived(b"")
        return done

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason
        self.lost.callback(None)


class RecorderFactory(Factory):
    """
    Makes one L{Recorder} known by its address.
    """

    noisy = False

    def __init__(self) -> None:
        self.recorder = Recorder()

    def buildProtocol(self, addr: Any) -> Recorder:
        self.recorder.address = addr
        return self.recorder


@implementer(IBytestreamAcceptor)
class Acceptor:
    """
    Accepts everything, or refuses it.
    """

    def __init__(self, refuse: bool = False) -> None:
        self.refuse = refuse
        self.factory = RecorderFactory()
        self.offers: list[BytestreamOffer] = []
        self.failed: Deferred[Any] = Deferred()

    @property
    def recorder(self) -> Recorder:
        return self.factory.recorder

    def bytestreamRequested(self, offer: BytestreamOffer) -> Any:
        self.offers.append(offer)
        if self.refuse:
            raise Refused("no")
        return self.factory

    def bytestreamFailed(self, offer: BytestreamOffer, error: Any) -> None:
        self.failed.callback(error)


class Loopback(ServerEntity):
    """
    Surroundings in which loopback is all there is.
    """

    def __init__(self, name: str, addresses: Sequence[str] = LOOPBACK) -> None:
        super().__init__(addresses, (), name)

    def policyFor(self, peer: str) -> AddressPolicy:
        return AddressPolicy(loopback=True)


class Lab:
    """
    A router, and what passes through it.
    """

    def __init__(self) -> None:
        self.stanzas: list[Element] = []
        self.router = DemoRouter(reactor, self.stanzas.append)
        self.handlers: list[DTCPClientHandler] = []
        self.managers: dict[str, Any] = {}

    def join(
        self,
        name: str,
        acceptor: Acceptor | None = None,
        reachable: bool = True,
        options: DTCPOptions | None = None,
        tls: ChannelTLS | None = None,
    ) -> DTCPClientHandler:
        """
        Make a user with a client.

        @param reachable: whether it can say where it is.
        """
        manager = self.router.join(name)
        surroundings = Loopback(name, LOOPBACK if reachable else ())
        handler = DTCPClientHandler(reactor, acceptor, options, surroundings, tls)
        handler.setHandlerParent(manager)
        self.handlers.append(handler)
        self.managers[name] = manager
        return handler

    def said(self, kind: str) -> list[Element]:
        """
        The stanzas of one type that have passed.
        """
        return [stanza for stanza in self.stanzas if stanza.getAttribute("type") == kind]
