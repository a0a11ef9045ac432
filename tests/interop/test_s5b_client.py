"""
The S5B client against slixmpp and against itself, over real servers and through their own proxies.
"""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.interop import stream
from tests.interop.case import EJABBERD, PROSODY, SLIXMPP, InteropTestCase
from tests.interop.clients import Slixmpp
from tests.interop.servers import DOMAIN, ROOMS, Ejabberd, Prosody
from tests.interop.services import ProxyService
from tests.interop.user import Transfer, User
from xmppbytes.s5b.options import Ways

PROXY = f"proxy.{DOMAIN}"
MIB = 1 << 20
SIZE = 64 * MIB


class ClientTests:
    """
    What the client has to do whatever the server.
    """

    Server: Any
    _slixmpp: Any = None

    async def stage(self, own: bool = False) -> None:
        """
        Start a server that has a proxy.

        @param own: whether the proxy is ours.
        """
        if not own:
            self.server = await self.launch(self.Server(self.reactor, proxy65=PROXY))
            return
        self.server = await self.launch(self.Server(self.reactor, components={PROXY: "secret"}))
        proxy = await self.launch(ProxyService(self.reactor, self.server))
        await proxy.untilOnline(await self.slixmpp("juliet"))

    async def user(self, account: str, **options: Any) -> User:
        """
        Log one of ours in.
        """
        user = User(self.reactor, self.server, account, **options)
        await user.login()
        self.addCleanup(lambda: Deferred.fromCoroutine(user.logout()))
        return user

    async def slixmpp(self, account: str) -> Slixmpp:
        """
        Log a slixmpp client in, once.
        """
        if self._slixmpp is None:
            self._slixmpp = await self.launch(Slixmpp(self.reactor, self.server, account))
        return self._slixmpp

    def assertArrived(self, transfer: Transfer, seed: str) -> None:
        """
        Check that a stream arrived whole and unchanged.
        """
        self.assertEqual((transfer.size, transfer.sha256), (SIZE, stream.sha256(seed, SIZE)))

    async def toSlixmpp(self, **options: Any) -> Transfer:
        """
        Send 64 MiB to slixmpp.

        @return: our end.
        """
        romeo = await self.user("romeo", **options)
        juliet = await self.slixmpp("juliet")
        await juliet.call("expect", sid="x", receive=SIZE)
        transfer = await romeo.open(juliet.jid, "x")
        transfer.send("forth", SIZE)
        outcome = await juliet.wait("received", sid="x", timeout=90)
        self.assertEqual((outcome["error"], outcome["size"]), ("", SIZE))
        self.assertEqual(outcome["sha256"], stream.sha256("forth", SIZE))
        await transfer.ended
        return transfer

    async def fromSlixmpp(self, **options: Any) -> Transfer:
        """
        Receive 64 MiB from slixmpp.

        @return: our end.
        """
        romeo = await self.user("romeo", **options)
        juliet = await self.slixmpp("juliet")
        arrival = romeo.arrival()
        juliet.tell("send", call="s", to=romeo.jid, sid="x", size=SIZE, seed="back")
        transfer = await arrival
        await transfer.ended
        self.assertArrived(transfer, "back")
        return transfer

    async def amongUs(self, **options: Any) -> tuple[Transfer, Transfer]:
        """
        Send 64 MiB from one of ours to another.
        """
        romeo = await self.user("romeo", **options)
        juliet = await self.user("juliet", **options)
        arrival = juliet.arrival()
        ours = await romeo.open(juliet.jid, "x")
        ours.send("forth", SIZE)
        theirs = await arrival
        await theirs.ended
        self.assertArrived(theirs, "forth")
        return ours, theirs

    async def test_toSlixmppDirect(self) -> None:
        """
        To slixmpp, which opens all streamhosts at once and leaves the losers open.
        """
        await self.stage()
        transfer = await self.toSlixmpp(ways=Ways.DIRECT_ONLY, addresses=["127.0.0.1", "127.0.0.2", "::1"])
        self.assertEqual(str(transfer.address.route), "direct to 127.0.0.1")

    async def test_toSlixmppThroughProxy(self) -> None:
        """
        To slixmpp through the server's proxy, found by discovery.
        """
        await self.stage()
        transfer = await self.toSlixmpp(ways=Ways.PROXY_ONLY)
        self.assertIn(f"through {PROXY}", str(transfer.address.route))

    async def test_fromSlixmppThroughProxy(self) -> None:
        """
        From slixmpp through the server's proxy.
        """
        await self.stage()
        transfer = await self.fromSlixmpp()
        self.assertIn(f"through {PROXY}", str(transfer.address.route))

    async def test_toSlixmppThroughOurProxy(self) -> None:
        """
        To slixmpp through s5bproxy.
        """
        await self.stage(own=True)
        transfer = await self.toSlixmpp(ways=Ways.PROXY_ONLY)
        self.assertEqual(str(transfer.address.route), f"through {PROXY}")

    async def test_fromSlixmppThroughOurProxy(self) -> None:
        """
        From slixmpp through s5bproxy.
        """
        await self.stage(own=True)
        transfer = await self.fromSlixmpp()
        self.assertEqual(str(transfer.address.route), f"through {PROXY}")

    async def test_amongUsDirect(self) -> None:
        """
        Between two of ours, directly.
        """
        await self.stage()
        ours, theirs = await self.amongUs()
        self.assertEqual(str(ours.address.route), "direct to 127.0.0.1")
        self.assertEqual(str(theirs.address.route), "direct to 127.0.0.1")

    async def test_amongUsThroughProxy(self) -> None:
        """
        Between two of ours, through the server's proxy.
        """
        await self.stage()
        ours, theirs = await self.amongUs(ways=Ways.PROXY_ONLY)
        self.assertIn(f"through {PROXY}", str(ours.address.route))
        self.assertIn(f"through {PROXY}", str(theirs.address.route))

    async def test_roomOccupants(self) -> None:
        """
        Between two occupants of a room that hides their addresses, through the server's proxy and
        directly.
        """
        await self.stage()
        room = f"balcony@{ROOMS}"
        romeo, juliet = await self.user("romeo"), await self.user("juliet")
        romeo.join(room, "R")
        juliet.join(room, "J")
        await deferLater(self.reactor, 1)
        for ways in (Ways.PROXY_ONLY, Ways.DIRECT_ONLY):
            romeo.handler.options = type(romeo.handler.options)(ways=ways, addresses=["127.0.0.1"])
            arrival = juliet.arrival()
            ours = await romeo.open(f"{room}/J", ways.name)
            ours.send(ways.name, SIZE)
            theirs = await arrival
            await theirs.ended
            self.assertArrived(theirs, ways.name)
            self.assertEqual(theirs.address.peer, f"{room}/R")


class ProsodyTests(ClientTests, InteropTestCase):
    """
    Over Prosody and through its mod_proxy65.
    """

    Server = Prosody
    needs = (PROSODY, SLIXMPP)


class EjabberdTests(ClientTests, InteropTestCase):
    """
    Over ejabberd and through its mod_proxy65.
    """

    Server = Ejabberd
    needs = (EJABBERD, SLIXMPP)
