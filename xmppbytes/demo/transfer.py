"""
A file over any kind of bytestream, told and verified.
"""

import time
from collections.abc import Callable
from typing import Any, BinaryIO

from tqdm import tqdm
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from xmppbytes.core.bytestream import BytestreamAddress, BytestreamOffer
from xmppbytes.demo.files import DigestReceiver, FileSender
from xmppbytes.demo.narrator import Narrator
from xmppbytes.errors import BytestreamError, TransferError
from xmppbytes.interfaces import IBytestreamAcceptor

_MIB = 1024 * 1024
_PROGRESS_INTERVAL = 0.1


class OneProtocol(Factory):
    """
    A factory of one protocol that is there already.

    @ivar address: what it was connected to.
    """

    noisy = False

    def __init__(self, protocol: Protocol) -> None:
        """
        @param protocol: the protocol.
        """
        self._protocol = protocol
        self.address: BytestreamAddress | None = None

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """
        See L{Factory}.
        """
        if isinstance(addr, BytestreamAddress):
            self.address = addr
        return self._protocol


@implementer(IBytestreamAcceptor)
class AcceptOne:
    """
    Accepts a bytestream for one protocol.
    """

    def __init__(self, protocol: Protocol) -> None:
        """
        @param protocol: gets the connection.
        """
        self._protocol = protocol

    def bytestreamRequested(self, offer: BytestreamOffer) -> IProtocolFactory:
        """
        See L{IBytestreamAcceptor}.
        """
        return OneProtocol(self._protocol)

    def bytestreamFailed(self, offer: BytestreamOffer, error: BytestreamError) -> None:
        """
        See L{IBytestreamAcceptor}: the Requester hears of it, and tells.
        """


async def transferFile(
    reactor: Any,
    connect: Callable[[Factory], "Deferred[Any]"],
    receiver: DigestReceiver,
    file: BinaryIO,
    tell: Narrator,
) -> None:
    """
    Send a file and verify it at the far end.

    @param connect: opens a bytestream to the receiver with a protocol factory.
    @param receiver: gets it.
    @param file: sent from its begin to its end.
    @raise TransferError: when what arrived is not what was sent.
    @raise BytestreamError: when there is no bytestream.
    """
    size = file.seek(0, 2)
    file.seek(0)
    sender = FileSender(file)
    factory = OneProtocol(sender)
    await connect(factory)
    route = factory.address.route if factory.address is not None else "?"
    tell.step(f"connected, {route}; sending {size} bytes")
    started = time.monotonic()
    with tqdm(total=size, unit="B", unit_scale=True, unit_divisor=1024, file=tell.out, disable=None) as bar:
        progress = LoopingCall(lambda: bar.update(receiver.received - bar.n))
        progress.clock = reactor
        progress.start(_PROGRESS_INTERVAL)
        await receiver.finished
        progress.stop()
        bar.update(receiver.received - bar.n)
    seconds = time.monotonic() - started
    tell.step(
        f"transfer: {receiver.received} bytes arrived in {seconds:.2f} s, "
        f"{receiver.received / _MIB / seconds:.0f} MiB/s"
    )
    if (receiver.received, receiver.sha256.digest()) != (size, sender.sha256.digest()):
        raise TransferError(f"{receiver.received} of {size} bytes arrived, or others than were sent")
    tell.step(f"verified: SHA-256 {receiver.sha256.hexdigest()} at both ends")
