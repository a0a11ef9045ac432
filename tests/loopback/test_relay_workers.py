"""
Workers: many of them, dying ones, full ones.
"""

import os
import signal
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater

from tests.loopback.descriptors import openDescriptors
from tests.loopback.relay_suite import SOME
from tests.loopback.relaying import Linked, RelayLab, readAll, readExactly, sendAll
from tests.waiting import until
from xmppbytes.core import workerprocess, workers
from xmppbytes.core.engines import makeEngines
from xmppbytes.core.outcome import Outcome
from xmppbytes.core.workers import WorkerEngine


class WorkersTests(RelayLab):
    """
    Two workers.
    """

    engine: WorkerEngine

    def setUp(self) -> None:
        super().setUp()
        self.patch(workers, "RESTART_DELAY", 0.1)
        self.engines = makeEngines(reactor, "auto", workers=2)
        self.engine = self.engines[0]  # type: ignore[assignment]
        self.addCleanup(self.engine.close)

    async def moved(self, pair: Linked) -> None:
        await sendAll(pair.parties[0], b"hello", end=False)
        self.assertEqual(await readExactly(pair.parties[1], 5), b"hello")

    async def dead(self, pid: int) -> None:
        await until(lambda: pid not in self.pids(), "the death of a worker is noticed")

    async def replaced(self) -> None:
        """
        Wait until there are as many workers as there are to be.
        """
        await until(lambda: len(self.engine.workers) == 2, "another worker takes the place of a dead one")

    def pids(self) -> list[int]:
        return [worker.pid for worker in self.engine.workers]

    async def test_shareTheSessions(self) -> None:
        """
        Each new session goes to the worker that has the fewest.
        """
        pairs = [await self.linked() for _ in range(4)]
        self.assertEqual([len(worker.sessions) for worker in self.engine.workers], [2, 2])
        for pair in pairs:
            await self.moved(pair)
            pair.session.abort(Outcome.SHUTDOWN)
            await pair.ended

    async def test_deathTakesItsOwnSessionsOnly(self) -> None:
        """
        The sessions of a worker that is killed have failed, and their parties are reset; those of the
        other go on, and another worker takes its place.
        """
        doomed, spared = await self.linked(), await self.linked()
        await self.moved(doomed)
        await self.moved(spared)
        await self.counted(doomed.session, 5, 0)
        pid = self.engine.workers[0].pid
        os.kill(pid, signal.SIGKILL)
        self.assertIs(await doomed.ended, Outcome.FAILED)
        self.assertEqual((doomed.session.counts(), doomed.lastCounts), ((5, 0), (5, 0)))
        for party in doomed.parties:
            await self.assertFailure(readAll(party), ConnectionResetError)
        await self.moved(spared)
        self.assertNotIn(pid, self.pids())
        await self.replaced()
        after = await self.linked()
        self.assertEqual([len(worker.sessions) for worker in self.engine.workers], [1, 1])
        await self.moved(after)
        for pair in (after, spared):
            pair.session.abort(Outcome.SHUTDOWN)
            await pair.ended
        doomed.session.abort(Outcome.SHUTDOWN)
        doomed.session.setRate(1)
        self.assertEqual(doomed.outcomes, [Outcome.FAILED])

    async def test_deathDuringTheTakeover(self) -> None:
        """
        A session that is on its way to a worker that dies has failed.
        """
        pair = await self.pair()
        pids = self.pids()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        pair.link(self.engine)
        self.assertIs(await pair.ended, Outcome.FAILED)
        for party in pair.parties:
            await self.assertFailure(readAll(party), ConnectionResetError)
        for pid in pids:
            await self.dead(pid)
        await self.replaced()
        await self.moved(again := await self.linked())
        again.session.abort(Outcome.IDLE)
        self.assertIs(await again.ended, Outcome.IDLE)

    async def test_noneAlive(self) -> None:
        """
        While no worker lives, the next engine takes what comes.
        """
        self.patch(workers, "RESTART_DELAY", 60)
        await deferLater(reactor, 0)
        pids = self.pids()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            await self.dead(pid)
        pair = await self.pair()
        self.assertFalse(self.engine.accepts(*pair.legs))
        pair.link(self.engines[1])
        await self.moved(pair)
        pair.session.abort(Outcome.SHUTDOWN)
        await pair.ended

    async def test_signalsToAllEndNone(self) -> None:
        """
        What a terminal or a service manager sends to the whole group is the parent's to judge.
        """
        pair = await self.linked()
        await self.moved(pair)
        for worker in self.engine.workers:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                os.kill(worker.pid, number)
        results = await gatherResults([readAll(pair.parties[1]), sendAll(pair.parties[0], SOME)])
        self.assertEqual(results[0], SOME)
        pair.parties[1].close()
        self.assertIs(await pair.ended, Outcome.FINISHED)

    async def test_close(self) -> None:
        """
        Closing ends the workers and resets what they still relay.
        """
        pair = await self.linked()
        await self.moved(pair)
        await self.engine.close()
        self.assertIs(await pair.ended, Outcome.FAILED)
        self.assertEqual(self.engine.workers, [])
        for party in pair.parties:
            await self.assertFailure(readAll(party), ConnectionResetError)

    async def test_full(self) -> None:
        """
        A worker takes no more sessions than it has places, and a place is used again.
        """
        self.patch(workerprocess, "SLOTS", 1)
        first, second = await self.linked(), await self.linked()
        third = await self.pair()
        self.assertFalse(self.engine.accepts(*third.legs))
        first.session.abort(Outcome.SHUTDOWN)
        await first.ended
        third.link(self.engine)
        await self.moved(third)
        await self.counted(third.session, 5, 0)
        for pair in (second, third):
            pair.session.abort(Outcome.SHUTDOWN)
            await pair.ended

    async def test_busyChannel(self) -> None:
        """
        Messages wait while the way to a worker is full.
        """
        pairs = [await self.linked() for _ in range(2)]
        worker = self.engine.workers[0]
        os.kill(worker.pid, signal.SIGSTOP)
        await until(lambda: Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        for _ in range(2000):
            pairs[0].session.setRate(1_000_000)
        self.assertTrue(worker._queue)
        os.kill(worker.pid, signal.SIGCONT)
        await self.moved(pairs[0])
        await until(lambda: not worker._queue)
        for pair in pairs:
            pair.session.abort(Outcome.SHUTDOWN)
            await pair.ended

    async def test_tooManyUnderWay(self) -> None:
        """
        A session whose connections cannot be passed has failed, and both parties see it.
        """

        def refuse(*arguments: Any) -> int:
            raise OSError(109, "Too many references: cannot splice")

        self.patch(workerprocess.socket, "send_fds", refuse)
        pair = await self.linked()
        self.assertIs(await pair.ended, Outcome.FAILED)
        for party in pair.parties:
            await self.assertFailure(readAll(party), ConnectionResetError)

    async def test_parentDies(self) -> None:
        """
        A worker whose parent is gone ends, and what it relays is reset.
        """
        pair = await self.linked()
        await self.moved(pair)
        worker = next(worker for worker in self.engine.workers if worker.sessions)
        await deferLater(reactor, 0)
        worker.connectionLost(None)  # type: ignore[arg-type]
        for party in pair.parties:
            await self.assertFailure(readAll(party), ConnectionResetError)
        await pair.ended
        self.assertEqual(worker.logPrefix(), "worker")

    async def test_workerHoldsNothingOfOthers(self) -> None:
        """
        A worker inherits its channel, its counters and nothing else of the service.
        """
        await self.moved(pair := await self.linked())
        names = openDescriptors(self.engine.workers[1].pid)
        self.assertEqual(len([name for name in names if "socket:" in name]), 1, names)
        pair.session.abort(Outcome.SHUTDOWN)
        await pair.ended
