"""
What the tests with many pairs share: the whole proxy core with one engine, and a process of parties.
"""

import json
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from xmppbytes.core.acceptloop import AcceptLoop
from xmppbytes.core.handshake import handshakeDeadlines
from xmppbytes.core.hangup import makeHangupWatch
from xmppbytes.core.limits import Limits
from xmppbytes.core.pairing import Rendezvous
from xmppbytes.core.relay import CopyEngine
from xmppbytes.core.sessions import Parties, Sessions
from xmppbytes.core.usage import UsageRecord
from xmppbytes.s5b.protocol import StreamHostFactory

PARTIES = str(Path(__file__).with_name("parties.py"))
MANY = 20000
MIB = 1 << 20


class Records:
    """
    Keeps usage records, by the key of the bytestream.
    """

    def __init__(self) -> None:
        self.bySid: dict[str, UsageRecord] = {}
        self.requesters: dict[str, str] = {}

    def record(self, usage: UsageRecord) -> None:
        self.bySid[usage.requester] = usage


class EagerRendezvous(Rendezvous):
    """
    Activates every bytestream a moment after both parties have joined, as a requester would.

    @ivar rates: rate limits of single bytestreams, by key.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.rates: dict[bytes, int] = {}

    def join(self, key: bytes, leg: Any) -> None:
        super().join(key, leg)
        if len(self.legs(key)) == 2:
            reactor.callLater(0, self._begin, key)

    def _begin(self, key: bytes) -> None:
        session = self.activate(key, Parties(key.decode(), "target@example.org", "sid"))
        if key in self.rates:
            session.relayed.setRate(self.rates[key])


class Crowd:
    """
    A StreamHost with one engine, listening on loopback.
    """

    def __init__(self, engines: Sequence[Any]) -> None:
        """
        @param engines: if the first splices, the connections are accepted as the proxy service does then.
        """
        limits = Limits(maxPending=MANY, maxPendingPerAddress=MANY, maxSessions=MANY, maxSessionsPerJid=MANY)
        self.records = Records()
        self.sessions = Sessions(reactor, limits, engines, self.records)
        self.rendezvous = EagerRendezvous(reactor, limits, self.sessions, makeHangupWatch(reactor))
        deadlines = handshakeDeadlines(reactor, 30)
        factory = StreamHostFactory(self.rendezvous, deadlines)
        factory.noisy = False
        self.listening = reactor.listenTCP(0, factory, interface="127.0.0.1", backlog=4096)
        self.loop = None
        if not isinstance(engines[0], CopyEngine):
            self.loop = AcceptLoop(reactor, lambda: None)
            self.listening = self.loop.take(self.listening, factory)
        self.port = self.listening.getHost().port


class PartyProcess(ProcessProtocol):
    """
    The process of the parties.
    """

    def __init__(self) -> None:
        self._lines = b""
        self._waiting: Deferred[str] | None = None
        self.ended: Deferred[None] = Deferred()

    def begin(self, orders: list[dict[str, Any]]) -> Any:
        """
        Give the orders.

        @return: fires with the next line that it writes.
        """
        # Unbuffered, Python loses the rest of a line when a signal interrupts the pipe that takes it.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        self.process = reactor.spawnProcess(
            self, sys.executable, [sys.executable, PARTIES], env=environment, childFDs={0: "w", 1: "r", 2: 2}
        )
        self.transport.write(json.dumps(orders).encode() + b"\n")
        return self.line()

    def line(self) -> "Deferred[str]":
        self._waiting = Deferred()
        return self._waiting

    def proceed(self) -> Any:
        self.transport.write(b"\n")
        return self.line()

    def outReceived(self, data: bytes) -> None:
        self._lines += data
        if b"\n" in self._lines and self._waiting is not None:
            line, _, self._lines = self._lines.partition(b"\n")
            waiting, self._waiting = self._waiting, None
            waiting.callback(line.decode())

    def processEnded(self, reason: Failure) -> None:
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.errback(reason)
        if reason.check(ProcessDone):
            self.ended.callback(None)
        else:
            self.ended.errback(reason)


def keyOf(number: int) -> str:
    """
    A destination address of no meaning.
    """
    return f"{number:040x}"


def mixedOrders(port: int, pairs: int, seed: int) -> list[dict[str, Any]]:
    """
    Sizes from nothing to 64 MiB, most of them small; every seventh pair is broken off by a party.
    """
    chance = random.Random(seed)
    sizes = [0, 1, 64 * MIB, 16 * MIB, 65536, 65537]
    orders: list[dict[str, Any]] = []
    for number in range(pairs):
        while len(sizes) < 2:
            sizes.append(int(4 * MIB ** chance.random()))
        order = {"port": port, "key": keyOf(number), "sizes": [sizes.pop(0), sizes.pop(0)]}
        if number % 7 == 6:
            side = chance.randrange(2)
            size = order["sizes"][side] = max(order["sizes"][side], 2)
            order |= {"resetSide": side, "reset": chance.randrange(size)}
        orders.append(order)
    return orders
