"""
DTCP through the relay, over real sockets; the relay runs in this process.
"""

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Factory
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish.domish import Element

from tests.dtcp.lab import REQUESTER, TARGET, Acceptor, Lab, Recorder, RecorderFactory
from tests.fakes import lines
from tests.loopback.test_dtcp import PLAIN, talk
from tests.waiting import pause
from xmppbytes.compat import disco
from xmppbytes.core.access import AccessRules
from xmppbytes.core.damper import LogDamper
from xmppbytes.core.engines import makeEngines
from xmppbytes.core.handshake import handshakeDeadlines
from xmppbytes.core.hangup import makeHangupWatch
from xmppbytes.core.limits import Limits
from xmppbytes.core.pairing import Rendezvous
from xmppbytes.core.sessions import Sessions
from xmppbytes.dtcp.channel import TLSMode
from xmppbytes.dtcp.options import DTCPOptions
from xmppbytes.dtcp.relay import DTCPRelay, RelayFactory, _keyOf, _partiesOf
from xmppbytes.dtcp.stanzas import NS_DTCP, Host
from xmppbytes.dtcp.tickethandler import TicketHandler
from xmppbytes.dtcp.tickets import Tickets
from xmppbytes.errors import NotReachable
from xmppbytes.stanza import RequestHandler
from xmppbytes.wire.dtcprelay import Request, Verb

RELAY = "relay.montague.example"
THROUGH = DTCPOptions(relays=(RELAY,))
OK, ERROR = b"OK\0", b"ERROR\0"


class RelayLab(Lab):
    """
    A relay on the router.
    """

    def __init__(self, test: TestCase, limits: Limits | None = None, open: bool = False) -> None:
        super().__init__()
        limits = limits or Limits()
        self.sessions = Sessions(reactor, limits, makeEngines(reactor, "auto"))
        self.rendezvous = Rendezvous(reactor, limits, self.sessions, makeHangupWatch(reactor))
        self.tickets = Tickets(reactor)
        self.relay = DTCPRelay(self.rendezvous, AccessRules(["montague.example"]), self.tickets, open)
        self.deadlines = handshakeDeadlines(reactor, limits.handshakeTimeout)
        factory = RelayFactory(self.relay, self.deadlines)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.port = int(port.getHost().port)
        self.handler = TicketHandler(self.relay, [Host("127.0.0.1", self.port)])
        self.handler.setHandlerParent(self.router.join(RELAY))
        test.addCleanup(port.stopListening)
        test.addCleanup(self.end)

    async def end(self) -> None:
        """
        Leave nothing behind.
        """
        self.rendezvous.closeAll("the test ends")
        self.sessions.abortAll()
        await self.sessions.whenEmpty()
        for key, holder in list(self.tickets._holders.items()):
            self.tickets.redeem(key, holder)
        await pause()

    async def raw(self, address: str = "127.0.0.1") -> Recorder:
        """
        Connect to the relay with nothing of ours.

        @param address: from where.
        """
        recorder = Recorder()
        await TCP4ClientEndpoint(reactor, "127.0.0.1", self.port, bindAddress=(address, 0)).connect(
            Factory.forProtocol(lambda: recorder)
        )
        return recorder


def request(verb: Verb, key: str = "k", initiator: str = REQUESTER, target: str = TARGET) -> bytes:
    """
    Write a request.
    """
    return Request(verb, key.encode(), initiator, target).toBytes()


class ThroughRelayTests(TestCase):
    """
    Both clients behind NAT.
    """

    def setUp(self) -> None:
        self.lab = RelayLab(self)
        self.acceptor = Acceptor()

    async def connected(self, options: DTCPOptions, **more: Any) -> tuple[Recorder, Recorder]:
        self.lab.join(TARGET, self.acceptor, **more)
        client = self.lab.join(REQUESTER, None, more.get("reachable", True), options)
        factory = RecorderFactory()
        await client.connect(TARGET, factory)
        await self.acceptor.recorder.made
        return factory.recorder, self.acceptor.recorder

    async def test_through(self) -> None:
        """
        Nobody can be reached: the bytes go through the relay, encrypted end to end.
        """
        one, other = await self.connected(THROUGH, reachable=False)
        self.assertTrue(ISSLTransport.providedBy(one.transport))
        for end in (one, other):
            self.assertEqual(str(end.address.route), f"through {RELAY}, encrypted")
        self.assertEqual(len(self.lab.sessions), 1)
        await talk(one, other)

    async def test_plain(self) -> None:
        """
        The same without TLS.
        """
        options = DTCPOptions(relays=(RELAY,), tls=TLSMode.OFF)
        await talk(*await self.connected(options, reachable=False))

    async def test_directIsPreferred(self) -> None:
        """
        When somebody can be reached, the relay is left at once.
        """
        one, other = await self.connected(THROUGH)
        self.assertEqual(str(one.address.route), "direct to 127.0.0.1, encrypted")
        await pause()
        self.assertEqual((self.lab.rendezvous.pending, len(self.lab.sessions)), (0, 0))
        await talk(one, other)

    async def test_relayOnly(self) -> None:
        """
        With direct off on our side, no address of ours is named and none of theirs connected to.
        """
        options = DTCPOptions(relays=(RELAY,), direct=False)
        one, other = await self.connected(options)
        self.assertEqual(str(one.address.route), f"through {RELAY}, encrypted")
        asked = next(iq for iq in self.lab.said("set") if iq.query.key is not None)
        self.assertIsNone(asked.query.host)
        await talk(one, other)

    async def test_relayRefuses(self) -> None:
        """
        A relay that gives us no ticket is left out, with a line in the log.
        """
        self.lab.relay.access = AccessRules(["nobody.example"])
        self.lab.join(TARGET, self.acceptor, False)
        client = self.lab.join(REQUESTER, None, False, THROUGH)
        await self.assertFailure(client.connect(TARGET, RecorderFactory()), NotReachable)
        await self.acceptor.failed

    async def test_noSuchRelay(self) -> None:
        """
        The same for one that does not exist; a direct connection is made all the same.
        """
        options = DTCPOptions(relays=("nowhere.example",))
        await talk(*await self.connected(options))

    async def test_noHostOnTheTicket(self) -> None:
        """
        A relay whose ticket names no host is left out.
        """
        self.lab.handler.hosts = ()
        await talk(*await self.connected(THROUGH))

    async def test_secondHostOnTheTicket(self) -> None:
        """
        A relay may have several hosts: the target is told the one that we have reached.
        """
        reached = self.lab.handler.hosts[0]
        self.lab.handler.hosts = (Host("127.0.0.1", 1), reached)
        one, other = await self.connected(THROUGH, reachable=False)
        asked = next(iq for iq in self.lab.said("set") if iq.query.key is not None)
        self.assertEqual(asked.query.relay["port"], str(reached.port))
        await talk(one, other)

    async def test_twoConnectionsToARelay(self) -> None:
        """
        Where two connections are made to a relay, the one that is kept says CREATE, the other nothing:
        the ticket is good once.
        """
        redeemed: list[bool] = []
        redeem = self.lab.tickets.redeem

        def record(key: bytes, jid: str) -> bool:
            redeemed.append(redeem(key, jid))
            return redeemed[-1]

        class Both:
            async def connect(self, hosts: Any, attempt: Any, discard: Any) -> Any:
                endpoint = TCP4ClientEndpoint(reactor, hosts[0].host, hosts[0].port)
                late, kept = [await attempt(hosts[0], endpoint) for _ in range(2)]
                await pause()
                discard(late)
                return hosts[0], kept

        self.patch(self.lab.tickets, "redeem", record)
        self.lab.join(TARGET, self.acceptor, False)
        client = self.lab.join(REQUESTER, None, False, THROUGH)
        connectorFor = client._means.connectorFor
        means: Any = client._means
        means.connectorFor = lambda peer: Both() if peer == RELAY else connectorFor(peer)
        factory = RecorderFactory()
        await client.connect(TARGET, factory)
        await self.acceptor.recorder.made
        self.assertEqual(redeemed, [True])
        await talk(factory.recorder, self.acceptor.recorder)

    async def test_tooManyTickets(self) -> None:
        """
        A requester with too many unused tickets gets no more.
        """
        for _ in range(100):
            self.lab.tickets.issue(REQUESTER)
        await talk(*await self.connected(THROUGH))
        self.assertIn("100 unused tickets", self.lab.said("error")[0].toXml())

    async def test_relayRefusesCreate(self) -> None:
        """
        A relay that refuses the CREATE is as good as none.
        """
        self.patch(self.lab.tickets, "redeem", lambda key, jid: False)
        await talk(*await self.connected(THROUGH))

    async def test_cancelledWhileAsking(self) -> None:
        """
        Cancelled while it still asks relays, the requester leaves nothing behind.
        """
        slow: Deferred[Any] = Deferred()
        client = self.lab.join(REQUESTER, None, False, DTCPOptions(relays=(RELAY, "slow.example")))
        ask = client._relays._ask
        client._relays._ask = lambda jid, *more: slow if jid == "slow.example" else ask(jid, *more)
        connecting = client.connect(TARGET, RecorderFactory())
        await pause()
        self.assertEqual(self.lab.rendezvous.pending, 1)
        connecting.cancel()
        await self.assertFailure(connecting, CancelledError)
        await pause()
        self.assertEqual(self.lab.rendezvous.pending, 0)

    async def test_disco(self) -> None:
        """
        The relay's feature is told.
        """
        handler = self.lab.handler
        self.assertEqual(handler.getDiscoInfo(JID("a@b"), JID(RELAY)), [disco.DiscoFeature(NS_DTCP)])
        self.assertEqual(handler.getDiscoInfo(JID("a@b"), JID(RELAY), "node"), [])
        self.assertEqual(handler.getDiscoItems(JID("a@b"), JID(RELAY)), [])

    async def test_megabytes(self) -> None:
        """
        Eight MiB arrive whole through relay and TLS.
        """
        one, other = await self.connected(THROUGH, reachable=False)
        block = bytes(range(256)) * 4096
        for _ in range(8):
            one.transport.write(block)
        self.assertEqual(await other.whenReceived(8 << 20), block * 8)
        one.transport.loseConnection()
        await one.lost
        await other.lost


class RelayServerTests(TestCase):
    """
    The relay alone, with plain sockets.
    """

    def setUp(self) -> None:
        self.lab = RelayLab(self)

    def ticket(self, jid: str = REQUESTER) -> str:
        return self.lab.tickets.issue(jid)

    async def end(self, *connections: Recorder) -> None:
        for one in connections:
            one.transport.loseConnection()
            await one.lost

    async def test_pair(self) -> None:
        """
        CREATE with a ticket and CONNECT of the same key and JIDs: OK to both, then bytes pass as
        they are.
        """
        key = self.ticket()
        one, other = await self.lab.raw(), await self.lab.raw()
        one.transport.write(request(Verb.CREATE, key))
        other.transport.write(request(Verb.CONNECT, key))
        self.assertEqual(await one.whenReceived(3), OK)
        self.assertEqual(await other.whenReceived(3), OK)
        one.transport.write(b"CONNECT\0\n")
        other.transport.write(b"starttls\n")
        self.assertEqual(await other.whenReceived(12), OK + b"CONNECT\0\n")
        self.assertEqual(await one.whenReceived(12), OK + b"starttls\n")
        await self.end(one, other)

    async def test_connectFirst(self) -> None:
        """
        A CONNECT that overtakes its CREATE waits for it, since its key is on a ticket.
        """
        key = self.ticket()
        one, other = await self.lab.raw(), await self.lab.raw()
        other.transport.write(request(Verb.CONNECT, key))
        await pause()
        one.transport.write(request(Verb.CREATE, key))
        self.assertEqual(await one.whenReceived(3), OK)
        self.assertEqual(await other.whenReceived(3), OK)
        await self.end(one, other)

    async def test_preparedJIDs(self) -> None:
        """
        JIDs are compared prepared.
        """
        key = self.ticket()
        one, other = await self.lab.raw(), await self.lab.raw()
        one.transport.write(request(Verb.CREATE, key, "Romeo@MONTAGUE.example/orchard"))
        await pause()
        other.transport.write(request(Verb.CONNECT, key, target="JULIET@capulet.example/balcony"))
        self.assertEqual(await other.whenReceived(3), OK)
        await self.end(one, other)

    async def refused(self, *wire: bytes) -> None:
        for data in wire:
            one = await self.lab.raw()
            one.transport.write(data)
            await one.lost
            self.assertEqual(one.received, ERROR, data)
        self.assertEqual(self.lab.rendezvous.pending, 0)

    async def test_noTicket(self) -> None:
        """
        A CREATE without a ticket, or with another's, is refused; the other's stays good.
        """
        key = self.ticket()
        await self.refused(
            request(Verb.CREATE, "invented"),
            request(Verb.CREATE, key, "mercutio@montague.example/x"),
            request(Verb.CREATE, self.ticket("tybalt@capulet.example/x"), "tybalt@capulet.example/x"),
        )
        self.assertTrue(self.lab.tickets.isOutstanding(key.encode()))

    async def test_unknownConnect(self) -> None:
        """
        A CONNECT for which nobody waits is refused.
        """
        await self.refused(request(Verb.CONNECT), request(Verb.CONNECT, "k", "no jid@@", TARGET))

    async def test_nonsense(self) -> None:
        """
        Whatever is no request is refused.
        """
        await self.refused(b"GET / HTTP/1.0\r\n\r\n", b"\x05\x01\x00\0\0\0\0", b"CREATE\0" + b"k" * 200)

    async def test_third(self) -> None:
        """
        A second CREATE or CONNECT of the same key is refused, and those who wait stay.
        """
        self.lab = RelayLab(self, open=True)
        key = "k"
        one = await self.lab.raw()
        one.transport.write(request(Verb.CREATE, key))
        await pause()
        third = await self.lab.raw()
        third.transport.write(request(Verb.CREATE, key))
        await third.lost
        self.assertEqual(third.received, ERROR)
        other = await self.lab.raw()
        other.transport.write(request(Verb.CONNECT, key))
        self.assertEqual(await one.whenReceived(3), OK)
        late = await self.lab.raw()
        late.transport.write(request(Verb.CONNECT, key))
        await late.lost
        self.assertEqual(late.received, ERROR)
        await self.end(one, other)

    async def test_createLeaves(self) -> None:
        """
        When the initiator leaves, its place is free and a CONNECT is refused at once.
        """
        key = self.ticket()
        one = await self.lab.raw()
        one.transport.write(request(Verb.CREATE, key))
        await pause()
        self.assertEqual(self.lab.rendezvous.pending, 1)
        await self.end(one)
        await pause()
        await self.refused(request(Verb.CONNECT, key))

    async def test_earlyBytes(self) -> None:
        """
        What a party sends glued behind its request is delivered behind the OK.
        """
        key = self.ticket()
        one, other = await self.lab.raw(), await self.lab.raw()
        one.transport.write(request(Verb.CREATE, key))
        await pause()
        other.transport.write(request(Verb.CONNECT, key) + b"starttls\n")
        self.assertEqual(await one.whenReceived(12), OK + b"starttls\n")
        await self.end(one, other)

    async def test_shareLimitsWithTheProxy(self) -> None:
        """
        The limit of active bytestreams counts: both parties hear ERROR.
        """
        key = self.ticket()
        self.lab.sessions.limits = Limits(maxSessions=0)
        one, other = await self.lab.raw(), await self.lab.raw()
        one.transport.write(request(Verb.CREATE, key))
        await pause()
        other.transport.write(request(Verb.CONNECT, key))
        for end in (one, other):
            await end.lost
            self.assertEqual(end.received, ERROR)

    async def test_nameOfAnother(self) -> None:
        """
        While its initiator runs a SOCKS5 bytestream of the sid that a connection would get, both hear
        ERROR, and nothing before it.
        """
        key = self.ticket()
        sid = _partiesOf(Request(Verb.CREATE, key.encode(), REQUESTER, TARGET)).sid
        others = {(REQUESTER, sid): object()}
        self.patch(self.lab.sessions, "findRequest", lambda *request: others.get(request))
        one, other = await self.lab.raw(), await self.lab.raw()
        one.transport.write(request(Verb.CREATE, key))
        await pause()
        other.transport.write(request(Verb.CONNECT, key))
        for end in (one, other):
            await end.lost
            self.assertEqual(end.received, ERROR)
        self.assertEqual(self.lab.rendezvous.pending, 0)


class LimitTests(TestCase):
    """
    What strangers can make grow.
    """

    async def test_pendingTimeout(self) -> None:
        """
        Who waits in vain hears ERROR.
        """
        lab = RelayLab(self, Limits(pendingTimeout=0.1))
        one = await lab.raw()
        one.transport.write(request(Verb.CREATE, lab.tickets.issue(REQUESTER)))
        await one.lost
        self.assertEqual(one.received, ERROR)

    async def test_handshakeTimeout(self) -> None:
        """
        Who says nothing is sent away.
        """
        lab = RelayLab(self, Limits(handshakeTimeout=0.1))
        one = await lab.raw()
        await one.lost
        self.assertEqual(one.received, ERROR)

    async def test_perAddress(self) -> None:
        """
        The limit of waiting connections of one address counts.
        """
        lab = RelayLab(self, Limits(maxPendingPerAddress=1))
        one, other = await lab.raw(), await lab.raw()
        await other.lost
        self.assertEqual(other.received, ERROR)
        one.transport.loseConnection()
        await one.lost

    async def test_open(self) -> None:
        """
        An open relay believes what an allowed initiator says; nobody else.
        """
        lab = RelayLab(self, open=True)
        one, other, stranger = await lab.raw(), await lab.raw(), await lab.raw()
        stranger.transport.write(request(Verb.CREATE, "k", "tybalt@capulet.example/x"))
        await stranger.lost
        one.transport.write(request(Verb.CREATE))
        await pause()
        other.transport.write(request(Verb.CONNECT))
        self.assertEqual(await one.whenReceived(3), OK)
        for end in (one, other):
            end.transport.loseConnection()
            await end.lost


class LogTests(TestCase):
    """
    What strangers can make us write.
    """

    async def test_manyRefusals(self) -> None:
        """
        Connections and requests for tickets that are refused have a line each, up to a limit; the rest is
        counted.
        """
        lab = RelayLab(self)
        damper = lab.relay.damper = LogDamper(reactor, perOrigin=2)
        with capturedLogs() as events:
            for _ in range(5):
                one = await lab.raw()
                one.transport.write(b"nonsense\0")
                await one.lost
            asker = RequestHandler()
            asker.setHandlerParent(lab.router.join("tybalt@capulet.example/x"))
            for _ in range(4):
                await self.assertFailure(asker.ask(RELAY, "get", Element((NS_DTCP, "query"))), StanzaError)
            damper.flush()
        own = [line for line in lines(events) if "refused 127" in line or "Refused" in line or "Left" in line]
        self.assertEqual(
            [line.partition(":")[0].partition(" of the last")[0] for line in own],
            [
                *["The relay refused 127.0.0.1"] * 2,
                *["Refused tybalt@capulet.example/x a relay ticket"] * 2,
                "Left out 3 more lines like 'The relay refused {address}",
                "Left out 2 more lines like 'Refused {sender} a relay ticket",
            ],
        )


class OpenLimitTests(TestCase):
    """
    The limit of active bytestreams where nobody proves who it is.
    """

    def setUp(self) -> None:
        self.lab = RelayLab(self, Limits(maxSessionsPerJid=1), open=True)

    async def paired(self, key: str, initiator: str, address: str = "127.0.0.1") -> bytes:
        """
        Let both parties of a connection come.

        @return: what the initiator hears.
        """
        one, other = await self.lab.raw(address), await self.lab.raw()
        one.transport.write(request(Verb.CREATE, key, initiator))
        named = _keyOf(_partiesOf(Request(Verb.CREATE, key.encode(), initiator, TARGET)))
        while not self.lab.rendezvous.knows(named):
            await pause(0)
        other.transport.write(request(Verb.CONNECT, key, initiator))
        return await one.whenReceived(3)

    async def test_countedByAddress(self) -> None:
        """
        Who names many initiators has the limit of its one address, and uses up nobody else's: the same
        initiator is served from another one.
        """
        self.assertEqual(await self.paired("k1", REQUESTER), OK)
        self.assertEqual(await self.paired("k2", "mercutio@montague.example/x"), ERROR)
        self.assertEqual(await self.paired("k3", REQUESTER, "127.0.0.2"), OK)
        self.assertEqual(set(self.lab.sessions._perAccount), {"127.0.0.1", "127.0.0.2"})

    async def test_ticket(self) -> None:
        """
        With a ticket it is proved who the initiator is, and its own limit counts.
        """
        key = self.lab.tickets.issue(REQUESTER)
        self.assertEqual(await self.paired("k", "mercutio@montague.example/x"), OK)
        self.assertEqual(await self.paired(key, REQUESTER), OK)
        self.assertEqual(set(self.lab.sessions._perAccount), {"127.0.0.1", REQUESTER.partition("/")[0]})


class TargetWithoutTLSTests(TestCase):
    """
    Through the relay with a target that has no TLS.
    """

    async def test_plainTarget(self) -> None:
        """
        Its lines pass the relay as they are.
        """
        lab = RelayLab(self)
        acceptor = Acceptor()
        lab.join(TARGET, acceptor, False, PLAIN)
        client = lab.join(REQUESTER, None, False, THROUGH)
        factory = RecorderFactory()
        await client.connect(TARGET, factory)
        await acceptor.recorder.made
        self.assertFalse(ISSLTransport.providedBy(factory.recorder.transport))
        await talk(factory.recorder, acceptor.recorder)
