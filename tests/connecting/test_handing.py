"""
Giving connections to whom they are for.
"""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from xmppbytes.connecting.handing import SocketLeg, bridge, handOverTo
from xmppbytes.core.outcome import Outcome
from xmppbytes.core.relay import CopyEngine
from xmppbytes.errors import BytestreamError
from xmppbytes.testing import MemoryInternet


class Application(Protocol):
    """
    Notes what it gets.
    """

    transport: Any

    def __init__(self) -> None:
        self.data = b""
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


class HandingTestCase(SynchronousTestCase):
    """
    Connections of which one end is a L{SocketLeg}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.internet = MemoryInternet(self.clock)
        self.machine = self.internet.machine("192.0.2.1")
        self.port = 0

    def connect(self) -> tuple[SocketLeg, Application]:
        """
        @return: a leg, and what is at the other end of its connection.
        """
        leg, application = SocketLeg(), Application()
        self.port += 1
        self.machine.listenTCP(self.port, Factory.forProtocol(lambda: application))  # type: ignore[arg-type]
        connectProtocol(TCP4ClientEndpoint(self.machine, "192.0.2.1", self.port), leg)
        self.clock.advance(0)
        return leg, application


class HandOverTests(HandingTestCase):
    """
    L{handOverTo}.
    """

    def test_earlyBytesFirst(self) -> None:
        """
        A protocol gets what came early, then the rest.
        """
        leg, peer = self.connect()
        leg.early = b"but "
        peer.transport.write(b"soft")
        self.clock.advance(1)
        ours = Application()
        handOverTo(leg, ours)
        self.assertEqual(ours.data, b"but ")
        self.clock.advance(1)
        self.assertEqual(ours.data, b"but soft")
        self.assertEqual(leg.address, "192.0.2.1")
        self.assertTrue(leg.speaksFor(None))

    def test_lateBytesOfAPausedTransport(self) -> None:
        """
        What a transport delivers although it is paused is kept.
        """
        leg, _ = self.connect()
        leg.dataReceived(b"early")
        self.assertEqual(leg.early, b"early")

    def test_protocolThatHangsUp(self) -> None:
        """
        A protocol that closes in its connectionMade gets no bytes.
        """
        leg, _ = self.connect()
        leg.early = b"early"
        ours = Application()
        ours.connectionMade = lambda: ours.transport.abortConnection()  # type: ignore[method-assign]
        handOverTo(leg, ours)
        self.clock.advance(1)
        self.assertEqual(ours.data, b"")
        self.assertIsNotNone(ours.lost)

    def test_protocolThatPauses(self) -> None:
        """
        A protocol that pauses in its connectionMade is not read for.
        """
        leg, peer = self.connect()
        ours = Application()
        ours.connectionMade = lambda: ours.transport.pauseProducing()  # type: ignore[method-assign]
        handOverTo(leg, ours)
        peer.transport.write(b"data")
        self.clock.advance(1)
        self.assertEqual(ours.data, b"")

    def test_endOfPeer(self) -> None:
        """
        A protocol that knows no half-close loses the connection when the peer closes.
        """
        leg, peer = self.connect()
        ours = Application()
        handOverTo(leg, ours)
        peer.transport.loseConnection()
        self.clock.advance(1)
        self.assertIsNotNone(ours.lost)
        self.assertEqual(self.internet.transports, [])

    def test_closedBefore(self) -> None:
        """
        A leg can be closed before anybody has it.
        """
        leg, peer = self.connect()
        leg.close("not needed")
        self.clock.advance(1)
        self.assertIsNotNone(peer.lost)


class BridgeTests(HandingTestCase):
    """
    L{bridge}.
    """

    def setUp(self) -> None:
        super().setUp()
        (first, self.alice), (second, self.bob) = self.connect(), self.connect()
        self.ended: Deferred[Outcome] = bridge([CopyEngine(self.clock)], first, second)

    def test_bothWays(self) -> None:
        """
        Bytes pass both ways; the end of one side is the end of the other.
        """
        self.alice.transport.write(b"hello")
        self.bob.transport.write(b"world")
        self.clock.advance(1)
        self.assertEqual((self.alice.data, self.bob.data), (b"world", b"hello"))
        self.alice.transport.loseConnection()
        self.clock.advance(1)
        self.assertIsNotNone(self.bob.lost)
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(self.ended), Outcome.FINISHED)
        self.assertEqual(self.internet.transports, [])

    def test_halfClose(self) -> None:
        """
        One direction may end before the other.
        """
        self.alice.transport.write(b"all")
        self.alice.transport.loseWriteConnection()
        self.clock.pump([0.01] * 5)
        self.assertEqual(self.bob.data, b"all")
        self.assertEqual(self.internet.transports, [])

    def test_cancel(self) -> None:
        """
        Cancelling a bridge resets both sides.
        """
        self.ended.cancel()
        self.failureResultOf(self.ended, CancelledError)
        self.clock.advance(1)
        self.clock.advance(1)
        self.assertIsNotNone(self.alice.lost)
        self.assertIsNotNone(self.bob.lost)

    def test_noEngine(self) -> None:
        """
        Without an engine for them two connections cannot be bridged.
        """
        self.assertRaises(BytestreamError, bridge, [], SocketLeg(), SocketLeg())
