"""
The demo's first part: a file through the proxy (XEP-0065, mediated).
"""

import time
from typing import Any, BinaryIO

from tqdm import tqdm
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from xmppbytes.core.bytestream import BytestreamOffer
from xmppbytes.demo.files import DigestReceiver, FileSender, OneProtocol
from xmppbytes.demo.narrator import Narrator
from xmppbytes.errors import TransferError
from xmppbytes.interfaces import IBytestreamAcceptor
from xmppbytes.s5b.client import BytestreamsClientHandler
from xmppbytes.s5b.options import BytestreamOptions, Ways
from xmppbytes.stream import StreamManager

_MIB = 1024 * 1024
_PROGRESS_INTERVAL = 0.1


@implementer(IBytestreamAcceptor)
class AcceptOne:
    """
    Accepts a bytestream for one protocol.
    """

    def __init__(self, protocol: DigestReceiver) -> None:
        self._protocol = protocol

    def bytestreamRequested(self, offer: BytestreamOffer) -> IProtocolFactory:
        """
        See L{IBytestreamAcceptor}.
        """
        return OneProtocol(self._protocol)

    def bytestreamFailed(self, offer: BytestreamOffer, error: Any) -> None:
        """
        See L{IBytestreamAcceptor}: the Requester hears of it, and tells.
        """


async def sendThroughProxy(
    reactor: Any, requester: StreamManager, target: StreamManager, proxy: str, file: BinaryIO, tell: Narrator
) -> None:
    """
    Send a file from one user to another, through the proxy, and verify it.

    @param requester: the sender's stream.
    @param target: the receiver's stream.
    @param proxy: the proxy's JID.
    @param file: read from where it stands to its end.
    @raise TransferError: when what arrived is not what was sent.
    """
    receiver, sender = DigestReceiver(), FileSender(file)
    options = BytestreamOptions(
        ways=Ways.PROXY_ONLY, proxies=[proxy], discoverProxies=False, allowAddresses=["127.0.0.1"]
    )
    BytestreamsClientHandler(reactor, AcceptOne(receiver), options).setHandlerParent(target)
    client = BytestreamsClientHandler(reactor, None, options)
    client.setHandlerParent(requester)
    size = file.seek(0, 2)
    file.seek(0)
    address = target.xmlstream.thisEntity.full()
    started = time.monotonic()
    with tqdm(total=size, unit="B", unit_scale=True, unit_divisor=1024, file=tell.out, disable=None) as bar:
        progress = LoopingCall(lambda: bar.update(receiver.received - bar.n))
        progress.clock = reactor
        await client.requestBytestream(address, OneProtocol(sender))
        tell.step(f"active: the proxy relays; sending {size / _MIB:.0f} MiB")
        moving = time.monotonic()
        progress.start(_PROGRESS_INTERVAL)
        await receiver.finished
        progress.stop()
        bar.update(receiver.received - bar.n)
    seconds = time.monotonic() - moving
    tell.step(
        f"transfer: {receiver.received} bytes arrived in {seconds:.2f} s, "
        f"{receiver.received / _MIB / seconds:.0f} MiB/s"
    )
    if (receiver.received, receiver.sha256.digest()) != (size, sender.sha256.digest()):
        raise TransferError(f"{receiver.received} of {size} bytes arrived, or others than were sent")
    tell.step(f"verified: SHA-256 {receiver.sha256.hexdigest()} at both ends")
    tell.remark(f"all in all {time.monotonic() - started:.2f} s")
