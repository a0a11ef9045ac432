"""
Tests for L{xmppbytes.core.relay}: the copying engine over transports that push back and half-close.
"""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fakes import FakeLeg, FakeTLSTransport, FakeTransport
from xmppbytes.core.leg import LegKind
from xmppbytes.core.outcome import Outcome
from xmppbytes.core.relay import CopyEngine
from xmppbytes.interfaces import IRelayedSession, IRelayEngine


class RelayCase(SynchronousTestCase):
    """
    Two parties whose bytes are relayed.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.outcomes: list[Outcome] = []

    def link(
        self,
        rate: int | None = None,
        first: Any = None,
        second: Any = None,
        early: tuple[bytes, bytes] = (b"", b""),
    ) -> Any:
        self.a: Any = first or FakeTransport(self.clock)
        self.b: Any = second or FakeTransport(self.clock)
        legs = FakeLeg(self.a, early=early[0]), FakeLeg(self.b, early=early[1])
        self.session = CopyEngine(self.clock).link(*legs, rate, self.outcomes.append)
        return self.session

    def settle(self) -> None:
        """
        Let what was put off to the next turn happen.
        """
        for _ in range(3):
            self.clock.advance(0)


class MovingTests(RelayCase):
    """
    Bytes and the pushing back.
    """

    def test_interfaces(self) -> None:
        """
        Engine and session are what they say.
        """
        verifyObject(IRelayEngine, CopyEngine(self.clock))
        verifyObject(IRelayedSession, self.link())

    def test_accepts(self) -> None:
        """
        Any two streams, and no datagrams.
        """
        stream, datagram = FakeLeg(), FakeLeg()
        datagram.kind = LegKind.DATAGRAM
        engine = CopyEngine(self.clock)
        self.assertTrue(engine.accepts(stream, stream))
        self.assertFalse(engine.accepts(stream, datagram))
        self.assertFalse(engine.accepts(datagram, datagram))

    def test_bothWays(self) -> None:
        """
        What one sends the other gets, and both directions are counted.
        """
        self.link()
        self.a.receive(b"ping")
        self.b.receive(b"pong!")
        self.assertEqual((self.b.sent, self.a.sent), (b"ping", b"pong!"))
        self.assertEqual(self.session.counts(), (4, 5))

    def test_earlyComesFirst(self) -> None:
        """
        Bytes that came behind the handshake go before those that waited in the socket.
        """
        a, b = FakeTransport(self.clock), FakeTransport(self.clock)
        a.pauseProducing()
        a.receive(b" later")
        self.link(first=a, second=b, early=(b"early", b"y"))
        self.assertEqual((b.sent, a.sent), (b"early later", b"y"))
        self.assertEqual(self.session.counts(), (11, 1))

    def test_pushesBack(self) -> None:
        """
        A reader that stalls stops its sender, and little is held.
        """
        self.link(second=FakeTransport(self.clock, room=0))
        for _ in range(100):
            self.a.receive(b"x" * 65536)
        self.assertFalse(self.a.reading)
        self.assertLessEqual(self.b.unsent, 3 * 65536)
        self.assertEqual(self.a.unread + self.b.unsent, 100 * 65536)
        self.assertTrue(self.b.reading, "the other direction goes on")

    def test_goesOn(self) -> None:
        """
        When the reader has room again all of it arrives, in order.
        """
        data = bytes(range(256)) * 2048
        self.link(second=FakeTransport(self.clock, room=0))
        self.a.receive(data)
        self.a.receiveEnd()
        while not self.b.sentEnd:
            self.b.read(10_007)
        self.assertEqual(self.b.sent, data)

    def test_nothingWhileNotLinked(self) -> None:
        """
        A stalled reader does not stop the direction that it sends in.
        """
        self.link(first=FakeTransport(self.clock, room=0), second=FakeTransport(self.clock))
        self.b.receive(b"x" * 300_000)
        self.a.receive(b"still here")
        self.assertEqual(self.b.sent, b"still here")

    @given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 200_000)), max_size=30), st.data())
    def test_anyOrder(self, steps: list[tuple[str, int]], data: st.DataObject) -> None:
        """
        However the parties send and read, every byte arrives, once and in order, and both ends of stream.
        """
        self.clock = Clock()
        self.outcomes = []
        self.link(first=FakeTransport(self.clock, room=0), second=FakeTransport(self.clock, room=0))
        expected = {"a": b"", "b": b""}
        for name, count in steps:
            sender, reader = (self.a, self.b) if name == "a" else (self.b, self.a)
            if data.draw(st.booleans()):
                piece = bytes((len(expected[name]) % 251,)) * count
                expected[name] += piece
                sender.receive(piece)
            else:
                reader.read(count)
        self.a.receiveEnd()
        self.b.receiveEnd()
        self.a.read(10**9)
        self.b.read(10**9)
        self.settle()
        self.assertEqual((self.b.sent, self.a.sent), (expected["a"], expected["b"]))
        self.assertEqual(
            (self.a.state, self.b.state, self.outcomes), ("closed", "closed", [Outcome.FINISHED])
        )


class EndingTests(RelayCase):
    """
    Ends of stream, broken connections, and the end of a session.
    """

    def test_halfClose(self) -> None:
        """
        One direction may end while the other goes on.
        """
        self.link()
        self.a.receive(b"request")
        self.a.receiveEnd()
        self.assertTrue(self.b.sentEnd)
        self.b.receive(b"answer")
        self.assertEqual((self.a.sent, self.a.state, self.a.sentEnd), (b"answer", "open", False))
        self.b.receiveEnd()
        self.settle()
        self.assertEqual((self.a.state, self.b.state), ("closed", "closed"))
        self.assertEqual(self.outcomes, [Outcome.FINISHED])

    def test_endTwice(self) -> None:
        """
        An end of stream that is told twice is one.
        """
        self.link()
        self.a.receiveEnd()
        self.a.endArrived()
        self.assertEqual((self.b.sentEnd, self.b.state), (True, "open"))

    def test_endWaitsForTheBytes(self) -> None:
        """
        An end of stream is passed on behind the last byte, and connections are closed behind that.
        """
        self.link(first=FakeTransport(self.clock), second=FakeTransport(self.clock, room=0))
        self.a.receive(b"x" * 1000)
        self.a.receiveEnd()
        self.b.receiveEnd()
        self.settle()
        self.assertEqual((self.b.sent, self.b.sentEnd, self.b.state), (b"", False, "open"))
        self.b.read(1000)
        self.settle()
        self.assertEqual(
            (self.b.sent, self.b.state, self.outcomes), (b"x" * 1000, "closed", [Outcome.FINISHED])
        )

    def test_reset(self) -> None:
        """
        Who breaks off is not taken for one who has finished: the other is reset.
        """
        self.link()
        self.a.receive(b"half of")
        self.a.reset()
        self.settle()
        self.assertEqual((self.b.state, self.outcomes), ("reset", [Outcome.BROKEN]))

    def test_resetAfterHalfClose(self) -> None:
        """
        That one has sent everything does not make its breaking off a good end.
        """
        self.link()
        self.a.receiveEnd()
        self.a.reset()
        self.settle()
        self.assertEqual((self.b.state, self.outcomes), ("reset", [Outcome.BROKEN]))

    def test_abort(self) -> None:
        """
        The service can end it, and says why; what the connections' loss would say does not count.
        """
        self.link()
        self.session.abort(Outcome.IDLE)
        self.assertEqual(self.outcomes, [], "never from within")
        self.settle()
        self.session.abort(Outcome.SHUTDOWN)
        self.assertEqual((self.a.state, self.b.state, self.outcomes), ("reset", "reset", [Outcome.IDLE]))

    def test_abortBeatsBreaking(self) -> None:
        """
        The first reason is the one that counts.
        """
        self.link()
        self.a.reset()
        self.session.abort(Outcome.SHUTDOWN)
        self.settle()
        self.assertEqual(self.outcomes, [Outcome.BROKEN])

    def test_lostFromWithinLink(self) -> None:
        """
        A connection that is lost while it is linked ends the session, but not before link has returned.
        """
        a, b = FakeTransport(self.clock), FakeTransport(self.clock)
        b.write = lambda data: b.reset()  # type: ignore[method-assign]
        self.link(first=a, second=b, early=(b"early", b""))
        self.assertEqual(self.outcomes, [])
        self.settle()
        self.assertEqual((a.state, self.outcomes), ("reset", [Outcome.BROKEN]))

    def test_nothingIsReadAgain(self) -> None:
        """
        A party that has ended is not read any more, whatever wakes the relay up.
        """
        self.link(rate=1000)
        self.a.receive(b"x" * 2000)
        self.assertFalse(self.a.reading)
        self.a.endArrived()
        for _ in range(20):
            self.clock.advance(0.25)
        self.assertFalse(self.a.reading)
        self.assertEqual((self.b.sent, self.b.sentEnd), (b"x" * 2000, True))


class TLSTests(RelayCase):
    """
    Connections that know no half-close.
    """

    def test_endOfOneIsEndOfBoth(self) -> None:
        """
        Nothing goes past the encryption: the end of what is sent to a TLS party closes its connection.
        """
        self.link(second=FakeTLSTransport(self.clock))
        self.a.receive(b"all")
        self.a.receiveEnd()
        self.settle()
        self.assertEqual((self.b.unencrypted, self.b.sent, self.b.state), ([], b"all", "closed"))
        self.assertEqual((self.a.state, self.outcomes), ("closed", [Outcome.FINISHED]))

    def test_tlsPartyCloses(self) -> None:
        """
        When it closes, everything that it sent is delivered, and the other closed.
        """
        self.link(first=FakeTLSTransport(self.clock), second=FakeTransport(self.clock, room=0))
        self.a.receive(b"all")
        self.a.receiveEnd()
        self.settle()
        self.assertEqual(self.b.state, "open")
        self.b.read(10)
        self.settle()
        self.assertEqual((self.b.sent, self.b.state, self.outcomes), (b"all", "closed", [Outcome.FINISHED]))

    def test_heldBytesOutliveTheirSender(self) -> None:
        """
        What the rate limit holds back is delivered though the connection that it came by is closed.
        """
        self.link(rate=1000, first=FakeTLSTransport(self.clock))
        self.a.receive(b"x" * 3000)
        self.a.endArrived()
        self.assertEqual(self.a.state, "closed")
        for _ in range(20):
            self.clock.advance(0.25)
        self.settle()
        self.assertEqual(
            (self.b.sent, self.b.state, self.outcomes), (b"x" * 3000, "closed", [Outcome.FINISHED])
        )

    def test_heldBytesForNobody(self) -> None:
        """
        What is held back for one who has gone is dropped, and leaves no timer behind.
        """
        self.link(rate=1000, second=FakeTLSTransport(self.clock))
        self.a.receive(b"x" * 3000)
        self.b.endArrived()
        self.clock.advance(0.25)
        self.settle()
        self.assertEqual((self.a.state, self.outcomes), ("closed", [Outcome.FINISHED]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_heldBytesForNobodyWhileClosing(self) -> None:
        """
        The same while the connection that they came by still has something to deliver.
        """
        first = FakeTransport(self.clock, room=0)
        self.link(rate=1000, first=first, second=FakeTLSTransport(self.clock))
        self.b.receive(b"answer")
        self.a.receive(b"x" * 3000)
        self.b.endArrived()
        for _ in range(8):
            self.clock.advance(0.25)
        self.assertEqual((self.a.state, self.clock.getDelayedCalls()), ("open", []))
        self.a.read(6)
        self.settle()
        self.assertEqual(
            (self.a.sent, self.a.state, self.outcomes), (b"answer", "closed", [Outcome.FINISHED])
        )

    def test_bothGoneWhileHeld(self) -> None:
        """
        When nobody is left the session ends at once.
        """
        self.link(rate=1000, first=FakeTLSTransport(self.clock), second=FakeTLSTransport(self.clock))
        self.a.receive(b"x" * 3000)
        self.a.endArrived()
        self.b.endArrived()
        self.settle()
        self.assertEqual((self.outcomes, self.clock.getDelayedCalls()), ([Outcome.FINISHED], []))


class RateTests(RelayCase):
    """
    The limit on a session.
    """

    def run_(self, seconds: float, send: Any = None) -> tuple[float, float]:
        """
        Let time pass.

        @return: the longest pause in which nothing arrived at the second party, and at the first.
        """
        longest, last, seen = [0.0, 0.0], [self.clock.seconds()] * 2, [len(self.b.sent), len(self.a.sent)]
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            if send is not None:
                send()
            self.clock.advance(0.05)
            for n, party in enumerate((self.b, self.a)):
                if len(party.sent) != seen[n]:
                    longest[n] = max(longest[n], self.clock.seconds() - last[n])
                    last[n], seen[n] = self.clock.seconds(), len(party.sent)
        return longest[0], longest[1]

    def test_rateAndTrickle(self) -> None:
        """
        The rate is kept, and bytes never stop for a second.
        """
        self.link(rate=10_000)
        self.a.receive(b"x" * 1_000_000)
        pause, _ = self.run_(20)
        self.assertLess(abs(len(self.b.sent) - 200_000), 10_000)
        self.assertLess(pause, 1.0)
        self.assertEqual(self.session.counts(), (len(self.b.sent), 0))

    def test_bothDirectionsShare(self) -> None:
        """
        The limit is on both directions together, and neither starves the other for a second.
        """
        self.link(rate=10_000)
        for party in (self.a, self.b):
            party.receive(b"x" * 1_000_000)
        pauses = self.run_(20)
        self.assertLess(abs(len(self.a.sent) + len(self.b.sent) - 200_000), 10_000)
        self.assertLess(abs(len(self.a.sent) - len(self.b.sent)), 20_000)
        self.assertLess(max(pauses), 1.0)

    def test_smallSenderIsNotStarved(self) -> None:
        """
        A few bytes get through beside a flood.
        """
        self.link(rate=10_000)
        self.a.receive(b"x" * 1_000_000)
        self.clock.advance(1)
        self.b.receive(b"please stop")
        self.clock.pump([0.25] * 4)
        self.assertEqual(self.a.sent, b"please stop")

    def test_slowestRate(self) -> None:
        """
        Even 4 bytes a second trickle.
        """
        self.link(rate=4)
        self.a.receive(b"x" * 1000)
        pause, _ = self.run_(30)
        self.assertLess(pause, 1.0)
        self.assertLess(abs(len(self.b.sent) - 120), 4)

    def test_memory(self) -> None:
        """
        No more than one read is held back: the rest waits in the socket.
        """
        self.link(rate=1000)
        self.a.receive(b"x" * 1_000_000)
        self.assertGreaterEqual(self.a.unread, 1_000_000 - 65536)

    def test_endBehindHeldBytes(self) -> None:
        """
        The end of stream comes behind what was held back, and the other direction's end changes nothing.
        """
        self.link(rate=1000)
        self.a.receive(b"x" * 3000)
        self.a.endArrived()
        self.b.receiveEnd()
        self.assertEqual((self.b.sentEnd, self.b.state), (False, "open"))
        self.run_(5)
        self.settle()
        self.assertEqual(
            (self.b.sent, self.b.state, self.outcomes), (b"x" * 3000, "closed", [Outcome.FINISHED])
        )

    def test_moreWhileHeld(self) -> None:
        """
        What a transport still delivers after it was paused is kept in order.
        """
        self.link(rate=1000)
        self.a.receive(b"x" * 1000)
        self.a.protocol.dataReceived(b"y" * 500)
        self.run_(3)
        self.assertEqual(self.b.sent, b"x" * 1000 + b"y" * 500)

    def test_limitLifted(self) -> None:
        """
        A limit that is lifted or changed holds from the next look on.
        """
        self.link(rate=100)
        self.a.receive(b"x" * 100_000)
        self.session.setRate(None)
        self.clock.advance(0.25)
        self.assertEqual(len(self.b.sent), 100_000)
        self.session.setRate(100)
        self.a.receive(b"x" * 100_000)
        self.assertLess(len(self.b.sent), 100_200)

    def test_breakWhileHeld(self) -> None:
        """
        A connection that breaks ends all, also what was held back, and no timer is left.
        """
        self.link(rate=100)
        self.a.receive(b"x" * 1000)
        self.a.reset()
        self.settle()
        self.assertEqual((self.b.state, self.outcomes), ("reset", [Outcome.BROKEN]))
        self.assertEqual(self.clock.getDelayedCalls(), [])
