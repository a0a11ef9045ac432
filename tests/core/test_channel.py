"""
Tests for xmppbytes.core.channel.
"""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from xmppbytes.core.channel import Channel
from xmppbytes.core.throttle import TokenBucket


class FakePort:
    """
    A port that takes note of what it is told.
    """

    def __init__(self, works: bool = True) -> None:
        self.calls: list[Any] = []
        self.works = works

    def destination(self, address: Any, local: str | None) -> Any:
        return ("to", address, local)

    def route(self, channel: Channel) -> None:
        self.calls.append(("route", channel.address))

    def unroute(self, channel: Channel) -> None:
        self.calls.append(("unroute", channel.address))

    def send(self, destination: Any, payload: bytes) -> bool:
        self.calls.append((destination, payload))
        return self.works


HERE = ("192.0.2.1", 1000)
THERE = ("192.0.2.1", 2000)


class ChannelTests(TestCase):
    """
    L{Channel}.
    """

    def setUp(self) -> None:
        self.port = FakePort()
        self.channel = Channel(self.port, HERE, b"header", "192.0.2.9")

    def test_opens(self) -> None:
        """
        Nothing is relayed before the channel is opened, and nothing after it was closed.
        """
        self.assertEqual(self.port.calls, [])
        self.channel.open(deliver=lambda data: None)
        self.channel.close()
        self.channel.close()
        self.assertEqual(self.port.calls, [("route", HERE), ("unroute", HERE)])
        self.assertIsNone(self.channel.deliver)

    def test_movesWhileClosed(self) -> None:
        """
        A channel that is not open moves without a trace in the ports.
        """
        other = FakePort()
        self.channel.move(other, THERE)
        self.assertEqual((self.port.calls, other.calls), ([], []))
        self.assertEqual(self.channel.destination, ("to", THERE, "192.0.2.9"))

    def test_movesWhileOpen(self) -> None:
        """
        An open channel is forgotten at its old address and known at the new.
        """
        other = FakePort()
        self.channel.open(Channel(self.port, THERE, b"header"))
        self.channel.move(other, THERE)
        self.assertEqual(self.port.calls, [("route", HERE), ("unroute", HERE)])
        self.assertEqual(other.calls, [("route", THERE)])

    def test_send(self) -> None:
        """
        What is sent goes to the learned address, from our address that the party knows.
        """
        self.assertTrue(self.channel.send(b"data"))
        self.assertEqual(self.port.calls, [(("to", HERE, "192.0.2.9"), b"data")])

    def test_withoutLimit(self) -> None:
        """
        Without a rate limit everything is granted.
        """
        self.assertEqual(self.channel.grant(5, 100), 5)

    def test_limit(self) -> None:
        """
        What is above the limit is dropped; what was granted in excess is paid for later.
        """
        clock = Clock()
        self.channel.bucket = TokenBucket(498, clock.seconds)
        # 250 bytes may go at once: three datagrams of 100 begin within that.
        self.assertEqual(self.channel.grant(5, 100), 3)
        self.assertEqual(self.channel.dropped, 2)
        self.assertEqual(self.channel.grant(1, 100), 0)
        clock.advance(0.08)
        self.assertEqual(self.channel.grant(1, 100), 0)
        clock.advance(0.04)
        self.assertEqual(self.channel.grant(2, 100), 1)
        self.assertEqual(self.channel.dropped, 5)

    def test_limitBelowOneDatagram(self) -> None:
        """
        A limit that is smaller than a datagram lets one pass now and then.
        """
        clock = Clock()
        self.channel.bucket = TokenBucket(100, clock.seconds)
        passed = 0
        for _ in range(1000):
            clock.advance(0.1)
            passed += self.channel.grant(1, 1000)
        self.assertTrue(9 <= passed <= 11, passed)

    def test_emptyPayloads(self) -> None:
        """
        Payloads without a byte use nothing up.
        """
        self.channel.bucket = TokenBucket(1, Clock().seconds)
        self.assertEqual(self.channel.grant(4, 0), 4)
