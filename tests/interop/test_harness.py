"""
The harness itself: servers start, clients log in, components connect, and nothing stays behind.
"""

import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.task import deferLater
from twisted.trial.unittest import FailTest, SkipTest
from twisted.words.protocols.jabber import component, xmlstream
from twisted.words.xish import domish

from tests.interop import stream
from tests.interop.authority import Authority
from tests.interop.case import EJABBERD, PROSODY, SLIXMPP, InteropTestCase, Need, requirePeers
from tests.interop.clients import Slixmpp
from tests.interop.peer import CallFailed
from tests.interop.processes import Child, ChildFailed
from tests.interop.servers import DOMAIN, ROOMS, Ejabberd, Prosody

COMPONENT = f"echo.{DOMAIN}"


async def answeringComponent(reactor: Any, server: Any, domain: str, secret: str) -> Any:
    """
    Connect an XEP-0114 component that answers every request with an empty result.

    @return: its XML stream.
    """
    authenticated: Deferred[Any] = Deferred()
    factory = component.componentFactory(domain, secret)
    factory.addBootstrap(xmlstream.STREAM_AUTHD_EVENT, authenticated.callback)
    factory.addBootstrap(xmlstream.INIT_FAILED_EVENT, authenticated.errback)
    await TCP4ClientEndpoint(reactor, server.address, server.componentPort).connect(factory)
    xs = await authenticated

    def answer(request: domish.Element) -> None:
        xs.send(xmlstream.toResponse(request, "result"))

    xs.addObserver("/iq[@type='get']", answer)
    return xs


class ServerTests:
    """
    What both servers have to do.
    """

    Server: Any
    unreachable: str  # the condition for a component that is not connected

    async def test_clientLogsInAndPings(self) -> None:
        """
        A client logs in and gets an answer from the server.
        """
        server = await self.launch(self.Server(self.reactor))
        romeo = await self.launch(Slixmpp(self.reactor, server, "romeo"))
        await romeo.call("ping", to=DOMAIN)
        self.assertIn(ROOMS, await romeo.call("items", to=DOMAIN))

    async def test_componentConnects(self) -> None:
        """
        A component with the right secret is reached by clients; after a restart of the server it has to
        connect again, and clients find their accounts as they were.
        """
        server = await self.launch(self.Server(self.reactor, components={COMPONENT: "secret"}))
        romeo = await self.launch(Slixmpp(self.reactor, server, "romeo", "--reconnect"))
        xs = await answeringComponent(self.reactor, server, COMPONENT, "secret")
        await romeo.call("ping", to=COMPONENT)
        before = server.pid
        lost: Deferred[None] = Deferred()
        xs.addObserver(xmlstream.STREAM_END_EVENT, lambda _: lost.callback(None))
        await server.restart()
        await lost
        self.assertNotEqual(server.pid, before)
        await romeo.wait("signed-on")
        failure = await self.assertFailure(
            Deferred.fromCoroutine(romeo.call("ping", to=COMPONENT)), CallFailed
        )
        self.assertEqual(failure.condition, self.unreachable)
        xs = await answeringComponent(self.reactor, server, COMPONENT, "secret")
        await romeo.call("ping", to=COMPONENT)
        xs.transport.loseConnection()

    async def test_clientChecksTheCertificate(self) -> None:
        """
        With STARTTLS a client logs in when it trusts the authority, and does not when it trusts another.
        """
        authority = Authority(Path(self.mktemp()).absolute())
        server = await self.launch(self.Server(self.reactor, authority=authority))
        romeo = await self.launch(Slixmpp(self.reactor, server, "romeo"))
        await romeo.call("ping", to=DOMAIN)
        other = Authority(Path(self.mktemp()).absolute(), "another authority")
        juliet = Slixmpp(self.reactor, server, "juliet", "--authority", str(other.certificate))
        failure = await self.assertFailure(Deferred.fromCoroutine(self.launch(juliet)), ChildFailed)
        self.assertIn("CERTIFICATE_VERIFY_FAILED", str(failure))

    async def test_transferThroughOwnProxy(self) -> None:
        """
        Two clients send a stream through the server's own proxy, one of them twice at once.
        """
        server = await self.launch(self.Server(self.reactor, proxy65=f"streams.{DOMAIN}"))
        romeo = await self.launch(Slixmpp(self.reactor, server, "romeo"))
        juliet = await self.launch(Slixmpp(self.reactor, server, "juliet"))
        size = 300_001
        for sid in ("one", "two"):
            romeo.tell("send", call=sid, to=juliet.jid, sid=sid, size=size, seed=sid)
        for sid in ("one", "two"):
            done = await juliet.wait("received", sid=sid)
            self.assertEqual((done["size"], done["sha256"]), (size, stream.sha256(sid, size)))
            await romeo.wait("result", call=sid)

    async def test_roomsPassRequests(self) -> None:
        """
        Two occupants of a room reach each other by their room addresses.
        """
        server = await self.launch(self.Server(self.reactor))
        romeo = await self.launch(Slixmpp(self.reactor, server, "romeo"))
        juliet = await self.launch(Slixmpp(self.reactor, server, "juliet"))
        await romeo.call("join", room=f"balcony@{ROOMS}", nick="R")
        await juliet.call("join", room=f"balcony@{ROOMS}", nick="J")
        await romeo.call("ping", to=f"balcony@{ROOMS}/J")


class ProsodyTests(ServerTests, InteropTestCase):
    """
    Prosody in the harness.
    """

    needs = (PROSODY, SLIXMPP)
    Server = Prosody
    unreachable = "remote-server-timeout"


class EjabberdTests(ServerTests, InteropTestCase):
    """
    ejabberd in the harness.
    """

    needs = (EJABBERD, SLIXMPP)
    Server = Ejabberd
    unreachable = "remote-server-not-found"


class NeedTests(InteropTestCase):
    """
    What happens when a peer is missing.
    """

    MISSING = Need("Foo", lambda: False, "apt-get install foo")

    def test_missingPeerSkips(self) -> None:
        """
        A missing peer skips the test, with the package to install.
        """
        self.patch(os, "environ", {"XMPPBYTES_INTEROP": "1"})
        error = self.assertRaises(SkipTest, requirePeers, self.MISSING)
        self.assertEqual(str(error), "Foo is missing: apt-get install foo")

    def test_missingPeerFailsInCi(self) -> None:
        """
        With CI=true a missing peer is a failure.
        """
        self.patch(os, "environ", {"XMPPBYTES_INTEROP": "1", "CI": "true"})
        self.assertRaises(FailTest, requirePeers, self.MISSING)

    def test_notAsked(self) -> None:
        """
        Without XMPPBYTES_INTEROP the test is skipped whatever is installed.
        """
        self.patch(os, "environ", {"CI": "true"})
        error = self.assertRaises(SkipTest, requirePeers)
        self.assertIn("make interop", str(error))


class Shell(Child):
    """
    A shell command as a child.
    """

    def __init__(self, reactor: Any, script: str) -> None:
        super().__init__(reactor, "shell")
        self.script = script

    def command(self) -> list[str]:
        return ["/bin/sh", "-c", self.script]

    async def untilReady(self) -> None:
        await self.untilLogged("ready")


class ChildTests(InteropTestCase):
    """
    Child processes.
    """

    async def test_folderGoesWithTheChild(self) -> None:
        """
        Cleaning up ends the process and removes its folder.
        """
        child = await self.launch(Shell(self.reactor, "echo ready; exec sleep 60"))
        pid = child.pid
        await child.cleanUp()
        self.assertFalse(child.folder.exists())
        self.assertEqual(child.exitCode, -15)
        self.assertRaises(ProcessLookupError, os.kill, pid, 0)

    async def test_earlyEndIsTold(self) -> None:
        """
        A child that ends instead of becoming ready fails with its exit code and its last words.
        """
        child = Shell(self.reactor, "echo no such option >&2; exit 3")
        failure = await self.assertFailure(Deferred.fromCoroutine(self.launch(child)), ChildFailed)
        self.assertIn("ended with 3", str(failure))
        self.assertIn("no such option", str(failure))

    async def test_stubbornChildIsKilled(self) -> None:
        """
        A child that ignores the request to end is killed when its time is up.
        """
        child = Shell(self.reactor, "trap '' TERM; echo ready; while :; do sleep 1; done")
        child.grace = 0.3
        await self.launch(child)
        self.assertEqual(await child.stop(), -9)

    async def test_childDiesWithItsParent(self) -> None:
        """
        When the test run is killed, what it has started ends too.
        """
        leash = str(Path(__file__).with_name("leash.py"))
        inner = f"{sys.executable} {leash} $$ sh -c 'echo grandchild $$; exec sleep 60' & wait"
        child = Shell(self.reactor, f"echo ready; {inner}")
        await self.launch(child)
        line = await child.untilLogged("grandchild")
        grandchild = int(line.split()[1])
        os.kill(grandchild, 0)
        await child.stop("KILL")
        for _ in range(100):
            if (
                not Path(f"/proc/{grandchild}").exists()
                or " Z " in Path(f"/proc/{grandchild}/stat").read_text()
            ):
                return
            await deferLater(self.reactor, 0.05)
        self.fail("the grandchild outlived its parent by 5 s")
