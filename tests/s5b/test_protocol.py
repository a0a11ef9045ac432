"""
Tests for L{xmppbytes.s5b.protocol}.
"""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fakes import FakeTLSTransport, FakeTransport, lines
from tests.s5b.proxyworld import ProxyWorld
from xmppbytes.core.handshake import handshakeDeadlines
from xmppbytes.core.limits import Limits
from xmppbytes.errors import BytestreamError
from xmppbytes.interfaces import ILeg
from xmppbytes.s5b.protocol import PROBE_ADDRESS, SOCKS5ClientProtocol, StreamHostFactory
from xmppbytes.wire.socks5 import Command

KEY = "972b7bf47291ca609517f67f86b5081086052dad"
CONNECT = b"\5\1\0\3\x28" + KEY.encode() + b"\0\0"
GRANTED = b"\5\0" + CONNECT[2:]


class StreamHostCase(SynchronousTestCase):
    """
    A proxy to connect to.
    """

    limits = Limits()

    def setUp(self) -> None:
        self.world = ProxyWorld(self.limits)

    def talk(self, *pieces: bytes, transport: Any = None) -> Any:
        """
        Connect and send these pieces.
        """
        transport = self.world.connect(transport=transport)
        for piece in pieces:
            transport.receive(piece)
        return transport

    def assertRefused(self, transport: Any, *writes: bytes) -> None:
        """
        It got these answers, is closed, and nothing is left of it.
        """
        self.world.settle()
        self.assertEqual(transport.writes, list(writes))
        self.assertEqual(transport.state, "closed")
        self.assertEqual(self.world.rendezvous.pending, 0)
        self.assertEqual(self.world.clock.getDelayedCalls(), [])


class GreetingTests(StreamHostCase):
    """
    Choosing a method.
    """

    def test_noneIsPicked(self) -> None:
        """
        Method 00 is picked whenever it is offered, wherever it stands.
        """
        for greeting in (b"\5\1\0", b"\5\2\0\2", b"\5\2\2\0", b"\5\xff" + bytes(range(1, 255)) + b"\0"):
            transport = self.talk(greeting)
            self.assertEqual((transport.writes, transport.state), ([b"\5\0"], "open"))

    def test_noneIsNotOffered(self) -> None:
        """
        Who cannot do without authentication gets 05 FF, one log line, and is closed.
        """
        for greeting in (b"\5\1\2", b"\5\2\1\2", b"\5\0"):
            with capturedLogs() as events:
                self.assertRefused(self.talk(greeting), b"\5\xff")
            self.assertEqual(len(events), 1)
            self.assertIn("authentication methods", lines(events)[0])

    def test_otherProtocols(self) -> None:
        """
        SOCKS4, HTTP and TLS are closed without a word.
        """
        for data in (b"\4\1\0\x50\x7f\0\0\1\0", b"GET / HTTP/1.1\r\n\r\n", b"\x16\3\1\0\xa5\1"):
            with capturedLogs() as events:
                self.assertRefused(self.talk(data))
            self.assertIn("Refused 192.0.2.1: not SOCKS5", lines(events)[0])
            self.assertEqual(len(events), 1)


class RequestTests(StreamHostCase):
    """
    Granting and refusing.
    """

    def test_granted(self) -> None:
        """
        Listings 19 and 20: 47 bytes come back in one write, with byte 1 = 0; the connection waits, unread.
        """
        transport = self.talk(b"\5\1\0", CONNECT)
        self.assertEqual(transport.writes, [b"\5\0", GRANTED])
        self.assertEqual(len(transport.writes[1]), 47)
        self.assertFalse(transport.reading)
        (leg,) = self.world.rendezvous.legs(KEY.encode())
        verifyObject(ILeg, leg)
        self.assertTrue(leg.speaksFor(None))

    def test_gluedIsAnsweredInTwo(self) -> None:
        """
        Greeting and request in one segment are answered in two writes.
        """
        self.assertEqual(self.talk(b"\5\1\0" + CONNECT).writes, [b"\5\0", GRANTED])

    @given(st.lists(st.integers(0, 50), max_size=5))
    def test_anySplit(self, places: list[int]) -> None:
        """
        However the bytes are cut, the answers are the same.
        """
        self.world = ProxyWorld()
        data = b"\5\1\0" + CONNECT
        edges = [0, *sorted(places), len(data)]
        pieces = [data[a:b] for a, b in zip(edges, edges[1:], strict=False) if a < b]  # noqa: RUF007
        self.assertEqual(self.talk(*pieces).sent, b"\5\0" + GRANTED)

    def test_truncated(self) -> None:
        """
        What is cut short is answered as far as it goes, and closed when its time is over.
        """
        data = b"\5\1\0" + CONNECT
        for length in range(len(data)):
            self.world = ProxyWorld()
            transport = self.talk(data[:length])
            self.assertEqual(transport.state, "open")
            self.world.clock.advance(10)
            self.assertRefused(transport, *([b"\5\0"] if length >= 3 else []))

    @given(st.sampled_from((b"", b"\5", b"\5\1\0", b"\5\1\0\5\1\0\3")), st.binary(max_size=600))
    def test_noise(self, start: bytes, noise: bytes) -> None:
        """
        Whatever comes, nothing is raised, at most one line is logged, and the place is free again.
        """
        self.world = ProxyWorld()
        with capturedLogs() as events:
            self.talk(start + noise)
            self.world.clock.advance(300)
            self.world.settle()
        self.assertLessEqual(len(events), 1)
        self.assertEqual(self.world.rendezvous.pending, 0)

    def test_upperCase(self) -> None:
        """
        Upper-case digits find the same bytestream, and are echoed as they were received.
        """
        upper = CONNECT[:5] + KEY.upper().encode() + CONNECT[-2:]
        transport = self.talk(b"\5\1\0", upper)
        self.assertEqual(transport.writes[1], b"\5\0" + upper[2:])
        self.talk(b"\5\1\0", CONNECT)
        self.assertEqual(len(self.world.rendezvous.legs(KEY.encode())), 2)

    def test_anyPort(self) -> None:
        """
        DST.PORT does not matter, and is repeated.
        """
        transport = self.talk(b"\5\1\0", CONNECT[:-2] + b"\x1d\xc9")
        self.assertEqual(transport.writes[1], GRANTED[:-2] + b"\x1d\xc9")

    def test_noHash(self) -> None:
        """
        A DST.ADDR that is not 40 hex digits is refused with 02, and repeated.
        """
        for address in (b"", b"example.org", KEY.encode()[:-1], KEY.encode() + b"0", b"z" * 40):
            tail = b"\0\3" + bytes((len(address),)) + address + b"\0\0"
            self.assertRefused(self.talk(b"\5\1\0", b"\5\1" + tail), b"\5\0", b"\5\2" + tail)

    def test_otherCommands(self) -> None:
        """
        Anything but CONNECT is refused with 07.
        """
        for command in (0, 2, 3, 255):
            transport = self.talk(b"\5\1\0", b"\5" + bytes((command,)) + CONNECT[2:])
            self.assertRefused(transport, b"\5\0", b"\5\7" + CONNECT[2:])

    def test_otherAddressTypes(self) -> None:
        """
        ATYP 1 and 4 (and 0) are refused with 08, and repeated.
        """
        for tail in (b"\0\1\x7f\0\0\1\0\x50", b"\0\4" + bytes(15) + b"\1\0\x50", b"\0\0\0\0"):
            self.assertRefused(self.talk(b"\5\1\0", b"\5\1" + tail), b"\5\0", b"\5\x08" + tail)

    def test_third(self) -> None:
        """
        A third party is refused with 02, and the first two are unharmed.
        """
        first, second = self.world.pair()
        key = next(iter(self.world.rendezvous._legsOf))
        third = self.talk(b"\5\1\0", b"\5\1\0\3\x28" + key + b"\0\0")
        self.world.settle()
        self.assertEqual((third.writes[1][:2], third.state), (b"\5\2", "closed"))
        self.world.activate()
        first.receive(b"private")
        self.assertEqual((second.sent, first.state), (b"private", "open"))

    def test_probe(self) -> None:
        """
        Who only looks whether we are there is answered, and closed quietly.
        """
        tail = b"\0\3" + bytes((len(PROBE_ADDRESS),)) + PROBE_ADDRESS + b"\0\0"
        self.assertRefused(self.talk(b"\5\1\0", b"\5\1" + tail), b"\5\0", b"\5\0" + tail)


class WaitingTests(StreamHostCase):
    """
    Between the handshake and the activation.
    """

    limits = Limits(maxPending=3, maxPendingPerAddress=2)

    def test_oneTooMany(self) -> None:
        """
        One connection too many is closed at once, with one line, and the others are not.
        """
        others = [self.talk(), self.talk(b"\5\1\0", CONNECT)]
        with capturedLogs() as events:
            transport = self.talk(b"\5\1\0")
            self.world.settle()
        self.assertEqual((transport.state, transport.sent), ("closed", b""))
        self.assertIn("limit for one address", lines(events)[0])
        self.assertEqual((len(events), [other.state for other in others]), (1, ["open", "open"]))

    def test_leaves(self) -> None:
        """
        Who is noticed to have gone is closed, and its place is free.
        """
        transport = self.talk(b"\5\1\0", CONNECT)
        with capturedLogs() as events:
            self.world.watch.leave(transport)
            self.assertRefused(transport, b"\5\0", GRANTED)
        self.assertEqual(
            lines(events), ["Closed 192.0.2.1, which was waiting: it left before the activation"]
        )

    def test_breaks(self) -> None:
        """
        A waiting connection that is lost is forgotten.
        """
        transport = self.talk(b"\5\1\0", CONNECT)
        transport.reset()
        self.assertEqual((self.world.rendezvous.pending, self.world.watch.watched), (0, {}))

    def test_closedInTheMiddle(self) -> None:
        """
        To send somebody away who is in its handshake costs one line as well.
        """
        transport = self.talk(b"\5\1\0")
        with capturedLogs() as events:
            self.world.rendezvous.closeAll("the service ends")
            transport.receive(CONNECT)
            self.assertRefused(transport, b"\5\0")
        self.assertEqual(lines(events), ["Closed 192.0.2.1, which was waiting: the service ends"])

    def test_pendingTimeout(self) -> None:
        """
        Its time counts from the connection on.
        """
        transport = self.talk(b"\5\1\0")
        self.world.clock.advance(9)
        transport.receive(CONNECT)
        self.world.clock.advance(290.9)
        self.assertEqual(transport.state, "open")
        self.world.clock.advance(0.2)
        self.assertRefused(transport, b"\5\0", GRANTED)

    def test_overTLS(self) -> None:
        """
        Nothing goes past the encryption.
        """
        transport = self.talk(b"\5\1\0" + CONNECT, transport=FakeTLSTransport(self.world.clock))
        self.assertEqual((transport.sent, transport.unencrypted), (b"\5\0" + GRANTED, []))


class FactoryTests(SynchronousTestCase):
    """
    What makes the connections.
    """

    def test_acceptedIsTold(self) -> None:
        """
        Whoever counts descriptors hears of each connection, before anything else.
        """
        world, seen = ProxyWorld(Limits(maxPending=1)), []
        world.factory = StreamHostFactory(world.rendezvous, handshakeDeadlines(world.clock, 10), seen.append)
        transports = [world.connect(), world.connect()]
        self.assertEqual(seen, transports)


class ClientTests(SynchronousTestCase):
    """
    The connecting side.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.granted: list[Any] = []
        self.refused: list[BytestreamError] = []
        self.transport = self.connect()

    def connect(self, **arguments: Any) -> FakeTransport:
        transport = FakeTransport(self.clock)
        transport.protocol = SOCKS5ClientProtocol(
            KEY, self.granted.append, self.refused.append, handshakeDeadlines(self.clock, 10), **arguments
        )
        transport.protocol.makeConnection(transport)
        return transport

    def assertFailed(self, text: str) -> None:
        self.clock.advance(0)
        (error,) = self.refused
        self.assertIn(text, str(error))
        self.assertEqual((self.granted, self.transport.state), ([], "closed"))

    def test_oneMessageAtATime(self) -> None:
        """
        Each message is a write of its own, and the request waits for the method.
        """
        self.assertEqual(self.transport.writes, [b"\5\1\0"])
        self.transport.receive(b"\5\0")
        self.assertEqual(self.transport.writes, [b"\5\1\0", CONNECT])

    def test_granted(self) -> None:
        """
        Bytes behind the reply are kept for whoever takes the connection over.
        """
        self.transport.receive(b"\5\0")
        self.transport.receive(GRANTED + b"file")
        (connection,) = self.granted
        self.assertEqual((connection.early, self.transport.reading), (b"file", False))
        self.assertEqual((connection.destination, self.refused), (KEY, []))
        received: list[bytes] = []
        successor = Protocol()
        successor.dataReceived = received.append  # type: ignore[method-assign]
        connection.handOver(successor)
        self.transport.resumeProducing()
        self.transport.receive(b"more")
        self.assertEqual(received, [b"more"])

    def test_otherCommand(self) -> None:
        """
        It can ask for UDP ASSOCIATE as well.
        """
        transport = self.connect(command=Command.UDP_ASSOCIATE)
        transport.receive(b"\5\0")
        self.assertEqual(transport.writes[1][1], 3)

    def test_replyForms(self) -> None:
        """
        Every form of yes is yes.
        """
        for reply in (b"\5\0\0\1\0\0\0\0\0\0", b"\5\0\0\0\0\0", b"\5\0\0\3\4host\0\0"):
            self.connect().receive(b"\5\0" + reply)
        self.assertEqual(len(self.granted), 3)

    def test_refused(self) -> None:
        """
        A no is told by its name, or its number.
        """
        self.transport.receive(b"\5\0\5\5")
        self.assertFailed("connection refused")
        self.connect().receive(b"\5\0\5\x99")
        self.assertIn("0x99", str(self.refused[1]))

    def test_authentication(self) -> None:
        """
        A streamhost that wants a password cannot be used.
        """
        self.transport.receive(b"\5\2")
        self.assertFailed("authentication")

    def test_silence(self) -> None:
        """
        One that says nothing is given up.
        """
        self.clock.advance(10)
        self.assertFailed("within 10 s")

    def test_closed(self) -> None:
        """
        One that closes, as ejabberd for no, has refused.
        """
        self.transport.receive(b"\5\0")
        self.transport.receiveEnd()
        self.assertFailed("closed the connection")

    def test_notSOCKS(self) -> None:
        """
        One that speaks HTTP is none.
        """
        self.transport.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.assertFailed("not SOCKS5")

    def test_address(self) -> None:
        """
        The factory does not need to know where somebody comes from.
        """
        world = ProxyWorld()
        self.assertIsNotNone(world.factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)))
        self.assertIsNotNone(world.factory.buildProtocol(None))
