"""
Tests for L{xmppbytes.filetransfer.inband}.
"""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from xmppbytes.core.bytestream import BytestreamAddress
from xmppbytes.errors import LimitReached, WireError
from xmppbytes.filetransfer.blocks import InBandRoute, OutOfSequence
from xmppbytes.filetransfer.inband import (
    CLOSE_PATIENCE,
    MAX_HELD,
    MAX_HELD_BLOCKS,
    MAX_UNSENT,
    InBandTransport,
)

ADDRESS = BytestreamAddress("romeo@example.org/x", "sid", InBandRoute())  # type: ignore[arg-type]


class Carrier:
    """
    Keeps what is sent.
    """

    def __init__(self) -> None:
        self.blocks: list[tuple[int, bytes]] = []
        self.answers: list[Deferred[Any]] = []
        self.closes: list[Deferred[Any]] = []
        self.over = 0

    def sendBlock(self, seq: int, data: bytes) -> "Deferred[Any]":
        self.blocks.append((seq, data))
        self.answers.append(Deferred())
        return self.answers[-1]

    def sendClose(self) -> "Deferred[Any]":
        self.closes.append(Deferred())
        return self.closes[-1]

    def ended(self) -> None:
        self.over += 1

    def acknowledge(self) -> None:
        self.answers.pop(0).callback(None)


class Application(Protocol):
    """
    Keeps what comes.
    """

    transport: Any

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.lost: list[Failure] = []
        self.error: Exception | None = None

    def dataReceived(self, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.received.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.append(reason)


class Producer:
    """
    Notes what it is told.
    """

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


class InBandTestCase(SynchronousTestCase):
    """
    One side of a stream with blocks of four bytes.
    """

    opener = True

    def setUp(self) -> None:
        self.clock = Clock()
        self.carrier = Carrier()
        self.transport = InBandTransport(self.clock, self.carrier, ADDRESS, 4, self.opener)
        self.application = Application()
        self.transport.start(self.application)
        self.transport.uncork()

    def assertLost(self, *kinds: type[Exception]) -> None:
        """
        The connection was lost once, and nothing is left.
        """
        self.assertEqual(len(self.application.lost), 1)
        self.assertTrue(self.application.lost[0].check(*kinds), self.application.lost[0])
        self.assertEqual(self.carrier.over, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class SendingTests(InBandTestCase):
    """
    What goes to the other side.
    """

    def test_blocks(self) -> None:
        """
        Blocks are as large as agreed upon, numbered, and one on its way at a time.
        """
        self.transport.write(b"012345")
        self.transport.writeSequence([b"67", b"89"])
        self.assertEqual(self.carrier.blocks, [(0, b"0123")])
        self.carrier.acknowledge()
        self.assertEqual(self.carrier.blocks[1:], [(1, b"4567")])
        self.carrier.acknowledge()
        self.assertEqual(self.carrier.blocks[2:], [(2, b"89")])
        self.carrier.acknowledge()
        self.assertEqual(len(self.carrier.blocks), 3)

    def test_counterWraps(self) -> None:
        """
        After block 65535 comes block 0.
        """
        self.transport._sendSeq = 65535
        self.transport.write(b"01234567")
        self.carrier.acknowledge()
        self.assertEqual([seq for seq, _ in self.carrier.blocks], [65535, 0])

    def test_corked(self) -> None:
        """
        Nothing is sent before the other side knows that the stream is open.
        """
        transport = InBandTransport(self.clock, self.carrier, ADDRESS, 4, False)
        transport.start(Application())
        transport.write(b"01")
        self.assertEqual(self.carrier.blocks, [])
        transport.uncork()
        self.assertEqual(self.carrier.blocks, [(0, b"01")])

    def test_pullProducer(self) -> None:
        """
        A pull producer is asked at once and after each block that was acknowledged.
        """
        producer = Producer()
        self.transport.registerProducer(producer, False)
        self.assertEqual(producer.told, ["resume"])
        self.transport.write(b"0123")
        self.assertEqual(producer.told, ["resume"])
        self.carrier.acknowledge()
        self.assertEqual(producer.told, ["resume"] * 2)
        self.transport.unregisterProducer()
        self.transport.write(b"4")
        self.carrier.acknowledge()
        self.assertEqual(producer.told, ["resume"] * 2)

    def test_pushProducer(self) -> None:
        """
        A push producer is paused when much is unsent, and resumed when all is sent.
        """
        producer = Producer()
        self.transport.blockSize = MAX_UNSENT * 2
        self.transport.registerProducer(producer, True)
        self.transport.write(b"x")
        self.transport.write(b"x" * (MAX_UNSENT + 1))
        self.assertEqual(producer.told, ["pause"])
        self.carrier.acknowledge()
        self.carrier.acknowledge()
        self.assertEqual(producer.told, ["pause", "resume"])

    def test_secondProducer(self) -> None:
        """
        There is one producer at a time.
        """
        self.transport.registerProducer(Producer(), True)
        self.assertRaises(RuntimeError, self.transport.registerProducer, Producer(), True)

    def test_lateProducer(self) -> None:
        """
        After the end there is none.
        """
        self.transport.abortConnection()
        producer = Producer()
        self.transport.registerProducer(producer, False)
        self.assertEqual(producer.told, ["stop"])

    def test_failure(self) -> None:
        """
        A block that is not acknowledged ends the stream.
        """
        self.transport.write(b"01234567")
        self.carrier.answers.pop().errback(ValueError("no"))
        self.assertLost(ValueError)
        self.transport.write(b"more")
        self.assertEqual(len(self.carrier.blocks), 1)

    def test_addresses(self) -> None:
        """
        Both ends are the stream.
        """
        self.assertIs(self.transport.getPeer(), ADDRESS)
        self.assertIs(self.transport.getHost(), ADDRESS)
        self.assertEqual(str(ADDRESS.route), "in-band, through the XMPP servers")


class ClosingTests(InBandTestCase):
    """
    The end, for the side that has opened the stream.
    """

    def test_afterEverything(self) -> None:
        """
        The stream is closed after what was written has been acknowledged, and over when the other side
        knows.
        """
        self.transport.write(b"01234")
        self.transport.loseConnection()
        self.transport.loseConnection()
        self.transport.write(b"late")
        self.carrier.acknowledge()
        self.assertEqual(self.carrier.closes, [])
        self.carrier.acknowledge()
        self.assertEqual(len(self.carrier.closes), 1)
        self.assertEqual(self.application.lost, [])
        self.carrier.closes[0].callback(None)
        self.assertLost(ConnectionDone)
        self.assertEqual([data for _, data in self.carrier.blocks], [b"0123", b"4"])

    def test_refusedClose(self) -> None:
        """
        That the other side knows of no stream is as good.
        """
        self.transport.stopProducing()
        self.carrier.closes[0].errback(ValueError("item-not-found"))
        self.assertLost(ConnectionDone)

    def test_unansweredClose(self) -> None:
        """
        Who does not answer is not waited for, long.
        """
        self.transport.loseConnection()
        self.clock.advance(CLOSE_PATIENCE)
        self.assertLost(ConnectionDone)
        self.carrier.closes[0].callback(None)
        self.assertLost(ConnectionDone)

    def test_abort(self) -> None:
        """
        Aborting waits for nothing, but tells the other side.
        """
        self.transport.write(b"012345")
        self.transport.abortConnection()
        self.transport.abortConnection()
        self.assertLost(ConnectionAborted)
        self.assertEqual(len(self.carrier.closes), 1)
        self.carrier.closes[0].errback(ValueError("nobody listens"))

    def test_closedByPeer(self) -> None:
        """
        The other side closes: the application learns it after the answer has left.
        """
        self.transport.write(b"012345")
        self.transport.closeReceived()
        self.assertEqual(self.application.lost, [])
        self.clock.advance(0)
        self.assertLost(ConnectionDone)
        self.carrier.acknowledge()
        self.assertEqual(len(self.carrier.blocks), 1)


class PatientClosingTests(InBandTestCase):
    """
    The end, for the side that was opened to.
    """

    opener = False

    def test_openerCloses(self) -> None:
        """
        The opener, who has sent everything, closes first.
        """
        self.transport.loseConnection()
        self.assertEqual(self.carrier.closes, [])
        self.transport.closeReceived()
        self.clock.advance(0)
        self.assertLost(ConnectionDone)
        self.assertEqual(self.carrier.closes, [])

    def test_openerWaits(self) -> None:
        """
        An opener who waits for us is waited for, but not for ever.
        """
        self.transport.loseConnection()
        self.clock.advance(CLOSE_PATIENCE)
        self.assertEqual(len(self.carrier.closes), 1)
        self.carrier.closes[0].callback(None)
        self.assertLost(ConnectionDone)

    def test_closedTwice(self) -> None:
        """
        What is acknowledged late does not begin the closing again.
        """
        self.transport.write(b"0")
        self.transport.loseConnection()
        self.carrier.acknowledge()
        self.transport._sendNext()
        self.clock.advance(CLOSE_PATIENCE)
        self.assertEqual(len(self.carrier.closes), 1)


class ReceivingTests(InBandTestCase):
    """
    What comes from the other side.
    """

    def test_delivered(self) -> None:
        """
        Blocks are delivered in order, and may be acknowledged at once.
        """
        for seq, data in enumerate((b"0123", b"", b"45")):
            self.successResultOf(self.transport.blockReceived(seq, data))
        self.assertEqual(self.application.received, [b"0123", b"", b"45"])

    def test_counterWraps(self) -> None:
        """
        After block 65535 comes block 0.
        """
        self.transport._receiveSeq = 65535
        self.transport.blockReceived(65535, b"a")
        self.transport.blockReceived(0, b"b")
        self.assertEqual(self.application.received, [b"a", b"b"])

    def test_outOfSequence(self) -> None:
        """
        A block that was lost, or came twice, ends the stream; it is not delivered.
        """
        self.transport.blockReceived(0, b"0")
        self.assertRaises(OutOfSequence, self.transport.blockReceived, 0, b"0")
        self.assertLost(OutOfSequence)
        self.assertEqual(self.application.received, [b"0"])

    def test_tooLarge(self) -> None:
        """
        A block that is larger than agreed upon ends the stream.
        """
        self.assertRaises(WireError, self.transport.blockReceived, 0, b"01234")
        self.assertLost(WireError)

    def test_paused(self) -> None:
        """
        While the application is paused nothing is delivered, nor acknowledged.
        """
        self.transport.pauseProducing()
        first = self.transport.blockReceived(0, b"0")
        second = self.transport.blockReceived(1, b"1")
        self.assertEqual(self.application.received, [])
        self.assertNoResult(first)
        self.transport.resumeProducing()
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(self.application.received, [b"0", b"1"])
        self.successResultOf(self.transport.blockReceived(2, b"2"))

    def test_flood(self) -> None:
        """
        Who does not wait while we are paused is stopped.
        """
        self.transport.blockSize = MAX_HELD
        self.transport.pauseProducing()
        held = self.transport.blockReceived(0, bytes(MAX_HELD))
        self.assertRaises(LimitReached, self.transport.blockReceived, 1, b"x")
        self.failureResultOf(held, LimitReached)
        self.assertLost(LimitReached)

    def test_floodOfNothing(self) -> None:
        """
        Blocks without content count as well.
        """
        self.transport.pauseProducing()
        for seq in range(MAX_HELD_BLOCKS):
            self.transport.blockReceived(seq, b"").addErrback(lambda _: None)
        self.assertRaises(LimitReached, self.transport.blockReceived, MAX_HELD_BLOCKS, b"")
        self.assertLost(LimitReached)

    def test_closedWhilePaused(self) -> None:
        """
        What came before the close is delivered before the end.
        """
        self.transport.pauseProducing()
        self.transport.blockReceived(0, b"0")
        self.transport.closeReceived()
        self.assertEqual(self.application.lost, [])
        self.transport.resumeProducing()
        self.assertEqual(self.application.received, [b"0"])
        self.assertLost(ConnectionDone)

    def test_applicationFails(self) -> None:
        """
        An application that fails loses its connection, as over TCP.
        """
        self.application.error = RuntimeError("bug")
        self.transport.blockReceived(0, b"0")
        self.assertLost(RuntimeError)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
