"""
Many bytestreams at once through the whole core, with every relay engine: each arrives whole, or is
reported as broken, and nothing is left behind.
"""

import json
from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.loopback.crowd import Crowd, PartyProcess, keyOf, mixedOrders
from tests.loopback.descriptors import openDescriptors, raiseDescriptorLimit
from tests.waiting import until
from xmppbytes.core.engines import makeEngines

PAIRS = 100
IDLE = 5000
LIMITED_RATE = 100_000


class CrowdSuite:
    """
    Mixed into a C{TestCase} that says which engines to use.
    """

    timeout = 300
    idle = IDLE

    def makeEngines(self) -> Sequence[Any]:
        raise NotImplementedError

    async def begin(self: Any) -> None:
        await deferLater(reactor, 0)
        self.descriptorLimit = raiseDescriptorLimit()
        self.engines = self.makeEngines()
        self.crowd = Crowd(self.engines[:1])
        self.addCleanup(self.crowd.sessions.finishLog)
        if self.crowd.loop is not None:
            self.addCleanup(self.crowd.loop.close)
        self.before = openDescriptors()

    async def test_everyStreamWholeOrBroken(self: Any) -> None:
        """
        A hundred pairs both ways: random sizes, pieces, pauses, half-closes and resets, one limited.
        """
        await self.begin()
        orders = mixedOrders(self.crowd.port, PAIRS, seed=3)
        limited = orders[10]
        limited["sizes"] = [250_000, 1000]
        self.crowd.rendezvous.rates[limited["key"].encode()] = LIMITED_RATE
        parties = PartyProcess()
        reports = json.loads(await parties.begin(orders))
        await parties.ended
        await self.crowd.sessions.whenEmpty()
        for order, (first, second) in zip(orders, reports, strict=True):
            with self.subTest(order=order):
                self.checkPair(order, first, second)
        await self.checkNothingLeft()

    def checkPair(self: Any, order: Any, first: Any, second: Any) -> None:
        record = self.crowd.records.bySid.pop(order["key"])
        if "reset" in order:
            self.assertEqual(record.outcome, "broken")
            breaker = order["resetSide"]
            other = (first, second)[1 - breaker]
            self.assertEqual(other["ended"], "reset", "a truncated stream was taken for a whole one")
            return
        self.assertEqual(record.outcome, "finished")
        self.assertEqual((first["ended"], second["ended"]), ("eof", "eof"))
        for sender, receiver in ((first, second), (second, first)):
            self.assertEqual(sender["sent"], receiver["received"])
            self.assertEqual(sender["sentHash"], receiver["receivedHash"])
        # The party that joined first is not always the same one.
        self.assertEqual(sorted(record.byteCounts), sorted(order["sizes"]))

    async def checkNothingLeft(self: Any) -> None:
        crowd = self.crowd
        await crowd.listening.stopListening()
        self.assertEqual((len(crowd.sessions), crowd.rendezvous.pending), (0, 0))
        self.assertEqual((crowd.rendezvous._legsOf, crowd.rendezvous._perOrigin), ({}, {}))
        self.assertEqual(crowd.records.bySid, {})
        if crowd.loop is not None:
            self.assertNotIn(crowd.loop, reactor.getReaders())
        await until(lambda: openDescriptors() <= self.before, lambda: openDescriptors() - self.before)

    async def test_idleSessionsHold(self: Any) -> None:
        """
        Thousands of idle bytestreams hold while others transfer, and work afterwards.
        """
        await self.begin()
        holders = PartyProcess()
        # Each takes two descriptors here, and there are those who may not have more than a few.
        count = min(self.idle, (self.descriptorLimit - 500) // 2)
        idle = [
            {"port": self.crowd.port, "key": keyOf(1000 + number), "sizes": [0, 0], "holds": True}
            for number in range(count)
        ]
        self.assertEqual(await holders.begin(idle), "holding")
        self.assertEqual(len(self.crowd.sessions), count)
        busy = PartyProcess()
        orders = [
            {"port": self.crowd.port, "key": keyOf(n), "sizes": [4_000_000, 1_000_000]} for n in range(5)
        ]
        reports = json.loads(await busy.begin(orders))
        await busy.ended
        for order, (first, second) in zip(orders, reports, strict=True):
            self.checkPair(order, first, second)
        held = json.loads(await holders.proceed())
        self.assertEqual({party["ended"] for pair in held for party in pair}, {"held"})
        await holders.ended
        await self.crowd.sessions.whenEmpty()
        self.assertEqual({record.byteCounts for record in self.crowd.records.bySid.values()}, {(1, 1)})
        self.crowd.records.bySid.clear()
        await self.checkNothingLeft()


class CopyCrowdTests(CrowdSuite, TestCase):
    """
    Through Python.
    """

    # Twisted's transports cost more time to make; the rest is the same with fewer.
    idle = IDLE // 5

    def makeEngines(self) -> Sequence[Any]:
        return makeEngines(reactor, "copy")


class SpliceCrowdTests(CrowdSuite, TestCase):
    """
    Inside the kernel.
    """

    def makeEngines(self) -> Sequence[Any]:
        return makeEngines(reactor, "splice")

    async def checkNothingLeft(self) -> None:
        self.assertEqual(len(self.engines[0]._splicer.pipes), 0)
        await super().checkNothingLeft()


class WorkerCrowdTests(CrowdSuite, TestCase):
    """
    In two worker processes.
    """

    def makeEngines(self) -> Sequence[Any]:
        engines = makeEngines(reactor, "splice", workers=2)
        self.addCleanup(engines[0].close)
        return engines

    async def checkNothingLeft(self) -> None:
        workers = self.engines[0].workers
        self.assertEqual([worker.sessions for worker in workers], [{}, {}])
        for worker in workers:
            # Nothing is left but the channel.
            await until(
                lambda pid=worker.pid: len(connectionsOf(pid)) == 1,
                lambda pid=worker.pid: f"one is the channel of {connectionsOf(pid)}",
            )
        await super().checkNothingLeft()


def connectionsOf(pid: int) -> set[str]:
    """
    The sockets and pipes that a worker has open; what it prints goes where the tests print, a pipe maybe.
    """
    opened = [name for name in openDescriptors(pid) if name.split()[0] not in ("0", "1", "2")]
    return {name for name in opened if "socket:" in name or "pipe:" in name}
