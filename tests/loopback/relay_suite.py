"""
What every relay engine does, whichever way it moves bytes: the suite that all of them pass.
"""

import os
import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater

from tests.loopback.relaying import readAll, readExactly, reset, sendAll
from tests.waiting import pause
from xmppbytes.core.outcome import Outcome

SOME = os.urandom(3_000_000)
OTHER = os.urandom(1_000_000)


class RelaySuite:
    """
    Mixed into L{tests.loopback.relaying.RelayLab}.
    """

    # What a relay may hold of a stream that nobody reads, beside the kernel's socket buffers.
    holds = 512 * 1024

    async def test_movesBothWays(self: Any) -> None:
        """
        Both directions arrive whole, are counted, and the bytestream ends well.
        """
        pair = await self.linked()
        first, second = pair.parties
        results = await gatherResults(
            [readAll(first), readAll(second), sendAll(first, SOME), sendAll(second, OTHER)]
        )
        self.assertEqual(results[:2], [OTHER, SOME])
        self.assertIs(await pair.ended, Outcome.FINISHED)
        self.assertEqual(pair.session.counts(), (len(SOME), len(OTHER)))
        await self.leftNothing()

    async def test_movesNothing(self: Any) -> None:
        """
        A bytestream without a byte ends well.
        """
        pair = await self.linked()
        results = await gatherResults(
            [readAll(pair.parties[0]), readAll(pair.parties[1]), *(sendAll(p, b"") for p in pair.parties)]
        )
        self.assertEqual(results[:2], [b"", b""])
        self.assertIs(await pair.ended, Outcome.FINISHED)
        self.assertEqual(pair.session.counts(), (0, 0))

    async def test_earlyBytesComeFirst(self: Any) -> None:
        """
        What came glued behind the handshake, and what waits in the kernel, is delivered in order.
        """
        pair = await self.pair()
        pair.legs[0].early = b"early "
        pair.legs[1].early = b"yours "
        await sendAll(pair.parties[0], b"waiting")
        await deferLater(reactor, 0.05)
        pair.link(self.engine)
        self.assertEqual(await readAll(pair.parties[1]), b"early waiting")
        await sendAll(pair.parties[1], b"late")
        self.assertEqual(await readAll(pair.parties[0]), b"yours late")
        self.assertIs(await pair.ended, Outcome.FINISHED)
        self.assertEqual(pair.session.counts(), (13, 10))

    async def test_unsentBytesOfTheTransportGoFirst(self: Any) -> None:
        """
        What the transport still had to send when the relay took over is not lost, nor overtaken.
        """
        pair = await self.pair()
        pair.legs[1].transport.write(SOME)
        await sendAll(pair.parties[0], OTHER)
        pair.link(self.engine)
        self.assertEqual(await readAll(pair.parties[1]), SOME + OTHER)
        await sendAll(pair.parties[1], b"")
        self.assertIs(await pair.ended, Outcome.FINISHED)
        self.assertEqual(pair.session.counts(), (len(OTHER), 0))

    async def test_halfCloseFirst(self: Any) -> None:
        """
        After the first party has ended its direction, the other direction goes on.
        """
        await self._halfClose(0)

    async def test_halfCloseSecond(self: Any) -> None:
        """
        After the second party has ended its direction, the other direction goes on.
        """
        await self._halfClose(1)

    async def _halfClose(self: Any, quick: int) -> None:
        pair = await self.linked()
        sender, other = pair.parties[quick], pair.parties[1 - quick]
        await sendAll(sender, b"done")
        self.assertEqual(await readAll(other), b"done")
        results = await gatherResults([readAll(sender), sendAll(other, SOME)])
        self.assertEqual(results[0], SOME)
        self.assertIs(await pair.ended, Outcome.FINISHED)

    async def test_closedAfterSending(self: Any) -> None:
        """
        A sender that closes its connection after the last byte, as most do, has ended well.
        """
        pair = await self.linked()
        first, second = pair.parties
        reading = readAll(second)
        await sendAll(first, SOME, end=False)
        first.close()
        self.assertEqual(await reading, SOME)
        second.close()
        self.assertIs(await pair.ended, Outcome.FINISHED)

    async def test_resetIsPassedOn(self: Any) -> None:
        """
        When a party breaks off, the other sees a reset, not an end.
        """
        for breaker in (0, 1):
            pair = await self.linked()
            other = pair.parties[1 - breaker]
            await sendAll(pair.parties[breaker], b"some", end=False)
            self.assertEqual(await readExactly(other, 4), b"some")
            await self.counted(pair.session, *((4, 0) if breaker == 0 else (0, 4)))
            reset(pair.parties[breaker])
            await self.assertFailure(readAll(other), ConnectionResetError)
            self.assertIs(await pair.ended, Outcome.BROKEN)
            self.assertEqual(sum(pair.session.counts()), 4)
        await self.leftNothing()

    async def test_resetFoundByWriting(self: Any) -> None:
        """
        A reset that shows first when bytes are passed on, since both came at once, is a reset as well.
        """
        for breaker in (0, 1):
            pair = await self.linked()
            other = pair.parties[1 - breaker]
            other.send(b"too late")
            reset(pair.parties[breaker])
            await self.assertFailure(readAll(other), ConnectionResetError)
            self.assertIs(await pair.ended, Outcome.BROKEN)
        await self.leftNothing()

    async def test_resetWhileTheOtherIsBlocked(self: Any) -> None:
        """
        A sender's reset ends the bytestream even while its bytes cannot be delivered.
        """
        pair = await self.linked(receiveBuffer=4096)
        first, second = pair.parties
        first.settimeout(0.3)
        await self.assertFailure(sendAll(first, bytes(50_000_000)), TimeoutError)
        reset(first)
        await self.assertFailure(readAll(second), ConnectionResetError)
        self.assertIs(await pair.ended, Outcome.BROKEN)

    async def test_receiverLeaves(self: Any) -> None:
        """
        A receiver that closes in the middle breaks the bytestream for the sender.
        """
        pair = await self.linked()
        first, second = pair.parties
        sending = sendAll(first, bytes(200_000_000))
        await readExactly(second, 1_000_000)
        second.close()
        await self.assertFailure(sending, ConnectionResetError, BrokenPipeError)
        self.assertIs(await pair.ended, Outcome.BROKEN)

    async def test_backPressure(self: Any) -> None:
        """
        Of a stream that nobody reads, the relay takes a bounded part; later all of it arrives.
        """
        pair = await self.linked(receiveBuffer=16384)
        first, second = pair.parties
        data = bytes(range(256)) * 200_000
        sending = sendAll(first, data)
        seen = -1
        while seen != (seen := pair.session.counts()[0]):
            await deferLater(reactor, 0.3)
        self.assertLess(seen, len(data) // 2)
        self.assertLess(sum(leg.seen for leg in pair.legs) - seen, self.holds)
        results = await gatherResults([readAll(second), sending])
        self.assertEqual(results[0], data)
        second.close()
        self.assertIs(await pair.ended, Outcome.FINISHED)

    async def test_countsAreLive(self: Any) -> None:
        """
        The counts tell what was delivered so far.
        """
        pair = await self.linked()
        await sendAll(pair.parties[0], b"12345", end=False)
        await readExactly(pair.parties[1], 5)
        await self.counted(pair.session, 5, 0)
        await sendAll(pair.parties[1], b"123", end=False)
        await readExactly(pair.parties[0], 3)
        await self.counted(pair.session, 5, 3)
        pair.session.abort(Outcome.SHUTDOWN)
        await pair.ended
        self.assertEqual(pair.session.counts(), (5, 3))

    async def test_rateLimit(self: Any) -> None:
        """
        A limited bytestream keeps its rate, both directions together, and arrives whole.
        """
        pair = await self.linked(rate=400_000)
        first, second = pair.parties
        began = time.monotonic()
        cpu = time.process_time()
        results = await gatherResults(
            [
                readAll(first),
                readAll(second),
                sendAll(first, SOME[:300_000]),
                sendAll(second, OTHER[:300_000]),
            ]
        )
        self.assertEqual(results[:2], [OTHER[:300_000], SOME[:300_000]])
        took = time.monotonic() - began
        self.assertGreater(took, 1.0)
        # It does not spin while it waits; half a second is for machines that are slow by themselves.
        self.assertLess(time.process_time() - cpu, took / 2 + 0.5)
        self.assertIs(await pair.ended, Outcome.FINISHED)

    async def test_throttledDoesNotDisturbOthers(self: Any) -> None:
        """
        While one bytestream waits for its rate, another is as fast as it can be.
        """
        slow = await self.linked(rate=1000)
        sending = sendAll(slow.parties[0], bytes(100_000), end=False)
        quick = await self.linked()
        results = await gatherResults([readAll(quick.parties[1]), sendAll(quick.parties[0], SOME)])
        self.assertEqual(results[0], SOME)
        quick.parties[1].close()
        self.assertIs(await quick.ended, Outcome.FINISHED)
        # What a minute allows, and the burst.
        self.assertLess(slow.session.counts()[0], 61_000)
        await sending
        slow.session.abort(Outcome.SHUTDOWN)
        await slow.ended

    async def test_rateIsChanged(self: Any) -> None:
        """
        A limit that is lifted lets what waited go, and one that is set holds.
        """
        pair = await self.linked(rate=1000)
        first, second = pair.parties
        sending = sendAll(first, SOME)
        await deferLater(reactor, 0.3)
        self.assertLess(pair.session.counts()[0], 61_000)
        pair.session.setRate(None)
        self.assertEqual((await gatherResults([readAll(second), sending]))[0], SOME)
        pair.session.setRate(1)
        await deferLater(reactor, 0.05)
        await sendAll(second, bytes(100))
        await deferLater(reactor, 0.1)
        self.assertLess(pair.session.counts()[1], 60)
        pair.session.abort(Outcome.SHUTDOWN)
        self.assertIs(await pair.ended, Outcome.SHUTDOWN)

    async def test_abort(self: Any) -> None:
        """
        Whoever runs the relay can end a bytestream, with an outcome: both parties see a reset.
        """
        pair = await self.linked()
        await sendAll(pair.parties[0], b"x", end=False)
        await readExactly(pair.parties[1], 1)
        pair.session.abort(Outcome.IDLE)
        pair.session.abort(Outcome.SHUTDOWN)
        self.assertIs(await pair.ended, Outcome.IDLE)
        for party in pair.parties:
            await self.assertFailure(readAll(party), ConnectionResetError)
        pair.session.abort(Outcome.SHUTDOWN)
        pair.session.setRate(5)
        await deferLater(reactor, 0.05)
        self.assertEqual(pair.outcomes, [Outcome.IDLE])
        await self.leftNothing()

    async def test_abortAtOnce(self: Any) -> None:
        """
        A bytestream may be ended before anything has happened.
        """
        pair = await self.linked()
        pair.session.abort(Outcome.SHUTDOWN)
        self.assertEqual(pair.outcomes, [])
        self.assertIs(await pair.ended, Outcome.SHUTDOWN)
        for party in pair.parties:
            await self.assertFailure(readAll(party), ConnectionResetError)
        await self.leftNothing()

    async def test_goneBeforeTheRelay(self: Any) -> None:
        """
        A party that has broken off before the relay begins breaks the bytestream.
        """
        for breaker in (0, 1):
            pair = await self.pair()
            reset(pair.parties[breaker])
            pair.link(self.engine)
            self.assertIs(await pair.ended, Outcome.BROKEN)
            await self.assertFailure(readAll(pair.parties[1 - breaker]), ConnectionResetError)
        await self.leftNothing()

    async def test_resetWithEarlyBytes(self: Any) -> None:
        """
        A party that was reset before the relay began, and had sent something, breaks the bytestream; nothing
        stays open.
        """
        for _ in range(3):
            pair = await self.pair()
            pair.legs[0].early = b"early"
            reset(pair.parties[0])
            await pause()
            pair.link(self.engine)
            self.assertIs(await pair.ended, Outcome.BROKEN)
        await self.leftNothing()

    async def test_endedBeforeTheRelay(self: Any) -> None:
        """
        Streams that ended before the relay began are delivered whole.
        """
        pair = await self.pair()
        await sendAll(pair.parties[0], b"all of it")
        await sendAll(pair.parties[1], b"")
        await deferLater(reactor, 0.05)
        pair.link(self.engine)
        self.assertEqual(await readAll(pair.parties[1]), b"all of it")
        self.assertEqual(await readAll(pair.parties[0]), b"")
        self.assertIs(await pair.ended, Outcome.FINISHED)

    async def test_manySmallMessages(self: Any) -> None:
        """
        Small messages to and fro are passed on at once, none waits for more.
        """
        pair = await self.linked()
        took = []
        for number in range(100):
            message = b"%d" % number
            began = time.monotonic()
            await sendAll(pair.parties[number % 2], message, end=False)
            self.assertEqual(await readExactly(pair.parties[1 - number % 2], len(message)), message)
            took.append(time.monotonic() - began)
        # Whoever waits for more, or for an acknowledgement, does so each time: no message would be quick.
        self.assertLess(sorted(took)[10], 0.04)
        pair.session.abort(Outcome.SHUTDOWN)
        await pair.ended


class AcceptedSuite(RelaySuite):
    """
    The same with connections that an accept loop has accepted.
    """

    ownLoop = True

    async def test_lostAsItBegins(self: Any) -> None:
        """
        A connection that was lost in this very turn, of which nobody was told yet, breaks the bytestream; who
        wants to know learns it later.
        """
        pair = await self.pair()
        pair.legs[0].transport.abortConnection()
        pair.link(self.engine)
        self.assertIs(await pair.ended, Outcome.BROKEN)
        await self.assertFailure(readAll(pair.parties[1]), ConnectionResetError)
        await self.leftNothing()
