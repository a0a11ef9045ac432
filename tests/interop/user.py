"""
A user of ours, logged in to a real server, with the S5B client.
"""

import hashlib
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.client import SessionInitializer, XMPPAuthenticator
from twisted.words.protocols.jabber.jid import JID
from twisted.words.protocols.jabber.xmlstream import (
    INIT_FAILED_EVENT,
    STREAM_AUTHD_EVENT,
    TLSInitiatingInitializer,
    XmlStreamFactory,
)
from twisted.words.xish.domish import Element
from zope.interface import implementer

from tests.interop import stream
from tests.interop.servers import PASSWORD, XmppServer
from xmppbytes.core.bytestream import BytestreamAddress, BytestreamOffer
from xmppbytes.interfaces import IBytestreamAcceptor
from xmppbytes.s5b.client import BytestreamsClientHandler
from xmppbytes.s5b.options import BytestreamOptions
from xmppbytes.stream import StreamManager


class UnencryptedAuthenticator(XMPPAuthenticator):
    """
    Logs in to a server of the lab, which offers no TLS and wants no session.
    """

    def associateWithStream(self, xs: Any) -> None:
        super().associateWithStream(xs)
        without = TLSInitiatingInitializer, SessionInitializer
        xs.initializers = [step for step in xs.initializers if not isinstance(step, without)]


class Transfer(Protocol):
    """
    One end of a bytestream: sends a seeded stream when it is told to, and digests what comes.
    """

    transport: Any

    def __init__(self, address: BytestreamAddress, until: int | None) -> None:
        """
        @param until: bytes after which the end is reached; C{None}: when the other side closes.
        """
        self.address = address
        self.size = 0
        self.ended: Deferred[None] = Deferred()
        self._until = until
        self._digest = hashlib.sha256()
        self._blocks: Any = None

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def dataReceived(self, data: bytes) -> None:
        self.size += len(data)
        self._digest.update(data)
        if self._until is not None and self.size >= self._until:
            self.transport.loseConnection()

    def send(self, seed: Any, size: int) -> None:
        """
        Send a seeded stream, then close.
        """
        self._blocks = stream.blocks(seed, size)
        self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        block = next(self._blocks, None)
        if block is not None:
            self.transport.write(block)
            return
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def stopProducing(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(None)


@implementer(IBytestreamAcceptor)
class User(Factory):
    """
    A user with a bytestreams client that accepts everything.

    @ivar transfers: its ends of bytestreams, those that it has opened and those that it was asked for.
    @ivar until: after how many bytes a new transfer is to close.
    """

    noisy = False

    def __init__(self, reactor: Any, server: XmppServer, account: str, **options: Any) -> None:
        self.jid = server.jid(account, "xmppbytes")
        self.transfers: list[Transfer] = []
        self.until: int | None = None
        self.failures: list[Exception] = []
        self._reactor = reactor
        self._server = server
        self._factory = XmlStreamFactory(UnencryptedAuthenticator(JID(self.jid), PASSWORD))
        self.manager = StreamManager(self._factory, reactor)
        options.setdefault("addresses", [server.address])
        self.handler = BytestreamsClientHandler(reactor, self, BytestreamOptions(**options))
        self.handler.setHandlerParent(self.manager)
        self._arrived: list[Deferred[Transfer]] = []

    async def login(self) -> None:
        """
        Connect to the server.
        """
        ready: Deferred[Any] = Deferred()
        self._factory.addBootstrap(STREAM_AUTHD_EVENT, ready.callback)
        self._factory.addBootstrap(INIT_FAILED_EVENT, ready.errback)
        endpoint = TCP4ClientEndpoint(self._reactor, self._server.address, self._server.c2sPort)
        self.stream = await endpoint.connect(self._factory)
        await ready
        self.manager.send(Element((None, "presence")))

    async def logout(self) -> None:
        """
        Leave the server.
        """
        gone: Deferred[Any] = Deferred()
        self.stream.addObserver("//event/stream/end", lambda _: gone.called or gone.callback(None))
        self.stream.sendFooter()
        self.stream.transport.loseConnection()
        await gone.addTimeout(60, self._reactor)

    def join(self, room: str, nick: str) -> None:
        """
        Enter a multi-user chat.
        """
        presence = Element((None, "presence"))
        presence["to"] = f"{room}/{nick}"
        presence.addElement(("http://jabber.org/protocol/muc", "x"))
        self.manager.send(presence)

    async def open(self, target: str, sid: str) -> Transfer:
        """
        Open a bytestream.
        """
        await self.handler.requestBytestream(target, self, sid)
        return self.transfers[-1]

    def arrival(self) -> "Deferred[Transfer]":
        """
        Wait for the next bytestream.
        """
        self._arrived.append(Deferred())
        return self._arrived[-1].addTimeout(90, self._reactor)

    def bytestreamRequested(self, offer: BytestreamOffer) -> Factory:
        return self

    def bytestreamFailed(self, offer: BytestreamOffer, error: Exception) -> None:
        self.failures.append(error)

    def buildProtocol(self, addr: IAddress | None) -> Transfer:
        assert isinstance(addr, BytestreamAddress)
        self.transfers.append(Transfer(addr, self.until))
        arrived, self._arrived = self._arrived, []
        for deferred in arrived:
            deferred.callback(self.transfers[-1])
        return self.transfers[-1]
