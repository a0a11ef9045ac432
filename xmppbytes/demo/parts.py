"""
The parts of the demo: one for each kind of bytestream.
"""

from typing import Any, BinaryIO

from xmppbytes.compat import disco
from xmppbytes.demo.datagrams import CountingReceiver, sendDatagrams
from xmppbytes.demo.files import DigestReceiver
from xmppbytes.demo.narrator import Narrator
from xmppbytes.demo.router import DemoRouter
from xmppbytes.demo.transfer import AcceptOne, transferFile
from xmppbytes.dtcp.channel import TLSMode
from xmppbytes.dtcp.client import DTCPClientHandler
from xmppbytes.dtcp.options import DTCPOptions
from xmppbytes.s5b.client import BytestreamsClientHandler
from xmppbytes.s5b.options import BytestreamOptions, Ways
from xmppbytes.s5b.udpclient import DatagramsClientHandler
from xmppbytes.stanza import RequestHandler

_LOOPBACK = ["127.0.0.1"]


class Stage:
    """
    What all parts share: two users, a proxy, and a narrator. In each part the users log in anew.
    """

    def __init__(
        self, reactor: Any, router: DemoRouter, users: tuple[str, str], proxy: str, tell: Narrator
    ) -> None:
        """
        @param router: where the users log in.
        @param users: the full JIDs of who sends and of who receives.
        @param proxy: the proxy's JID.
        """
        self.reactor = reactor
        self.tell = tell
        self._router = router
        self._requester, self._target = users
        self._proxy = proxy
        self._proxied = BytestreamOptions(
            ways=Ways.PROXY_ONLY, proxies=[proxy], discoverProxies=False, allowAddresses=_LOOPBACK
        )

    def _logIn(self, requester: RequestHandler, target: RequestHandler) -> None:
        """
        Let both users log in, each with a client.
        """
        for address, handler in ((self._requester, requester), (self._target, target)):
            manager = self._router.join(address)
            handler.setHandlerParent(manager)
            disco.DiscoHandler().setHandlerParent(manager)

    async def fileThroughProxy(self, file: BinaryIO) -> None:
        """
        XEP-0065, mediated: sections 4 and 6.
        """
        self.tell.title("A file through the proxy (XEP-0065)")
        receiver = DigestReceiver()
        target = BytestreamsClientHandler(self.reactor, AcceptOne(receiver), self._proxied)
        client = BytestreamsClientHandler(self.reactor, None, self._proxied)
        self._logIn(client, target)
        await transferFile(
            self.reactor,
            lambda factory: client.requestBytestream(self._target, factory),
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
        self._logIn(client, target)
        await sendDatagrams(
            self.reactor,
            lambda protocol: client.requestDatagrams(self._target, protocol),
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
        self._logIn(client, target)
        await transferFile(
            self.reactor,
            lambda factory: client.connect(self._target, factory),
            receiver,
            file,
            self.tell,
        )
