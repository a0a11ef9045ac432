"""
What is particular to relaying inside the kernel: falling back, running out, counting far.
"""

import errno
import os
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.loopback.relay_suite import OTHER, SOME
from tests.loopback.relaying import RelayLab, readAll, readExactly, sendAll
from xmppbytes.core import splice
from xmppbytes.core.engines import SpliceEngine, makeEngines
from xmppbytes.core.outcome import Outcome
from xmppbytes.core.pipes import LARGE
from xmppbytes.core.relay import CopiedSession
from xmppbytes.core.splice import Splicer
from xmppbytes.core.splicedpair import SplicedPair

BEYOND = (4 << 30) + 12345


class FallbackTests(RelayLab):
    """
    Sockets that turn out not to be spliceable.
    """

    def setUp(self) -> None:
        super().setUp()
        self.engine = makeEngines(reactor, "auto")[0]

    def breakSplice(self, after: int) -> None:
        """
        Let splice fail from its C{after}th call on, as an odd socket makes it.
        """
        real = os.splice
        calls = []

        def odd(*arguments: Any) -> int:
            calls.append(arguments)
            if len(calls) > after:
                raise OSError(errno.EINVAL, "Invalid argument")
            return real(*arguments)

        self.patch(splice.os, "splice", odd)

    async def fallBack(self, after: int) -> None:
        pair = await self.pair()
        pair.legs[0].early = b"early "
        await sendAll(pair.parties[0], b"waiting ", end=False)
        await sendAll(pair.parties[1], b"yours", end=False)
        await deferLater(reactor, 0.05)
        self.breakSplice(after)
        pair.link(self.engine)
        self.assertIsInstance(pair.session, CopiedSession)
        results = await gatherResults([readAll(pair.parties[1]), sendAll(pair.parties[0], SOME)])
        self.assertEqual(results[0], b"early waiting " + SOME)
        results = await gatherResults([readAll(pair.parties[0]), sendAll(pair.parties[1], OTHER)])
        self.assertEqual(results[0], b"yours" + OTHER)
        self.assertIs(await pair.ended, Outcome.FINISHED)
        self.assertEqual(self.engine._splicer.pipes.lent, 0)

    async def test_firstSocketIsOdd(self) -> None:
        """
        When the first socket cannot be spliced, the pair is copied, and no byte is lost.
        """
        await self.fallBack(0)

    async def test_secondSocketIsOdd(self) -> None:
        """
        When only the second cannot, what was taken from the first is delivered by copying as well.
        """
        await self.fallBack(1)

    async def test_noPipes(self) -> None:
        """
        Without a descriptor for a pipe the pair is copied.
        """

        def none(*arguments: Any) -> Any:
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(splice.os, "pipe2", none)
        pair = await self.pair()
        pair.link(self.engine)
        self.assertIsInstance(pair.session, CopiedSession)
        results = await gatherResults([readAll(pair.parties[1]), sendAll(pair.parties[0], SOME)])
        self.assertEqual(results[0], SOME)
        pair.session.abort(Outcome.SHUTDOWN)
        await pair.ended

    async def test_noPipesLater(self) -> None:
        """
        When the descriptors run out in the middle, the bytestream fails, as both parties see.
        """
        pair = await self.linked()
        await sendAll(pair.parties[0], b"x", end=False)
        await readExactly(pair.parties[1], 1)

        def none(*arguments: Any) -> Any:
            raise OSError(errno.EMFILE, "Too many open files")

        self.engine._splicer.pipes.close()
        self.patch(splice.os, "pipe2", none)
        await sendAll(pair.parties[0], b"y", end=False)
        self.assertIs(await pair.ended, Outcome.FAILED)
        for party in pair.parties:
            await self.assertFailure(readAll(party), ConnectionResetError)

    async def test_noDescriptorForTheTakeover(self) -> None:
        """
        When a socket cannot be duplicated, both parties are reset, and nothing is raised.
        """
        pair = await self.pair()

        def none(descriptor: int) -> int:
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(os, "dup", none)
        pair.link(self.engine)
        self.assertIs(await pair.ended, Outcome.BROKEN)
        for party in pair.parties:
            await self.assertFailure(readAll(party), ConnectionResetError)

    async def test_whatIsNotAccepted(self) -> None:
        """
        More early bytes than a page are for another engine.
        """
        pair = await self.pair()
        pair.legs[1].early = bytes(4097)
        self.assertFalse(self.engine.accepts(*pair.legs))
        pair.legs[1].early = bytes(4096)
        self.assertTrue(self.engine.accepts(*pair.legs))


class FarCountTests(RelayLab):
    """
    More than four GiB through one session.
    """

    timeout = 300

    async def passFar(self, engine: Any) -> None:
        self.engine = engine
        pair = await self.linked()
        first, second = pair.parties
        results = await gatherResults([deferToThread(sendFar, first), deferToThread(discard, second)])
        self.assertEqual(results, [BEYOND, BEYOND])
        second.close()
        self.assertIs(await pair.ended, Outcome.FINISHED)
        self.assertEqual(pair.session.counts(), (BEYOND, 0))

    async def test_splice(self) -> None:
        """
        Counters of this process count beyond 32 bits.
        """
        await self.passFar(makeEngines(reactor, "splice")[0])

    async def test_worker(self) -> None:
        """
        Counters in shared memory do as well.
        """
        engine = makeEngines(reactor, "splice", workers=1)[0]
        self.addCleanup(engine.close)
        await self.passFar(engine)


def sendFar(party: socket.socket) -> int:
    """
    Send without reading anything first: the pages of an empty file in memory.
    """
    memory = os.memfd_create("far")
    os.ftruncate(memory, 1 << 22)
    sent = 0
    party.setblocking(True)
    while sent < BEYOND:
        offset = sent % (1 << 22)
        sent += os.sendfile(party.fileno(), memory, offset, min((1 << 22) - offset, BEYOND - sent))
    os.close(memory)
    party.shutdown(socket.SHUT_WR)
    return sent


def discard(party: socket.socket) -> int:
    """
    Receive without looking.
    """
    buffer = bytearray(1 << 20)
    got = 0
    while count := party.recv_into(buffer, len(buffer), socket.MSG_TRUNC):
        got += count
    return got


class OwnerStub:
    """
    Takes note of what a splicer wants.
    """

    def __init__(self) -> None:
        self.wants: list[str] = []

    def settleSoon(self) -> None:
        self.wants.append("settle")

    def wakeLater(self) -> None:
        self.wants.append("wake")


class SplicerTests(SynchronousTestCase):
    """
    A splicer turned by hand.
    """

    def setUp(self) -> None:
        self.moment = 0.0
        self.owner = OwnerStub()
        self.splicer = Splicer(self.owner, lambda: self.moment)
        self.addCleanup(self.splicer.close)
        self.outcomes: list[Outcome] = []

    def connected(self) -> tuple[socket.socket, int]:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            party = socket.create_connection(listening.getsockname())
            accepted = listening.accept()[0]
        self.addCleanup(party.close)
        accepted.setblocking(False)
        party.setblocking(False)
        return party, accepted.detach()

    def start(self, rate: int | None = None) -> tuple[SplicedPair, socket.socket, socket.socket]:
        first, firstDescriptor = self.connected()
        second, secondDescriptor = self.connected()
        pair = self.splicer.pair(rate, self.outcomes.append)
        self.splicer.start(pair, firstDescriptor, secondDescriptor)
        return pair, first, second

    def turns(self, number: int = 4) -> None:
        for _ in range(number):
            self.splicer.turn()

    def test_throttledDoesNotSpin(self) -> None:
        """
        A session that has used its limit up moves nothing, and asks for nothing, until it is woken.
        """
        pair, first, second = self.start(rate=1000)
        first.send(bytes(5000))
        self.turns()
        assert pair.bucket is not None
        burst = second.recv(5000)
        self.assertEqual(burst, bytes(int(pair.bucket._burst())))
        self.assertEqual(self.owner.wants, ["wake"])
        self.moment = 0.1
        first.send(bytes(5000))
        self.turns()
        self.assertRaises(BlockingIOError, second.recv, 1)
        self.assertEqual(self.splicer._epoll.poll(0), [])
        self.moment = 0.25
        self.splicer.wake()
        self.assertEqual(second.recv(5000), bytes(250))
        self.assertEqual((self.owner.wants, pair.counts()), (["wake", "wake"], (len(burst) + 250, 0)))

    def test_bothDirectionsGetTheirTurn(self) -> None:
        """
        Neither direction of a limited session keeps the other waiting for long.
        """
        pair, first, second = self.start(rate=1000)
        first.send(bytes(5000))
        second.send(bytes(5000))
        for _ in range(8):
            self.turns()
            self.moment += 0.25
            self.splicer.wake()
        self.assertEqual(min(pair.counts()) // 250 >= 3, True, pair.counts())

    def test_idleHoldsNoPipe(self) -> None:
        """
        Pipes are lent only while bytes are in flight.
        """
        _, first, second = self.start()
        first.send(b"x")
        self.turns()
        self.assertEqual((second.recv(2), self.splicer.pipes.lent), (b"x", 0))

    def test_sessionsTakeTurns(self) -> None:
        """
        No session moves more than a pipe full before another that has bytes waiting is served.
        """
        pairs = [self.start() for _ in range(3)]
        for _, first, _ in pairs:
            first.setblocking(True)
            first.sendall(bytes(1_000_000))
        self.splicer.turn()
        moved = [pair.counts()[0] for pair, _, _ in pairs]
        self.assertTrue(all(0 < count <= LARGE for count in moved), moved)

    def test_endedIsCalledLater(self) -> None:
        """
        A callback that raises, or that ends others, disturbs nobody else's.
        """
        told = []

        def tell(outcome: Outcome) -> None:
            told.append(outcome)
            raise RuntimeError("in a callback")

        for _ in range(2):
            first, second = self.connected()[1], self.connected()[1]
            self.splicer.start(pair := self.splicer.pair(None, tell), first, second)
            pair.abort(Outcome.IDLE)
        self.assertEqual((told, self.owner.wants), ([], ["settle"]))
        self.assertRaises(RuntimeError, self.splicer.settle)
        self.assertEqual(self.owner.wants, ["settle", "settle"])
        self.assertRaises(RuntimeError, self.splicer.settle)
        self.assertEqual(told, [Outcome.IDLE, Outcome.IDLE])

    def test_close(self) -> None:
        """
        Closing resets whoever is connected, and releases every descriptor.
        """
        _, first, _ = self.start()
        self.splicer.close()
        self.assertRaises(ConnectionResetError, first.recv, 1)
        self.assertEqual((len(self.splicer), len(self.splicer.pipes)), (0, 0))
        self.splicer.settle()
        self.assertEqual(self.outcomes, [Outcome.SHUTDOWN])


class ReactorEndTests(RelayLab):
    """
    The engine when the reactor is done.
    """

    async def test_connectionLost(self) -> None:
        """
        When the reactor lets go of the engine, its sessions are reset.
        """
        engine = self.engine = makeEngines(reactor, "splice")[0]
        assert isinstance(engine, SpliceEngine)
        pair = await self.linked()
        await sendAll(pair.parties[0], b"x", end=False)
        await readExactly(pair.parties[1], 1)
        reactor.removeReader(engine)
        engine._reading = False
        engine.connectionLost(None)
        self.assertIs(await pair.ended, Outcome.SHUTDOWN)
        self.assertEqual(engine.logPrefix(), "splice")
