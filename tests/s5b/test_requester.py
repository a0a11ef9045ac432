"""
The Requester: opening bytestreams, over a server and an internet in memory.
"""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import NoProtocol
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID

from tests.s5b.world import (
    PROXY,
    PROXY_IP,
    REQUESTER,
    REQUESTER_IP,
    TARGET,
    TARGET_IP,
    Acceptor,
    Canned,
    Recorder,
    RecorderFactory,
    ServiceDiscovery,
    World,
)
from xmppbytes.errors import ConfigurationError, NegotiationError, NotReachable, Refused
from xmppbytes.s5b.address import destinationAddress
from xmppbytes.s5b.endpoint import BytestreamEndpoint
from xmppbytes.s5b.options import BytestreamOptions, Ways
from xmppbytes.s5b.request import usedElement

SERVER = "montague.example"


class RequesterTestCase(SynchronousTestCase):
    """
    A requester; each test brings its target.
    """

    def setUp(self) -> None:
        self.world = World()
        self.factory = RecorderFactory()
        self.acceptor = Acceptor()

    def start(self, target: Any = None, **options: Any) -> Deferred[Any]:
        """
        Open a bytestream.

        @param target: a handler to act as the target; C{None}: our own client.
        @param options: the requester's.
        """
        self.requester = self.world.client(REQUESTER, **options)
        if target is None:
            self.target = self.world.client(TARGET, self.acceptor)
        else:
            self.world.connect(TARGET, target)
        return self.requester.requestBytestream(TARGET, self.factory, sid="s1")

    def connected(self, negotiation: Deferred[Any]) -> tuple[Recorder, Recorder]:
        """
        Wait until a bytestream is connected.

        @return: the requester's protocol and the target's.
        """
        self.world.tick(1)
        ours = self.successResultOf(negotiation)
        [theirs] = self.acceptor.factory.made
        return ours, theirs

    def assertWorks(self, ours: Recorder, theirs: Recorder) -> None:
        """
        Bytes pass both ways, and closing closes everything.
        """
        ours.transport.write(b"but soft")
        theirs.transport.write(b"ay me")
        self.world.tick()
        self.assertEqual((ours.data, theirs.data), (b"ay me", b"but soft"))
        ours.transport.loseConnection()
        self.world.tick(1)
        self.assertIsNotNone(ours.lost)
        self.assertIsNotNone(theirs.lost)
        self.assertEqual(self.world.leftOvers(), [])


class DirectTests(RequesterTestCase):
    """
    Direct bytestreams.
    """

    def test_bytesGoBothWays(self) -> None:
        """
        A direct bytestream gives both applications a connection, and the port is closed again.
        """
        ours, theirs = self.connected(self.start())
        self.assertEqual(self.world.machines[REQUESTER].ports, [])
        self.assertWorks(ours, theirs)

    def test_routes(self) -> None:
        """
        Both applications learn who is at the other end, and that it is reached directly.
        """
        ours, theirs = self.connected(self.start())
        self.assertEqual((ours.address.peer, ours.address.sid), (TARGET, "s1"))
        self.assertEqual(str(ours.address.route), f"direct to {TARGET_IP}")
        self.assertEqual((theirs.address.peer, theirs.address.sid), (REQUESTER, "s1"))
        self.assertEqual(str(theirs.address.route), f"direct to {REQUESTER_IP}")

    def test_whatIsOffered(self) -> None:
        """
        The request names each of our addresses with the port, the mode and the hash.
        """
        self.start(addresses=[REQUESTER_IP, "2001:db8::1"], ports=[5086], advertise=["gw.example:99"])
        self.world.tick(0.05)
        host = f"<streamhost jid='{REQUESTER}' host='%s' port='%s'/>"
        hosts = host % ("gw.example", 99) + host % (REQUESTER_IP, 5086) + host % ("2001:db8::1", 5086)
        self.assertIn(
            "<query xmlns='http://jabber.org/protocol/bytestreams' sid='s1' mode='tcp' "
            f"dstaddr='{destinationAddress('s1', REQUESTER, TARGET)}'>{hosts}</query>",
            self.world.queries[0],
        )

    def test_newSidEachTime(self) -> None:
        """
        Without a sid each bytestream gets a new one.
        """
        self.start()
        for _ in range(2):
            self.requester.requestBytestream(TARGET, self.factory)
        self.world.tick(1)
        sids = {protocol.address.sid for protocol in self.factory.made}
        self.assertEqual(len(sids), 3)

    def test_portRange(self) -> None:
        """
        The first port of the range that is free is listened on.
        """
        self.world.machines[REQUESTER].listenTCP(5000, Factory())
        self.start(ports=range(5000, 5003))
        self.world.tick(0.05)
        self.assertIn("port='5001'", self.world.queries[0])

    def test_noPortFree(self) -> None:
        """
        When no port is free and no proxy is known, the error says so.
        """
        self.world.machines[REQUESTER].listenTCP(5000, Factory())
        negotiation = self.start(ports=[5000])
        error = self.failureResultOf(negotiation, NotReachable).value
        self.assertIn("no port to listen on is free (tried 5000", str(error))

    def test_severalAtOnceShareThePort(self) -> None:
        """
        Bytestreams that are opened side by side use one port, which is closed after the last.
        """
        first = self.start(ports=[5000])
        second = self.requester.requestBytestream(TARGET, self.factory)
        self.world.clock.advance(0.001)
        self.assertEqual(len(self.world.machines[REQUESTER].ports), 1)
        self.world.tick(1)
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(self.world.machines[REQUESTER].ports, [])
        third = self.requester.requestBytestream(TARGET, self.factory)
        self.world.tick(1)
        self.successResultOf(third)

    def test_sameSidTwice(self) -> None:
        """
        A sid that is being negotiated with this target cannot be used again.
        """
        self.start()
        again = self.requester.requestBytestream(TARGET, self.factory, sid="s1")
        self.failureResultOf(again, ValueError)

    def test_badTarget(self) -> None:
        """
        A target that is no JID is a mistake of the caller.
        """
        self.start()
        self.failureResultOf(self.requester.requestBytestream("@", self.factory), ValueError)

    def test_targetAsJID(self) -> None:
        """
        The target may be given as a JID, and is prepared as one.
        """
        self.start()
        negotiation = self.requester.requestBytestream(
            JID("Juliet@Capulet.Example/balcony"), self.factory, sid="s2"
        )
        self.world.tick(1)
        self.assertEqual(self.successResultOf(negotiation).address.peer, TARGET)

    def test_endpoint(self) -> None:
        """
        A bytestream can be had as an endpoint.
        """
        self.start()
        endpoint = BytestreamEndpoint(self.requester, TARGET)
        connected = endpoint.connect(self.factory)
        self.world.tick(1)
        self.assertIsInstance(self.successResultOf(connected), Recorder)

    def test_multiUserChat(self) -> None:
        """
        Between two occupants of a room neither knows the other's JID, and the hash still agrees.
        """
        room = "verona@chat.example"
        self.world.server.addRoom(room, {"r": REQUESTER, "j": TARGET})
        self.start()
        negotiation = self.requester.requestBytestream(f"{room}/j", self.factory, sid="s2")
        self.world.tick(1)
        self.assertEqual(self.successResultOf(negotiation).address.peer, f"{room}/j")
        self.assertEqual(self.acceptor.factory.made[-1].address.peer, f"{room}/r")

    def test_factoryWithoutProtocol(self) -> None:
        """
        A factory that makes no protocol costs the connection.
        """
        self.factory.buildProtocol = lambda addr: None  # type: ignore[method-assign,assignment,return-value]
        negotiation = self.start()
        self.world.tick(1)
        self.failureResultOf(negotiation, NoProtocol)
        self.assertEqual(self.world.leftOvers(), [])

    def test_factoryThatFails(self) -> None:
        """
        A factory that raises costs the connection, and the caller hears why.
        """

        def broken(addr: Any) -> Any:
            raise RuntimeError("broken")

        self.factory.buildProtocol = broken  # type: ignore[method-assign]
        negotiation = self.start()
        self.world.tick(1)
        self.failureResultOf(negotiation, RuntimeError)
        self.assertEqual(self.world.leftOvers(), [])


class ProxyTests(RequesterTestCase):
    """
    Mediated bytestreams.
    """

    def setUp(self) -> None:
        super().setUp()
        self.rendezvous = self.world.proxy()

    def test_bytesGoBothWays(self) -> None:
        """
        Through a proxy both applications get a connection as well.
        """
        ours, theirs = self.connected(self.start(ways=Ways.PROXY_ONLY, proxies=[PROXY]))
        self.assertEqual(str(ours.address.route), f"through {PROXY}")
        self.assertEqual(str(theirs.address.route), f"through {PROXY}")
        self.assertEqual(ours.address.route.address, PROXY_IP)
        self.assertWorks(ours, theirs)

    def test_proxyOnlyNamesNoAddress(self) -> None:
        """
        With the policy "proxy only" no port is opened, and no stanza has an address of ours.
        """
        self.world.machines[REQUESTER].listenTCP = None  # type: ignore[method-assign,assignment]
        self.connected(self.start(ways=Ways.PROXY_ONLY, proxies=[PROXY]))
        for stanza in self.world.server.stanzas:
            self.assertNotIn(REQUESTER_IP, stanza)

    def test_directOnlyAsksNoProxy(self) -> None:
        """
        With the policy "direct only" nobody is asked for proxies.
        """
        self.connected(self.start(ways=Ways.DIRECT_ONLY, proxies=[PROXY], discoverProxies=True))
        self.assertEqual(len(self.world.server.stanzas), 2)

    def test_bothAreOffered(self) -> None:
        """
        Own streamhosts stand before those of proxies, and are preferred.
        """
        ours, _ = self.connected(self.start(proxies=[PROXY]))
        request = next(stanza for stanza in self.world.queries if "dstaddr" in stanza)
        self.assertLess(request.index(REQUESTER_IP), request.index(PROXY_IP))
        self.assertIsNone(ours.address.route.proxy)

    def test_proxyWhenDirectIsDead(self) -> None:
        """
        When our own address cannot be reached, the proxy takes over without a long wait.
        """
        self.world.internet.silent.add(REQUESTER_IP)
        negotiation = self.start(proxies=[PROXY])
        self.world.tick(0.6)
        self.assertEqual(str(self.successResultOf(negotiation).address.route), f"through {PROXY}")

    def test_foundByDiscovery(self) -> None:
        """
        The proxy of our own server is found without any setting.
        """
        self.world.connect(SERVER, ServiceDiscovery("chat.example", PROXY))
        ours, _ = self.connected(self.start(ways=Ways.PROXY_ONLY, discoverProxies=True))
        self.assertEqual(ours.address.route.proxy, PROXY)

    def test_noPortFreeButProxy(self) -> None:
        """
        When no port is free, proxies are offered alone.
        """
        self.world.machines[REQUESTER].listenTCP(5000, Factory())
        ours, _ = self.connected(self.start(proxies=[PROXY], ports=[5000]))
        self.assertEqual(ours.address.route.proxy, PROXY)

    def test_noAddressButProxy(self) -> None:
        """
        A machine without an address worth offering offers proxies alone, and listens nowhere.
        """
        ours, _ = self.connected(self.start(proxies=[PROXY], addresses=[]))
        self.assertEqual(ours.address.route.proxy, PROXY)

    def test_nothingToOffer(self) -> None:
        """
        With neither an address nor a proxy the error says what to do.
        """
        negotiation = self.start(ways=Ways.PROXY_ONLY)
        error = self.failureResultOf(negotiation, NotReachable).value
        self.assertIn("name a proxy", str(error))

    def test_namedProxiesAreOfNoUse(self) -> None:
        """
        Why the proxies that were named are of no use is told.
        """
        negotiation = self.start(ways=Ways.PROXY_ONLY, proxies=["nothing.example"])
        self.world.tick(1)
        error = self.failureResultOf(negotiation, NotReachable).value
        self.assertIn("no proxy serves us (nothing.example: ", str(error))
        self.assertIn("); name another proxy", str(error))

    def test_nothingIsSentBeforeActivation(self) -> None:
        """
        The application gets the connection only when the proxy has confirmed the activation.
        """
        gate: Deferred[None] = Deferred()
        activate = self.world.proxyHandler.onActivation
        self.world.proxyHandler.onActivation = lambda iq: gate.addCallback(lambda _: activate(iq))  # type: ignore
        negotiation = self.start(ways=Ways.PROXY_ONLY, proxies=[PROXY])
        self.world.tick(1)
        self.assertEqual(self.factory.made, [])
        gate.callback(None)
        self.assertWorks(*self.connected(negotiation))

    def test_activationIsRefused(self) -> None:
        """
        A proxy that does not activate is a way that was not found; its text is told.
        """

        def refuse(iq: Any) -> None:
            raise StanzaError("not-allowed", text="only one party")

        self.world.proxyHandler.onActivation = refuse  # type: ignore[method-assign]
        negotiation = self.start(ways=Ways.PROXY_ONLY, proxies=[PROXY])
        self.world.tick(1)
        error = self.failureResultOf(negotiation, NotReachable).value
        self.assertIn("not-allowed (only one party)", str(error))
        self.rendezvous.closeAll("test over")
        self.world.tick(1)
        self.assertEqual(self.world.leftOvers(), [])

    def test_proxyOutOfReach(self) -> None:
        """
        A proxy that the target reaches and we do not is a way that was not found.
        """

        def answer(iq: Any) -> Any:
            self.world.internet.silent.add(PROXY_IP)
            return usedElement("s1", PROXY)

        negotiation = self.start(Canned(set=answer), ways=Ways.PROXY_ONLY, proxies=[PROXY])
        self.world.tick(6)
        error = self.failureResultOf(negotiation, NotReachable).value
        self.assertIn(f"uses the proxy {PROXY}, which we cannot reach", str(error))
        self.assertIn(f"{PROXY_IP} port 7777", str(error))
        self.assertEqual(self.world.leftOvers(), [])

    def test_activateIsSentToTheStreamhost(self) -> None:
        """
        The activation goes to the JID of the streamhost, not to the one that was asked for it.
        """
        node = f"{PROXY}/node7"
        [streamHost] = self.world.proxyHandler.streamHosts
        self.world.proxyHandler.streamHosts = (type(streamHost)(node, streamHost.host, streamHost.port),)
        self.world.connect(node, self.world.proxyHandler)
        self.connected(self.start(ways=Ways.PROXY_ONLY, proxies=[PROXY]))
        [activation] = [stanza for stanza in self.world.queries if "<activate>" in stanza]
        self.assertIn(f"to='{node}'", activation)


class RefusalTests(RequesterTestCase):
    """
    What a target may answer instead.
    """

    def refusal(self, answer: Any, kind: type[Exception]) -> str:
        """
        Ask a target that answers with this.

        @return: the text of the error.
        """
        negotiation = self.start(Canned(set=answer))
        self.world.tick(1)
        text = str(self.failureResultOf(negotiation, kind).value)
        self.world.tick(1)
        self.assertEqual(self.world.leftOvers(), [])
        return text

    def test_notAcceptable(self) -> None:
        """
        C{not-acceptable} is a refusal.
        """
        text = self.refusal(StanzaError("not-acceptable", text="Offer declined"), Refused)
        self.assertEqual(text, f"{TARGET} refuses the bytestream: not-acceptable (Offer declined)")

    def test_itemNotFound(self) -> None:
        """
        C{item-not-found} means that no streamhost was reached.
        """
        text = self.refusal(StanzaError("item-not-found"), NotReachable)
        self.assertIn(f"{TARGET} could connect to none of the 1 streamhosts offered (item-not-found)", text)

    def test_notSupported(self) -> None:
        """
        C{feature-not-implemented} means that the target knows no bytestreams.
        """
        text = self.refusal(StanzaError("feature-not-implemented"), Refused)
        self.assertIn("knows no SOCKS5 bytestreams", text)

    def test_claimsToBeConnected(self) -> None:
        """
        A target that says it is connected to us, and is not, is found out.
        """
        text = self.refusal(usedElement("s1", REQUESTER), NotReachable)
        self.assertIn("but it is not", text)

    def test_usesWhatWasNotOffered(self) -> None:
        """
        A target that names a streamhost of its own invention is not followed.
        """
        text = self.refusal(usedElement("s1", "evil.example"), NegotiationError)
        self.assertIn("'evil.example', which we have not offered", text)

    def test_answersNothing(self) -> None:
        """
        A result without a streamhost, and without a connection, is no bytestream.
        """
        text = self.refusal(None, NegotiationError)
        self.assertIn("None", text)

    def test_badAddressAsStreamhost(self) -> None:
        """
        A streamhost-used that is no JID at all is not followed either.
        """
        self.refusal(usedElement("s1", "@@"), NegotiationError)

    def test_noAnswer(self) -> None:
        """
        A target that never answers is given up after a time.
        """
        negotiation = self.start(Canned(set=Deferred()), answerTimeout=10)
        self.world.tick(11)
        error = self.failureResultOf(negotiation, NotReachable).value
        self.assertEqual(str(error), f"{TARGET} did not answer within 10 s")
        self.assertEqual(self.world.leftOvers(), [])

    def test_streamLost(self) -> None:
        """
        When the XMPP connection breaks, so does the negotiation.
        """
        negotiation = self.start(Canned(set=Deferred()))
        self.world.tick()
        self.world.server.disconnect(REQUESTER)
        self.world.tick()
        error = self.failureResultOf(negotiation, NegotiationError).value
        self.assertIn("the XMPP connection was lost", str(error))
        self.assertEqual(self.world.leftOvers(), [])

    def test_noStream(self) -> None:
        """
        Without an XMPP connection nothing is begun.
        """
        self.failureResultOf(self.start(ways=Ways.PROXY_ONLY), NotReachable)
        self.world.server.disconnect(REQUESTER)
        negotiation = self.requester.requestBytestream(TARGET, self.factory)
        self.failureResultOf(negotiation, NegotiationError)


class BrokenTests(RequesterTestCase):
    """
    Either side may vanish at any moment.
    """

    def breakAt(self, step: int, breakIt: Any, **options: Any) -> bool:
        """
        Break something after some turns.

        @return: whether the negotiation was still running.
        """
        self.world = World()
        self.factory = RecorderFactory()
        self.acceptor = Acceptor()
        self.world.proxy()
        negotiation = self.start(**options)
        self.world.clock.pump([0.0005] * step)
        running = not negotiation.called
        breakIt()
        self.world.tick(400)
        if isinstance(negotiation.result, Recorder):
            negotiation.result.transport.loseConnection()
            self.world.tick(1)
        else:
            self.failureResultOf(negotiation, NegotiationError)
        for protocol in self.factory.made + self.acceptor.factory.made:
            self.assertIsNotNone(protocol.lost)
        self.assertEqual(self.world.leftOvers(), [], f"broken after {step} turns")
        return running

    def abortAll(self) -> None:
        """
        Reset all connections.
        """
        for transport in list(self.world.internet.transports):
            transport.abortConnection()

    def sweep(self, breakIt: Any, **options: Any) -> None:
        """
        Break something at each step of a negotiation.
        """
        steps = 0
        while self.breakAt(steps, breakIt, **options):
            steps += 1
        self.assertGreater(steps, 5)

    def test_directConnectionsReset(self) -> None:
        """
        The connections of a direct bytestream are reset at each step.
        """
        self.sweep(self.abortAll)

    def test_proxyConnectionsReset(self) -> None:
        """
        The connections of a proxied bytestream are reset at each step.
        """
        self.sweep(self.abortAll, ways=Ways.PROXY_ONLY, proxies=[PROXY])

    def test_requesterLeavesTheServer(self) -> None:
        """
        The requester's XMPP connection breaks at each step.
        """
        self.sweep(lambda: self.world.server.disconnect(REQUESTER), ways=Ways.PROXY_ONLY, proxies=[PROXY])

    def test_targetLeavesTheServer(self) -> None:
        """
        The target's XMPP connection breaks at each step.
        """
        self.sweep(lambda: self.world.server.disconnect(TARGET), ways=Ways.PROXY_ONLY, proxies=[PROXY])

    def test_proxyLeavesTheServer(self) -> None:
        """
        The proxy's XMPP connection breaks at each step.
        """
        self.sweep(lambda: self.world.server.disconnect(PROXY), ways=Ways.PROXY_ONLY, proxies=[PROXY])


class CancelTests(RequesterTestCase):
    """
    Cancelling leaves nothing behind, whenever it comes.
    """

    def cancelAt(self, step: int, **options: Any) -> bool:
        """
        Cancel a negotiation after some turns.

        @return: whether it was still running.
        """
        self.world = World()
        self.factory = RecorderFactory()
        self.acceptor = Acceptor()
        self.world.proxy()
        negotiation = self.start(**options)
        self.world.clock.pump([0.0005] * step)
        if negotiation.called:
            return False
        negotiation.cancel()
        self.failureResultOf(negotiation, CancelledError)
        self.assertEqual(self.requester._outgoing, {})
        self.assertEqual(self.world.machines[REQUESTER].ports[1:], [])
        self.world.tick(400)
        self.assertEqual(self.world.leftOvers(), [], f"cancelled after {step} turns")
        self.assertEqual(self.factory.made, [])
        return True

    def test_direct(self) -> None:
        """
        At each step of a direct bytestream.
        """
        steps = 0
        while self.cancelAt(steps):
            steps += 1
        self.assertGreater(steps, 5)

    def test_proxied(self) -> None:
        """
        At each step of a proxied bytestream.
        """
        steps = 0
        while self.cancelAt(steps, ways=Ways.PROXY_ONLY, proxies=[PROXY]):
            steps += 1
        self.assertGreater(steps, 10)

    def test_close(self) -> None:
        """
        Closing the client cancels what is being opened.
        """
        negotiation = self.start(Canned(set=Deferred()))
        self.world.tick()
        self.requester.close()
        self.failureResultOf(negotiation, CancelledError)
        self.world.tick()
        self.assertEqual(self.world.leftOvers(), [])


class OptionsTests(SynchronousTestCase):
    """
    L{BytestreamOptions}.
    """

    def test_badAdvertisement(self) -> None:
        """
        What cannot be advertised is found out at once.
        """
        for text in ("", "[::1", "[::1]x", "a:b", "a:70000", "[]:1"):
            with self.assertRaises(ConfigurationError, msg=text):
                BytestreamOptions(advertise=[text])
        BytestreamOptions(advertise=["a", "a:1", "::1", "[::1]", "[::1]:1"])
