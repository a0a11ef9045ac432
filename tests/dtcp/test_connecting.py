"""
Tests for L{xmppbytes.dtcp.connecting}: what a server that misbehaves can do to us.
"""

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from xmppbytes.core.handshake import handshakeDeadlines
from xmppbytes.dtcp.channel import ChannelTLS, TLSMode
from xmppbytes.dtcp.connecting import ConnectingProtocol
from xmppbytes.errors import BytestreamError
from xmppbytes.wire.dtcprelay import Request, Verb

FINGERPRINT = "ab" * 32


class FakeNegotiation:
    """
    What a connection is made for.
    """

    peer = "joe@blow.com/Home"
    peerKey = b"a1b2c3d4"

    def __init__(self, mode: TLSMode, fingerprint: str | None) -> None:
        self.tls = ChannelTLS(mode)
        self.peerFingerprint = fingerprint
        self.returned: list[bytes] = []

    def keyReturned(self, connection: ConnectingProtocol, key: bytes) -> None:
        self.returned.append(key)
        connection.established()


class TLSTransport(StringTransport):
    """
    A transport on which TLS can begin.
    """

    begun = 0

    def startTLS(self, context: Any, normal: bool = True) -> None:
        self.begun += 1
        self.normal = normal


class ConnectingTests(TestCase):
    """
    The connecting side, byte by byte.
    """

    def begin(
        self, mode: TLSMode = TLSMode.OFF, fingerprint: str | None = None, relay: bool = False
    ) -> ConnectingProtocol:
        self.clock = Clock()
        self.negotiation = FakeNegotiation(mode, fingerprint)
        request = Request(Verb.CONNECT, b"k", "a@x/1", "b@x/2") if relay else None
        connection = ConnectingProtocol(self.negotiation, handshakeDeadlines(self.clock, 30.0), request)
        self.transport = TLSTransport()
        connection.makeConnection(self.transport)
        return connection

    def said(self) -> bytes:
        said = self.transport.value()
        self.transport.clear()
        return bytes(said)

    def failed(self, connection: ConnectingProtocol, words: str) -> None:
        error = self.failureResultOf(connection.whenEstablished, BytestreamError)
        self.assertIn(words, str(error.value))
        self.assertTrue(self.transport.disconnecting)
        connection.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_plain(self) -> None:
        """
        Without TLS the key is the first that is said; what follows the answer is the application's.
        """
        connection = self.begin()
        self.assertEqual(self.said(), b"key:a1b2c3d4\n")
        connection.dataReceived(b"ok:c7b5ea3f\nDATA")
        self.assertIs(self.successResultOf(connection.whenEstablished), connection)
        self.assertEqual(self.negotiation.returned, [b"c7b5ea3f"])
        self.assertEqual(connection.early, b"DATA")

    def test_byteByByte(self) -> None:
        """
        The same, one byte at a time.
        """
        connection = self.begin()
        for byte in b"ok:c7b5ea3f\nDATA":
            connection.dataReceived(bytes((byte,)))
        self.assertEqual(self.negotiation.returned, [b"c7b5ea3f"])
        self.assertEqual(connection.early, b"DATA")

    def test_tls(self) -> None:
        """
        With TLS the key is said only once it is there.
        """
        connection = self.begin(TLSMode.OPTIONAL)
        self.assertEqual(self.said(), b"starttls\n")
        connection.dataReceived(b"ok\n")
        self.assertEqual((self.transport.begun, self.transport.normal), (1, True))
        self.assertEqual(self.said(), b"")
        connection.handshakeCompleted()
        self.assertEqual(self.said(), b"key:a1b2c3d4\n")
        connection.dismiss("enough")
        self.failed(connection, "enough")

    def test_okWithColon(self) -> None:
        """
        A colon without an argument is the same as none.
        """
        connection = self.begin(TLSMode.OPTIONAL)
        connection.dataReceived(b"ok:\n")
        self.assertEqual(self.transport.begun, 1)
        connection.dismiss("enough")
        self.failed(connection, "enough")

    def test_noTLSThere(self) -> None:
        """
        A server without TLS gets the key in plain text, where nothing says that it must not.
        """
        connection = self.begin(TLSMode.OPTIONAL)
        connection.dataReceived(b"error\n")
        self.assertEqual(self.said(), b"starttls\nkey:a1b2c3d4\n")
        connection.dismiss("enough")
        self.failed(connection, "enough")

    def test_downgrade(self) -> None:
        """
        Who has told a fingerprint has TLS: no key is said without it.
        """
        connection = self.begin(TLSMode.OPTIONAL, FINGERPRINT)
        connection.dataReceived(b"error:no TLS here\n")
        self.assertEqual(self.said(), b"starttls\n")
        self.failed(connection, "starttls first")

    def test_required(self) -> None:
        """
        The same where TLS is required.
        """
        connection = self.begin(TLSMode.REQUIRED)
        connection.dataReceived(b"error\n")
        self.assertEqual(self.said(), b"starttls\n")
        self.failed(connection, "starttls first")

    def test_plainTextBehindOk(self) -> None:
        """
        Plain text behind the answer to starttls closes the connection.
        """
        connection = self.begin(TLSMode.OPTIONAL)
        connection.dataReceived(b"ok\nok:c7b5ea3f\n")
        self.assertEqual(self.transport.begun, 0)
        self.failed(connection, "plain text")

    def test_strangeAnswers(self) -> None:
        """
        Answers that are none close the connection.
        """
        for mode, answer, words in (
            (TLSMode.OPTIONAL, b"ok:x\n", "starttls was answered"),
            (TLSMode.OPTIONAL, b"hello\n", "starttls was answered"),
            (TLSMode.OFF, b"ok\n", "our key was answered"),
            (TLSMode.OFF, b"HTTP/1.1 400 Bad Request\r\n", "our key was answered"),
            (TLSMode.OFF, b"x" * 1100, "1024 bytes"),
            (TLSMode.OFF, b"error\n", "refused"),
            (TLSMode.OFF, b"error:no such key or key active\n", "no such key or key active"),
            (TLSMode.OFF, b"error:\xff\n", "refused"),
        ):
            connection = self.begin(mode)
            connection.dataReceived(answer)
            self.failed(connection, words)

    def test_lineDuringTLS(self) -> None:
        """
        A server that says something before TLS is there is not listened to.
        """
        connection = self.begin(TLSMode.OPTIONAL)
        connection.dataReceived(b"ok\n")
        connection.dataReceived(b"ok:c7b5ea3f\n")
        self.failed(connection, "answers nothing")
        connection.handshakeCompleted()
        self.assertNotIn(b"key", self.said())

    def test_relay(self) -> None:
        """
        At a relay CONNECT comes first, and the lines after its OK.
        """
        connection = self.begin(relay=True)
        self.assertEqual(self.said(), b"CONNECT\0k\0a@x/1\0b@x/2\0")
        connection.dataReceived(b"OK\0")
        self.assertEqual(self.said(), b"key:a1b2c3d4\n")
        connection.dataReceived(b"ok:c7b5ea3f\n")
        self.assertEqual(self.negotiation.returned, [b"c7b5ea3f"])

    def test_relayRefuses(self) -> None:
        """
        A relay's ERROR, or nonsense, is a failure.
        """
        for answer, words in ((b"ERROR\0", "refuses us"), (b"HTTP/1.1", "5 bytes")):
            connection = self.begin(relay=True)
            connection.dataReceived(answer)
            self.failed(connection, words)

    def test_timeout(self) -> None:
        """
        A server that says nothing is given up, and reset when it does not close either.
        """
        connection = self.begin()
        self.clock.advance(30)
        self.clock.advance(30)
        self.assertTrue(self.transport.disconnected)
        self.failed(connection, "30 s")

    def test_lost(self) -> None:
        """
        A server that leaves.
        """
        connection = self.begin()
        connection.connectionLost(Failure(ConnectionDone()))
        self.assertIn("the peer closed it", str(self.failureResultOf(connection.whenEstablished).value))
        connection.dismiss("late")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelled(self) -> None:
        """
        Cancelling closes; what still comes is ignored.
        """
        connection = self.begin()
        connection.whenEstablished.cancel()
        connection.dataReceived(b"ok:c7b5ea3f\n")
        self.assertEqual(self.negotiation.returned, [])
        self.assertEqual(connection.early, b"")
        self.failed(connection, "cancelled")

    def test_closedLate(self) -> None:
        """
        A connection that was chosen, and is not needed after all, is closed.
        """
        connection = self.begin()
        connection.dataReceived(b"ok:c7b5ea3f\n")
        connection.close("not needed")
        self.assertTrue(self.transport.disconnecting)
        connection.close("again")
        connection.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertTrue(connection.speaksFor(None))
