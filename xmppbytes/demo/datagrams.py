"""
The demo's UDP part: datagrams through the proxy (XEP-0065 section 8).
"""

import random
import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface import implementer

from xmppbytes.compat import disco
from xmppbytes.core.bytestream import BytestreamOffer
from xmppbytes.demo.narrator import Narrator
from xmppbytes.errors import TransferError
from xmppbytes.interfaces import IDatagramAcceptor
from xmppbytes.s5b.datagrams import DatagramProtocol
from xmppbytes.s5b.options import BytestreamOptions, Ways
from xmppbytes.s5b.udpclient import DatagramsClientHandler
from xmppbytes.stream import StreamManager

COUNT = 20000
_SIZES = (4, 1200)
_AT_ONCE = 100
_PORTS = (5004, 5006)
# Seconds for the last ones, and the share that may be lost: it is UDP, but it is also loopback.
_PATIENCE = 1.0
_TOLERATED = 0.01


@implementer(IDatagramAcceptor)
class DatagramCheck(DatagramProtocol):
    """
    Accepts one UDP bytestream, and compares what comes with what was sent.

    @ivar received: how many datagrams have come.
    @ivar wrong: how many of them were not sent like that, or came twice.
    """

    def __init__(self) -> None:
        self.received = 0
        self.wrong = 0
        self.connected: Deferred[None] = Deferred()
        self.expected: dict[int, bytes] = {}

    def datagramsRequested(self, offer: BytestreamOffer) -> DatagramProtocol:
        """
        See L{IDatagramAcceptor}.
        """
        return self

    def datagramsFailed(self, offer: BytestreamOffer, error: Any) -> None:
        """
        See L{IDatagramAcceptor}: the Requester hears of it, and tells.
        """

    def connectionMade(self) -> None:
        """
        See L{DatagramProtocol}.
        """
        self.connected.callback(None)

    def datagramReceived(self, data: bytes, sourcePort: int, destPort: int) -> None:
        """
        See L{DatagramProtocol}.
        """
        self.received += 1
        number = int.from_bytes(data[-4:], "big")
        if self.expected.pop(number, None) != data or (sourcePort, destPort) != _PORTS:
            self.wrong += 1


async def sendDatagrams(
    reactor: Any, requester: StreamManager, target: StreamManager, proxy: str, tell: Narrator
) -> None:
    """
    Send datagrams from one user to another, through the proxy, and verify them.

    @param requester: the sender's stream.
    @param target: the receiver's stream.
    @param proxy: the proxy's JID.
    @raise TransferError: when what arrived is not what was sent, or too little of it.
    """
    options = BytestreamOptions(
        ways=Ways.PROXY_ONLY, proxies=[proxy], discoverProxies=False, allowAddresses=["127.0.0.1"]
    )
    receiver, sender = DatagramCheck(), DatagramProtocol()
    for handler in (DatagramsClientHandler(reactor, receiver, options), disco.DiscoHandler()):
        handler.setHandlerParent(target)
    client = DatagramsClientHandler(reactor, None, options)
    client.setHandlerParent(requester)
    await client.requestDatagrams(target.xmlstream.thisEntity.full(), sender)
    await receiver.connected
    tell.step(
        f"active: UDP mode, both channels are initialised; datagrams of up to "
        f"{sender.transport.maxDatagramSize} bytes fit"
    )
    began = time.monotonic()
    await _send(reactor, sender, receiver)
    tell.step(
        f"{receiver.received} of {COUNT} datagrams of {_SIZES[0]} to {_SIZES[1]} bytes arrived "
        f"in {time.monotonic() - began:.2f} s, {receiver.wrong} of them wrong"
    )
    sender.transport.close()
    if receiver.wrong or COUNT - receiver.received > COUNT * _TOLERATED:
        raise TransferError("too many datagrams were lost, or changed on the way")


async def _send(reactor: Any, sender: DatagramProtocol, receiver: DatagramCheck) -> None:
    randomness = random.Random(65)
    for number in range(COUNT):
        # The number that tells them apart is at the end.
        data = randomness.randbytes(max(0, randomness.randint(*_SIZES) - 4)) + number.to_bytes(4, "big")
        receiver.expected[number] = data
        sender.transport.send(data, _PORTS[1], _PORTS[0])
        if number % _AT_ONCE == 0:
            await deferLater(reactor, 0.0, lambda: None)
            await _until(reactor, receiver, number - _AT_ONCE)
    await _until(reactor, receiver, COUNT)


async def _until(reactor: Any, receiver: DatagramCheck, count: int) -> None:
    """
    Wait until so many have come, but not for long: some may be lost.
    """
    end = time.monotonic() + _PATIENCE
    while receiver.received < count and time.monotonic() < end:
        await deferLater(reactor, 0.001, lambda: None)
