"""
The relay engines on loopback sockets: one suite for all, and for each what is its own.
"""

import errno
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from tests.loopback.relay_suite import SOME, AcceptedSuite, RelaySuite
from tests.loopback.relaying import RelayLab, readAll, sendAll
from xmppbytes.core.engines import SpliceEngine, makeEngines
from xmppbytes.core.outcome import Outcome
from xmppbytes.core.relay import CopiedSession, CopyEngine
from xmppbytes.core.splicedpair import SplicedPair
from xmppbytes.core.workerprocess import WorkedSession
from xmppbytes.core.workers import WorkerEngine


async def breakJoining(case: Any, unsent: bytes = b"") -> None:
    """
    Link a pair while no descriptor is left for transports of the reactor.
    """

    def refuse(*_: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    pair = await case.pair()
    pair.legs[1].transport._unsent = unsent
    case.patch(reactor, "adoptStreamConnection", refuse)
    pair.link(case.engine)
    case.assertIs(await pair.ended, Outcome.BROKEN)
    for party in pair.parties:
        await case.assertFailure(readAll(party), ConnectionResetError)
    await case.leftNothing()


class CopyRelayTests(RelaySuite, RelayLab):
    """
    Relaying through Python.
    """

    def setUp(self) -> None:
        super().setUp()
        (self.engine,) = makeEngines(reactor, "copy")

    async def test_isInUse(self) -> None:
        """
        The bytes pass through the transports of the legs.
        """
        self.assertIsInstance(self.engine, CopyEngine)
        pair = await self.linked()
        self.assertIsInstance(pair.session, CopiedSession)
        await gatherResults([readAll(pair.parties[1]), sendAll(pair.parties[0], SOME)])
        self.assertEqual(pair.legs[0].seen, len(SOME))
        pair.parties[1].close()
        await pair.ended


class SpliceRelayTests(RelaySuite, RelayLab):
    """
    Relaying inside the kernel.
    """

    def setUp(self) -> None:
        super().setUp()
        self.engine = makeEngines(reactor, "splice")[0]
        self.addCleanup(self._released)

    def _released(self) -> None:
        splicer = self.engine._splicer
        self.assertEqual((len(splicer), len(splicer.pipes), splicer._over), (0, 0, []))
        self.assertEqual(splicer._throttled, {})
        self.assertNotIn(self.engine, reactor.getReaders())
        splicer.close()

    async def test_isInUse(self) -> None:
        """
        The transports of the legs are gone, and no byte passes through Python.
        """
        self.assertIsInstance(self.engine, SpliceEngine)
        pair = await self.linked()
        self.assertIsInstance(pair.session, SplicedPair)
        results = await gatherResults([readAll(pair.parties[1]), sendAll(pair.parties[0], SOME)])
        self.assertEqual(results[0], SOME)
        self.assertEqual([leg.seen for leg in pair.legs], [0, 0])
        self.assertTrue(all(leg.transport.disconnected for leg in pair.legs))
        pair.parties[1].close()
        self.assertIs(await pair.ended, Outcome.FINISHED)


class WorkerRelayTests(RelaySuite, RelayLab):
    """
    Relaying in a process of its own.
    """

    def setUp(self) -> None:
        super().setUp()
        self.engine = self.startWorkers(1)

    def startWorkers(self, number: int) -> Any:
        engine = makeEngines(reactor, "splice", workers=number)[0]
        self.addCleanup(engine.close)
        return engine

    async def test_isInUse(self) -> None:
        """
        The connections are open in the worker, and not in this process.
        """
        self.assertIsInstance(self.engine, WorkerEngine)
        pair = await self.linked()
        self.assertIsInstance(pair.session, WorkedSession)
        results = await gatherResults([readAll(pair.parties[1]), sendAll(pair.parties[0], SOME)])
        self.assertEqual(results[0], SOME)
        self.assertEqual([leg.seen for leg in pair.legs], [0, 0])
        self.assertTrue(all(leg.transport.disconnected for leg in pair.legs))
        pair.parties[1].close()
        self.assertIs(await pair.ended, Outcome.FINISHED)


class AcceptedCopyRelayTests(AcceptedSuite, CopyRelayTests):
    """
    Relaying through Python what an accept loop has accepted: the reactor gets the connections.
    """

    async def test_cannotJoin(self) -> None:
        """
        A connection that the reactor cannot have breaks the bytestream.
        """
        await breakJoining(self)


class AcceptedSpliceRelayTests(AcceptedSuite, SpliceRelayTests):
    """
    Relaying inside the kernel what an accept loop has accepted.
    """

    async def test_cannotJoin(self) -> None:
        """
        A connection with something unsent joins the reactor first; when it cannot, it breaks the bytestream.
        """
        await breakJoining(self, b"unsent")


class AcceptedWorkerRelayTests(AcceptedSuite, WorkerRelayTests):
    """
    Relaying in a process of its own what an accept loop has accepted.
    """
