"""
C{twistd s5bproxy} as a component of real servers, with slixmpp as Requester and Target (XEP-0065).
"""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.interop import socks, stream
from tests.interop.case import EJABBERD, PROSODY, SLIXMPP, InteropTestCase
from tests.interop.clients import Slixmpp
from tests.interop.peer import CallFailed
from tests.interop.servers import DOMAIN, ROOMS, Ejabberd, Prosody
from tests.interop.services import ProxyService

PROXY = f"proxy.{DOMAIN}"
MIB = 1 << 20


class ProxyTests:
    """
    What the proxy has to do whatever the server.
    """

    Server: Any

    async def stage(self, *options: str) -> None:
        """
        Start a server, the proxy and two clients that log in again when they have to.

        @param options: further options of the proxy.
        """
        self.server = await self.launch(self.Server(self.reactor, components={PROXY: "secret"}))
        self.romeo = await self.launch(Slixmpp(self.reactor, self.server, "romeo", "--reconnect"))
        self.juliet = await self.launch(Slixmpp(self.reactor, self.server, "juliet", "--reconnect"))
        self.proxy = await self.launch(ProxyService(self.reactor, self.server, *options))
        await self.proxy.untilOnline(self.romeo)

    async def refused(self, client: Slixmpp, command: str, **arguments: Any) -> CallFailed:
        """
        Give a command that has to end in an error.
        """
        return await self.assertFailure(Deferred.fromCoroutine(client.call(command, **arguments)), CallFailed)

    async def pending(self, sid: str) -> list[socks.Leg]:
        """
        Connect both parties of a bytestream from romeo to juliet, and do not activate it.
        """
        address = socks.destination(sid, self.romeo.jid, self.juliet.jid)
        legs = []
        for _ in range(2):
            leg = await socks.connect(self.reactor, self.proxy.host, self.proxy.port, address)
            self.addCleanup(lambda leg=leg: (leg.transport.abortConnection(), leg.closed)[1])
            legs.append(leg)
        return legs

    def assertStream(self, outcome: dict[str, Any], seed: str, size: int) -> None:
        """
        Check that a stream arrived whole and unchanged.
        """
        self.assertEqual(outcome["error"], "")
        self.assertEqual((outcome["size"], outcome["sha256"]), (size, stream.sha256(seed, size)))

    async def test_clientsFindIt(self) -> None:
        """
        The server lists it, disco names it a bytestreams proxy, and it tells its address.
        """
        await self.stage()
        self.assertIn(PROXY, await self.romeo.call("items", to=DOMAIN))
        info = await self.romeo.call("disco", to=PROXY)
        self.assertEqual([identity[:2] for identity in info["identities"]], [["proxy", "bytestreams"]])
        self.assertIn("http://jabber.org/protocol/bytestreams", info["features"])
        expected = [{"jid": PROXY, "host": self.proxy.host, "port": str(self.proxy.port)}]
        self.assertEqual(await self.romeo.call("query", proxy=PROXY), expected)

    async def test_bothWays(self) -> None:
        """
        64 MiB go each way over one bytestream at the same time.
        """
        await self.stage()
        size = 64 * MIB
        await self.juliet.call("expect", sid="both", send=size, seed="back", receive=size)
        sending = self.romeo.call(
            "send", timeout=90, to=self.juliet.jid, sid="both", size=size, seed="forth", receive=size
        )
        self.assertStream(await sending, "back", size)
        self.assertStream(await self.juliet.wait("received", sid="both", timeout=90), "forth", size)

    async def test_twentyAtOnce(self) -> None:
        """
        20 bytestreams run at the same time, none loses a byte to another.
        """
        await self.stage()
        sids = [f"stream-{number}" for number in range(20)]
        for sid in sids:
            self.romeo.tell(
                "send", call=sid, to=self.juliet.jid, sid=sid, size=2 * MIB + 7, seed=sid, proxies=[PROXY]
            )
        for sid in sids:
            self.assertStream(await self.juliet.wait("received", sid=sid), sid, 2 * MIB + 7)
            self.assertEqual((await self.romeo.wait("result", "failure", call=sid))["event"], "result")

    async def test_roomOccupants(self) -> None:
        """
        Two occupants of a room who do not know each other's address use C{dstaddr} (section 5.3.2): the
        Requester's real address and the Target's room address.
        """
        await self.stage()
        room = f"balcony@{ROOMS}"
        await self.romeo.call("join", room=room, nick="R")
        await self.juliet.call("join", room=room, nick="J")
        address = socks.destination("room", self.romeo.jid, f"{room}/J")
        await self.romeo.call("send", to=f"{room}/J", sid="room", size=MIB, seed="room", dstaddr=address)
        self.assertStream(await self.juliet.wait("received", sid="room"), "room", MIB)

    async def test_runningStreamSurvivesRestart(self) -> None:
        """
        A transfer goes on while the server is away, and the next one works after its return.
        """
        await self.stage()
        size, pace = 32 * MIB, 4 * MIB
        self.romeo.tell(
            "send", call="slow", to=self.juliet.jid, sid="slow", size=size, seed="slow", pace=pace
        )
        await self.juliet.wait("receiving", sid="slow")
        await self.server.stop()
        before = [event["size"] for event in self.juliet.events if event["event"] == "progress"]
        self.juliet.events.clear()
        during = await self.juliet.wait("progress", sid="slow")
        self.assertGreater(during["size"], max(before, default=0))
        self.assertLess(during["size"], size)
        await self.server.start()
        self.assertStream(await self.juliet.wait("received", sid="slow"), "slow", size)
        await self.romeo.wait("signed-on")
        await self.juliet.wait("signed-on")
        await self.proxy.untilOnline(self.romeo)
        await self.romeo.call("send", to=self.juliet.jid, sid="next", size=MIB, seed="next")
        self.assertStream(await self.juliet.wait("received", sid="next"), "next", MIB)

    async def test_pendingStreamSurvivesRestart(self) -> None:
        """
        Parties that connected before a restart of the server are joined by an activation after it.
        """
        await self.stage()
        first, second = await self.pending("patient")
        first.transport.write(b"early")
        await self.server.restart()
        await self.romeo.wait("signed-on")
        await self.proxy.untilOnline(self.romeo)
        await self.romeo.call("activate", proxy=PROXY, sid="patient", target=self.juliet.jid)
        self.assertEqual(await second.read(5), b"early")
        second.transport.write(b"answer")
        self.assertEqual(await first.read(6), b"answer")

    async def test_activationErrors(self) -> None:
        """
        What cannot be activated is refused with the condition of section 6.3.5; a second activation of
        a running bytestream is granted.
        """
        await self.stage()
        activate = {"proxy": PROXY, "target": self.juliet.jid}
        failure = await self.refused(self.romeo, "activate", sid="nobody", **activate)
        self.assertEqual((failure.condition, failure.kind), ("item-not-found", "cancel"))
        address = socks.destination("alone", self.romeo.jid, self.juliet.jid)
        leg = await socks.connect(self.reactor, self.proxy.host, self.proxy.port, address)
        failure = await self.refused(self.romeo, "activate", sid="alone", **activate)
        self.assertEqual((failure.condition, failure.kind), ("not-allowed", "cancel"))
        leg.transport.loseConnection()
        await leg.closed
        await self.pending("twice")
        await self.romeo.call("activate", sid="twice", **activate)
        await self.romeo.call("activate", sid="twice", **activate)

    async def test_forbiddenUser(self) -> None:
        """
        Who is denied learns no address and activates nothing; others are served as ever.
        """
        await self.stage("--deny", f"romeo@{DOMAIN}")
        await self.pending("denied")
        failures = [
            await self.refused(self.romeo, "query", proxy=PROXY),
            await self.refused(self.romeo, "activate", proxy=PROXY, sid="denied", target=self.juliet.jid),
        ]
        for failure in failures:
            self.assertEqual((failure.condition, failure.kind), ("forbidden", "auth"))
            self.assertIn(f"romeo@{DOMAIN}", failure.text)
        await self.juliet.call("send", to=self.romeo.jid, sid="fine", size=MIB, seed="fine")
        self.assertStream(await self.romeo.wait("received", sid="fine"), "fine", MIB)

    async def test_wrongSecret(self) -> None:
        """
        A wrong secret is one clear line in the log; the service stays and does not hammer at the server.
        """
        server = await self.launch(self.Server(self.reactor, components={PROXY: "secret"}))
        proxy = await self.launch(ProxyService(self.reactor, server, secret="wrong"))
        await proxy.untilLogged("refuses the secret")
        await deferLater(self.reactor, 4)
        self.assertTrue(proxy.running)
        self.assertEqual(proxy.log().count("refuses the secret"), 1)
        self.assertNotIn("Traceback", proxy.log())
        self.assertNotIn("wrong", proxy.log())
        self.assertNotIn("connected", proxy.log().split("refuses the secret")[1])


class ProsodyTests(ProxyTests, InteropTestCase):
    """
    The proxy at Prosody.
    """

    needs = (PROSODY, SLIXMPP)
    Server = Prosody


class EjabberdTests(ProxyTests, InteropTestCase):
    """
    The proxy at ejabberd.
    """

    needs = (EJABBERD, SLIXMPP)
    Server = Ejabberd
