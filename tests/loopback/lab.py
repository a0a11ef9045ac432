"""
The loopback lab: an XMPP router in this process, the real proxy service as a child process, and
parties that are plain sockets in threads, so that nothing of ours is at their end.
"""

import hashlib
import socket
import struct
import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.words.protocols.jabber.component import Router, XMPPComponentServerFactory
from twisted.words.xish.domish import Element, elementStream
from wokkel.component import InternalComponent

from tests.interop.processes import Child, environment, freePort
from tests.waiting import PATIENCE
from xmppbytes.s5b.address import destinationAddress
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS

PROXY = "proxy.capulet.example"
SECRET = "it is the east"
USERS = "capulet.example"
FOREIGNERS = "montague.example"
REQUESTER = f"juliet@{USERS}/balcony"
TARGET = f"nurse@{USERS}/chamber"


class EmbeddedServer:
    """
    An XMPP router that accepts components over TCP and has users in this process.
    """

    def __init__(self) -> None:
        self.port = freePort()
        self._listening: Any = None
        self._streams: list[Any] = []
        self._answers: dict[str, Deferred[Element]] = {}
        self._count = 0
        self.router = Router()
        self.router.addRoute(None, _Nowhere())
        self.users = InternalComponent(self.router, USERS)
        self.users.domains.add(FOREIGNERS)
        self.users.startService()
        self.users.xmlstream.addObserver("/iq", self._answered)

    def listen(self) -> None:
        """
        Accept components.
        """
        factory = XMPPComponentServerFactory(self.router, SECRET)
        factory.addBootstrap("//event/stream/connected", self._streams.append)
        self._listening = reactor.listenTCP(self.port, factory, interface="127.0.0.1")

    async def stop(self) -> None:
        """
        Be gone, as a server that is being restarted.
        """
        await self._listening.stopListening()
        for stream in self._streams:
            if stream.transport is not None:
                stream.transport.abortConnection()
        self._streams.clear()

    def request(self, kind: str, payload: Element | str, sender: str = REQUESTER, to: str = PROXY) -> Any:
        """
        Send a request as one of the users.

        @return: fires with the answering iq, be it a result or an error.
        """
        self._count += 1
        iq = Element((None, "iq"))
        iq["id"], iq["type"], iq["from"], iq["to"] = f"lab{self._count}", kind, sender, to
        if isinstance(payload, str):
            iq.addRawXml(payload)
            iq = reparsed(iq)
        else:
            iq.addChild(payload)
        answer: Deferred[Element] = Deferred()
        self._answers[iq["id"]] = answer
        self.users.xmlstream.send(iq)
        return answer.addTimeout(PATIENCE, reactor)

    def requestRaw(self, kind: str, payload: str, sender: str, id: str) -> Any:
        """
        Send a request past the router, which may be unable to write its payload.

        @return: fires with the answering iq.
        """
        xml = f"<iq type='{kind}' id='{id}' from='{sender}' to='{PROXY}'>{payload}</iq>"
        self._streams[-1].transport.write(xml.encode())
        answer: Deferred[Element] = Deferred()
        self._answers[id] = answer
        return answer.addTimeout(PATIENCE, reactor)

    def _answered(self, iq: Element) -> None:
        answer = self._answers.pop(iq.getAttribute("id", ""), None)
        if answer is not None:
            answer.callback(iq)

    def activate(self, sid: str, sender: str = REQUESTER, target: str = TARGET) -> Any:
        """
        Ask the proxy to activate a bytestream.
        """
        return self.request(
            "set",
            f"<query xmlns='{NS_BYTESTREAMS}' sid='{sid}'><activate>{target}</activate></query>",
            sender,
        )


class _Nowhere:
    """
    Takes stanzas for addresses that nobody has.
    """

    def addObserver(self, *arguments: Any) -> None:
        pass

    def send(self, stanza: Any) -> None:
        pass


def reparsed(element: Element) -> Element:
    """
    Send an element through a parser, so that raw XML in it becomes elements.
    """
    found: list[Element] = []
    stream = elementStream()
    stream.DocumentStartEvent = lambda root: None
    stream.DocumentEndEvent = lambda: None
    stream.ElementEvent = found.append
    stream.parse(f"<lab>{element.toXml()}</lab>")
    return found[0]


class ProxyChild(Child):
    """
    C{twistd s5bproxy} as a child process.
    """

    def __init__(self, server: EmbeddedServer, *options: str, descriptorLimit: int | None = None) -> None:
        """
        @param options: further options of s5bproxy.
        @param descriptorLimit: the limit of file descriptors, C{None}: as this process.
        """
        super().__init__(reactor, "s5bproxy")
        self.server = server
        self.options = options
        self.descriptorLimit = descriptorLimit
        self.port = freePort()

    def environment(self) -> dict[str, str]:
        return environment(XMPPBYTES_SECRET=SECRET)

    def command(self) -> list[str]:
        limit = (
            ["sh", "-c", f'ulimit -n {self.descriptorLimit}; exec "$0" "$@"'] if self.descriptorLimit else []
        )
        return [
            *limit,
            *(
                sys.executable,
                "-m",
                "tests.twistd",
                "--nodaemon",
                "--pidfile=",
            ),
            *("s5bproxy", "--jid", PROXY, "--server", f"tcp:127.0.0.1:{self.server.port}"),
            *("--listen", f"tcp:{self.port}:interface=127.0.0.1", "--advertise", f"127.0.0.1:{self.port}"),
            *self.options,
        ]

    async def untilReady(self) -> None:
        await self.untilLogged(": connected")

    def residentBytes(self) -> int:
        """
        How much memory it has.
        """
        with open(f"/proc/{self.pid}/statm") as statm:
            return int(statm.read().split()[1]) * 4096

    def processorSeconds(self) -> float:
        """
        How much processor time it has used.
        """
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100


class ProxyTestCase(TestCase):
    """
    A test with the proxy as a child process.
    """

    timeout = 300

    def setUp(self) -> None:
        self.server = EmbeddedServer()
        self.server.listen()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.server.stop()))
        self.sockets: list[socket.socket] = []
        self.addCleanup(self._closeSockets)

    def _closeSockets(self) -> None:
        for each in self.sockets:
            each.close()

    async def startProxy(self, *options: str, descriptors: int | None = None) -> ProxyChild:
        """
        Start the proxy and wait until it is on XMPP.
        """
        self.proxy = ProxyChild(self.server, *options, descriptorLimit=descriptors)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.proxy.cleanUp()))
        await self.proxy.start()
        return self.proxy

    def connect(self, sid: str, requester: str = REQUESTER, target: str = TARGET) -> socket.socket:
        """
        Connect a party: greeting, request, checked replies. Blocks.
        """
        party = self.openSocket()
        joinBytestream(party, destinationAddress(sid, requester, target).encode())
        return party

    def openSocket(self) -> socket.socket:
        """
        Connect to the proxy and say nothing yet. Blocks.
        """
        party = socket.create_connection(("127.0.0.1", self.proxy.port), timeout=60)
        self.sockets.append(party)
        return party

    async def pair(self, sid: str) -> tuple[socket.socket, socket.socket]:
        """
        Connect both parties and activate their bytestream.

        @return: the requester's socket and the target's.
        """
        target = await deferToThread(self.connect, sid)
        requester = await deferToThread(self.connect, sid)
        answer = await self.server.activate(sid)
        self.assertEqual(answer["type"], "result", answer.toXml())
        return requester, target


def joinBytestream(party: socket.socket, address: bytes) -> None:
    """
    Do the SOCKS5 handshake of XEP-0065 on a connected socket, strictly.
    """
    party.sendall(b"\5\1\0")
    expect(party, b"\5\0")
    request = b"\5\1\0\3\x28" + address + b"\0\0"
    party.sendall(request)
    expect(party, b"\5\0" + request[2:])


def expect(party: socket.socket, wanted: bytes) -> None:
    """
    Read exactly these bytes.
    """
    got = b""
    while len(got) < len(wanted):
        piece = party.recv(len(wanted) - len(got))
        if not piece:
            break
        got += piece
    if got != wanted:
        raise AssertionError(f"expected {wanted!r}, got {got!r}")


BLOCK = bytes(range(256)) * 256


def sendStream(party: socket.socket, size: int) -> str:
    """
    Send many bytes and half-close.

    @return: their SHA-256.
    """
    digest = hashlib.sha256()
    sent = 0
    while sent < size:
        piece = BLOCK[: size - sent]
        party.sendall(piece)
        digest.update(piece)
        sent += len(piece)
    party.shutdown(socket.SHUT_WR)
    return digest.hexdigest()


def readStream(party: socket.socket) -> str:
    """
    Read until the other side has finished.

    @return: the SHA-256 of what came.
    """
    digest = hashlib.sha256()
    while True:
        piece = party.recv(1 << 20)
        if not piece:
            return digest.hexdigest()
        digest.update(piece)


def reset(party: socket.socket) -> None:
    """
    Close a socket in such a way that its peer sees a reset.
    """
    party.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    party.close()
