"""
The example C{examples/echo_over_bytestream.py}, run as its head says.
"""

import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.interop.processes import Child, environment
from tests.loopback.lab import SECRET, EmbeddedServer
from xmppbytes.component import ComponentFactory, ComponentManager
from xmppbytes.errors import Refused
from xmppbytes.s5b.client import BytestreamsClientHandler
from xmppbytes.s5b.endpoint import BytestreamEndpoint
from xmppbytes.s5b.options import BytestreamOptions
from xmppbytes.stream import StreamService

EXAMPLE = Path(__file__).parents[2] / "examples" / "echo_over_bytestream.py"
ECHO, CALLER = "echo.capulet.example", "caller.capulet.example"
PHRASE = b"what's in a name " * 4096


class EchoChild(Child):
    """
    The example as a child process.
    """

    def __init__(self, server: EmbeddedServer) -> None:
        super().__init__(reactor, "echo")
        self._server = f"tcp:127.0.0.1:{server.port}"

    def environment(self) -> dict[str, str]:
        return environment(SECRET=SECRET)

    def command(self) -> list[str]:
        return [sys.executable, str(EXAMPLE), ECHO, self._server]


class Caller(Protocol):
    """
    Calls into the wood.
    """

    transport: Any

    def __init__(self) -> None:
        self.heard = b""
        self.ended: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(PHRASE)

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        if len(self.heard) >= len(PHRASE):
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(self.heard)


class EchoTests(TestCase):
    """
    The echo service and a component that uses it.
    """

    timeout = 300

    def test_short(self) -> None:
        """
        An example has less than 40 lines.
        """
        self.assertLess(len(EXAMPLE.read_text().splitlines()), 40)

    async def test_echo(self) -> None:
        """
        What is sent to the example over a bytestream comes back.
        """
        server = EmbeddedServer()
        server.listen()
        self.addCleanup(lambda: Deferred.fromCoroutine(server.stop()))
        child = EchoChild(server)
        self.addCleanup(lambda: Deferred.fromCoroutine(child.cleanUp()))
        await child.start()
        factory = ComponentFactory(CALLER, SECRET)
        manager = ComponentManager(factory, reactor)
        options = BytestreamOptions(discoverProxies=False)
        handler = BytestreamsClientHandler(reactor, None, options)
        handler.setHandlerParent(manager)
        endpoint = clientFromString(reactor, f"tcp:127.0.0.1:{server.port}")
        service: StreamService = StreamService(endpoint, factory, reactor, CALLER)  # type: ignore[arg-type]
        service.startService()
        self.addCleanup(service.stopService)
        while not manager.connected or ECHO not in server.router.routes:
            await deferLater(reactor, 0.02)
        caller = await BytestreamEndpoint(handler, ECHO).connect(Factory.forProtocol(Caller))
        self.assertEqual(await caller.ended, PHRASE)
        await child.untilLogged(f"echoing for {CALLER}")

    async def test_nobodyThere(self) -> None:
        """
        The caller itself accepts nothing.
        """
        server = EmbeddedServer()
        server.listen()
        self.addCleanup(lambda: Deferred.fromCoroutine(server.stop()))
        managers = []
        for jid in (CALLER, ECHO):
            factory = ComponentFactory(jid, SECRET)
            manager = ComponentManager(factory, reactor)
            handler = BytestreamsClientHandler(reactor, None, BytestreamOptions(discoverProxies=False))
            handler.setHandlerParent(manager)
            endpoint = clientFromString(reactor, f"tcp:127.0.0.1:{server.port}")
            service: StreamService = StreamService(endpoint, factory, reactor, jid)  # type: ignore[arg-type]
            service.startService()
            self.addCleanup(service.stopService)
            managers.append((manager, handler))
        while not all(manager.connected for manager, _ in managers):
            await deferLater(reactor, 0.02)
        try:
            await managers[0][1].requestBytestream(ECHO, Factory.forProtocol(Caller))
        except Refused as e:
            self.assertIn("not-acceptable", str(e))
        else:
            self.fail("connected to nobody")
