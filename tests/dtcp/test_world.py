"""
Two whole DTCP clients on one Clock, with connections in memory whose delays are drawn: every packet in
each direction takes its own time, hosts are there, dead or silent.
"""

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.dtcp.lab import REQUESTER, TARGET, Acceptor, RecorderFactory
from xmppbytes.dtcp.channel import TLSMode
from xmppbytes.dtcp.client import DTCPClientHandler
from xmppbytes.dtcp.options import DTCPOptions
from xmppbytes.errors import NotReachable
from xmppbytes.testing import MemoryInternet, MemoryXMPPServer

HERE, THERE = "192.0.2.1", "192.0.2.2"
LIVE, DEAD, SILENT = "live", "dead", "silent"
DELAYS = (0.0, 0.001, 0.01, 0.1, 0.3, 0.7)

hosts = st.lists(st.sampled_from((LIVE, DEAD, SILENT)), max_size=3, unique=True)


class MoodyInternet(MemoryInternet):
    """
    An internet in which every connection, in each direction, is as quick as it likes.

    @ivar delays: what it chooses from.
    """

    def __init__(self, clock: Clock, source: random.Random) -> None:
        self._source = source
        self.delays = DELAYS
        super().__init__(clock)

    @property
    def latency(self) -> float:
        return self._source.choice(self.delays)

    @latency.setter
    def latency(self, value: float) -> None:
        pass


class World:
    """
    Both clients.
    """

    def __init__(self, seed: int, requester: list[str], target: list[str]) -> None:
        """
        @param requester: what is at the hosts that the requester tells.
        """
        source = random.Random(seed)
        self.clock = Clock()
        self.server = MemoryXMPPServer(self.clock, source.choice(DELAYS))
        self.internet = MoodyInternet(self.clock, source)
        self.acceptor = Acceptor()
        self.requester = self.join(REQUESTER, HERE, requester, None)
        self.target = self.join(TARGET, THERE, target, self.acceptor)

    def join(self, jid: str, ip: str, places: list[str], acceptor: Any) -> DTCPClientHandler:
        machine = self.internet.machine(ip)
        self.internet.silent.add(f"{ip}9")
        advertise = [{LIVE: ip, DEAD: f"{ip}8", SILENT: f"{ip}9"}[place] for place in places]
        options = DTCPOptions(addresses=(), advertise=advertise, tls=TLSMode.OFF)
        handler = DTCPClientHandler(machine, acceptor, options)
        handler.setHandlerParent(self.server.connect(jid))
        return handler

    def run(self, seconds: float) -> None:
        self.clock.pump([0.01] * round(seconds * 100))

    def leftOvers(self) -> list[Any]:
        machines = [handler._means.reactor for handler in (self.requester, self.target)]
        ports = [port for machine in machines for port in machine.ports]
        return [*ports, *self.internet.transports, *self.clock.getDelayedCalls()]


class WorldTests(SynchronousTestCase):
    """
    The race, with everything but sockets.
    """

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 2**32), hosts, hosts)
    def test_race(self, seed: int, requester: list[str], target: list[str]) -> None:
        """
        When one side can be reached there is exactly one connection, both sides have it, and data
        passes both ways; otherwise both fail. Nothing is left over.
        """
        world = World(seed, requester, target)
        factory = RecorderFactory()
        connecting = world.requester.connect(TARGET, factory)
        world.run(20)
        if LIVE in requester + target:
            ours = self.successResultOf(connecting)
            theirs = world.acceptor.recorder
            self.assertEqual(len(world.internet.transports), 2)
            ours.transport.write(b"from the requester")
            theirs.transport.write(b"from the target")
            world.run(2)
            self.assertEqual((theirs.received, ours.received), (b"from the requester", b"from the target"))
            ours.transport.loseConnection()
            world.run(2)
            self.assertIsNotNone(theirs.reason)
        else:
            world.run(60)
            self.failureResultOf(connecting, NotReachable)
            self.assertIsInstance(self.successResultOf(world.acceptor.failed), NotReachable)
        self.assertEqual(world.leftOvers(), [])

    def test_keyOvertakesTheResult(self) -> None:
        """
        The target's key comes half a second before its iq-result: it waits, and is answered then.
        """
        world = World(0, [LIVE], [])
        world.server.latency = 0.5
        world.internet.delays = (0.001,)
        connecting = world.requester.connect(TARGET, RecorderFactory())
        world.run(0.9)
        self.assertEqual(len(world.internet.transports), 2)
        self.assertFalse(world.acceptor.recorder.made.called)
        world.run(0.3)
        ours = self.successResultOf(connecting)
        self.assertTrue(world.acceptor.recorder.made.called)
        ours.transport.loseConnection()
        world.run(1)
        self.assertEqual(world.leftOvers(), [])

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 2**32), st.integers(0, 200))
    def test_cancel(self, seed: int, steps: int) -> None:
        """
        Cancelled at any moment, the requester leaves nothing behind, and the target hears of it.
        """
        world = World(seed, [LIVE], [LIVE])
        connecting = world.requester.connect(TARGET, RecorderFactory())
        world.run(steps / 100)
        connecting.cancel()
        connecting.addErrback(lambda _: None)
        if (ours := self.successResultOf(connecting)) is not None:
            ours.transport.loseConnection()
        world.run(130)
        self.assertEqual(world.leftOvers(), [])
        if world.acceptor.offers and not world.acceptor.failed.called:
            self.assertIsNotNone(world.acceptor.recorder.reason)

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 2**32), st.integers(0, 200))
    def test_broken(self, seed: int, steps: int) -> None:
        """
        When all connections are reset at some moment, both sides end all the same.
        """
        world = World(seed, [LIVE], [LIVE])
        connecting = world.requester.connect(TARGET, RecorderFactory())
        world.run(steps / 100)
        for transport in list(world.internet.transports):
            transport.abortConnection()
        world.run(130)
        connecting.addErrback(lambda _: None)
        if (ours := self.successResultOf(connecting)) is not None:
            ours.transport.loseConnection()
        world.run(2)
        if world.acceptor.recorder.made.called and world.acceptor.recorder.reason is None:
            world.acceptor.recorder.transport.loseConnection()
        world.run(2)
        self.assertEqual(world.leftOvers(), [])
