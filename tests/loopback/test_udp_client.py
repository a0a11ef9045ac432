"""
The client in UDP mode (XEP-0065 section 8), both roles, direct and through the proxy, over real sockets.
"""

import contextlib
import random
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.error import ConnectionDone, InvalidAddressError
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish.domish import Element

from tests.fakes import lines
from tests.loopback.lab import PROXY, REQUESTER, SECRET, TARGET, ProxyTestCase, expect, reparsed
from tests.loopback.udpends import Acceptor, Recorder, exchangeMany
from tests.waiting import PATIENCE, pause, until
from xmppbytes.compat import disco
from xmppbytes.component import ComponentFactory, ComponentManager
from xmppbytes.errors import NegotiationError, NotReachable, Refused
from xmppbytes.s5b import associate, udpsession
from xmppbytes.s5b.address import destinationAddress
from xmppbytes.s5b.associatedpath import AssociatedPath
from xmppbytes.s5b.client import BytestreamsClientHandler
from xmppbytes.s5b.datagrams import DatagramTransport
from xmppbytes.s5b.options import BytestreamOptions, Ways
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS, NS_BYTESTREAMS_UDP
from xmppbytes.s5b.surroundings import ServerSurroundings
from xmppbytes.s5b.udpclient import DatagramsClientHandler
from xmppbytes.stream import StreamService
from xmppbytes.wire.s5budp import initPacket

JULIET = "juliet@verona.example/balcony"
NURSE = "nurse@capulets.example/chamber"


class User:
    """
    A user with a client of ours, on a component connection of its own.
    """

    def __init__(self, jid: str, serverPort: int, options: BytestreamOptions, udp: bool = True) -> None:
        self.jid = jid
        self.acceptor = Acceptor()
        domain = jid.partition("@")[2].partition("/")[0]
        factory = ComponentFactory(domain, SECRET)
        manager = ComponentManager(factory, reactor)
        # TCP mode first: the order in which an application adds them is not to matter.
        self.streams = BytestreamsClientHandler(reactor, None, options, ServerSurroundings(options, jid))
        self.datagrams = DatagramsClientHandler(
            reactor, self.acceptor, options, ServerSurroundings(options, jid)
        )
        handlers: list[Any] = [self.streams, disco.DiscoHandler()]
        if udp:
            handlers.append(self.datagrams)
        for handler in handlers:
            handler.setHandlerParent(manager)
        endpoint = clientFromString(reactor, f"tcp:127.0.0.1:{serverPort}")
        self.service = StreamService(endpoint, factory, reactor, f"{jid} in the lab")
        self.manager = manager

    async def start(self) -> None:
        """
        Connect to the server.
        """
        self.service.startService()
        await until(lambda: self.manager.connected)


OPTIONS = BytestreamOptions(addresses=("127.0.0.1",), discoverProxies=False, proxies=(PROXY,))
DIRECT = BytestreamOptions(addresses=("127.0.0.1",), discoverProxies=False, ways=Ways.DIRECT_ONLY)
PROXIED = BytestreamOptions(discoverProxies=False, proxies=(PROXY,), ways=Ways.PROXY_ONLY)


class ClientTestCase(ProxyTestCase):
    """
    A test with two users.
    """

    async def startUsers(
        self,
        options: BytestreamOptions = OPTIONS,
        targetOptions: BytestreamOptions | None = None,
        udp: bool = True,
    ) -> None:
        """
        Connect both.
        """
        self.juliet = User(JULIET, self.server.port, options)
        self.nurse = User(NURSE, self.server.port, targetOptions or options, udp)
        for user in (self.juliet, self.nurse):
            self.addCleanup(user.service.stopService)
            await user.start()

    async def open(self) -> tuple[Recorder, Recorder]:
        """
        Let the first user open a UDP bytestream to the second.
        """
        requester = Recorder()
        await self.juliet.datagrams.requestDatagrams(NURSE, requester, "sid1")
        target = self.nurse.acceptor.protocol
        await target.connected
        return requester, target

    async def assertExchange(self, requester: Recorder, target: Recorder) -> None:
        """
        Datagrams go both ways, with their ports.
        """
        for sender, receiver in ((requester, target), (target, requester)):
            self.assertTrue(sender.transport.send(b"hello", 7, 9))
            await receiver.untilReceived(1)
            self.assertEqual(receiver.received, [(b"hello", 9, 7)])

    async def assertEnds(self, requester: Recorder, target: Recorder) -> None:
        """
        When one side closes, both have ended, and no port is left open.
        """
        requester.transport.close()
        for protocol in (requester, target):
            (reason,) = await protocol.ended.addTimeout(PATIENCE, reactor)
            self.assertIsNotNone(reason.check(ConnectionDone))
            self.assertFalse(protocol.transport.send(b"too late", 1))
            self.assertEqual(protocol.transport.dropped, 1)


class DirectTests(ClientTestCase):
    """
    The Requester is the StreamHost.
    """

    async def test_exchange(self) -> None:
        """
        A direct UDP bytestream carries datagrams with their virtual ports, both ways, and ends for
        both when one closes it; then the ports are closed.
        """
        await self.startUsers(DIRECT)
        requester, target = await self.open()
        self.assertIsNone(requester.transport.peer.route.proxy)
        self.assertEqual(target.transport.peer.peer, JULIET)
        self.assertTrue(self.juliet.datagrams._means.streamHost.listening)
        await self.assertExchange(requester, target)
        await self.assertEnds(requester, target)
        await until(lambda: not self.juliet.datagrams._means.streamHost.listening)

    async def test_ipv6(self) -> None:
        """
        The same over IPv6.
        """
        options = BytestreamOptions(addresses=("::1",), discoverProxies=False, ways=Ways.DIRECT_ONLY)
        await self.startUsers(options)
        requester, target = await self.open()
        self.assertEqual(target.transport.peer.route.address, "::1")
        self.assertEqual(requester.transport.maxDatagramSize, 65536 - 48 - 4)
        self.assertEqual(target.transport.maxDatagramSize, 65536 - 48 - 51)
        await self.assertExchange(requester, target)
        await self.assertEnds(requester, target)

    async def test_many(self) -> None:
        """
        100,000 datagrams of 1 to 1,200 bytes arrive as they were sent.
        """
        await self.startUsers(DIRECT)
        requester, target = await self.open()
        for sender, receiver in ((requester, target), (target, requester)):
            result = await exchangeMany(sender, receiver, 50000)
            self.assertEqual(result, {"lost": 0, "wrong": 0})
        await self.assertEnds(requester, target)

    async def test_maxDatagramSize(self) -> None:
        """
        What the transport says that fits does, whole; one byte more is refused at once.
        """
        await self.startUsers(DIRECT)
        requester, target = await self.open()
        for sender, receiver, headers in ((requester, target, 4), (target, requester, 51)):
            largest = sender.transport.maxDatagramSize
            self.assertEqual(largest, 65507 - headers)
            data = random.Random(1).randbytes(largest)
            sender.transport.send(data, 1)
            await receiver.untilReceived(1)
            self.assertEqual(receiver.received[0][0], data)
            with self.assertRaisesRegex(ValueError, "does not fit"):
                sender.transport.send(data + b"x", 1)
        await self.assertEnds(requester, target)

    async def test_strangersInitialization(self) -> None:
        """
        Whoever knows the hash but is not the target gets no notification, and no datagram.
        """
        await self.startUsers(DIRECT)
        messages: list[Any] = []
        self.server.users.xmlstream.addObserver("/message", messages.append)
        self.nurse.acceptor.datagramsRequested = lambda offer: Deferred()  # type: ignore[method-assign]
        requesting = self.juliet.datagrams.requestDatagrams(NURSE, Recorder(), "sid1")
        host = self.juliet.datagrams._means.streamHost
        await until(lambda: host._offers)
        key, offer = next(iter(host._offers.items()))
        thief = await deferToThread(self._associate, offer.port, key)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sockets.append(udp)
        udp.sendto(initPacket(key, "tybalt@capulet.example/x"), ("127.0.0.1", offer.port))
        await pause(0.2)
        self.assertEqual(messages, [])
        with self.assertRaises(NotReachable):
            await offer.choose()
        requesting.cancel()
        with self.assertRaises(CancelledError):
            await requesting
        self.assertEqual(await deferToThread(thief.recv, 1), b"")

    def _associate(self, port: int, key: bytes, command: int = 3) -> socket.socket:
        party = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.sockets.append(party)
        party.sendall(b"\5\1\0")
        expect(party, b"\5\0")
        party.sendall(bytes((5, command, 0, 3, 40)) + key + b"\0\0")
        expect(party, b"\5\0\0\3\x28" + key + b"\0\0")
        return party


class ProxiedTests(ClientTestCase):
    """
    The proxy is the StreamHost.
    """

    async def test_exchange(self) -> None:
        """
        A mediated UDP bytestream carries datagrams with their virtual ports, both ways, and ends for
        both when one closes it.
        """
        await self.startProxy("--allow=*")
        await self.startUsers(PROXIED)
        requester, target = await self.open()
        self.assertEqual(requester.transport.peer.route.proxy, PROXY)
        self.assertEqual(target.transport.peer.route.proxy, PROXY)
        self.assertEqual(requester.transport.maxDatagramSize, 65507 - 47 - 4)
        await self.assertExchange(requester, target)
        await self.assertEnds(requester, target)

    async def test_many(self) -> None:
        """
        100,000 datagrams of 1 to 1,200 bytes arrive as they were sent.
        """
        await self.startProxy("--allow=*")
        await self.startUsers(PROXIED)
        requester, target = await self.open()
        for sender, receiver in ((requester, target), (target, requester)):
            result = await exchangeMany(sender, receiver, 50000)
            self.assertEqual(result, {"lost": 0, "wrong": 0})
        await self.assertEnds(requester, target)

    async def test_proxyWithoutDatagrams(self) -> None:
        """
        A proxy that does not name UDP mode is not offered.
        """
        await self.startProxy("--allow=*", "--no-udp")
        await self.startUsers(PROXIED)
        with self.assertRaisesRegex(NotReachable, "no way to offer"):
            await self.juliet.datagrams.requestDatagrams(NURSE, Recorder())

    async def test_proxyThatIsGone(self) -> None:
        """
        A proxy that does not tell whether it knows UDP mode is left out, with a line in the log.
        """
        await self.startProxy("--allow=*")
        await self.startUsers(PROXIED)
        means = type(self.juliet.datagrams._means)
        supports = means.supportsDatagrams

        async def withoutProxy(self: Any, jid: str) -> bool:
            if jid == PROXY:
                raise StanzaError("remote-server-not-found")
            return await supports(self, jid)

        self.patch(means, "supportsDatagrams", withoutProxy)
        with capturedLogs() as events, self.assertRaisesRegex(NotReachable, "no way to offer"):
            await self.juliet.datagrams.requestDatagrams(NURSE, Recorder())
        self.assertIn(f"{PROXY} is not offered: remote-server-not-found", lines(events))

    async def test_proxyEnds(self) -> None:
        """
        When the proxy ends, so does the bytestream, on both sides.
        """
        await self.startProxy("--allow=*")
        await self.startUsers(PROXIED)
        requester, target = await self.open()
        self.proxy.signal("TERM")
        for protocol in (requester, target):
            await protocol.ended.addTimeout(PATIENCE, reactor)

    async def test_fallsBackToProxy(self) -> None:
        """
        A target that cannot reach the requester itself uses the proxy.
        """
        await self.startProxy("--allow=*")
        unreachable = BytestreamOptions(addresses=("127.0.0.1",), discoverProxies=False, proxies=(PROXY,))
        await self.startUsers(unreachable, PROXIED)
        requester, target = await self.open()
        self.assertEqual(target.transport.peer.route.proxy, PROXY)
        await self.assertExchange(requester, target)
        await self.assertEnds(requester, target)


class NegotiationTests(ClientTestCase):
    """
    What is said over XMPP.
    """

    async def test_features(self) -> None:
        """
        The client names both modes.
        """
        await self.startUsers(DIRECT)
        answer = await self.juliet.streams.ask(NURSE, "get", Element((disco.NS_DISCO_INFO, "query")))
        features = [e["var"] for e in answer.query.elements() if e.name == "feature"]
        self.assertIn(NS_BYTESTREAMS, features)
        self.assertIn(NS_BYTESTREAMS_UDP, features)

    async def test_targetWithoutDatagrams(self) -> None:
        """
        A target that does not name UDP mode is not asked.
        """
        await self.startUsers(DIRECT, udp=False)
        with self.assertRaisesRegex(Refused, "knows no UDP"):
            await self.juliet.datagrams.requestDatagrams(NURSE, Recorder())

    async def test_refused(self) -> None:
        """
        The acceptor's no arrives as Refused.
        """
        await self.startUsers(DIRECT)
        self.nurse.acceptor.refuse = True
        with self.assertRaisesRegex(Refused, "not-acceptable"):
            await self.juliet.datagrams.requestDatagrams(NURSE, Recorder())
        self.assertEqual(len(self.nurse.acceptor.offers), 1)

    async def test_notInitialized(self) -> None:
        """
        When no notification comes, the packet is sent again, six times in all; then the target says
        remote-server-not-found, and both applications are told.
        """
        self.patch(associate, "RETRY_SECONDS", 0.05)
        await self.startUsers(DIRECT)
        packets: list[str] = []
        initialize = associate.AssociatedPath.initialize

        def count(path: Any, jid: str) -> None:
            packets.append(jid)
            initialize(path, jid)

        self.patch(associate.AssociatedPath, "initialize", count)
        self.juliet.datagrams._means.streamHost._notify = lambda jid, destination: False
        with self.assertRaisesRegex(NotReachable, "remote-server-not-found"):
            await self.juliet.datagrams.requestDatagrams(NURSE, Recorder())
        self.assertEqual(packets, [NURSE] * 6)
        self.assertEqual(len(self.nurse.acceptor.failures), 1)
        self.assertIsInstance(self.nurse.acceptor.failures[0], NotReachable)

    async def test_secondPacketHelps(self) -> None:
        """
        A packet, or a notification, that was lost costs one retry.
        """
        self.patch(associate, "RETRY_SECONDS", 0.2)
        await self.startUsers(DIRECT)
        host = self.juliet.datagrams._means.streamHost
        notify, calls = host._notify, []

        def first(jid: str, destination: str) -> bool:
            calls.append(jid)
            return len(calls) > 1 and notify(jid, destination)

        host._notify = first
        requester, target = await self.open()
        self.assertEqual(calls, [NURSE] * 2)
        await self.assertExchange(requester, target)
        await self.assertEnds(requester, target)

    async def test_cancelled(self) -> None:
        """
        Cancelling leaves nothing behind.
        """
        await self.startUsers(DIRECT)
        self.nurse.acceptor.datagramsRequested = lambda offer: Deferred()  # type: ignore[method-assign]
        requesting = self.juliet.datagrams.requestDatagrams(NURSE, Recorder())
        await pause(0.2)
        requesting.cancel()
        with self.assertRaises(CancelledError):
            await requesting
        self.assertFalse(self.juliet.datagrams._means.streamHost.listening)
        self.nurse.datagrams.close()

    async def test_badTarget(self) -> None:
        """
        An address that is none is a mistake of the caller.
        """
        await self.startUsers(DIRECT)
        with self.assertRaises(ValueError):
            await self.juliet.datagrams.requestDatagrams("@", Recorder())

    async def test_noStream(self) -> None:
        """
        Without a stream there is no request.
        """
        handler = DatagramsClientHandler(reactor)
        with self.assertRaises(NegotiationError):
            await handler.requestDatagrams(NURSE, Recorder())

    async def test_expected(self) -> None:
        """
        A bytestream that was agreed upon goes to the acceptor that waits for it.
        """
        await self.startUsers(DIRECT)
        expecting = Acceptor()
        self.nurse.datagrams.expectDatagrams(JULIET, "agreed", expecting)
        requester = Recorder()
        await self.juliet.datagrams.requestDatagrams(NURSE, requester, "agreed")
        self.assertEqual([offer.sid for offer in expecting.offers], ["agreed"])
        await expecting.protocol.connected
        await self.assertEnds(requester, expecting.protocol)


class MisbehaviourTests(ClientTestCase):
    """
    Peers and streamhosts that do not do what they should.
    """

    def setUp(self) -> None:
        super().setUp()
        self.answer = ""
        self.server.users.xmlstream.addObserver("/iq", self._asked)

    def _asked(self, iq: Element) -> None:
        """
        Answer as a target that we make up.
        """
        child = iq.firstChildElement()
        if iq["type"] not in ("get", "set") or child is None:
            return
        response = Element((None, "iq"))
        response["type"], response["id"], response["to"], response["from"] = (
            "result",
            iq["id"],
            iq["from"],
            iq["to"],
        )
        if child.uri == disco.NS_DISCO_INFO:
            response.addRawXml(f"<query xmlns='{child.uri}'><feature var='{NS_BYTESTREAMS_UDP}'/></query>")
        else:
            response.addRawXml(self.answer)
        self.server.users.xmlstream.send(reparsed(response))

    async def ask(self, jid: str) -> Any:
        """
        Ask a target that says that it uses this streamhost.
        """
        await self.startUsers(DIRECT)
        self.answer = f"<query xmlns='{NS_BYTESTREAMS}'><streamhost-used jid='{jid}'/></query>"
        return await self.juliet.datagrams.requestDatagrams(TARGET, Recorder())

    async def test_usesAnother(self) -> None:
        """
        A target that uses a streamhost which was not offered is not believed.
        """
        with self.assertRaisesRegex(NegotiationError, "not offered"):
            await self.ask("proxy.elsewhere.example")
        self.assertFalse(self.juliet.datagrams._means.streamHost.listening)

    async def test_isNotThere(self) -> None:
        """
        A target that says that it is connected to us, and is not, is told from one that is.
        """
        with self.assertRaisesRegex(NotReachable, "not initialised"):
            await self.ask(JULIET)

    async def test_noAnswerToDisco(self) -> None:
        """
        A target that does not answer is not asked.
        """
        await self.startUsers(DIRECT)
        self.patch(udpsession, "REQUEST_SECONDS", 0.1)
        with self.assertRaisesRegex(Refused, "does not tell"):
            await self.juliet.datagrams.requestDatagrams("nobody@nowhere.example/x", Recorder())

    async def test_streamRequests(self) -> None:
        """
        A session of this mode cannot be used for a stream.
        """
        await self.startUsers(DIRECT)
        session = udpsession.DatagramRequester(self.juliet.datagrams._datagrams, NURSE, "sid", DIRECT)
        with self.assertRaises(TypeError):
            await session.run(None)

    async def offerPort(self, port: int) -> str:
        """
        Offer the target a streamhost at a port.

        @return: the error condition that it answers with.
        """
        query = (
            f"<query xmlns='{NS_BYTESTREAMS}' sid='mine' mode='udp'>"
            f"<streamhost jid='{REQUESTER}' host='127.0.0.1' port='{port}'/></query>"
        )
        answer = await self.server.request("set", query, to=NURSE)
        self.assertEqual(answer["type"], "error", answer.toXml())
        return str(answer.error.firstChildElement().name)

    def streamHost(self, *replies: bytes) -> int:
        """
        Make a streamhost that reads and replies by the book, and closes then.

        @return: its port.
        """
        listening = socket.create_server(("127.0.0.1", 0))
        listening.settimeout(PATIENCE)
        self.sockets.append(listening)

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                for reply in replies:
                    connection.recv(1000)
                    connection.sendall(reply)

        self.serving = deferToThread(serve)
        return int(listening.getsockname()[1])

    async def test_refusesAssociation(self) -> None:
        """
        A streamhost that knows no UDP ASSOCIATE is one that cannot be used.
        """
        await self.startUsers(DIRECT)
        port = self.streamHost(b"\5\0", b"\5\7\0\3\0\0\0")
        self.assertEqual(await self.offerPort(port), "remote-server-not-found")
        await self.serving

    async def test_endsAssociation(self) -> None:
        """
        When the streamhost closes the connection, waiting for its notification ends at once.
        """
        await self.startUsers(DIRECT)
        hash = destinationAddress("mine", REQUESTER, NURSE).encode()
        port = self.streamHost(b"\5\0", b"\5\0\0\3\x28" + hash + b"\0\0")
        self.assertEqual(await self.offerPort(port), "remote-server-not-found")
        self.assertIn("ends the association", str(self.nurse.acceptor.failures[0]))
        await self.serving

    async def test_noUDPSocket(self) -> None:
        """
        When there is no socket for UDP, the connection is not left behind.
        """
        await self.startUsers(DIRECT)
        hash = destinationAddress("mine", REQUESTER, NURSE).encode()
        port = self.streamHost(b"\5\0", b"\5\0\0\3\x28" + hash + b"\0\0")

        def fail(*arguments: Any) -> None:
            raise NotReachable("no descriptor is free")

        self.patch(associate, "AssociatedPath", fail)
        self.assertEqual(await self.offerPort(port), "remote-server-not-found")
        await self.serving

    async def test_noWayForUDP(self) -> None:
        """
        A UDP socket that cannot be connected is closed at once.
        """
        opened: list[Any] = []

        class Reactor:
            def listenUDP(self, *arguments: Any, **more: Any) -> Any:
                opened.append(reactor.listenUDP(*arguments, **more))  # type: ignore[attr-defined]
                return opened[0]

        self.assertRaises(InvalidAddressError, AssociatedPath, Reactor(), "nowhere", 1, "0" * 40)
        await pause()
        self.assertFalse(opened[0].connected)

    async def test_wrongMode(self) -> None:
        """
        A mode that does not exist is a bad request; TCP mode is not ours.
        """
        await self.startUsers(DIRECT)
        for mode, condition in (("sctp", "bad-request"), ("tcp", "not-acceptable")):
            query = (
                f"<query xmlns='{NS_BYTESTREAMS}' sid='mode' mode='{mode}'>"
                "<streamhost jid='a@b' host='127.0.0.1' port='1'/></query>"
            )
            answer = await self.server.request("set", query, to=NURSE)
            self.assertEqual(answer.error.firstChildElement().name, condition)
        self.assertEqual(self.nurse.acceptor.offers, [])

    async def test_strayNotifications(self) -> None:
        """
        Notifications that nobody waits for, or that say nothing, do nothing.
        """
        await self.startUsers(DIRECT)
        for payload in (
            f"<udpsuccess xmlns='{NS_BYTESTREAMS}' dstaddr='{'1' * 40}'/>",
            f"<udpsuccess xmlns='{NS_BYTESTREAMS}'/>",
        ):
            for sender in (REQUESTER, "@"):
                message = Element((None, "message"))
                message["to"], message["from"] = NURSE, sender
                message.addRawXml(payload)
                self.nurse.datagrams._onMessage(reparsed(message))
        requester, target = await self.open()
        await self.assertEnds(requester, target)

    async def test_proxyDoesNotActivate(self) -> None:
        """
        When the proxy does not activate, the requester says why, and leaves.
        """
        await self.startProxy("--allow=*", "--max-sessions-per-jid=1")
        await self.startUsers(PROXIED)
        requester, target = await self.open()
        self.nurse.acceptor.protocol = second = Recorder()
        with self.assertRaisesRegex(NotReachable, "does not activate"):
            await self.juliet.datagrams.requestDatagrams(NURSE, Recorder())
        second.transport.close()
        await second.ended
        await self.assertEnds(requester, target)

    async def test_proxyVanishes(self) -> None:
        """
        When the requester cannot reach the proxy that the target uses, it says so.
        """
        await self.startProxy("--allow=*")
        await self.startUsers(PROXIED)

        async def vanished(*arguments: Any) -> Any:
            raise NotReachable("nobody there")

        associator = self.juliet.datagrams._datagrams.associator
        self.patch(associator, "connect", vanished)
        with self.assertRaisesRegex(NotReachable, "uses the proxy .* nobody there"):
            await self.juliet.datagrams.requestDatagrams(NURSE, Recorder())


class ApplicationTests(ClientTestCase):
    """
    Applications that fail.
    """

    async def test_failsToTakeIt(self) -> None:
        """
        A protocol that fails in connectionMade is logged, once, and its bytestream is closed.
        """
        await self.startUsers(DIRECT)

        class Failing(Recorder):
            def connectionMade(self) -> None:
                super().connectionMade()
                raise ZeroDivisionError

        self.nurse.acceptor.protocol = target = Failing()
        # The requester may see the end before it has seen the beginning.
        with contextlib.suppress(NotReachable):
            requester = Recorder()
            await self.juliet.datagrams.requestDatagrams(NURSE, requester)
            await requester.ended
        await target.ended
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_requesterFailsToTakeIt(self) -> None:
        """
        The requester's protocol fails in connectionMade: who asked hears of it, and the bytestream is
        closed for the target.
        """
        await self.startUsers(DIRECT)

        class Failing(Recorder):
            def connectionMade(self) -> None:
                super().connectionMade()
                raise ZeroDivisionError

        self.nurse.acceptor.protocol = target = Recorder()
        with self.assertRaises(ZeroDivisionError):
            await self.juliet.datagrams.requestDatagrams(NURSE, Failing())
        await target.ended

    async def test_failsToTakeADatagram(self) -> None:
        """
        A protocol that fails in datagramReceived is logged, and gets the next one.
        """
        await self.startUsers(DIRECT)
        requester, target = await self.open()
        real = target.datagramReceived

        def fail(*arguments: Any) -> None:
            target.datagramReceived = real  # type: ignore[method-assign]
            raise ZeroDivisionError

        target.datagramReceived = fail  # type: ignore[method-assign]
        requester.transport.send(b"one", 1)
        requester.transport.send(b"two", 1)
        await target.untilReceived(1)
        self.assertEqual(target.received, [(b"two", 0, 1)])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        await self.assertEnds(requester, target)

    async def test_closesAtOnce(self) -> None:
        """
        A protocol may end the bytestream as soon as it has it.
        """
        await self.startUsers(DIRECT)

        class Shy(Recorder):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.transport.close()

        requester = Shy()
        await self.juliet.datagrams.requestDatagrams(NURSE, requester)
        await requester.ended.addTimeout(PATIENCE, reactor)
        await self.nurse.acceptor.protocol.ended.addTimeout(PATIENCE, reactor)
        requester.transport.close()

    async def test_tooShortForPorts(self) -> None:
        """
        A payload without virtual ports is dropped.
        """
        await self.startUsers(DIRECT)
        requester, target = await self.open()
        requester.transport._path.send(b"abc")
        requester.transport.send(b"", 3)
        await target.untilReceived(1)
        self.assertEqual(target.received, [(b"", 0, 3)])
        await self.assertEnds(requester, target)

    async def test_lostBetween(self) -> None:
        """
        A connection that is lost before the protocol gets it is told as such.
        """
        await self.startUsers(DIRECT)
        start = DatagramTransport.start

        def late(transport: DatagramTransport, protocol: Any) -> None:
            if protocol is self.nurse.acceptor.protocol:
                transport._leg.transport.abortConnection()
                reactor.callLater(0.05, start, transport, protocol)  # type: ignore[attr-defined]
            else:
                start(transport, protocol)

        self.patch(DatagramTransport, "start", late)
        with self.assertRaises(NotReachable):
            await self.juliet.datagrams.requestDatagrams(NURSE, Recorder())
        target = self.nurse.acceptor.protocol
        await target.connected
        await target.ended
        self.assertFalse(target.transport.send(b"x", 1))

    async def test_noRoom(self) -> None:
        """
        What the system does not take at present is dropped and counted.
        """
        await self.startUsers(DIRECT)
        requester, target = await self.open()

        def full(*arguments: Any) -> None:
            raise BlockingIOError

        self.patch(target.transport._path._socket.transport, "write", full)
        self.assertFalse(target.transport.send(b"x", 1))
        self.assertEqual(target.transport.dropped, 1)
        with self.assertRaisesRegex(ValueError, "ports"):
            target.transport.send(b"x", 65536)
        target.transport.dropped = 0
        await self.assertEnds(requester, target)
