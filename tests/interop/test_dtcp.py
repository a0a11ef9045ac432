"""
DTCP over real servers: in this process with every combination of who can be reached, and by our commands.
"""

import hashlib
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.jid import JID
from zope.interface import implementer

from tests.interop import stream
from tests.interop.case import EJABBERD, PROSODY, InteropTestCase
from tests.interop.filecommands import Receive, Send, digestIn
from tests.interop.processes import freePort
from tests.interop.servers import DOMAIN, PASSWORD, Ejabberd, Prosody
from tests.interop.services import ProxyService
from xmppbytes.account import Account, AccountSettings
from xmppbytes.dtcp.channel import TLSMode
from xmppbytes.dtcp.client import DTCPClientHandler
from xmppbytes.dtcp.options import DTCPOptions
from xmppbytes.errors import NotReachable
from xmppbytes.interfaces import IBytestreamAcceptor
from xmppbytes.tls import peerFingerprint

MIB = 1 << 20
SIZE = 256 * MIB
PROXY = f"proxy.{DOMAIN}"
SECRET = "it is the east"
UNREACHABLE = {"addresses": ()}


@implementer(IPullProducer)
class Source(Protocol):
    """
    Sends the stream of a seed, and closes.
    """

    def __init__(self, seed: str, size: int) -> None:
        self.blocks = stream.blocks(seed, size)
        self.address: Any = None
        self.done: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        block = next(self.blocks, None)
        if block is not None:
            self.transport.write(block)
            return
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def stopProducing(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.done.callback(None)


class Sink(Protocol):
    """
    Digests what arrives.
    """

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.done: Deferred[None] = Deferred()
        self.fingerprint: str | None = None

    def dataReceived(self, data: bytes) -> None:
        self.digest.update(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.fingerprint = peerFingerprint(self.transport)
        self.done.callback(None)


class Holder(Factory):
    """
    A factory of one protocol.
    """

    noisy = False

    def __init__(self, protocol: Any) -> None:
        self.held = protocol

    def buildProtocol(self, addr: Any) -> Any:
        self.held.address = addr
        return self.held


@implementer(IBytestreamAcceptor)
class AcceptAll:
    """
    Accepts a connection for one protocol.
    """

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.failed: Deferred[Any] = Deferred()

    def bytestreamRequested(self, offer: Any) -> Any:
        return Holder(self.protocol)

    def bytestreamFailed(self, offer: Any, error: Any) -> None:
        self.failed.callback(error)


class OverServer:
    """
    What is tested over each server.
    """

    server: Any
    reactor: Any

    def makeServer(self) -> Any:
        raise NotImplementedError

    async def stage(self, relay: bool = False) -> None:
        """
        Start the server, and our service with a relay if it is wanted.
        """
        self.server = await self.launch(self.makeServer())
        if relay:
            self.relayPort = freePort("127.0.0.1")
            self.proxy = await self.launch(
                ProxyService(
                    self.reactor, self.server, "--dtcp-relay", f"tcp:{self.relayPort}:interface=127.0.0.1"
                )
            )
            await self.proxy.untilLogged("connected")

    async def join(self, name: str, acceptor: Any = None, **options: Any) -> DTCPClientHandler:
        """
        Log an account in.
        """
        jid = JID(self.server.jid(name, "dtcp"))
        server = f"{self.server.address}:{self.server.c2sPort}"
        account = Account(self.reactor, AccountSettings(jid=jid, password=PASSWORD, server=server, tls=False))
        handler = DTCPClientHandler(self.reactor, acceptor, DTCPOptions(**options))
        handler.setHandlerParent(account.manager)
        await account.connect()
        self.addCleanup(account.disconnect)
        return handler

    async def transfer(
        self, requester: dict[str, Any], target: dict[str, Any], size: int = MIB
    ) -> tuple[Source, Sink]:
        """
        Connect, and send from the requester to the target.
        """
        source, sink = Source(self.id(), size), Sink()
        await self.join("juliet", AcceptAll(sink), **target)
        romeo = await self.join("romeo", **requester)
        await romeo.connect(self.server.jid("juliet", "dtcp"), Holder(source))
        await source.done
        await sink.done
        self.assertEqual(sink.digest.hexdigest(), stream.sha256(self.id(), size))
        return source, sink

    async def test_both(self) -> None:
        """
        Both can be reached: 256 MiB, encrypted.
        """
        await self.stage()
        source, _ = await self.transfer({}, {}, SIZE)
        self.assertTrue(source.address.route.encrypted)

    async def test_onlyRequesterReachable(self) -> None:
        """
        The target connects to the requester.
        """
        await self.stage()
        await self.transfer({}, UNREACHABLE)

    async def test_onlyTargetReachable(self) -> None:
        """
        The requester connects to the target.
        """
        await self.stage()
        await self.transfer(UNREACHABLE, {})

    async def test_required(self) -> None:
        """
        TLS is required on both sides; each has seen the certificate that was told of.
        """
        await self.stage()
        required = {"tls": TLSMode.REQUIRED}
        _, sink = await self.transfer(required, required)
        self.assertIsNotNone(sink.fingerprint)

    async def test_relay(self) -> None:
        """
        Nobody can be reached: 256 MiB through the relay, TLS required from end to end.
        """
        await self.stage(relay=True)
        required = {"tls": TLSMode.REQUIRED, **UNREACHABLE}
        source, _ = await self.transfer({"relays": (PROXY,), **required}, required, SIZE)
        self.assertEqual(str(source.address.route), f"through {PROXY}, encrypted")
        (record,) = await self.proxy.untilUsed()
        self.assertEqual(record["outcome"], "finished")
        self.assertGreater(sum(record["bytes"]), SIZE)

    async def test_nobodyReachable(self) -> None:
        """
        Both give up; each hears so of the other by way of the server, and fails soon.
        """
        await self.stage()
        dead = {"advertise": ("127.0.0.1:1",), **UNREACHABLE}
        acceptor = AcceptAll(Sink())
        await self.join("juliet", acceptor, **dead)
        romeo = await self.join("romeo", **dead)
        connecting = romeo.connect(self.server.jid("juliet", "dtcp"), Holder(Sink()))
        await self.assertFailure(connecting, NotReachable)
        self.assertIsInstance(await acceptor.failed, NotReachable)

    async def command(self, route: str, *options: str) -> None:
        juliet = await self.launch(Receive(self.reactor, self.server, "juliet", "--yes"))
        path = Path(self.mktemp()).absolute()
        digest = stream.write(str(path), self.id(), 8 * MIB)
        romeo = await self.launch(
            Send(self.reactor, self.server, "romeo", "--method", "dtcp", *options, juliet.jid, str(path))
        )
        await romeo.whenEnded()
        self.assertEqual(romeo.exitCode, 0, romeo.log())
        await juliet.untilLogged("received ")
        self.assertEqual(digestIn(romeo.log()), [digest])
        self.assertEqual(digestIn(juliet.log()), [digest])
        self.assertIn(route, romeo.log())
        self.assertIn(route, juliet.log())
        self.assertIn("encrypted", romeo.log())

    async def test_commands(self) -> None:
        """
        C{xmppbytes send --method dtcp} to C{xmppbytes receive}.
        """
        await self.stage()
        await self.command("direct to ")

    async def test_commandsThroughRelay(self) -> None:
        """
        The same through the relay, no address of ours told.
        """
        await self.stage(relay=True)
        await self.command(f"through {PROXY}", "--relay", PROXY, "--proxy-only")


class OverProsodyTests(OverServer, InteropTestCase):
    """
    Over Prosody.
    """

    needs = (PROSODY,)

    def makeServer(self) -> Any:
        return Prosody(self.reactor, components={PROXY: SECRET})


class OverEjabberdTests(OverServer, InteropTestCase):
    """
    Over ejabberd.
    """

    needs = (EJABBERD,)

    def makeServer(self) -> Any:
        return Ejabberd(self.reactor, components={PROXY: SECRET})
