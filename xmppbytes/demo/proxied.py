"""
The demo's first part: a file through the proxy (XEP-0065, mediated).
"""

from typing import Any, BinaryIO

from twisted.internet.interfaces import IProtocolFactory
from zope.interface import implementer

from xmppbytes.core.bytestream import BytestreamOffer
from xmppbytes.demo.files import DigestReceiver, FileSender, OneProtocol
from xmppbytes.demo.narrator import Narrator
from xmppbytes.demo.transfer import sendAndVerify
from xmppbytes.interfaces import IBytestreamAcceptor
from xmppbytes.s5b.client import BytestreamsClientHandler
from xmppbytes.s5b.options import BytestreamOptions, Ways
from xmppbytes.stream import StreamManager


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
    address = target.xmlstream.thisEntity.full()

    async def connect() -> None:
        await client.requestBytestream(address, OneProtocol(sender))

    await sendAndVerify(reactor, connect, sender, receiver, file, tell, "active: the proxy relays")
