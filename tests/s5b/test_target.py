"""
The Target: accepting bytestreams, over a server and an internet in memory.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish.domish import Element

from tests.s5b.world import (
    LATENCY,
    PROXY,
    PROXY_IP,
    REQUESTER,
    REQUESTER_IP,
    TARGET,
    Acceptor,
    Recorder,
    World,
)
from xmppbytes.compat import disco
from xmppbytes.errors import NegotiationError, NotReachable, Refused
from xmppbytes.s5b.address import destinationAddress, latin1Address
from xmppbytes.s5b.options import Ways
from xmppbytes.s5b.request import BytestreamRequest, usedStreamHost
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS, StreamHost, queryElement
from xmppbytes.stanza import RequestHandler

SID = "s1"
HASH = destinationAddress(SID, REQUESTER, TARGET).encode()


class FakeStreamHost(Protocol):
    """
    A streamhost of the test: answers the greeting, and the request with whatever the test says.
    """

    transport: Any

    def __init__(self, reply: bytes) -> None:
        self._reply = reply
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        if not self.received:
            self.transport.write(b"\5\0")
        elif self.received == b"\5\1\0":
            self.transport.write(self._reply)
        self.received += data


class FakeStreamHostFactory(Factory):
    """
    Makes L{FakeStreamHost}s.
    """

    noisy = False

    def __init__(self, reply: bytes = b"\5\0\0\3\x28" + HASH + b"\0\0") -> None:
        self._reply = reply
        self.made: list[FakeStreamHost] = []

    def buildProtocol(self, addr: Any) -> FakeStreamHost:
        self.made.append(FakeStreamHost(self._reply))
        return self.made[-1]


class TargetTestCase(SynchronousTestCase):
    """
    Our client as the target; the requester is the test.
    """

    def setUp(self) -> None:
        self.world = World()
        self.asker = RequestHandler()
        self.world.connect(REQUESTER, self.asker)
        self.acceptor = Acceptor()

    def accept(self, **options: Any) -> None:
        """
        Start the target.
        """
        self.target = self.world.client(TARGET, self.acceptor, **options)

    def listen(self, port: int = 1000, reply: bytes | None = None) -> FakeStreamHostFactory:
        """
        Make the requester's machine a streamhost.
        """
        factory = FakeStreamHostFactory() if reply is None else FakeStreamHostFactory(reply)
        self.world.machines[REQUESTER].listenTCP(port, factory)
        return factory

    def ask(self, *hosts: tuple[str, int], jid: str = REQUESTER, **request: Any) -> Deferred[Element]:
        """
        Ask for a bytestream.
        """
        streamHosts = tuple(StreamHost(jid, host, port) for host, port in hosts)
        element = BytestreamRequest(request.pop("sid", SID), streamHosts, **request).toElement()
        return self.asker.ask(TARGET, "set", element, 300)

    def refusal(self, asked: Deferred[Element]) -> str:
        """
        The condition with which a request was refused.
        """
        return str(self.failureResultOf(asked, StanzaError).value.condition)

    def attempts(self) -> list[tuple[float, str, int]]:
        """
        The connection attempts, relative to the first.
        """
        made = self.world.internet.attempts
        return [(round(moment - made[0][0], 1), host, port) for moment, host, port in made]


class AcceptTests(TargetTestCase):
    """
    A bytestream that works.
    """

    def setUp(self) -> None:
        super().setUp()
        self.accept()

    def accepted(self, reply: bytes | None = None) -> tuple[FakeStreamHost, Recorder]:
        """
        Make a bytestream.

        @return: the streamhost's protocol and the application's.
        """
        factory = self.listen(reply=reply)
        asked = self.ask((REQUESTER_IP, 1000))
        self.world.tick()
        answer = self.successResultOf(asked)
        self.assertEqual(usedStreamHost(answer), REQUESTER)
        [ours] = self.acceptor.factory.made
        return factory.made[0], ours

    def test_handshake(self) -> None:
        """
        Greeting and request are sent one after the other, with the hash of the prepared JIDs.
        """
        theirs, _ = self.accepted()
        self.assertEqual(theirs.received, b"\5\1\0" + b"\5\1\0\3\x28" + HASH + b"\0\0")

    def test_answer(self) -> None:
        """
        The answer is that of XEP-0065 listing 17.
        """
        self.accepted()
        self.assertIn(
            f"<query xmlns='{NS_BYTESTREAMS}' sid='s1'><streamhost-used jid='{REQUESTER}'/></query>",
            self.world.queries[-1],
        )

    def test_replyForms(self) -> None:
        """
        Every form of reply that is found in the wild is taken for a success.
        """
        forms = {
            "libpurple": b"\5\0\0\3\x0910.65.0.1\0\0",
            "Miranda": b"\5\0\0\1\0\0\0\0\0\0",
            "IPv6": b"\5\0\0\4" + bytes(16) + b"\0\0",
            "old ejabberd": b"\5\0\0\0\0\0",
        }
        for name, reply in forms.items():
            self.setUp()
            theirs, ours = self.accepted(reply)
            theirs.transport.write(b"hello")
            self.world.tick()
            self.assertEqual(ours.data, b"hello", name)

    def test_bytesBehindTheReply(self) -> None:
        """
        What is glued to the reply belongs to the application.
        """
        theirs, ours = self.accepted(b"\5\0\0\3\x28" + HASH + b"\0\0but soft")
        theirs.transport.write(b", what light")
        self.world.tick()
        self.assertEqual(ours.data, b"but soft, what light")

    def test_answerComesFirst(self) -> None:
        """
        The requester's answer is under way before the application can write.
        """
        seen = []
        build = self.acceptor.factory.buildProtocol
        self.acceptor.factory.buildProtocol = lambda addr: seen.append(len(self.world.queries)) or build(addr)  # type: ignore
        self.listen()
        self.ask((REQUESTER_IP, 1000))
        self.world.clock.pump([LATENCY / 2] * 100)
        self.assertEqual(len(seen), 1)
        self.assertEqual(len(self.world.queries), 2)

    def test_dstaddrWins(self) -> None:
        """
        A hash in the request is used instead of our own.
        """
        factory = self.listen()
        self.ask((REQUESTER_IP, 1000), destination="a" * 40)
        self.world.tick()
        self.assertIn(b"a" * 40, factory.made[0].received)

    def askPicky(self, requester: str, wanted: str) -> Any:
        """
        Let a requester ask whose streamhost grants one hash and refuses all others.
        """
        self.world.connect(requester, self.asker)

        class Picky(FakeStreamHost):
            def dataReceived(self, data: bytes) -> None:
                granted = wanted.encode() in data
                self._reply = b"\5\0\0\3\x28" + wanted.encode() + b"\0\0" if granted else b"\5\1"
                super().dataReceived(data)

        factory = self.listen()
        factory.buildProtocol = lambda addr: Picky(b"")  # type: ignore[method-assign]
        asked = self.ask((REQUESTER_IP, 1000))
        self.world.tick()
        return usedStreamHost(self.successResultOf(asked))

    def test_unpreparedHash(self) -> None:
        """
        A requester that refuses the hash of the prepared addresses is asked for that of the received.
        """
        strange = "Romeo@montague.example/orchard"
        self.assertEqual(self.askPicky(strange, destinationAddress(SID, strange, TARGET)), REQUESTER)

    def test_hashOfQXmpp(self) -> None:
        """
        And then for that of Latin-1, which is QXmpp's.
        """
        kitchen = "romeo@montague.example/K\xfcche"
        self.assertEqual(self.askPicky(kitchen, latin1Address(SID, kitchen, TARGET)), REQUESTER)

    def test_decisionLater(self) -> None:
        """
        The acceptor may take its time.
        """
        decision: Deferred[Any] = Deferred()
        self.acceptor.answer = decision
        self.listen()
        asked = self.ask((REQUESTER_IP, 1000))
        self.world.tick(100)
        self.assertNoResult(asked)
        decision.callback(self.acceptor.factory)
        self.world.tick()
        self.successResultOf(asked)

    def test_noProtocol(self) -> None:
        """
        Without a protocol for it the connection is closed, and the acceptor told.
        """
        self.acceptor.factory.buildProtocol = lambda addr: None  # type: ignore
        self.listen()
        self.ask((REQUESTER_IP, 1000))
        self.world.tick()
        self.assertIsInstance(self.acceptor.failures[0], NegotiationError)
        self.assertEqual(self.world.internet.transports, [])

    def test_applicationFails(self) -> None:
        """
        An error of the application costs its connection and one line in the log.
        """

        def broken(addr: Any) -> Any:
            raise RuntimeError("broken")

        self.acceptor.factory.buildProtocol = broken  # type: ignore[method-assign]
        self.listen()
        self.ask((REQUESTER_IP, 1000))
        self.world.tick()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.world.internet.transports, [])

    def test_disco(self) -> None:
        """
        The feature is announced (XEP-0065 section 3).
        """
        [feature] = self.target.getDiscoInfo(None, None)
        self.assertEqual(feature, disco.DiscoFeature(NS_BYTESTREAMS))
        self.assertEqual(self.target.getDiscoInfo(None, None, "node"), [])
        self.assertEqual(self.target.getDiscoItems(None, None), [])


class RaceTests(TargetTestCase):
    """
    Several streamhosts.
    """

    def test_deadOnesDoNotStall(self) -> None:
        """
        A refused, a silent and a senseless streamhost before a live one cost less than a second.
        """
        self.accept()
        self.world.internet.silent.add(("192.0.2.9", 1))
        self.listen(1001, b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.listen(1000)
        asked = self.ask((REQUESTER_IP, 7), ("192.0.2.9", 1), (REQUESTER_IP, 1001), (REQUESTER_IP, 1000))
        self.world.tick(0.8)
        self.successResultOf(asked)
        self.assertEqual(
            self.attempts(),
            [
                (0.0, REQUESTER_IP, 7),
                (0.0, "192.0.2.9", 1),
                (0.2, REQUESTER_IP, 1001),
                (0.4, REQUESTER_IP, 1000),
            ],
        )

    def test_proxiesStartLater(self) -> None:
        """
        A streamhost that is not the requester's starts 200 ms later than its turn.
        """
        self.accept()
        self.world.internet.silent.update([REQUESTER_IP, PROXY_IP])
        query = BytestreamRequest(
            SID, (StreamHost(REQUESTER, REQUESTER_IP, 1), StreamHost(PROXY, PROXY_IP, 2))
        ).toElement()
        self.asker.ask(TARGET, "set", query)
        self.world.tick(2)
        self.assertEqual(self.attempts(), [(0.0, REQUESTER_IP, 1), (0.4, PROXY_IP, 2)])

    def test_allDead(self) -> None:
        """
        When nothing answers the requester hears C{item-not-found}, and the acceptor why.
        """
        self.accept()
        self.world.internet.silent.add(REQUESTER_IP)
        asked = self.ask((REQUESTER_IP, 1), (REQUESTER_IP, 2))
        self.world.tick(5.5)
        self.assertEqual(self.refusal(asked), "item-not-found")
        [error] = self.acceptor.failures
        self.assertIsInstance(error, NotReachable)
        self.assertIn(f"{REQUESTER_IP} port 1: ", str(error))
        self.assertEqual(self.world.leftOvers(), [])

    def test_atMost16(self) -> None:
        """
        No more than 16 streamhosts are tried, and for no longer than 30 seconds.
        """
        self.accept()
        self.world.internet.silent.add(REQUESTER_IP)
        asked = self.ask(*[(REQUESTER_IP, port) for port in range(1, 40)])
        self.world.tick(30.5)
        self.assertEqual(len(self.attempts()), 16)
        self.assertEqual(self.refusal(asked), "item-not-found")

    def test_losersAreClosed(self) -> None:
        """
        Once a streamhost has won, the connections to the others are closed.
        """
        self.accept()
        self.listen(1001, b"")
        self.listen(1000)
        self.ask((REQUESTER_IP, 1001), (REQUESTER_IP, 1000))
        self.world.tick(1)
        self.assertEqual(len(self.world.internet.transports), 2)

    def test_names(self) -> None:
        """
        A streamhost may have a name, with several addresses of which one works.
        """
        self.accept()
        self.world.internet.names["gw.example"] = ["2001:db8::5", REQUESTER_IP]
        self.world.internet.silent.add("2001:db8::5")
        self.listen(1000)
        asked = self.ask(("gw.example", 1000))
        self.world.tick()
        self.world.tick()
        self.successResultOf(asked)

    def test_unknownName(self) -> None:
        """
        A name without an address is a streamhost that cannot be reached.
        """
        self.accept()
        asked = self.ask(("nowhere.example", 1000), ("x" * 300, 1), ("..", 2))
        self.world.tick()
        self.assertEqual(self.refusal(asked), "item-not-found")
        self.assertIn("the name nowhere.example has no address", str(self.acceptor.failures[0]))


class PolicyTests(TargetTestCase):
    """
    What may be connected to.
    """

    def tried(self, *hosts: tuple[str, int], jid: str = REQUESTER, **options: Any) -> list[str]:
        """
        Offer streamhosts.

        @return: the addresses that were tried.
        """
        self.accept(**options)
        asked = self.ask(*hosts, jid=jid)
        self.world.tick(6)
        self.assertEqual(self.refusal(asked), "item-not-found")
        return [host for _, host, _ in self.attempts()] if self.world.internet.attempts else []

    def test_noPortScanner(self) -> None:
        """
        Our own machine, our link, multicast and broadcast are not connected to at a stranger's wish.
        """
        hosts = ["127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.1.1", "fe80::1", "224.0.0.1", "0.0.0.0"]
        self.assertEqual(self.tried(*[(host, 22) for host in hosts]), [])

    def test_nameOfTheLoopback(self) -> None:
        """
        A name is no way around the policy.
        """
        self.world.internet.names["innocent.example"] = ["127.0.0.1"]
        self.assertEqual(self.tried(("innocent.example", 22)), [])

    def test_allowedAddress(self) -> None:
        """
        What the user allows is connected to.
        """
        self.assertEqual(self.tried(("127.0.0.1", 22), allowAddresses=["127.0.0.0/8"]), ["127.0.0.1"])

    def test_proxyOnly(self) -> None:
        """
        With the policy "proxy only" the requester itself is not connected to.
        """
        self.assertEqual(self.tried((REQUESTER_IP, 1), ways=Ways.PROXY_ONLY), [])

    def test_directOnly(self) -> None:
        """
        With the policy "direct only" no proxy is connected to.
        """
        self.assertEqual(self.tried((PROXY_IP, 1), jid=PROXY, ways=Ways.DIRECT_ONLY), [])

    def test_loopbackServer(self) -> None:
        """
        Where our own server was reached over the loopback, streamhosts may be there, too.
        """
        self.accept()
        manager = self.world.server.connect(TARGET, peer="127.0.0.1")
        self.target.setHandlerParent(manager)
        self.ask(("127.0.0.1", 1)).addErrback(lambda _: None)
        self.world.tick()
        self.assertEqual([host for _, host, _ in self.attempts()], ["127.0.0.1"])


class RefuseTests(TargetTestCase):
    """
    What is refused, and how.
    """

    def test_malformed(self) -> None:
        """
        A request that breaks the protocol is a C{bad-request}.
        """
        self.accept()
        good = BytestreamRequest(SID, (StreamHost(REQUESTER, REQUESTER_IP, 1),))
        spoil: dict[str, Callable[[Element], None]] = {
            "no sid": lambda query: query.attributes.pop("sid"),
            "long sid": lambda query: query.attributes.update(sid="x" * 1025),
            "odd mode": lambda query: query.attributes.update(mode="pigeon"),
            "bad hash": lambda query: query.attributes.update(dstaddr="x" * 40),
            "non-ASCII hash": lambda query: query.attributes.update(dstaddr="ä" * 40),
            "no streamhost": lambda query: query.children.clear(),
        }
        for name, change in spoil.items():
            query = good.toElement()
            change(query)
            asked = self.asker.ask(TARGET, "set", query)
            self.world.tick()
            self.assertEqual(self.refusal(asked), "bad-request", name)
        self.assertEqual(self.acceptor.offers, [])

    def test_uselessStreamhosts(self) -> None:
        """
        Streamhosts that nobody could connect to leave nothing to try: C{item-not-found}.
        """
        self.accept()
        query = queryElement(SID)
        for jid, host, port in ((REQUESTER, "", "1"), (REQUESTER, "h", "0"), ("", REQUESTER_IP, "1")):
            query.addChild(StreamHost(jid, host, 1).toElement())["port"] = port
        asked = self.asker.ask(TARGET, "set", query)
        self.world.tick()
        self.assertEqual(self.refusal(asked), "item-not-found")

    def test_nobodyAccepts(self) -> None:
        """
        A client without an acceptor refuses what it does not expect.
        """
        self.target = self.world.client(TARGET)
        asked = self.ask((REQUESTER_IP, 1))
        self.world.tick()
        self.assertEqual(self.refusal(asked), "not-acceptable")

    def test_refused(self) -> None:
        """
        An acceptor's no is C{not-acceptable}, without its text.
        """
        self.acceptor.answer = Refused("the user dislikes Romeo")
        self.accept()
        asked = self.ask((REQUESTER_IP, 1))
        self.world.tick()
        self.assertEqual(self.refusal(asked), "not-acceptable")
        self.assertNotIn("dislikes", self.world.queries[-1])

    def test_noDecision(self) -> None:
        """
        A decision that does not come is a no, and is cancelled.
        """
        cancelled: list[Any] = []
        self.acceptor.answer = Deferred(cancelled.append)
        self.accept(decisionTimeout=10)
        asked = self.ask((REQUESTER_IP, 1))
        self.world.tick(11)
        self.assertEqual(self.refusal(asked), "not-acceptable")
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(self.world.leftOvers(), [])

    def test_acceptorFails(self) -> None:
        """
        An acceptor's error is ours to explain, not the requester's.
        """
        self.acceptor.answer = RuntimeError("broken")
        self.accept()
        asked = self.ask((REQUESTER_IP, 1))
        self.world.tick()
        self.assertEqual(self.refusal(asked), "internal-server-error")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.world.leftOvers(), [])

    def test_acceptorFailsToTakeNote(self) -> None:
        """
        An acceptor that fails when it is told of a failure does not change the answer.
        """

        def broken(offer: Any, error: Any) -> None:
            raise RuntimeError("broken")

        self.acceptor.bytestreamFailed = broken  # type: ignore[method-assign]
        self.accept()
        asked = self.ask((REQUESTER_IP, 1))
        self.world.tick()
        self.assertEqual(self.refusal(asked), "item-not-found")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_datagrams(self) -> None:
        """
        UDP is not accepted.
        """
        self.accept()
        asked = self.ask((REQUESTER_IP, 1), mode="udp")
        self.world.tick()
        self.assertEqual(self.refusal(asked), "not-acceptable")

    def test_sidInUse(self) -> None:
        """
        A second request of a sid that is being negotiated is refused; the first goes on.
        """
        self.acceptor.answer = Deferred()
        self.accept()
        first = self.ask((REQUESTER_IP, 1))
        second = self.ask((REQUESTER_IP, 1))
        self.world.tick()
        self.assertEqual(self.refusal(second), "not-acceptable")
        self.assertNoResult(first)

    def test_fastMode(self) -> None:
        """
        A target that asks back under the sid of our own request, as Psi does, is refused.
        """
        self.accept()
        self.target.requestBytestream(REQUESTER, self.acceptor.factory, sid=SID)
        asked = self.ask((REQUESTER_IP, 1))
        self.world.tick()
        self.assertEqual(self.refusal(asked), "not-acceptable")

    def test_tooManyOfOne(self) -> None:
        """
        One account cannot fill the table, whatever its resources and sids.
        """
        self.acceptor.answer = Deferred()
        self.accept(maxIncomingPerPeer=2)
        asked = [self.ask((REQUESTER_IP, 1), sid=f"s{n}") for n in range(3)]
        self.world.tick()
        self.assertEqual(self.refusal(asked[2]), "resource-constraint")
        self.assertNoResult(asked[1])

    def test_tooMany(self) -> None:
        """
        All strangers together cannot fill it either, and what is expected is let in nevertheless.
        """
        self.acceptor.answer = Deferred()
        self.accept(maxIncoming=1)
        self.target.expectBytestream(REQUESTER, "wanted", self.acceptor)
        asked = [self.ask((REQUESTER_IP, 1), sid=sid) for sid in ("a", "b", "wanted")]
        self.world.tick()
        self.assertEqual(self.refusal(asked[1]), "resource-constraint")
        self.assertNoResult(asked[0])
        self.assertNoResult(asked[2])

    def test_malformedSender(self) -> None:
        """
        A request from an address that is none is C{jid-malformed}.
        """
        self.accept()
        iq = Element((None, "iq"))
        iq["type"], iq["id"], iq["from"], iq["to"] = "set", "1", "@@", TARGET
        iq.addChild(BytestreamRequest(SID, (StreamHost(REQUESTER, REQUESTER_IP, 1),)).toElement())
        with self.assertRaises(StanzaError) as caught:
            self.target.onBytestreamRequest(iq)
        self.assertEqual(caught.exception.condition, "jid-malformed")


class ExpectTests(TargetTestCase):
    """
    Bytestreams that were agreed upon before.
    """

    def setUp(self) -> None:
        super().setUp()
        self.target = self.world.client(TARGET)

    def test_expected(self) -> None:
        """
        An expected bytestream goes to its own acceptor, again and again.
        """
        self.target.expectBytestream(REQUESTER, SID, self.acceptor)
        first = self.ask((REQUESTER_IP, 7))
        self.world.tick()
        self.assertEqual(self.refusal(first), "item-not-found")
        self.listen()
        second = self.ask((REQUESTER_IP, 1000))
        self.world.tick()
        self.successResultOf(second)
        self.assertEqual(len(self.acceptor.offers), 2)

    def test_onlyOfThisRequester(self) -> None:
        """
        Somebody else who guesses the sid is refused.
        """
        self.target.expectBytestream("tybalt@capulet.example/x", SID, self.acceptor)
        asked = self.ask((REQUESTER_IP, 1))
        self.world.tick()
        self.assertEqual(self.refusal(asked), "not-acceptable")

    def test_twice(self) -> None:
        """
        The same bytestream cannot be expected twice.
        """
        self.target.expectBytestream(REQUESTER, SID, self.acceptor)
        self.assertRaises(ValueError, self.target.expectBytestream, REQUESTER, SID, self.acceptor)

    def test_forgotten(self) -> None:
        """
        What is expected no more is refused.
        """
        self.target.expectBytestream(REQUESTER, SID, self.acceptor)
        self.target.forgetBytestream(REQUESTER, SID)
        self.target.forgetBytestream(REQUESTER, SID)
        asked = self.ask((REQUESTER_IP, 1))
        self.world.tick()
        self.assertEqual(self.refusal(asked), "not-acceptable")

    def test_forgottenAtEachStep(self) -> None:
        """
        Forgetting refuses a bytestream that is being connected, and leaves nothing behind.
        """
        step = 0
        running = True
        while running:
            self.setUp()
            self.target.expectBytestream(REQUESTER, SID, self.acceptor)
            self.listen()
            asked = self.ask((REQUESTER_IP, 1000))
            self.world.clock.pump([LATENCY / 2] * step)
            running = not self.acceptor.factory.made and not asked.called
            self.target.forgetBytestream(REQUESTER, SID)
            self.world.tick()
            if running and not self.acceptor.factory.made:
                self.assertEqual(self.refusal(asked), "not-acceptable")
                self.assertEqual(self.world.internet.transports, [])
                self.assertEqual(self.world.clock.getDelayedCalls(), [])
            self.assertEqual(self.target._incoming, {})
            step += 1
        self.assertGreater(step, 8)

    def test_streamLost(self) -> None:
        """
        What cannot be answered any more is given up when the XMPP connection breaks.
        """
        self.target.expectBytestream(REQUESTER, SID, self.acceptor)
        self.world.internet.silent.add(REQUESTER_IP)
        self.ask((REQUESTER_IP, 1)).addErrback(lambda _: None)
        self.world.tick()
        self.world.server.disconnect(TARGET)
        self.world.tick(1)
        self.assertEqual(self.target._incoming, {})
        self.assertEqual(self.acceptor.factory.made, [])
