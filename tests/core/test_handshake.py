"""
Tests for L{xmppbytes.core.handshake}.
"""

from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.fakes import FakeTLSTransport, FakeTransport
from xmppbytes.core.acceptedtransport import HANDSHAKE_READ_SIZE
from xmppbytes.core.handshake import (
    RELAY_READ_SIZE,
    HandshakeProtocol,
    HandshakeTimeout,
    handshakeDeadlines,
    lossText,
)
from xmppbytes.errors import BytestreamError, NegotiationError, WireError


class WordParser:
    """
    A language for tests: words that end with a dot; C{!} is an error, and C{OK.} the last word.
    """

    def __init__(self) -> None:
        self.data = b""
        self.over = False

    def feed(self, data: bytes) -> list[bytes]:
        self.data += data
        if b"!" in self.data and not self.over:
            raise WireError("it shouts")
        words = []
        while not self.over and b"." in self.data:
            word, _, self.data = self.data.partition(b".")
            words.append(word)
            self.over = word == b"OK"
        return words

    def rest(self) -> bytes:
        data, self.data = self.data, b""
        return data


class Talk(HandshakeProtocol):
    """
    A handshake that echoes each word and is complete at C{OK}.
    """

    maximum = 20

    def __init__(self, parser: Any, deadlines: Any) -> None:
        super().__init__(parser, deadlines)
        self.words: list[bytes] = []
        self.errors: list[BytestreamError] = []

    def messageReceived(self, message: bytes) -> None:
        self.words.append(message)
        self.sendNow(message)
        if message == b"OK":
            self.complete()
        if message == b"BYE":
            self.fail(NegotiationError("it said BYE"))

    def handshakeFailed(self, error: BytestreamError) -> None:
        self.errors.append(error)


@implementer(IHalfCloseableProtocol)
class Successor(Protocol):
    """
    Takes a connection over and notes what happens to it.
    """

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def connectionMade(self) -> None:
        self.seen.append("made")

    def dataReceived(self, data: bytes) -> None:
        self.seen.append(data)

    def readConnectionLost(self) -> None:
        self.seen.append("read end")

    def writeConnectionLost(self) -> None:
        self.seen.append("write end")

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.seen.append(reason.type)


class PlainSuccessor(Protocol):
    """
    One that knows no half-close.
    """

    lost = False

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.lost = True


class HandshakeCase(SynchronousTestCase):
    """
    A connection in its handshake.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.deadlines = handshakeDeadlines(self.clock, 10)
        self.talk = Talk(WordParser(), self.deadlines)
        self.connect(FakeTransport(self.clock))

    def connect(self, transport: Any) -> None:
        self.transport = transport
        transport.protocol = self.talk
        self.talk.makeConnection(transport)

    def settle(self) -> None:
        self.clock.advance(0)

    def assertFailed(self, text: str, kind: type[BytestreamError] = BytestreamError) -> None:
        """
        It failed once, with these words, and the connection is closed.
        """
        self.settle()
        (error,) = self.talk.errors
        self.assertIsInstance(error, kind)
        self.assertIn(text, str(error))
        self.assertFalse(self.talk.inHandshake)
        self.assertEqual(self.transport.state, "closed")
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LifeTests(HandshakeCase):
    """
    From connection to completion, or not.
    """

    def test_prepared(self) -> None:
        """
        No Nagle delay, keepalive, small reads for now, and the peer's address for the log.
        """
        self.assertEqual(self.transport.options, {"nodelay": True, "keepalive": True})
        self.assertEqual(self.transport.bufferSize, HANDSHAKE_READ_SIZE)
        self.assertEqual(self.talk.address, "192.0.2.1")

    def test_otherTransports(self) -> None:
        """
        What is no TCP is taken as it is: an address without a host has no name.
        """
        self.talk = Talk(WordParser(), self.deadlines)
        self.talk.makeConnection(StringTransport(peerAddress=UNIXAddress(b"/run/x")))
        self.assertEqual(self.talk.address, "?")

    def test_complete(self) -> None:
        """
        A complete handshake stops the clock and the reading, and keeps what came glued behind it.
        """
        self.transport.receive(b"A.OK.early")
        self.assertEqual((self.talk.words, self.talk.early), ([b"A", b"OK"], b"early"))
        self.assertFalse(self.transport.reading)
        self.assertFalse(self.talk.inHandshake)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_deliveredThoughPaused(self) -> None:
        """
        What a transport delivers though it was paused belongs to what came early.
        """
        self.transport.receive(b"OK.a")
        self.talk.dataReceived(b"b")
        self.assertEqual(self.talk.early, b"ab")

    def test_eachMessageByItself(self) -> None:
        """
        Two messages in one turn are two writes.
        """
        self.transport.receive(b"A.B.")
        self.assertEqual(self.transport.writes, [b"A", b"B"])

    def test_shortWrite(self) -> None:
        """
        What the kernel does not take at once follows.
        """
        self.transport.room = 1
        self.transport.receive(b"ABC.")
        self.transport.read(5)
        self.assertEqual(self.transport.sent, b"ABC")

    def test_lostWhileWriting(self) -> None:
        """
        A connection that breaks while it is written to is noticed later, as any other.
        """
        self.transport.writeSomeData = lambda data: ConnectionLost()
        self.transport.receive(b"A.")
        self.assertEqual(self.transport.sent, b"")
        self.transport.reset()
        self.assertEqual(len(self.talk.errors), 1)

    def test_wireError(self) -> None:
        """
        What breaks the protocol closes the connection.
        """
        self.transport.receive(b"A!")
        self.assertFailed("it shouts", WireError)

    def test_tooLong(self) -> None:
        """
        A handshake that goes on for too long is none.
        """
        self.transport.receive(b"x" * 20)
        self.assertEqual(self.talk.errors, [])
        self.transport.receive(b"x")
        self.assertFailed("longer than 20 bytes", WireError)

    def test_bytesBehindAreNotCounted(self) -> None:
        """
        What follows the handshake is no part of it.
        """
        self.transport.receive(b"OK." + b"x" * 100)
        self.assertEqual((self.talk.errors, self.talk.early), ([], b"x" * 100))

    def test_trickleChangesNothing(self) -> None:
        """
        The time is for the whole, and no byte puts it off.
        """
        for _ in range(9):
            self.clock.advance(1)
            self.transport.receive(b"x")
        self.clock.advance(1)
        self.assertFailed("no complete handshake within 10 s", HandshakeTimeout)

    def test_peerCloses(self) -> None:
        """
        A peer that ends its stream in the middle will not complete it.
        """
        self.transport.receive(b"A")
        self.transport.receiveEnd()
        self.assertFailed("in the middle of the handshake", NegotiationError)

    def test_connectionLost(self) -> None:
        """
        A connection that is lost in the middle says how.
        """
        self.transport.reset()
        (error,) = self.talk.errors
        self.assertIn("it broke", str(error))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothingAfterFailure(self) -> None:
        """
        After a failure nothing is understood, kept or said again.
        """
        self.transport.receive(b"BYE.A.OK.")
        self.talk.dataReceived(b"x" * 1000)
        self.talk.fail(NegotiationError("again"))
        self.assertEqual((self.talk.words, self.talk.early), ([b"BYE"], b""))
        self.assertFailed("it said BYE")

    def test_abandoned(self) -> None:
        """
        A connection that somebody else closes fails nowhere, and what still comes is nobody's.
        """
        self.transport.receive(b"OK.early")
        self.talk.abandon()
        self.talk.dataReceived(b"late")
        self.transport.loseConnection()
        self.settle()
        self.assertEqual((self.talk.early, self.talk.errors), (b"", []))

    def test_abandonedInTheMiddle(self) -> None:
        """
        The same while the handshake still goes on; its time is not over later.
        """
        self.talk.abandon()
        self.transport.loseConnection()
        self.clock.advance(20)
        self.assertEqual(self.talk.errors, [])

    def test_lossText(self) -> None:
        """
        The ways of losing a connection, in words.
        """
        for error, text in (
            (ConnectionDone(), "the peer closed it"),
            (ConnectionLost(), "it broke"),
            (ValueError("odd"), "odd"),
        ):
            self.assertEqual(lossText(Failure(error)), text)

    def test_defaults(self) -> None:
        """
        The class by itself takes what comes and says nothing.
        """
        handshake = HandshakeProtocol(WordParser(), self.deadlines)
        handshake.makeConnection(StringTransport())
        handshake.dataReceived(b"A.")
        handshake.writeConnectionLost()
        handshake.timedOut()
        self.assertFalse(handshake.inHandshake)


class HandOverTests(HandshakeCase):
    """
    Letting another protocol have the connection.
    """

    def handOver(self, successor: Any) -> Any:
        self.transport.receive(b"OK.early")
        self.talk.handOver(successor)
        return successor

    def test_everything(self) -> None:
        """
        The successor gets the transport, whatever comes from now on, and reads of full size.
        """
        successor = self.handOver(Successor())
        self.assertIs(successor.transport, self.transport)
        self.assertEqual(self.transport.bufferSize, RELAY_READ_SIZE)
        self.assertFalse(self.transport.reading)
        self.transport.resumeProducing()
        self.transport.receive(b"data")
        self.transport.receiveEnd()
        self.transport.loseWriteConnection()
        self.transport.loseConnection()
        self.settle()
        self.assertEqual(successor.seen, ["made", b"data", "read end", "write end", ConnectionDone])
        self.assertEqual((self.talk.early, self.talk.errors), (b"early", []))

    def test_successorWithoutHalfClose(self) -> None:
        """
        For a protocol that knows no half-close the end of its peer is the end, but nothing that was
        written is lost.
        """
        successor = self.handOver(PlainSuccessor())
        self.transport.resumeProducing()
        self.transport.room = 0
        self.transport.write(b"answer")
        self.transport.receiveEnd()
        self.settle()
        self.assertFalse(successor.lost)
        self.talk.writeConnectionLost()
        self.transport.read(6)
        self.settle()
        self.assertTrue(successor.lost)
        self.assertTrue(self.transport.sent.endswith(b"answer"))

    def test_lostMeanwhile(self) -> None:
        """
        Who takes over a connection that was lost while nobody had it is told; to abandon it costs nothing.
        """
        self.transport.receive(b"OK.")
        self.transport.reset()
        successor = Successor()
        self.talk.handOver(successor)
        self.assertEqual(successor.seen, ["made", ConnectionLost])
        self.talk.abandon()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nobodyYet(self) -> None:
        """
        A connection that is complete and waits has nobody to tell of its end.
        """
        self.transport.receive(b"OK.")
        self.talk.readConnectionLost()
        self.transport.reset()
        self.assertEqual(self.talk.errors, [])

    def test_otherTransports(self) -> None:
        """
        A transport that has no read size keeps its own.
        """
        transport = StringTransport()
        talk = Talk(WordParser(), self.deadlines)
        talk.makeConnection(transport)
        talk.dataReceived(b"OK.")
        self.assertEqual(transport.value(), b"OK")
        talk.handOver(Successor())
        self.assertFalse(hasattr(transport, "bufferSize"))


class TLSTests(HandshakeCase):
    """
    The same over TLS.
    """

    def connect(self, transport: Any) -> None:
        super().connect(FakeTLSTransport(self.clock))

    def test_fakeIsLikeTheRealOne(self) -> None:
        """
        Twisted's TLS does lend the methods of the connection below, and can be told from it.
        """
        below = FakeTransport(self.clock)
        below.protocol = TLSMemoryBIOFactory(
            CertificateOptions(), True, Factory.forProtocol(Protocol)
        ).buildProtocol(None)
        below.protocol.makeConnection(below)
        for tls in (below.protocol, FakeTLSTransport(self.clock)):
            for interface in (ITCPTransport, IHalfCloseableDescriptor, ISSLTransport):
                self.assertTrue(interface.providedBy(tls), interface)
        self.assertEqual(below.protocol.writeSomeData, below.writeSomeData)
        self.assertEqual(below.protocol.loseWriteConnection, below.loseWriteConnection)
        self.assertFalse(ISSLTransport.providedBy(below))

    def test_everythingIsEncrypted(self) -> None:
        """
        Nothing is written past the encryption.
        """
        self.transport.receive(b"A.OK.")
        self.assertEqual((self.transport.sent, self.transport.unencrypted), (b"AOK", []))

    def test_peerThatDoesNotAgreeToClose(self) -> None:
        """
        One that was refused and keeps its connection open is reset in the end, whatever it sends meanwhile.
        """
        self.transport.agrees = False
        self.transport.receive(b"BYE.")
        for _ in range(9):
            self.clock.advance(1)
            self.transport.receive(b"x" * 1000)
        self.assertEqual((self.transport.state, self.talk.early), ("open", b""))
        self.clock.advance(1)
        self.settle()
        self.assertEqual((self.transport.state, self.clock.getDelayedCalls()), ("reset", []))
        self.assertEqual(len(self.talk.errors), 1)

    def test_waitingPeerThatDoesNotAgreeToClose(self) -> None:
        """
        The same for one that has waited and is sent away.
        """
        self.transport.agrees = False
        self.transport.receive(b"OK.")
        self.clock.advance(100)
        self.talk.abandon()
        self.transport.loseConnection()
        self.clock.advance(10)
        self.settle()
        self.assertEqual((self.transport.state, self.clock.getDelayedCalls()), ("reset", []))
