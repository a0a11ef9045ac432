"""
What the peers that people use really do, one fake for each: how they connect, what they insist on, and
what breaks them. Each was observed in the peer that it is named for.
"""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from twisted.words.xish.domish import Element

from tests.s5b.proxyworld import PROXY, REQUESTER, SID, TARGET, ProxyWorld, errorOf
from xmppbytes.s5b.address import destinationAddress
from xmppbytes.s5b.protocol import PROBE_ADDRESS
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS

KEY = destinationAddress(SID, REQUESTER, TARGET)


class FakePeer:
    """
    A client. It takes each write of the proxy for one read of its own, as fast networks make it.
    """

    greeting = b"\5\1\0"
    jid = REQUESTER

    def __init__(self, world: ProxyWorld, address: str = "192.0.2.1") -> None:
        self.world = world
        self.transport = world.connect(address)

    def reads(self) -> list[bytes]:
        """
        What has arrived since it last looked, read by read.
        """
        pieces, self.transport.writes = self.transport.writes, []
        self.transport.sent = b""
        return pieces

    def request(self, key: str) -> bytes:
        """
        What it asks for.
        """
        return b"\5\1\0\3\x28" + key.encode("ascii") + b"\0\0"

    def connect(self, key: str = KEY) -> "FakePeer":
        """
        Do the SOCKS5 handshake.
        """
        self.transport.receive(self.greeting)
        (choice,) = self.reads()
        assert choice == b"\5\0", choice
        self.transport.receive(self.request(key))
        (reply,) = self.reads()
        self.check(self.request(key), reply)
        return self

    def check(self, request: bytes, reply: bytes) -> None:
        """
        See whether the reply means yes.
        """
        assert reply[:2] == b"\5\0", reply

    def send(self, data: bytes) -> None:
        self.transport.receive(data)

    @property
    def received(self) -> bytes:
        """
        The file, as far as it has arrived.
        """
        data: bytes = self.transport.sent
        return data

    def query(self, attributes: str = "", to: str = PROXY) -> Element:
        """
        Ask for the address.
        """
        return self.world.ask(
            f"<iq from='{self.jid}' id='1' to='{to}' type='get'>"
            f"<query xmlns='{NS_BYTESTREAMS}'{attributes}/></iq>"
        )

    def activate(self, to: str = PROXY, attributes: str = "", target: str = TARGET) -> Element:
        """
        Ask for activation.
        """
        return self.world.ask(
            f"<iq from='{self.jid}' id='2' to='{to}' type='set'>"
            f"<query xmlns='{NS_BYTESTREAMS}' sid='{SID}'{attributes}>"
            f"<activate>{target}</activate></query></iq>"
        )


class FakeSmack(FakePeer):
    """
    Compares the reply with its request, array with array; its Jingle transport activates twice.
    """

    def check(self, request: bytes, reply: bytes) -> None:
        expected = bytearray(request)
        expected[1] = 0
        assert reply == expected, reply


class FakeDino(FakePeer):
    """
    Looks at each field of the reply. It drops the proxies of others when one answers without a streamhost.
    """

    def check(self, request: bytes, reply: bytes) -> None:
        assert (reply[0], reply[1], reply[3], reply[4]) == (5, 0, 3, 40), reply
        assert reply[5:45] == request[5:45], reply
        assert reply[45:] == b"\0\0", reply


class FakeConversations(FakePeer):
    """
    Reads as many bytes as its request had, once: a longer reply would leak into the file, a shorter eat
    of it. Its requester connects before it offers, and a person then takes their time; its receiver gives
    up when no byte comes for 30 s.
    """

    def check(self, request: bytes, reply: bytes) -> None:
        assert len(reply) == len(request) and reply[1] == 0, reply


class FakeQXmpp(FakePeer):
    """
    Needs each reply whole in one read, and RSV 0.
    """

    def check(self, request: bytes, reply: bytes) -> None:
        assert len(reply) == 47 and reply[:3] == b"\5\0\0", reply


class FakeGloox(FakePeer):
    """
    Offers a password beside none when it has one; throws away what is glued to the reply.
    """

    greeting = b"\5\2\0\2"

    def check(self, request: bytes, reply: bytes) -> None:
        assert len(reply) >= 6 and len(reply) == len(request), "what is glued to it would be lost"


class FakeIris(FakePeer):
    """
    Psi: offers a password method beside none, and names the mode.
    """

    greeting = b"\5\2\0\2"


class FakeSlixmpp(FakePeer):
    """
    Needs each reply whole in one read, does not prepare addresses, and ends by the end of stream alone.
    """

    def check(self, request: bytes, reply: bytes) -> None:
        assert len(reply) == 47 and reply[1] == 0, reply


class FakeLibpurple(FakePeer):
    """
    Sends the file straight behind the activation request, and asks the address that it queried, whatever
    the streamhost was called.
    """


class FakeGajim(FakePeer):
    """
    Looks whether a proxy lives by a throw-away hash, and leaves.
    """


class FakeProbe(FakePeer):
    """
    The clients of old times look by a name that is no hash.
    """

    def request(self, key: str) -> bytes:
        return b"\5\1\0\3" + bytes((len(PROBE_ADDRESS),)) + PROBE_ADDRESS + b"\0\0"


class FakeUpperCase(FakePeer):
    """
    Nobody known, but allowed: hexadecimal digits in upper case.
    """

    def request(self, key: str) -> bytes:
        return super().request(key.upper())

    def check(self, request: bytes, reply: bytes) -> None:
        assert reply[5:45] == request[5:45], reply


class FakeDribbler(FakePeer):
    """
    A peer behind a network that hands over byte for byte.
    """

    def connect(self, key: str = KEY) -> "FakePeer":
        for byte in self.greeting + self.request(key):
            self.transport.receive(bytes((byte,)))
        assert self.reads() == [b"\5\0", b"\5\0" + self.request(key)[2:]]
        return self


class FakeHasty(FakePeer):
    """
    A peer that does not wait for the answers: everything, the file as well, in one segment.
    """

    file = b"the file"

    def connect(self, key: str = KEY) -> "FakePeer":
        self.transport.receive(self.greeting + self.request(key) + self.file)
        assert self.reads() == [b"\5\0", b"\5\0" + self.request(key)[2:]]
        return self


class QuirkCase(SynchronousTestCase):
    """
    A proxy, and peers of all makes.
    """

    def setUp(self) -> None:
        self.world = ProxyWorld()

    def both(self, first: Any, second: Any = FakePeer) -> tuple[Any, Any]:
        """
        Two peers connect.
        """
        return first(self.world).connect(), second(self.world, "192.0.2.2").connect()


class HandshakeTests(QuirkCase):
    """
    How they connect.
    """

    def test_everyReplyIsUnderstood(self) -> None:
        """
        The reply suits everybody, however closely it is looked at.
        """
        for peer in (
            FakeSmack,
            FakeDino,
            FakeConversations,
            FakeQXmpp,
            FakeGloox,
            FakeIris,
            FakeSlixmpp,
            FakeUpperCase,
            FakeDribbler,
            FakeHasty,
        ):
            self.world = ProxyWorld()
            one, other = self.both(peer)
            self.assertEqual(one.activate()["type"], "result")
            other.send(b"file")
            self.assertEqual(one.received, b"file", peer.__name__)

    def test_iris(self) -> None:
        """
        Method 00 is picked though a password is offered.
        """
        self.both(FakeIris)

    def test_gloox(self) -> None:
        """
        Whatever the other has sent already, nothing is glued to a reply, or comes before the activation.
        """
        hasty = FakeHasty(self.world, "192.0.2.2").connect()
        peer = FakeGloox(self.world).connect()
        self.assertEqual(peer.received, b"")
        peer.activate()
        self.assertEqual((peer.received, hasty.received), (b"the file", b""))

    def test_hasty(self) -> None:
        """
        What came in the same segment as the request belongs to the file.
        """
        hasty, other = self.both(FakeHasty)
        hasty.send(b", part two")
        hasty.activate()
        self.assertEqual(other.received, b"the file, part two")

    def test_gajim(self) -> None:
        """
        A probe with a throw-away hash is answered; when it leaves it is forgotten.
        """
        probe = FakeGajim(self.world).connect("0" * 40)
        self.world.watch.leave(probe.transport)
        self.world.settle()
        self.assertEqual((probe.transport.state, self.world.rendezvous.pending), ("closed", 0))

    def test_probe(self) -> None:
        """
        A probe by name is answered, and closed.
        """
        probe = FakeProbe(self.world).connect()
        self.world.settle()
        self.assertEqual((probe.transport.state, self.world.rendezvous.pending), ("closed", 0))


class ActivationTests(QuirkCase):
    """
    How they activate.
    """

    def test_smack(self) -> None:
        """
        The second activation of the same bytestream succeeds as well, while bytes flow.
        """
        smack, other = self.both(FakeSmack)
        self.assertEqual(smack.activate()["type"], "result")
        smack.send(b"one ")
        self.assertEqual(smack.activate()["type"], "result")
        smack.send(b"two")
        self.assertEqual(other.received, b"one two")

    def test_libpurple(self) -> None:
        """
        Bytes that come before the activation are not lost, and no more are read than that.
        """
        purple, other = self.both(FakeLibpurple)
        purple.send(b"x" * 100_000)
        self.assertEqual(other.received, b"")
        self.assertEqual(purple.transport.unread, 100_000)
        purple.activate()
        purple.send(b"y")
        self.assertEqual(other.received, b"x" * 100_000 + b"y")

    def test_libpurpleAsksTheDomain(self) -> None:
        """
        An activation is answered at the domain and at any resource of it, from where it was asked.
        """
        for to in (PROXY, f"{PROXY}/70306884"):
            self.world = ProxyWorld()
            purple, _ = self.both(FakeLibpurple)
            answer = purple.activate(to)
            self.assertEqual((answer["type"], answer["from"]), ("result", to))

    def test_conversations(self) -> None:
        """
        The requester may connect first, and wait nearly five minutes for the target.
        """
        requester = FakeConversations(self.world).connect()
        self.world.clock.advance(290)
        target = FakeConversations(self.world, "192.0.2.2").connect()
        self.assertEqual(requester.activate()["type"], "result")
        requester.send(b"file")
        self.assertEqual(target.received, b"file")
        target.send(b"receipt")
        self.assertEqual(requester.received, b"receipt")

    def test_conversationsLeaves(self) -> None:
        """
        When the person has said no and it leaves, its place is free at once.
        """
        requester = FakeConversations(self.world).connect()
        self.world.watch.leave(requester.transport)
        self.both(FakePeer)
        self.assertEqual(self.world.rendezvous.pending, 2)

    def test_iris(self) -> None:
        """
        A mode in the request is no obstacle.
        """
        iris, _ = self.both(FakeIris)
        self.assertEqual(iris.activate(attributes=" mode='tcp'")["type"], "result")

    def test_slixmpp(self) -> None:
        """
        Addresses that were hashed as they were written are found, and also when the other one prepares.
        """
        wire = "TARGET@example.org/bar"
        unprepared = destinationAddress(SID, REQUESTER, wire)
        FakeSlixmpp(self.world).connect(unprepared)
        slix = FakeSlixmpp(self.world, "192.0.2.2").connect(unprepared)
        self.assertEqual(slix.activate(target=wire)["type"], "result")
        self.world = ProxyWorld()
        slix, _ = self.both(FakeSlixmpp)
        self.assertEqual(slix.activate(target=wire)["type"], "result")

    def test_dinoInARoom(self) -> None:
        """
        In a room the requester's real address and the target's room address are hashed.
        """
        room = "room@conference.example.net/Tget"
        key = destinationAddress(SID, REQUESTER, room)
        dino = FakeDino(self.world).connect(key)
        FakeDino(self.world, "192.0.2.2").connect(key)
        self.assertEqual(dino.activate(target=room)["type"], "result")


class QueryTests(QuirkCase):
    """
    How they ask for the address.
    """

    def test_oldClientsNameASid(self) -> None:
        """
        With a sid or without, the answer is the same.
        """
        for attributes in ("", f" sid='{SID}'", f" sid='{SID}' mode='tcp'"):
            answer = FakePeer(self.world).query(attributes)
            (streamHost,) = answer.firstChildElement().elements()
            self.assertEqual((streamHost["jid"], streamHost["host"]), (PROXY, "24.24.24.1"))

    def test_glooxAndGajimWantAPort(self) -> None:
        """
        There is always a port, without which several clients skip the streamhost.
        """
        (streamHost,) = FakeGloox(self.world).query().firstChildElement().elements()
        self.assertEqual(streamHost["port"], "7625")

    def test_dino(self) -> None:
        """
        An answer that is a result has a streamhost in it, else it is an error.
        """
        self.world.proxy.streamHosts = ()
        self.assertEqual(errorOf(FakeDino(self.world).query())[0], "not-allowed")


class EndTests(QuirkCase):
    """
    How they end.
    """

    def test_conversationsEndsBySize(self) -> None:
        """
        One that closes when it has all bytes, without waiting for an end of stream, gets all of them.
        """
        sender, receiver = self.both(FakeConversations)
        receiver.transport.room = 1000
        sender.activate()
        sender.send(b"x" * 50_000)
        sender.transport.receiveEnd()
        self.world.settle()
        self.assertEqual(receiver.transport.state, "open")
        receiver.transport.read(50_000)
        self.assertEqual(len(receiver.received), 50_000)
        receiver.transport.receiveEnd()
        self.world.settle()
        self.assertEqual((sender.transport.state, receiver.transport.state), ("closed", "closed"))

    def test_slixmppEndsByTheEnd(self) -> None:
        """
        One that knows the end by the end of stream alone sees it behind the last byte.
        """
        sender, receiver = self.both(FakeSlixmpp)
        sender.activate()
        sender.send(b"x" * 50_000)
        sender.transport.receiveEnd()
        self.assertEqual((len(receiver.received), receiver.transport.sentEnd), (50_000, True))

    def test_conversationsGivesUpAfterSilence(self) -> None:
        """
        Under a rate limit bytes trickle: never is there a second without one.
        """
        sender, receiver = self.both(FakeConversations)
        sender.activate()
        (session,) = self.world.sessions
        session.relayed.setRate(1000)
        sender.send(b"x" * 100_000)
        seen = len(receiver.received)
        for _ in range(60):
            self.world.clock.advance(1)
            self.assertGreater(len(receiver.received), seen)
            seen = len(receiver.received)
