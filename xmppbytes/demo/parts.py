"""
The parts of the demo: one for each kind of bytestream.
"""

from typing import Any, BinaryIO

from xmppbytes.compat import disco
from xmppbytes.demo.datagrams import CountingReceiver, sendDatagrams
from xmppbytes.demo.files import DigestReceiver
from xmppbytes.demo.narrator import Narrator
from xmppbytes.demo.transfer import AcceptOne, transferFile
from xmppbytes.dtcp.channel import TLSMode
from xmppbytes.dtcp.client import DTCPClientHandler
from xmppbytes.dtcp.options import DTCPOptions
from xmppbytes.s5b.client import BytestreamsClientHandler
from xmppbytes.s5b.options import BytestreamOptions, Ways
from xmppbytes.s5b.udpclient import DatagramsClientHandler
from xmppbytes.stream import StreamManager

_LOOPBACK = ["127.0.0.1"]


class Stage:
    """
    What all parts share: two users, a proxy, and a narrator.
    """

    def __init__(
        self, reactor: Any, requester: StreamManager, target: StreamManager, proxy: str, tell: Narrator
    ) -> None:
        """
        @param requester: the stream of the user who sends.
        @param target: the stream of the user who receives.
        @param proxy: the proxy's JID.
        """
        self.reactor = reactor
        self.tell = tell
        self._requester = requester
        self._target = target
        self._proxy = proxy
        self._address = target.xmlstream.thisEntity.full()
        self._proxied = BytestreamOptions(
            ways=Ways.PROXY_ONLY, proxies=[proxy], discoverProxies=False, allowAddresses=_LOOPBACK
        )

    async def fileThroughProxy(self, file: BinaryIO) -> None:
        """
        XEP-0065, mediated: sections 4 and 6.
        """
        self.tell.title("A file through the proxy (XEP-0065)")
        receiver = DigestReceiver()
        target = BytestreamsClientHandler(self.reactor, AcceptOne(receiver), self._proxied)
        client = BytestreamsClientHandler(self.reactor, None, self._proxied)
        with _On(self._target, target), _On(self._requester, client):
            await transferFile(
                self.reactor,
                lambda factory: client.requestBytestream(self._address, factory),
                receiver,
                file,
                self.tell,
            )

    async def datagramsThroughProxy(self, count: int) -> None:
        """
        XEP-0065 in UDP mode: section 8.
        """
        self.tell.title("Datagrams through the proxy (XEP-0065, UDP mode)")
        receiver = CountingReceiver()
        target = DatagramsClientHandler(self.reactor, receiver, self._proxied)
        client = DatagramsClientHandler(self.reactor, None, self._proxied)
        with _On(self._target, target, info=True), _On(self._requester, client):
            await sendDatagrams(
                self.reactor,
                lambda protocol: client.requestDatagrams(self._address, protocol),
                receiver,
                count,
                self.tell,
            )

    async def fileOverDTCP(self, file: BinaryIO, relayed: bool) -> None:
        """
        XEP-0046, between the two users, or through the relay; always with TLS.
        """
        way = "through its relay" if relayed else "direct"
        self.tell.title(f"A file over DTCP, {way}, with TLS (XEP-0046)")
        options = DTCPOptions(
            direct=not relayed,
            relays=[self._proxy] if relayed else (),
            addresses=_LOOPBACK,
            allowAddresses=_LOOPBACK,
            tls=TLSMode.REQUIRED,
        )
        receiver = DigestReceiver()
        target = DTCPClientHandler(self.reactor, AcceptOne(receiver), options)
        client = DTCPClientHandler(self.reactor, None, options)
        with _On(self._target, target), _On(self._requester, client):
            await transferFile(
                self.reactor,
                lambda factory: client.connect(self._address, factory),
                receiver,
                file,
                self.tell,
            )


class _On:
    """
    Has a handler on a stream for the time of a part.
    """

    def __init__(self, manager: StreamManager, handler: Any, info: bool = False) -> None:
        self._manager = manager
        self._handler = handler
        self._disco = disco.DiscoHandler() if info else None

    def __enter__(self) -> None:
        if self._disco is not None:
            self._disco.setHandlerParent(self._manager)
        self._handler.setHandlerParent(self._manager)

    def __exit__(self, *_: object) -> None:
        self._handler.close()
