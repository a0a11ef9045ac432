"""
Tests for xmppbytes.core.datagrams.
"""

from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.core.test_channel import FakePort
from xmppbytes.core.channel import Channel
from xmppbytes.core.datagrams import DatagramEngine
from xmppbytes.core.leg import LegKind
from xmppbytes.core.outcome import Outcome


class FakeLeg:
    """
    An association whose channel is initialised.
    """

    def __init__(self, port: int, kind: LegKind = LegKind.DATAGRAM) -> None:
        self.kind = kind
        self.transport = StringTransport()
        self.channel = Channel(FakePort(), ("192.0.2.1", port), b"header")
        self.protocol: Any = None

    def handOver(self, protocol: Any) -> None:
        self.protocol = protocol
        protocol.makeConnection(self.transport)

    def lose(self, reason: Exception | None = None) -> None:
        """
        End the connection.
        """
        self.protocol.connectionLost(Failure(reason or ConnectionDone()))


class EngineTests(TestCase):
    """
    L{DatagramEngine}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.engine = DatagramEngine(self.clock)
        self.first, self.second = FakeLeg(1), FakeLeg(2)
        self.outcomes: list[Outcome] = []

    def link(self, rate: int | None = None) -> Any:
        return self.engine.link(self.first, self.second, rate, self.outcomes.append)  # type: ignore[arg-type]

    def test_accepts(self) -> None:
        """
        The engine takes pairs of associations, and nothing else.
        """
        stream = FakeLeg(3, LegKind.STREAM)
        self.assertTrue(self.engine.accepts(self.first, self.second))  # type: ignore[arg-type]
        self.assertFalse(self.engine.accepts(self.first, stream))  # type: ignore[arg-type]
        self.assertFalse(self.engine.accepts(stream, self.second))  # type: ignore[arg-type]

    def test_joins(self) -> None:
        """
        Each channel is opened towards the other.
        """
        self.link()
        self.assertIs(self.first.channel.peer, self.second.channel)
        self.assertIs(self.second.channel.peer, self.first.channel)

    def test_reads(self) -> None:
        """
        Both connections are read, paused as they may have been: their end would not be noticed otherwise.
        """
        for leg in (self.first, self.second):
            leg.transport.pauseProducing()
        self.link()
        for leg in (self.first, self.second):
            self.assertEqual(leg.transport.producerState, "producing")

    def test_counts(self) -> None:
        """
        Bytes, datagrams and drops are told from the first to the second, and back.
        """
        session = self.link()
        self.first.channel.delivered(2, 300)
        self.second.channel.delivered(1, 7)
        self.second.channel.dropped = 4
        self.assertEqual(session.counts(), (300, 7))
        self.assertEqual(session.datagramCounts(), (2, 1))
        self.assertEqual(session.dropCounts(), (0, 4))

    def test_endsWithOneConnection(self) -> None:
        """
        When one connection ends, both channels are closed at once and the other connection is closed;
        that is told when it is gone, and not from within.
        """
        self.link()
        self.first.lose()
        self.assertFalse(self.first.channel.isOpen or self.second.channel.isOpen)
        self.assertTrue(self.second.transport.disconnecting)
        self.second.lose()
        self.assertEqual(self.outcomes, [])
        self.clock.advance(0)
        self.assertEqual(self.outcomes, [Outcome.FINISHED])

    def test_breaks(self) -> None:
        """
        A connection that breaks makes the outcome BROKEN, whatever becomes of the other.
        """
        self.link()
        self.second.lose(ConnectionLost())
        self.first.lose()
        self.clock.advance(0)
        self.assertEqual(self.outcomes, [Outcome.BROKEN])

    def test_breaksWhileClosing(self) -> None:
        """
        How the second connection ends says nothing about the bytestream.
        """
        self.link()
        self.second.lose()
        self.first.lose(ConnectionLost())
        self.clock.advance(0)
        self.assertEqual(self.outcomes, [Outcome.FINISHED])

    def test_abort(self) -> None:
        """
        An abort resets both connections, and its first reason is the outcome.
        """
        session = self.link()
        session.abort(Outcome.IDLE)
        session.abort(Outcome.SHUTDOWN)
        for leg in (self.first, self.second):
            self.assertTrue(leg.transport.disconnected)
            self.assertFalse(leg.channel.isOpen)
            leg.lose(ConnectionLost())
        session.abort(Outcome.SHUTDOWN)
        self.clock.advance(0)
        self.assertEqual(self.outcomes, [Outcome.IDLE])

    def test_rate(self) -> None:
        """
        Both directions share one rate limit, which can be changed and taken away.
        """
        session = self.link(1000)
        self.assertIs(self.first.channel.bucket, self.second.channel.bucket)
        self.assertEqual(self.first.channel.bucket.rate, 1000)  # type: ignore[union-attr]
        session.setRate(5000)
        self.assertEqual(self.second.channel.bucket.rate, 5000)  # type: ignore[union-attr]
        session.setRate(None)
        self.assertIsNone(self.first.channel.bucket)
