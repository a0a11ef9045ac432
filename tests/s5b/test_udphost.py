"""
Tests for xmppbytes.s5b.udphost and xmppbytes.s5b.datagrams.
"""

import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase

from xmppbytes.core.leg import LegKind
from xmppbytes.errors import ConfigurationError, KeyTaken, LimitReached, NotReachable
from xmppbytes.s5b import datagrams, udphost
from xmppbytes.s5b.datagrams import DatagramPath, DatagramProtocol, maxPayload, pathMTU
from xmppbytes.s5b.udphost import MAX_LEGS, MAX_WAITING, LocalDatagramHost, TwinListener

HASH = "972b7bf47291ca609517f67f86b5081086052dad"
TARGET = "target@example.org/bar"


class FakeLeg:
    """
    An association that waits.
    """

    def __init__(self, jid: str = "", kind: LegKind = LegKind.DATAGRAM, address: str = "192.0.2.1") -> None:
        self.address = address
        self.kind = kind
        self.jid = jid
        self.ready = bool(jid)
        self.channel: Any = None
        self.closed = False

    def close(self, reason: str) -> None:
        self.closed = True


class HostTests(TestCase):
    """
    L{LocalDatagramHost}.
    """

    def setUp(self) -> None:
        self.notices: list[str] = []
        self.host: Any = LocalDatagramHost(reactor, (0,), self.notify)

    def notify(self, jid: str, destination: str) -> bool:
        self.notices.append(jid)
        return True

    async def open(self) -> Any:
        offer = await self.host.open((HASH,))
        offer.target = TARGET
        self.addCleanup(offer.close)
        return offer

    def joined(self, leg: FakeLeg | None = None) -> FakeLeg:
        leg = leg or FakeLeg()
        self.host.admit(leg)
        self.host.join(HASH.encode(), leg)
        return leg

    async def test_oneNumber(self) -> None:
        """
        TCP and UDP are open on one port number while there is an offer, and no longer.
        """
        offer = await self.open()
        with socket.create_connection(("127.0.0.1", offer.port)):
            pass
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, self.assertRaises(OSError):
            udp.bind(("127.0.0.1", offer.port))
        offer.close()
        offer.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind(("127.0.0.1", offer.port))
        self.assertFalse(self.host.listening)

    async def test_joins(self) -> None:
        """
        Associations for open offers are taken, others and TCP bytestreams are not.
        """
        with self.assertRaises(KeyTaken):
            self.joined()
        offer = await self.open()
        with self.assertRaises(KeyTaken):
            self.joined(FakeLeg(kind=LegKind.STREAM))
        leg = self.joined()
        self.assertEqual(offer.legs, [leg])
        self.host.leave(leg)
        self.host.leave(leg)
        self.assertEqual(offer.legs, [])

    async def test_permits(self) -> None:
        """
        An offer may be for some addresses only.
        """
        offer = await self.host.open((HASH,), lambda address: address == "192.0.2.1")
        self.addCleanup(offer.close)
        with self.assertRaises(KeyTaken):
            self.joined(FakeLeg(address="192.0.2.2"))
        self.joined(FakeLeg(address="192.0.2.1"))

    async def test_limits(self) -> None:
        """
        There is a limit for one offer and one for all.
        """
        await self.open()
        for _ in range(MAX_LEGS):
            self.joined()
        with self.assertRaises(KeyTaken):
            self.joined()
        with self.assertRaises(LimitReached):
            for _ in range(MAX_WAITING):
                self.host.admit(FakeLeg())

    async def test_chooses(self) -> None:
        """
        The association that the target means is the first that it has initialised and keeps.
        """
        offer = await self.open()
        self.joined()
        self.joined(FakeLeg("thief@example.org/x"))
        with self.assertRaises(NotReachable):
            await offer.choose()
        first = self.joined(FakeLeg(TARGET))
        second = self.joined(FakeLeg(TARGET))
        reactor.callLater(0.05, self.host.leave, first)  # type: ignore[attr-defined]
        chosen, path = await offer.choose()
        self.assertIs(chosen, second)
        path._channel = Closable()
        path.close()

    async def test_closesTheOthers(self) -> None:
        """
        When an offer is closed, what was not chosen is closed, and what was chosen keeps the ports.
        """
        offer = await self.open()
        used, other = self.joined(FakeLeg(TARGET)), self.joined()
        _, path = await offer.choose()
        offer.close()
        self.assertEqual((used.closed, other.closed), (False, True))
        self.assertTrue(self.host.listening)
        path._channel = Closable()
        path.close()
        path.close()
        self.assertFalse(self.host.listening)

    async def test_notifies(self) -> None:
        """
        Only the target of an open offer is ever notified.
        """
        self.assertFalse(self.host._initialized(TARGET, HASH))
        offer = await self.open()
        self.assertFalse(self.host._initialized("thief@example.org/x", HASH))
        self.assertTrue(self.host._initialized(TARGET, HASH.upper()))
        self.assertEqual(self.notices, [TARGET])
        again = await self.host.open((HASH,))
        offer.close()
        self.assertIn(HASH.encode(), self.host._offers)
        again.close()
        self.assertEqual(self.host._offers, {})


class Closable:
    """
    A channel that can be closed.
    """

    def close(self) -> None:
        pass


class ListenerTests(TestCase):
    """
    L{TwinListener}.
    """

    def listener(self, failures: int, port: int = 0) -> TwinListener:
        real = udphost.listenDatagrams
        left = [failures]

        def scripted(*arguments: Any) -> Any:
            if left[0]:
                left[0] -= 1
                raise ConfigurationError("taken")
            return real(*arguments)

        self.patch(udphost, "listenDatagrams", scripted)
        return TwinListener(reactor, Factory(), lambda *arguments: None, (port,))

    async def test_triesAgain(self) -> None:
        """
        When the system's choice is taken for UDP, another is tried.
        """
        listener = self.listener(3)
        self.assertGreater(await listener.acquire(), 0)
        listener.release()

    async def test_givesUp(self) -> None:
        """
        When no number is free for both, that is said.
        """
        listener = self.listener(1000)
        with self.assertRaisesRegex(NotReachable, "taken"):
            await listener.acquire()

    async def test_fixedNumber(self) -> None:
        """
        A number that was configured is tried once.
        """
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            number = probe.getsockname()[1]
        listener = self.listener(1, number)
        with self.assertRaises(CannotListenError):
            listener._listenOn(number)


class PathTests(TestCase):
    """
    What fits.
    """

    def test_pathIsAbstract(self) -> None:
        """
        A path does nothing by itself.
        """
        path = DatagramPath()
        for use in (
            lambda: path.maxPayload,
            lambda: path.send(b""),
            lambda: path.open(lambda data: None),
            path.close,
        ):
            with self.assertRaises(NotImplementedError):
                use()

    def test_protocolIsABase(self) -> None:
        """
        The base protocol takes everything and does nothing.
        """
        protocol = DatagramProtocol()
        protocol.makeConnection("transport")
        protocol.datagramReceived(b"data", 1, 2)
        protocol.connectionLost()
        self.assertEqual(protocol.transport, "transport")

    def test_routeMTU(self) -> None:
        """
        The system is asked for the way to an address.
        """
        self.assertIn(pathMTU(None, "127.0.0.1", 1), (65535, 65536))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.connect(("127.0.0.1", 1))
            self.assertIn(pathMTU(udp, "127.0.0.1", 1), (65535, 65536))

    def test_unknownMTU(self) -> None:
        """
        Where the system tells nothing, what goes everywhere is taken.
        """
        self.assertEqual(pathMTU(None, "255.255.255.255", 1), 1280)
        self.patch(datagrams.sys, "platform", "darwin")
        self.assertEqual(pathMTU(None, "127.0.0.1", 1), 1280)

    def test_headersCount(self) -> None:
        """
        IP and UDP headers, and those of SOCKS5, are not the application's.
        """
        self.assertEqual(maxPayload(1500, "192.0.2.1", 47), 1500 - 28 - 47)
        self.assertEqual(maxPayload(1500, "2001:db8::1", 0), 1500 - 48)
        self.assertEqual(maxPayload(70000, "192.0.2.1", 0), 65507)
