"""
What the relay suites share: legs over real sockets, and engines to link them.
"""

import socket
import struct
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from tests.loopback.descriptors import openDescriptors
from tests.waiting import until
from xmppbytes.core.acceptloop import AcceptLoop
from xmppbytes.core.handshake import HandshakeProtocol, handshakeDeadlines
from xmppbytes.core.leg import LegKind
from xmppbytes.core.outcome import Outcome
from xmppbytes.interfaces import ILeg


class NoParser:
    """
    Understands nothing.
    """

    def feed(self, data: bytes) -> list[Any]:
        return []

    def rest(self) -> bytes:
        return b""


@implementer(ILeg)
class PlainLeg(HandshakeProtocol):
    """
    A leg whose handshake is over as soon as it is connected.

    @ivar seen: bytes that came through Python after the handshake.
    """

    kind = LegKind.STREAM
    ready = True
    seen = 0

    def handshakeStarted(self) -> None:
        self.complete()

    def dataReceived(self, data: bytes) -> None:
        self.seen += len(data)
        super().dataReceived(data)

    def speaksFor(self, parties: Any) -> bool:
        return True


class Linked:
    """
    A pair of parties whose connections are being relayed.

    @ivar parties: their sockets, blocking.
    @ivar legs: the other ends of them.
    @ivar ended: fires with the L{Outcome}.
    """

    session: Any

    def __init__(self, parties: tuple[socket.socket, socket.socket], legs: tuple[PlainLeg, PlainLeg]) -> None:
        self.parties = parties
        self.legs = legs
        self.ended: Deferred[Outcome] = Deferred()
        self.outcomes: list[Outcome] = []

    def link(self, engine: Any, rate: int | None = None) -> None:
        assert engine.accepts(*self.legs)
        self.session = engine.link(*self.legs, rate, self._ended)
        assert not self.outcomes

    def _ended(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.lastCounts = self.session.counts()
        if len(self.outcomes) == 1:
            self.ended.callback(outcome)


class RelayLab(TestCase):
    """
    Listens on loopback, and links what connects.

    @cvar ownLoop: whether an L{AcceptLoop} accepts the connections, and not the reactor.
    """

    engine: Any
    ownLoop = False

    def setUp(self) -> None:
        self._parties: list[socket.socket] = []
        self.descriptors: set[str] | None = None
        self._waiting: dict[int, Deferred[PlainLeg]] = {}
        self._deadlines = handshakeDeadlines(reactor, 10)
        factory = Factory.forProtocol(self._makeLeg)
        factory.noisy = False
        self.port = reactor.listenTCP(0, factory, interface="127.0.0.1", backlog=1024)
        if self.ownLoop:
            self.loop = AcceptLoop(reactor, lambda: None)
            self.port = self.loop.take(self.port, factory)
            self.addCleanup(self.loop.close)
        self.addCleanup(self.port.stopListening)

    def _makeLeg(self) -> PlainLeg:
        leg = PlainLeg(NoParser(), self._deadlines)
        reactor.callLater(0, self._arrived, leg)
        return leg

    def _arrived(self, leg: PlainLeg) -> None:
        self._waiting.pop(leg.transport.getPeer().port).callback(leg)

    async def connect(self, receiveBuffer: int = 0) -> tuple[socket.socket, PlainLeg]:
        if self.descriptors is None:
            # The reactor opens some of its own when it begins to run.
            await deferLater(reactor, 0)
            self.descriptors = openDescriptors()
        party = socket.socket()
        self._parties.append(party)
        self.addCleanup(party.close)
        if receiveBuffer:
            party.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receiveBuffer)
        # The kernel accepts before the reactor does, so this does not block.
        party.connect(("127.0.0.1", self.port.getHost().port))
        party.settimeout(30)
        waiting: Deferred[PlainLeg] = Deferred()
        self._waiting[party.getsockname()[1]] = waiting
        return party, await waiting

    async def pair(self, receiveBuffer: int = 0) -> Linked:
        first, firstLeg = await self.connect(receiveBuffer)
        second, secondLeg = await self.connect(receiveBuffer)
        return Linked((first, second), (firstLeg, secondLeg))

    async def linked(self, rate: int | None = None, receiveBuffer: int = 0) -> Linked:
        pair = await self.pair(receiveBuffer)
        pair.link(self.engine, rate)
        return pair

    async def counted(self, session: Any, first: int, second: int) -> None:
        """
        Assert that the counts become these: a byte may be seen a moment before it is counted.
        """
        await until(lambda: session.counts() == (first, second), session.counts)

    async def leftNothing(self) -> None:
        """
        Assert that no descriptor is open that was not before.
        """
        before = self.descriptors
        assert before is not None
        for party in self._parties:
            party.close()
        await until(lambda: openDescriptors() <= before, lambda: openDescriptors() - before)


def readAll(party: socket.socket) -> Any:
    """
    Read until the end of the stream, in a thread.

    @return: fires with the bytes; fails with C{ConnectionResetError}.
    """

    def read() -> bytes:
        pieces = []
        while piece := party.recv(1 << 18):
            pieces.append(piece)
        return b"".join(pieces)

    return deferToThread(read)


def readExactly(party: socket.socket, count: int) -> Any:
    """
    Read some bytes, in a thread.
    """

    def read() -> bytes:
        data = b""
        while len(data) < count:
            piece = party.recv(count - len(data))
            if not piece:
                raise EOFError(f"the stream ended after {len(data)} of {count} bytes")
            data += piece
        return data

    return deferToThread(read)


def sendAll(party: socket.socket, data: bytes, end: bool = True) -> Any:
    """
    Send, in a thread.

    @param end: half-close after it.
    """

    def send() -> None:
        party.sendall(data)
        if end:
            party.shutdown(socket.SHUT_WR)

    return deferToThread(send)


def reset(party: socket.socket) -> None:
    """
    Break a connection.
    """
    party.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    party.close()
