"""
Applications at the ends of UDP bytestreams, for tests.
"""

import random
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.waiting import PATIENCE
from xmppbytes.core.bytestream import BytestreamOffer
from xmppbytes.errors import Refused
from xmppbytes.interfaces import IDatagramAcceptor
from xmppbytes.s5b.datagrams import DatagramProtocol

# Datagrams of 1,200 bytes that fit into the receive buffer that Linux gives to everybody.
WINDOW = 64


class Recorder(DatagramProtocol):
    """
    Takes note of what comes.
    """

    def __init__(self) -> None:
        self.received: list[tuple[bytes, int, int]] = []
        self.ended: Deferred[list[Failure]] = Deferred()
        self.connected: Deferred[None] = Deferred()
        self._waiting: list[tuple[int, Deferred[None]]] = []

    def connectionMade(self) -> None:
        self.connected.callback(None)

    def datagramReceived(self, data: bytes, sourcePort: int, destPort: int) -> None:
        self.received.append((data, sourcePort, destPort))
        for waiting in list(self._waiting):
            if len(self.received) >= waiting[0]:
                self._waiting.remove(waiting)
                waiting[1].callback(None)

    def connectionLost(self, reason: Any = None) -> None:
        self.ended.callback([reason])

    def untilReceived(self, count: int, timeout: float = PATIENCE) -> Any:
        """
        Fires when so many datagrams have come.
        """
        arrived: Deferred[None] = Deferred()
        if len(self.received) >= count:
            arrived.callback(None)
        else:
            self._waiting.append((count, arrived))
        return arrived.addTimeout(timeout, reactor)


@implementer(IDatagramAcceptor)
class Acceptor:
    """
    Accepts with a L{Recorder}, or refuses.
    """

    def __init__(self) -> None:
        self.protocol = Recorder()
        self.refuse = False
        self.offers: list[BytestreamOffer] = []
        self.failures: list[Exception] = []

    def datagramsRequested(self, offer: BytestreamOffer) -> Recorder:
        self.offers.append(offer)
        if self.refuse:
            raise Refused("not today")
        return self.protocol

    def datagramsFailed(self, offer: BytestreamOffer, error: Exception) -> None:
        self.failures.append(error)


async def exchangeMany(sender: Recorder, receiver: Recorder, count: int) -> dict[str, int]:
    """
    Send datagrams of 1 to 1,200 bytes with content that can be checked, a few of them on their way.

    @return: how many were lost, and how many that came were not sent like that.
    """
    rng = random.Random(11)
    block = rng.randbytes(1 << 16)
    sent = []
    for number in range(count):
        start, size = rng.randrange(1 << 15), rng.randint(1, 1200)
        data = (number.to_bytes(4, "big") + block[start : start + size])[:size]
        sent.append(data)
        sender.transport.send(data, number % 65536, 5)
        if number % WINDOW == WINDOW - 1 or number == count - 1:
            try:
                await receiver.untilReceived(number + 1, 10)
            except DeferredTimeout:
                # Some are lost: tell how many, of those that were sent.
                break
    count = len(sent)
    arrived = {(data, dest) for data, _, dest in receiver.received}
    expected = {(data, number % 65536) for number, data in enumerate(sent)}
    return {"lost": count - len(receiver.received), "wrong": len(arrived - expected)}
