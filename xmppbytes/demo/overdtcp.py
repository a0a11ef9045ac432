"""
The demo's DTCP parts: a file over a direct, encrypted connection, and one through the DTCP relay (XEP-0046).
"""

from typing import Any, BinaryIO

from xmppbytes.demo.files import DigestReceiver, FileSender, OneProtocol
from xmppbytes.demo.narrator import Narrator
from xmppbytes.demo.proxied import AcceptOne
from xmppbytes.demo.transfer import sendAndVerify
from xmppbytes.dtcp.channel import TLSMode
from xmppbytes.dtcp.client import DTCPClientHandler
from xmppbytes.dtcp.options import DTCPOptions
from xmppbytes.stream import StreamManager

_LOOPBACK = ("127.0.0.1",)


def listenForDTCP(reactor: Any, target: StreamManager) -> DTCPClientHandler:
    """
    Make a user accept connections, once L{sendOverDTCP} has said for what.
    """
    handler = DTCPClientHandler(reactor, None, _options())
    handler.setHandlerParent(target)
    return handler


async def sendOverDTCP(
    reactor: Any,
    requester: StreamManager,
    target: DTCPClientHandler,
    address: str,
    relay: str | None,
    file: BinaryIO,
    tell: Narrator,
) -> None:
    """
    Send a file from one user to another by DTCP, encrypted from end to end, and verify it.

    @param target: the receiver's client.
    @param address: the receiver's JID.
    @param relay: the JID of the relay through which it has to go; C{None}: directly.
    """
    receiver, sender = DigestReceiver(), FileSender(file)
    target.acceptor = AcceptOne(receiver)
    client = DTCPClientHandler(reactor, None, _options(relay))
    client.setHandlerParent(requester)

    async def connect() -> None:
        await client.connect(address, OneProtocol(sender))

    way = "directly" if relay is None else "through the relay, which sees nothing but TLS"
    await sendAndVerify(reactor, connect, sender, receiver, file, tell, f"connected {way}")


def _options(relay: str | None = None) -> DTCPOptions:
    return DTCPOptions(
        direct=relay is None,
        relays=() if relay is None else (relay,),
        addresses=_LOOPBACK,
        allowAddresses=_LOOPBACK,
        tls=TLSMode.REQUIRED,
    )
