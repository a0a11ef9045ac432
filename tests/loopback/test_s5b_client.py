"""
The S5B client over real sockets on loopback; only the XMPP server is in memory.
"""

import hashlib
import os
import socket
import time
from functools import partial
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.words.protocols.jabber.error import StanzaError
from zope.interface import implementer

from tests.interop.processes import freePort
from tests.s5b.world import PROXY, REQUESTER, TARGET, Acceptor, Canned
from tests.waiting import pause, until
from xmppbytes.connecting.handing import SocketLeg, bridge
from xmppbytes.connecting.racing import RaceTiming
from xmppbytes.core.access import AccessRules
from xmppbytes.core.engines import makeEngines
from xmppbytes.core.handshake import handshakeDeadlines
from xmppbytes.core.hangup import makeHangupWatch
from xmppbytes.core.limits import Limits
from xmppbytes.core.pairing import Rendezvous
from xmppbytes.core.sessions import Sessions
from xmppbytes.errors import BytestreamError, NotReachable
from xmppbytes.s5b import candidates
from xmppbytes.s5b.address import destinationAddress
from xmppbytes.s5b.candidates import Candidate, CandidateConnector
from xmppbytes.s5b.client import BytestreamsClientHandler
from xmppbytes.s5b.options import BytestreamOptions, Ways
from xmppbytes.s5b.protocol import StreamHostFactory
from xmppbytes.s5b.proxy import ProxyHandler
from xmppbytes.s5b.request import BytestreamRequest, usedElement, usedStreamHost
from xmppbytes.s5b.stanzas import StreamHost
from xmppbytes.s5b.streamhost import LocalOffer, LocalStreamHost
from xmppbytes.stanza import RequestHandler
from xmppbytes.testing import MemoryXMPPServer

LOOPBACK = "127.0.0.1"
SIZE = 8 * 1024 * 1024 + 17
SENSELESS = ("..", "x" * 300, "a" * 64 + ".example", "::1%nonsense", "::1%9999", "[::1", "fe80::1%x")
BLOCK = os.urandom(65536)


@implementer(IHalfCloseableProtocol)
class Peer(Protocol):
    """
    Takes everything, and sends what it is told to.
    """

    transport: Any

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.received = 0
        self.ended: Deferred[None] = Deferred()
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.digest.update(data)
        self.received += len(data)

    def readConnectionLost(self) -> None:
        self.ended.callback(None)

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.ended.called:
            self.ended.callback(None)
        self.lost.callback(None)

    def send(self, size: int) -> str:
        """
        Send many bytes, and half-close.

        @return: their SHA-256.
        """
        digest = hashlib.sha256()
        left = size
        while left:
            piece = BLOCK[:left]
            digest.update(piece)
            self.transport.write(piece)
            left -= len(piece)
        self.transport.loseWriteConnection()
        return digest.hexdigest()


class PeerFactory(Factory):
    """
    Makes and keeps L{Peer}s.
    """

    noisy = False

    def __init__(self) -> None:
        self.made: list[Peer] = []

    def buildProtocol(self, addr: Any) -> Peer:
        self.made.append(Peer())
        self.made[-1].address = addr  # type: ignore[attr-defined]
        return self.made[-1]


def openDescriptors() -> set[str]:
    """
    What this process has open, by kind.
    """
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except OSError:
            continue
    return {one for one in found if "socket:" in one}


class LoopbackTestCase(TestCase):
    """
    A server in memory, two clients on real sockets.
    """

    timeout = 300

    def setUp(self) -> None:
        self.server = MemoryXMPPServer(reactor)  # type: ignore[arg-type]
        self.factory = PeerFactory()
        self.acceptor = Acceptor()
        self.acceptor.answer = self.accepted = PeerFactory()
        self.before = openDescriptors()

    def client(self, jid: str, acceptor: Any = None, **options: Any) -> BytestreamsClientHandler:
        options.setdefault("addresses", [LOOPBACK])
        options.setdefault("discoverProxies", False)
        handler = BytestreamsClientHandler(reactor, acceptor, BytestreamOptions(**options))
        self.connect(jid, handler)
        return handler

    def connect(self, jid: str, *handlers: Any) -> None:
        manager = self.server.connect(jid, LOOPBACK, LOOPBACK)
        for handler in handlers:
            handler.setHandlerParent(manager)

    def startProxy(self) -> Rendezvous:
        """
        A proxy in this process.
        """
        limits = Limits()
        sessions = Sessions(reactor, limits, makeEngines(reactor))  # type: ignore[arg-type]
        rendezvous = Rendezvous(reactor, limits, sessions, makeHangupWatch(reactor))  # type: ignore[arg-type]
        factory = StreamHostFactory(rendezvous, handshakeDeadlines(reactor, 10))
        port = reactor.listenTCP(0, factory, interface=LOOPBACK)  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        host = StreamHost(PROXY, LOOPBACK, port.getHost().port)
        self.connect(PROXY, ProxyHandler([host], rendezvous, AccessRules(["*"])))
        self.addCleanup(rendezvous.closeAll, "the test is over")
        return rendezvous

    def listen(self, protocol: Any) -> int:
        """
        Listen with a protocol.

        @return: the port.
        """
        factory = Factory.forProtocol(protocol)
        factory.noisy = False
        port = reactor.listenTCP(0, factory, interface=LOOPBACK)  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    async def transfer(self) -> tuple[Peer, Peer]:
        """
        Send many bytes both ways over the bytestream that is connected.
        """
        [ours], [theirs] = self.factory.made, self.accepted.made
        sent = ours.send(SIZE), theirs.send(SIZE)
        await gatherResults([ours.ended, theirs.ended])
        self.assertEqual((theirs.digest.hexdigest(), ours.digest.hexdigest()), sent)
        for peer in (ours, theirs):
            peer.transport.loseConnection()
        await gatherResults([ours.lost, theirs.lost])
        return ours, theirs

    async def settle(self, wanted: set[str] | None = None) -> None:
        """
        Wait until nothing is open that was not before.
        """
        before = self.before if wanted is None else wanted
        await until(lambda: openDescriptors() <= before, lambda: openDescriptors() - before)


class BytestreamTests(LoopbackTestCase):
    """
    Bytestreams that work.
    """

    async def test_direct(self) -> None:
        """
        8 MiB go each way over a direct bytestream, each side half-closes, and nothing stays open.
        """
        self.client(TARGET, self.acceptor)
        await self.client(REQUESTER).requestBytestream(TARGET, self.factory)
        ours, _ = await self.transfer()
        self.assertEqual(str(ours.address.route), "direct to 127.0.0.1")  # type: ignore[attr-defined]
        await self.settle()

    async def test_directIPv6(self) -> None:
        """
        The same over IPv6.
        """
        self.client(TARGET, self.acceptor)
        await self.client(REQUESTER, addresses=["::1"]).requestBytestream(TARGET, self.factory)
        await self.transfer()
        await self.settle()

    async def test_ownAddressesOfThisMachine(self) -> None:
        """
        Without any setting the addresses of this machine are offered, and one of them works.
        """
        self.client(TARGET, self.acceptor)
        await self.client(REQUESTER, addresses=None).requestBytestream(TARGET, self.factory)
        await self.transfer()

    async def test_proxied(self) -> None:
        """
        The same through a proxy that relays in the kernel.
        """
        self.startProxy()
        before = openDescriptors()
        self.client(TARGET, self.acceptor)
        requester = self.client(REQUESTER, ways=Ways.PROXY_ONLY, proxies=[PROXY])
        await requester.requestBytestream(TARGET, self.factory)
        ours, _ = await self.transfer()
        self.assertEqual(str(ours.address.route), f"through {PROXY}")  # type: ignore[attr-defined]
        await self.settle(before)

    async def test_manyAtOnce(self) -> None:
        """
        Twenty bytestreams side by side use one listening port, and none gets another's bytes.
        """
        self.client(TARGET, self.acceptor)
        requester = self.client(REQUESTER)
        await gatherResults([requester.requestBytestream(TARGET, self.factory) for _ in range(20)])
        for number, peer in enumerate(self.factory.made):
            peer.send(1000 + number)
        await gatherResults([peer.ended for peer in self.accepted.made])
        sizes = {peer.address.sid: peer.received for peer in self.accepted.made}  # type: ignore[attr-defined]
        for number, peer in enumerate(self.factory.made):
            self.assertEqual(sizes[peer.address.sid], 1000 + number)  # type: ignore[attr-defined]
        for peer in self.factory.made + self.accepted.made:
            peer.transport.loseConnection()
        await gatherResults([peer.lost for peer in self.factory.made + self.accepted.made])
        await self.settle()

    async def test_bridge(self) -> None:
        """
        A bytestream can be bridged to another socket, by the same engines as a proxy's.
        """
        host = LocalStreamHost(reactor)
        offer = await host.open([destinationAddress("s", REQUESTER, TARGET)])
        party = await deferToThread(self._connectByHand, offer.port)
        self.addCleanup(party.close)
        remote = Peer()
        port = self.listen(lambda: remote)
        leg: SocketLeg = await connectProtocol(TCP4ClientEndpoint(reactor, LOOPBACK, port), SocketLeg())
        ended = bridge(makeEngines(reactor), await offer.choose([LOOPBACK]), leg)
        offer.close()
        await deferToThread(self._sendAndEnd, party)
        await remote.ended
        self.assertEqual(remote.received, SIZE)
        remote.transport.loseConnection()
        await ended

    def _sendAndEnd(self, party: socket.socket) -> None:
        left = SIZE
        while left:
            left -= party.send(BLOCK[:left])
        party.shutdown(socket.SHUT_WR)

    def _connectByHand(self, port: int) -> socket.socket:
        """
        Be a target with a plain socket. Blocks.
        """
        party = socket.create_connection((LOOPBACK, port), timeout=10)
        party.sendall(b"\5\1\0")
        assert party.recv(2) == b"\5\0"
        party.sendall(b"\5\1\0\3\x28" + destinationAddress("s", REQUESTER, TARGET).encode() + b"\0\0")
        assert len(party.recv(47, socket.MSG_WAITALL)) == 47
        return party


class Silent(Protocol):
    """
    Accepts connections and never says anything.
    """

    lost = False

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True


class Web(Protocol):
    """
    Speaks HTTP.
    """

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


class DeadStreamHostTests(LoopbackTestCase):
    """
    Streamhosts that do not work.
    """

    def timing(self, attempt: float) -> None:
        """
        Let each attempt take so many seconds.
        """
        self.patch(candidates, "RaceTiming", partial(RaceTiming, attempt=attempt, overall=600.0))

    def ask(self, *ports: int) -> Deferred[Any]:
        """
        Offer streamhosts on these ports.
        """
        asker = RequestHandler()
        self.connect("asker@montague.example/x", asker)
        hosts = tuple(StreamHost("asker@montague.example/x", LOOPBACK, port) for port in ports)
        return asker.ask(TARGET, "set", BytestreamRequest("s", hosts).toElement(), 60)

    async def test_threeDeadOnes(self) -> None:
        """
        One that refuses, one that is silent, one that speaks HTTP, then a live one: connected before the
        silent one's time is up, and the dead connections are closed.
        """
        silent: list[Silent] = []

        def buildSilent() -> Silent:
            silent.append(Silent())
            return silent[-1]

        self.timing(attempt=600.0)
        self.client(TARGET, self.acceptor)
        host = LocalStreamHost(reactor)
        offer = await host.open([destinationAddress("s", "asker@montague.example/x", TARGET)])
        answer = await self.ask(freePort(), self.listen(buildSilent), self.listen(Web), offer.port)
        self.assertEqual(usedStreamHost(answer), "asker@montague.example/x")
        await until(lambda: [one.lost for one in silent] == [True], "the silent connection is closed")
        [peer] = self.accepted.made
        self.assertEqual(len(offer.legs), 1)
        offer.close()
        await peer.ended
        peer.transport.loseConnection()
        await peer.lost

    async def test_senselessHosts(self) -> None:
        """
        Hosts that are neither names nor addresses, and scopes that are not ours, are dead, not errors.
        """
        self.client(TARGET, self.acceptor)
        asker = RequestHandler()
        self.connect("asker@montague.example/x", asker)
        port = freePort()
        hosts = tuple(StreamHost("asker@montague.example/x", host, port) for host in SENSELESS)
        try:
            await asker.ask(TARGET, "set", BytestreamRequest("s", hosts).toElement(), 60)
        except StanzaError as e:
            self.assertEqual(e.condition, "item-not-found")
        else:
            self.fail("connected to nobody")
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_allDead(self) -> None:
        """
        When all are dead the answer is C{item-not-found}, as soon as the last has had its time.
        """
        self.timing(attempt=1.0)
        self.client(TARGET, self.acceptor)
        began = time.monotonic()
        ports = freePort(), self.listen(Silent), self.listen(Web), self.listen(Silent)
        try:
            await self.ask(*ports)
        except StanzaError as e:
            self.assertEqual(e.condition, "item-not-found")
        else:
            self.fail("connected to nobody")
        seconds = time.monotonic() - began
        self.assertGreater(seconds, 1.0)
        self.assertLess(seconds, 300.0)
        [error] = self.acceptor.failures
        self.assertIsInstance(error, NotReachable)


class SeveralConnectionsTests(LoopbackTestCase):
    """
    Targets that connect several times.
    """

    async def connectTwice(self, closeFirst: bool) -> tuple[LocalOffer, list[socket.socket]]:
        """
        Be a target that opens two connections.
        """
        self.host = LocalStreamHost(reactor)
        offer = await self.host.open(["a" * 40])

        def connect() -> socket.socket:
            party = socket.create_connection((LOOPBACK, offer.port), timeout=10)
            party.sendall(b"\5\1\0")
            assert party.recv(2) == b"\5\0"
            party.sendall(b"\5\1\0\3\x28" + b"a" * 40 + b"\0\0")
            assert len(party.recv(47, socket.MSG_WAITALL)) == 47
            return party

        parties = [await deferToThread(connect), await deferToThread(connect)]
        for party in parties:
            self.addCleanup(party.close)
        if closeFirst:
            parties[0].close()
        return offer, parties

    async def test_closedOne(self) -> None:
        """
        A connection that the target has closed is not taken for the one it means.
        """
        offer, parties = await self.connectTwice(closeFirst=True)
        leg = await offer.choose([LOOPBACK])
        leg.transport.write(b"hello")
        self.assertEqual(await deferToThread(parties[1].recv, 5), b"hello")
        offer.close()
        leg.close("done")

    async def test_bothStayOpen(self) -> None:
        """
        Of two that stay open the first is taken; the other is left alone until the first ends.
        """
        offer, parties = await self.connectTwice(closeFirst=False)
        leg = await offer.choose([LOOPBACK])
        offer.close()
        parties[1].settimeout(0.3)
        with self.assertRaises(TimeoutError):
            await deferToThread(parties[1].recv, 1)
        parties[1].settimeout(10)
        leg.close("done")
        self.assertEqual(await deferToThread(parties[1].recv, 1), b"")


class CleanUpTests(LoopbackTestCase):
    """
    What is given up leaves nothing behind.
    """

    def setUp(self) -> None:
        super().setUp()
        self.startProxy()
        self.before = openDescriptors()

    async def giveUpAt(self, turns: int, **options: Any) -> bool:
        """
        Cancel a negotiation after some turns of the reactor.

        @return: whether it was still going on.
        """
        self.client(TARGET, self.acceptor)
        requester = self.client(REQUESTER, **options)
        negotiation = requester.requestBytestream(TARGET, self.factory)
        for _ in range(turns):
            await deferLater(reactor, 0)
        running = not negotiation.called
        negotiation.cancel()
        try:
            peer = await negotiation
        except CancelledError:
            pass
        else:
            peer.transport.abortConnection()
        await pause(0.02)
        await until(self._nothingIsLeft, lambda: openDescriptors() - self.before)
        self.assertEqual(requester._outgoing, {})
        self.assertFalse(requester._means.streamHost.listening)
        return running

    def _nothingIsLeft(self) -> bool:
        """
        Close what the target was given, at whatever time, and see whether that was all.
        """
        for accepted in self.accepted.made:
            accepted.transport.abortConnection()
        self.accepted.made.clear()
        return openDescriptors() <= self.before

    async def test_cancelDirect(self) -> None:
        """
        Cancelled after any number of turns a direct bytestream leaves no socket.
        """
        turns = 0
        while await self.giveUpAt(turns):
            turns += 1
        self.assertGreater(turns, 3)

    async def test_cancelProxied(self) -> None:
        """
        Cancelled after any number of turns a proxied bytestream leaves no socket.
        """
        turns = 0
        while await self.giveUpAt(turns, ways=Ways.PROXY_ONLY, proxies=[PROXY]):
            turns += 1
        self.assertGreater(turns, 5)

    async def test_targetLies(self) -> None:
        """
        A target that claims what is not so costs an error, and the port is closed.
        """
        self.connect(TARGET, Canned(set=usedElement("s", REQUESTER)))
        requester = self.client(REQUESTER)
        try:
            await requester.requestBytestream(TARGET, self.factory)
        except NotReachable:
            pass
        else:
            self.fail("a bytestream out of nothing")
        await self.settle()

    async def test_streamHostClosesAtEachStep(self) -> None:
        """
        A streamhost that closes at any point of the handshake is a streamhost that is dead.
        """
        script = [b"", b"\5", b"\5\0", b"\5\0\5\0", b"\5\0\5\0\0\3\x28" + b"a" * 39]
        for reply in script:

            class Closing(Protocol):
                def dataReceived(self, data: bytes, reply: bytes = reply) -> None:
                    assert self.transport is not None
                    self.transport.write(reply)
                    self.transport.loseConnection()

            port = self.listen(Closing)
            connector = CandidateConnector(reactor, _Everything())
            try:
                await connector.connect([Candidate("x", LOOPBACK, port, False)], ["a" * 40])
            except BytestreamError as e:
                self.assertIn(f"{LOOPBACK} port {port}: ", str(e))
            else:
                self.fail(f"connected after {reply!r}")


class _Everything:
    """
    Permits every address.
    """

    def admit(self, address: str) -> str:
        return address
