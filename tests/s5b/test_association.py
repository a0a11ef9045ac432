"""
Tests for xmppbytes.s5b.association.
"""

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.core.test_channel import FakePort
from xmppbytes.core.datagrams import DatagramEngine
from xmppbytes.core.handshake import handshakeDeadlines
from xmppbytes.core.hangup import NoHangupWatch
from xmppbytes.core.leg import LegKind
from xmppbytes.core.limits import Limits
from xmppbytes.core.pairing import Rendezvous
from xmppbytes.core.sessions import Parties, Sessions
from xmppbytes.errors import NobodyConnected, PartyMismatch, PartyMissing
from xmppbytes.s5b.association import MAX_IDLE_TALK, AssociationFactory, AssociationProtocol
from xmppbytes.s5b.udp import Associations
from xmppbytes.wire.s5budp import initPacket

KEY = b"972b7bf47291ca609517f67f86b5081086052dad"
GREETING = b"\5\1\0"
ASSOCIATE = b"\5\3\0\3\x28" + KEY + b"\0\0"
CONNECT = b"\5\1\0\3\x28" + KEY + b"\0\0"
PARTIES = Parties("requester@example.com/foo", "target@example.org/bar", "sid")


class AssociationTests(TestCase):
    """
    L{AssociationProtocol}, in the proxy's rendezvous.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        limits = Limits()
        sessions = Sessions(self.clock, limits, [DatagramEngine(self.clock)])
        self.rendezvous = Rendezvous(self.clock, limits, sessions, NoHangupWatch())
        self.associations = Associations(self.clock, limits, lambda jid, address: True)
        self.accepted: list[Any] = []
        self.factory = AssociationFactory(
            self.rendezvous,
            handshakeDeadlines(self.clock, limits.handshakeTimeout),
            self.associations,
            self.accepted.append,
        )
        self.port: Any = FakePort()

    def connect(self, data: bytes = GREETING + ASSOCIATE, host: str = "192.0.2.1") -> AssociationProtocol:
        """
        Connect a party that says something.
        """
        connection = self.factory.buildProtocol(None)
        connection.makeConnection(StringTransport(peerAddress=IPv4Address("TCP", host, 5)))
        connection.dataReceived(data)
        return connection

    def initialize(self, jid: str, host: str = "192.0.2.1") -> None:
        """
        Let an initialization packet come.
        """
        self.associations.datagramReceived(self.port, initPacket(KEY, jid), (host, 1000))

    def lose(self, connection: AssociationProtocol) -> None:
        """
        End a connection.
        """
        connection.connectionLost(Failure(ConnectionDone()))

    def test_granted(self) -> None:
        """
        UDP ASSOCIATE is answered as CONNECT is: with the request, byte 1 is 0 (listing 32).
        """
        connection = self.connect()
        self.assertEqual(connection.transport.value(), b"\5\0\5\0\0" + ASSOCIATE[3:])
        self.assertIs(connection.kind, LegKind.DATAGRAM)
        self.assertEqual(len(self.associations), 1)
        self.assertEqual(self.accepted, [connection.transport])

    def test_byteByByte(self) -> None:
        """
        It does not matter in which pieces the request comes.
        """
        connection = self.connect(b"")
        for byte in GREETING + ASSOCIATE:
            connection.dataReceived(bytes((byte,)))
        self.assertEqual(connection.transport.value(), b"\5\0\5\0\0" + ASSOCIATE[3:])

    def test_connectToo(self) -> None:
        """
        CONNECT makes a leg of a TCP bytestream, which is ready, speaks for everybody and is not read.
        """
        connection = self.connect(GREETING + CONNECT + b"early")
        self.assertIs(connection.kind, LegKind.STREAM)
        self.assertTrue(connection.ready and connection.speaksFor(PARTIES))
        self.assertEqual(connection.early, b"early")
        self.assertEqual(connection.transport.producerState, "paused")
        connection.readConnectionLost()
        self.assertEqual(len(self.associations), 0)
        self.assertFalse(connection.transport.disconnecting)
        connection.dataReceived(b" bytes")
        self.assertEqual(connection.early, b"early bytes")

    def test_bindIsRefused(self) -> None:
        """
        Other commands are refused as ever.
        """
        connection = self.connect(GREETING + b"\5\2\0\3\x28" + KEY + b"\0\0")
        self.assertEqual(connection.transport.value()[2:4], b"\5\7")

    def test_isRead(self) -> None:
        """
        After the grant the connection is read, so that its end shows; what it says is nothing.
        """
        connection = self.connect(GREETING + ASSOCIATE + b"chatter")
        self.assertEqual(connection.transport.producerState, "producing")
        connection.dataReceived(b"more")
        self.assertEqual(connection.early, b"")

    def test_talksTooMuch(self) -> None:
        """
        Who says too much is sent away.
        """
        connection = self.connect()
        connection.dataReceived(b"x" * MAX_IDLE_TALK)
        self.assertFalse(connection.transport.disconnected)
        connection.dataReceived(b"x")
        self.assertTrue(connection.transport.disconnected)

    def test_leavesHalfway(self) -> None:
        """
        A connection closed for sending ends the association before the activation.
        """
        connection = self.connect()
        connection.readConnectionLost()
        self.assertTrue(connection.transport.disconnecting)
        self.assertEqual((len(self.associations), self.rendezvous.pending), (0, 0))

    def test_leavesInHandshake(self) -> None:
        """
        In the handshake, the end of a connection is that of the handshake.
        """
        connection = self.connect(GREETING)
        connection.readConnectionLost()
        self.assertTrue(connection.transport.disconnecting)
        self.assertEqual(self.rendezvous.pending, 0)

    def test_refusedIsForgotten(self) -> None:
        """
        A third connection is refused and leaves nothing behind.
        """
        self.connect()
        self.connect()
        third = self.connect()
        self.assertEqual(third.transport.value()[2:4], b"\5\2")
        self.assertEqual(len(self.associations), 2)

    def test_activation(self) -> None:
        """
        not-allowed, then not-authorized or activation, as the two packets say.
        """
        with self.assertRaises(NobodyConnected):
            self.rendezvous.activate(KEY, PARTIES)
        first, second = self.connect(), self.connect(host="192.0.2.2")
        for jid, host in ((PARTIES.target, "192.0.2.1"), (PARTIES.requester, "192.0.2.2")):
            with self.assertRaises(PartyMissing):
                self.rendezvous.activate(KEY, PARTIES)
            self.initialize(jid, host)
        for wrong in (
            Parties(PARTIES.requester, "romeo@example.org/x", "sid"),
            Parties("romeo@example.org/x", PARTIES.target, "sid"),
            Parties(PARTIES.target, PARTIES.target, "sid"),
        ):
            with self.assertRaises(PartyMismatch):
                self.rendezvous.activate(KEY, wrong)
        self.rendezvous.activate(KEY, PARTIES)
        self.assertTrue(first.channel is not None and first.channel.isOpen)
        self.assertTrue(second.channel is not None and second.channel.isOpen)

    def test_partyTwice(self) -> None:
        """
        Two packets of one party are not those of two.
        """
        self.connect()
        self.connect(host="192.0.2.2")
        self.initialize(PARTIES.target)
        self.initialize(PARTIES.target, "192.0.2.2")
        with self.assertRaises(PartyMismatch):
            self.rendezvous.activate(KEY, PARTIES)

    def test_lifeLine(self) -> None:
        """
        After the activation, the end of one connection ends the other, and the association.
        """
        first, second = self.connect(), self.connect(host="192.0.2.2")
        self.initialize(PARTIES.target)
        self.initialize(PARTIES.requester, "192.0.2.2")
        self.rendezvous.activate(KEY, PARTIES)
        first.readConnectionLost()
        self.assertTrue(first.transport.disconnecting)
        self.lose(first)
        self.assertTrue(second.transport.disconnecting)
        self.lose(second)
        self.clock.advance(0)
        self.assertEqual((len(self.associations), len(self.rendezvous.sessions)), (0, 0))

    def test_close(self) -> None:
        """
        A leg that is closed is forgotten, with its channel.
        """
        connection = self.connect()
        self.initialize(PARTIES.target)
        self.clock.advance(Limits().pendingTimeout)
        self.assertTrue(connection.transport.disconnecting)
        self.assertEqual((len(self.associations), self.rendezvous.pending), (0, 0))
        self.lose(connection)

    def test_handOverHidesTalk(self) -> None:
        """
        Whoever has the connection later does not get what is said over it.
        """
        connection = self.connect()
        got: list[bytes] = []

        class Line(Protocol):
            def dataReceived(self, data: bytes) -> None:
                got.append(data)

        connection.handOver(Line())
        connection.dataReceived(b"chatter")
        self.assertEqual(got, [])
