"""
UDP mode over real servers: our clients at both ends, direct and through our proxy (XEP-0065 section 8).

No other implementation is known that works: ejabberd's proxy answers UDP ASSOCIATE with 07.
"""

from typing import Any

from twisted.internet.error import ConnectionDone

from tests.interop.case import EJABBERD, PROSODY, InteropTestCase
from tests.interop.servers import DOMAIN, Ejabberd, Prosody
from tests.interop.services import ProxyService
from tests.interop.user import User
from tests.loopback.udpends import Acceptor, Recorder, exchangeMany
from tests.waiting import PATIENCE
from xmppbytes.compat import disco
from xmppbytes.errors import NotReachable
from xmppbytes.s5b.options import BytestreamOptions, Ways
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS_UDP
from xmppbytes.s5b.udpclient import DatagramsClientHandler

PROXY = f"proxy.{DOMAIN}"
COUNT = 50000


class DatagramUser(User):
    """
    A user with both clients.
    """

    def __init__(self, reactor: Any, server: Any, account: str, **options: Any) -> None:
        super().__init__(reactor, server, account, **options)
        options.setdefault("addresses", [server.address])
        self.acceptor = Acceptor()
        self.datagrams = DatagramsClientHandler(reactor, self.acceptor, BytestreamOptions(**options))
        for handler in (self.datagrams, disco.DiscoHandler()):
            handler.setHandlerParent(self.manager)


class DatagramTests:
    """
    What has to work whatever the server.
    """

    Server: Any

    async def stage(self, ways: Ways, **options: Any) -> None:
        """
        Start a server, the proxy where it is wanted, and two users.
        """
        self.server = await self.launch(self.Server(self.reactor, components={PROXY: "secret"}, **options))
        if ways is Ways.PROXY_ONLY and not options:
            self.proxy = await self.launch(ProxyService(self.reactor, self.server))
            await self.proxy.untilLogged(": connected")
        self.romeo = DatagramUser(self.reactor, self.server, "romeo", ways=ways)
        self.juliet = DatagramUser(self.reactor, self.server, "juliet", ways=ways)
        for user in (self.romeo, self.juliet):
            await user.login()
            self.addCleanup(user.logout)

    async def exchange(self) -> None:
        """
        Open a UDP bytestream, send many datagrams each way, and end it.
        """
        requester, target = Recorder(), self.juliet.acceptor.protocol
        await self.romeo.datagrams.requestDatagrams(self.juliet.jid, requester)
        await target.connected
        for sender, receiver in ((requester, target), (target, requester)):
            result = await exchangeMany(sender, receiver, COUNT)
            self.assertEqual(result, {"lost": 0, "wrong": 0})
        requester.transport.close()
        (reason,) = await target.ended.addTimeout(PATIENCE, self.reactor)
        self.assertIsNotNone(reason.check(ConnectionDone))
        await requester.ended

    async def test_direct(self) -> None:
        """
        100,000 datagrams of 1 to 1,200 bytes arrive as they were sent, directly.
        """
        await self.stage(Ways.DIRECT_ONLY)
        await self.exchange()

    async def test_throughTheProxy(self) -> None:
        """
        The same through our proxy, which the client finds by itself.
        """
        await self.stage(Ways.PROXY_ONLY)
        await self.exchange()
        await self.proxy.untilLogged("Ended")

    async def test_feature(self) -> None:
        """
        The proxy and the client name UDP mode in disco.
        """
        await self.stage(Ways.PROXY_ONLY)
        for jid in (PROXY, self.juliet.jid):
            self.assertTrue(await self.romeo.datagrams._datagrams.supportsDatagrams(jid), jid)
        self.assertEqual(self.romeo.datagrams.feature, NS_BYTESTREAMS_UDP)

    async def test_ownProxyOfTheServer(self) -> None:
        """
        The server's own proxy knows no UDP mode, and is not offered.
        """
        await self.stage(Ways.PROXY_ONLY, proxy65="proxy65.localhost")
        with self.assertRaisesRegex(NotReachable, "no way to offer"):
            await self.romeo.datagrams.requestDatagrams(self.juliet.jid, Recorder())


class ProsodyTests(DatagramTests, InteropTestCase):
    """
    Over Prosody.
    """

    needs = (PROSODY,)
    Server = Prosody


class EjabberdTests(DatagramTests, InteropTestCase):
    """
    Over ejabberd.
    """

    needs = (EJABBERD,)
    Server = Ejabberd
