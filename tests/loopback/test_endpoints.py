"""
Every kind of endpoint that the options take, with the proxy service as a process of its own.
"""

import socket
import ssl
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.threads import deferToThread
from twisted.words.protocols.jabber.component import XMPPComponentServerFactory

from tests.interop.authority import Authority
from tests.interop.processes import ChildFailed, freePort
from tests.loopback.lab import (
    REQUESTER,
    SECRET,
    TARGET,
    EmbeddedServer,
    ProxyChild,
    ProxyTestCase,
    expect,
    joinBytestream,
)
from xmppbytes.s5b.address import destinationAddress


class EndpointCase(ProxyTestCase):
    """
    A proxy with endpoints that are no plain TCP.
    """

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp()).absolute()
        self.authority = Authority(self.folder)

    async def listenAlso(self, description: str) -> None:
        """
        Let the XMPP server accept components at another endpoint.
        """
        factory = XMPPComponentServerFactory(self.server.router, SECRET)
        port = await serverFromString(reactor, description).listen(factory)
        self.addCleanup(port.stopListening)

    async def assertRelays(self, first: socket.socket, second: socket.socket) -> None:
        """
        Two sockets that have not said anything become a bytestream that works both ways.
        """
        address = destinationAddress("endpoints", REQUESTER, TARGET).encode()
        for party in (first, second):
            self.sockets.append(party)
            await deferToThread(joinBytestream, party, address)
        self.assertEqual((await self.server.activate("endpoints"))["type"], "result")
        first.sendall(b"there")
        await deferToThread(expect, second, b"there")
        second.sendall(b"and back")
        await deferToThread(expect, first, b"and back")


class ServerTests(EndpointCase):
    """
    C{--server}.
    """

    async def test_tls(self) -> None:
        """
        The component connects over TLS, to a server that proves who it is.
        """
        key, certificate = self.authority.issue("localhost")
        port = freePort()
        await self.listenAlso(f"ssl:{port}:privateKey={key}:certKey={certificate}:interface=127.0.0.1")
        roots = self.folder / "roots"
        roots.mkdir()
        (roots / "authority.pem").write_bytes(self.authority.certificate.read_bytes())
        await self.startProxy(f"--server=tls:localhost:{port}:trustRoots={roots}")
        await self.assertRelays(self.openSocket(), self.openSocket())

    async def test_unix(self) -> None:
        """
        The component connects to a UNIX socket.
        """
        path = self.folder / "component"
        await self.listenAlso(f"unix:{path}")
        await self.startProxy(f"--server=unix:{path}")
        await self.assertRelays(self.openSocket(), self.openSocket())


class ListenTests(EndpointCase):
    """
    C{--listen}.
    """

    async def test_tls(self) -> None:
        """
        A party may come over TLS, and the other over TCP.
        """
        key, certificate = self.authority.issue("localhost")
        port = freePort()
        await self.startProxy(
            f"--listen=ssl:{port}:privateKey={key}:certKey={certificate}:interface=127.0.0.1"
        )
        context = ssl.create_default_context(cafile=self.authority.certificate)
        plain = socket.create_connection(("127.0.0.1", port), timeout=20)
        secure = await deferToThread(context.wrap_socket, plain, server_hostname="localhost")
        await self.assertRelays(secure, self.openSocket())
        self.assertIn("relay copy", self.proxy.log())

    async def test_unix(self) -> None:
        """
        A party may come over a UNIX socket, such as a reverse proxy's, and the other over TCP.
        """
        path = self.folder / "s5b"
        await self.startProxy(f"--listen=unix:{path}")
        local = socket.socket(socket.AF_UNIX)
        local.settimeout(20)
        local.connect(str(path))
        await self.assertRelays(local, self.openSocket())
        self.assertNotIn("Traceback", self.proxy.log())

    async def test_bothFamilies(self) -> None:
        """
        C{tcp:PORT} takes IPv4 and IPv6, and calls both by the addresses that people know.
        """
        port = freePort()
        await self.startProxy(f"--listen=tcp:{port}")
        first = socket.create_connection(("127.0.0.1", port), timeout=20)
        second = socket.create_connection(("::1", port), timeout=20)
        await self.assertRelays(first, second)
        await self.proxy.untilLogged("127.0.0.1 and ::1")


class ActivatedChild(ProxyChild):
    """
    A proxy whose listening socket was opened by somebody else: systemd hands it over as descriptor 3, and
    says so in the environment (sd_listen_fds(3)).
    """

    def __init__(self, server: EmbeddedServer, listening: socket.socket, *options: str) -> None:
        super().__init__(server, *options)
        self.listening = listening

    def descriptors(self, nothing: int, log: int) -> dict[int, Any]:
        return {**super().descriptors(nothing, log), 3: self.listening.fileno()}

    def command(self) -> list[str]:
        # As systemd does: the process id is known, and told, in the child.
        return [
            "sh",
            "-c",
            'LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=proxy.socket exec "$0" "$@"',
            *super().command(),
        ]


class SystemdTests(EndpointCase):
    """
    C{--listen systemd:...}, with sockets as systemd hands them over.
    """

    async def activated(self, family: socket.AddressFamily, host: str, *options: str) -> int:
        """
        Start the proxy with a socket.

        @return: its port.
        """
        listening = socket.create_server((host, 0), family=family)
        port = int(listening.getsockname()[1])
        self.proxy = ActivatedChild(self.server, listening, *options)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.proxy.cleanUp()))
        await self.proxy.start()
        # From now on it is the proxy's alone.
        listening.close()
        return port

    async def test_tcp(self) -> None:
        """
        Parties that connect to the socket are served, and UDP mode is offered on its port number.
        """
        port = await self.activated(socket.AF_INET, "127.0.0.1", "--listen=systemd:domain=INET:index=0")
        first, second = (socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(2))
        await self.assertRelays(first, second)
        self.assertIn(f"'127.0.0.1', {port})", self.proxy.log())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            self.assertRaises(OSError, taken.bind, ("127.0.0.1", port))

    async def test_tcp6(self) -> None:
        """
        So with IPv6, as the manual has it.
        """
        port = await self.activated(socket.AF_INET6, "::1", "--listen=systemd:domain=INET6:index=0")
        first, second = (socket.create_connection(("::1", port), timeout=20) for _ in range(2))
        await self.assertRelays(first, second)

    async def test_noSocket(self) -> None:
        """
        Where systemd has handed over fewer sockets than are named, one line says so, with exit code 1.
        """
        with self.assertRaises(ChildFailed):
            await self.activated(socket.AF_INET, "127.0.0.1", "--listen=systemd:domain=INET:index=1")
        self.assertEqual(self.proxy.exitCode, 1)
        self.assertIn("systemd:domain=INET:index=1", self.proxy.log())
        self.assertNotIn("Traceback", self.proxy.log())
