"""
DTCP between two clients, over real sockets.
"""

import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SkipTest, TestCase

from tests.dtcp.lab import REQUESTER, TARGET, Acceptor, Lab, Recorder, RecorderFactory
from tests.interop.processes import freePort
from tests.waiting import pause
from xmppbytes.dtcp.channel import TLSMode
from xmppbytes.dtcp.client import DTCPClientHandler
from xmppbytes.dtcp.options import DTCPOptions
from xmppbytes.errors import NegotiationError, NotReachable, Refused
from xmppbytes.tls import peerFingerprint

PLAIN = DTCPOptions(tls=TLSMode.OFF)


def deadPort() -> int:
    """
    A port on which nobody listens.
    """
    return freePort()


def listen(test: TestCase, factory: Any) -> int:
    """
    Accept connections on loopback until the test has ended.
    """
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    test.addCleanup(port.stopListening)
    return int(port.getHost().port)


async def talk(one: Recorder, other: Recorder) -> None:
    """
    Send something each way, and close.
    """
    one.transport.write(b"from one side" * 1000)
    other.transport.write(b"from the other" * 1000)
    await other.whenReceived(13000)
    await one.whenReceived(14000)
    one.transport.loseConnection()
    await one.lost
    await other.lost


class DirectTests(TestCase):
    """
    Whoever can be reached.
    """

    def setUp(self) -> None:
        self.lab = Lab()
        self.acceptor = Acceptor()

    def parties(self, requester: bool = True, target: bool = True, **more: Any) -> DTCPClientHandler:
        """
        Make both, say who can be reached, and return the requester.
        """
        self.target = self.lab.join(TARGET, self.acceptor, target, **more)
        return self.lab.join(REQUESTER, None, requester, **more)

    async def connected(self, client: DTCPClientHandler, **more: Any) -> tuple[Recorder, Recorder]:
        factory = RecorderFactory()
        protocol = await client.connect(TARGET, factory, **more)
        self.assertIs(protocol, factory.recorder)
        await self.acceptor.recorder.made
        return factory.recorder, self.acceptor.recorder

    async def test_bothReachable(self) -> None:
        """
        Both can be reached: one connection is left, and data passes both ways.
        """
        await talk(*await self.connected(self.parties()))

    async def test_onlyRequesterReachable(self) -> None:
        """
        The target connects to the requester.
        """
        await talk(*await self.connected(self.parties(target=False)))

    async def test_onlyTargetReachable(self) -> None:
        """
        The requester connects to the target.
        """
        await talk(*await self.connected(self.parties(requester=False)))

    async def test_deadHostsFirst(self) -> None:
        """
        Hosts at which nobody is do not keep a live one from being found at once.
        """
        dead = (f"127.0.0.1:{deadPort()}", f"127.0.0.1:{deadPort()}")
        options = DTCPOptions(advertise=dead)
        await talk(*await self.connected(self.parties(target=False, options=options)))

    async def test_nobodyReachable(self) -> None:
        """
        Nobody can be reached: both sides fail, the one by the other's give-up, and say why.
        """
        options = DTCPOptions(advertise=(f"127.0.0.1:{deadPort()}",))
        client = self.parties(False, False, options=options)
        error = await self.assertFailure(client.connect(TARGET, RecorderFactory()), NotReachable)
        self.assertIn("refused", str(error))
        self.assertIsInstance(await self.acceptor.failed, NotReachable)
        gaveUp = self.lab.said("error")
        self.assertEqual([iq.error["code"] for iq in gaveUp], ["503", "503"])
        self.assertTrue(all(iq.getAttribute("id") for iq in gaveUp))

    async def test_noHostsAtAll(self) -> None:
        """
        Neither side has a host to tell: both fail without a word more.
        """
        client = self.parties(False, False)
        await self.assertFailure(client.connect(TARGET, RecorderFactory()), NotReachable)
        self.assertIsInstance(await self.acceptor.failed, NotReachable)
        self.assertEqual(self.lab.said("error"), [])

    async def test_overIPv6(self) -> None:
        """
        Hosts are IPv6 addresses, in brackets.
        """
        probe = socket.socket(socket.AF_INET6)
        try:
            probe.bind(("::1", 0))
        except OSError as e:
            raise SkipTest(f"this machine has no IPv6 ({e})") from e
        finally:
            probe.close()
        options = DTCPOptions(advertise=("::1",))
        one, other = await self.connected(self.parties(False, False, options=options))
        self.assertIn("[::1]:", str(self.lab.said("set")[0].query.host))
        self.assertEqual(one.address.route.address, "::1")
        await talk(one, other)

    async def test_encrypted(self) -> None:
        """
        By default both ends have TLS, and each sees the other's certificate.
        """
        one, other = await self.connected(self.parties())
        for end in (one, other):
            self.assertTrue(ISSLTransport.providedBy(end.transport))
        self.assertNotEqual(peerFingerprint(one.transport), peerFingerprint(other.transport))
        await talk(one, other)

    async def test_plain(self) -> None:
        """
        With TLS off on one side the channel is plain text.
        """
        self.target = self.lab.join(TARGET, self.acceptor, True, PLAIN)
        client = self.lab.join(REQUESTER)
        one, other = await self.connected(client)
        self.assertFalse(ISSLTransport.providedBy(one.transport))
        await talk(one, other)

    async def test_requiredByTarget(self) -> None:
        """
        A target that requires TLS refuses a requester that has none.
        """
        self.lab.join(TARGET, self.acceptor, True, DTCPOptions(tls=TLSMode.REQUIRED))
        client = self.lab.join(REQUESTER, None, True, PLAIN)
        error = await self.assertFailure(client.connect(TARGET, RecorderFactory()), Refused)
        self.assertIn("TLS", str(error))
        self.assertEqual(self.acceptor.offers, [])

    async def test_requiredByRequester(self) -> None:
        """
        A requester that requires TLS gives a target up that has none, and tells it.
        """
        self.lab.join(TARGET, self.acceptor, True, PLAIN)
        client = self.lab.join(REQUESTER, None, True, DTCPOptions(tls=TLSMode.REQUIRED))
        await self.assertFailure(client.connect(TARGET, RecorderFactory()), NegotiationError)
        self.assertIsInstance(await self.acceptor.failed, Refused)

    async def test_requiredByBoth(self) -> None:
        """
        Both require TLS and have it.
        """
        client = self.parties(options=DTCPOptions(tls=TLSMode.REQUIRED))
        await talk(*await self.connected(client))

    async def test_refused(self) -> None:
        """
        The target's acceptor says no.
        """
        self.acceptor.refuse = True
        client = self.parties()
        error = await self.assertFailure(client.connect(TARGET, RecorderFactory()), Refused)
        self.assertIn("Rejected", str(error))

    async def test_nobodyThere(self) -> None:
        """
        A target that does not exist.
        """
        client = self.lab.join(REQUESTER)
        await self.assertFailure(client.connect("nurse@capulet.example/x", RecorderFactory()), Refused)

    async def test_cancelled(self) -> None:
        """
        A cancelled request tells the target, which stops waiting.
        """
        silent = listen(self, Factory.forProtocol(Protocol))
        client = self.parties(False, False, options=DTCPOptions(advertise=(f"127.0.0.1:{silent}",)))
        connecting = client.connect(TARGET, RecorderFactory())
        await pause(0.1)
        connecting.cancel()
        await self.assertFailure(connecting, CancelledError)
        self.assertIsInstance(await self.acceptor.failed, Refused)

    async def test_address(self) -> None:
        """
        The application learns who the peer is and which way the bytes go.
        """
        one, other = await self.connected(self.parties(), sid="s1")
        self.assertEqual((one.address.peer, one.address.sid), (TARGET, "s1"))
        self.assertEqual((other.address.peer, other.address.sid), (REQUESTER, "s1"))
        self.assertEqual(str(one.address.route), "direct to 127.0.0.1, encrypted")
        await talk(one, other)

    async def test_manyAtOnce(self) -> None:
        """
        Twenty connections between the same two clients are not mixed up.
        """
        self.lab.join(TARGET, Many(), True)
        client = self.lab.join(REQUESTER)
        factories = [RecorderFactory() for _ in range(20)]
        connecting = [client.connect(TARGET, f, f"s{n}") for n, f in enumerate(factories)]
        for one in connecting:
            await one
        for n, factory in enumerate(factories):
            await factory.recorder.whenReceived(len(f"s{n}"))
            self.assertEqual(factory.recorder.received, f"s{n}".encode())
            factory.recorder.transport.loseConnection()
            await factory.recorder.lost
        await pause()


class Many(Acceptor):
    """
    Tells each connection its sid.
    """

    def bytestreamRequested(self, offer: Any) -> Any:
        factory = RecorderFactory()
        factory.recorder.made.addCallback(lambda one: one.transport.write(offer.sid.encode()))
        return factory
