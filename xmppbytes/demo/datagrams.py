"""
Datagrams in numbers: sent, counted, and looked at when they arrive.
"""

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface import implementer

from xmppbytes.core.bytestream import BytestreamOffer
from xmppbytes.demo.narrator import Narrator
from xmppbytes.errors import BytestreamError, TransferError
from xmppbytes.interfaces import IDatagramAcceptor, IDatagramProtocol
from xmppbytes.s5b.datagrams import DatagramProtocol

_PORT = 1
_BURST = 50
_PAUSE = 0.005
_LENGTH = 1000
# Late datagrams may come as long as it takes on a busy machine: this many seconds after the last.
_PATIENCE = 5.0
# What a demo on one machine may lose.
_TOLERATED = 0.01


def datagram(number: int) -> bytes:
    """
    The datagram of a number: its content can be checked.
    """
    return number.to_bytes(4, "big") * (_LENGTH // 4)


@implementer(IDatagramAcceptor)
class CountingReceiver(DatagramProtocol):
    """
    Accepts a UDP bytestream and counts what comes.

    @ivar numbers: which datagrams have come.
    @ivar wrong: how many were not what was sent.
    """

    def __init__(self) -> None:
        self.numbers: set[int] = set()
        self.wrong = 0

    def datagramsRequested(self, offer: BytestreamOffer) -> IDatagramProtocol:
        """
        See L{IDatagramAcceptor}.
        """
        return self

    def datagramsFailed(self, offer: BytestreamOffer, error: BytestreamError) -> None:
        """
        See L{IDatagramAcceptor}: the Requester hears of it, and tells.
        """

    def datagramReceived(self, data: bytes, sourcePort: int, destPort: int) -> None:
        """
        See L{IDatagramProtocol}.
        """
        number = int.from_bytes(data[:4], "big")
        if data == datagram(number) and destPort == _PORT:
            self.numbers.add(number)
        else:
            self.wrong += 1


async def sendDatagrams(
    reactor: Any,
    connect: Callable[[IDatagramProtocol], "Deferred[Any]"],
    receiver: CountingReceiver,
    count: int,
    tell: Narrator,
) -> None:
    """
    Send datagrams, and tell how many arrived.

    @param connect: opens a UDP bytestream to the receiver.
    @param count: how many.
    @raise TransferError: when one is not what was sent, or too many are lost.
    """
    sender = DatagramProtocol()
    await connect(sender)
    tell.step(f"connected, {sender.transport.peer.route}; sending {count} datagrams of {_LENGTH} bytes")
    started = time.monotonic()
    for first in range(0, count, _BURST):
        for number in range(first, min(first + _BURST, count)):
            sender.transport.send(datagram(number), _PORT)
        await deferLater(reactor, _PAUSE)
    seconds = time.monotonic() - started
    await _untilComplete(reactor, receiver, count)
    lost = count - len(receiver.numbers)
    tell.step(f"transfer: {len(receiver.numbers)} of {count} arrived within {seconds:.2f} s, {lost} lost")
    sender.transport.close()
    if receiver.wrong or lost > count * _TOLERATED:
        raise TransferError(f"{lost} of {count} datagrams were lost and {receiver.wrong} spoilt")
    tell.step("verified: the content of each datagram is what was sent")


async def _untilComplete(reactor: Any, receiver: CountingReceiver, count: int) -> None:
    """
    Wait until all datagrams have come, or until those that have not are lost.
    """
    end = reactor.seconds() + _PATIENCE
    while len(receiver.numbers) < count and reactor.seconds() < end:
        await deferLater(reactor, _PAUSE)
