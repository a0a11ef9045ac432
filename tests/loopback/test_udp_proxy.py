"""
UDP mode of the proxy service (XEP-0065 section 8), as a process of its own, over real sockets.
"""

import json
import os
import random
import socket
import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.interop.processes import freePort
from tests.loopback.lab import PROXY, REQUESTER, TARGET, ProxyTestCase, expect, reset
from tests.machine import requireIPv6
from tests.waiting import PATIENCE, until
from xmppbytes.s5b.address import destinationAddress
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS, NS_BYTESTREAMS_UDP
from xmppbytes.wire.s5budp import Datagram, header, initPacket

PORTS = b"\x12\x34\x00\x07"
# Datagrams of 1,200 bytes that fit into the receive buffer that Linux gives to everybody.
WINDOW = 64


class Party:
    """
    One party of a UDP bytestream: a TCP connection and a UDP socket, nothing of ours behind them.
    """

    def __init__(self, port: int, hash: bytes, jid: str, local: str = "127.0.0.1") -> None:
        self.hash = hash
        self.jid = jid
        self.tcp = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE, source_address=(local, 0))
        self.proxy = ("127.0.0.1", port)
        self.udp = self.newSocket(local)

    def newSocket(self, local: str = "127.0.0.1") -> socket.socket:
        """
        Make a UDP socket that hears the proxy's port only.
        """
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        udp.bind((local, 0))
        udp.connect(self.proxy)
        udp.settimeout(PATIENCE)
        return udp

    def associate(self) -> None:
        """
        Ask for UDP ASSOCIATE, strictly as in XEP-0065 8.3.1.
        """
        self.tcp.sendall(b"\5\1\0")
        expect(self.tcp, b"\5\0")
        request = b"\5\3\0\3\x28" + self.hash + b"\0\0"
        self.tcp.sendall(request)
        expect(self.tcp, b"\5\0" + request[2:])

    def initialize(self) -> None:
        """
        Send the initialization packet.
        """
        self.udp.send(initPacket(self.hash, self.jid))

    def send(self, payload: bytes) -> None:
        """
        Send a payload with its header.
        """
        self.udp.send(header(self.hash) + payload)

    def receive(self) -> bytes:
        """
        Wait for a datagram.
        """
        return self.udp.recv(65536)

    def hearsNothing(self, seconds: float = 0.3) -> bool:
        """
        Tell whether no datagram comes within a time.
        """
        self.udp.settimeout(seconds)
        try:
            self.udp.recv(65536)
        except TimeoutError:
            return True
        finally:
            self.udp.settimeout(PATIENCE)
        return False

    def untilClosed(self) -> float:
        """
        Wait until the proxy has closed the connection.

        @return: how long that took, in seconds.
        """
        began = time.monotonic()
        try:
            while self.tcp.recv(100):
                pass
        except ConnectionResetError:
            pass
        return time.monotonic() - began

    def close(self) -> None:
        """
        Close both sockets.
        """
        self.tcp.close()
        self.udp.close()


class UDPTestCase(ProxyTestCase):
    """
    A test with the proxy as a child process, in UDP mode.
    """

    def setUp(self) -> None:
        super().setUp()
        self.notices: list[Any] = []
        self._waiting: list[tuple[int, Deferred[None]]] = []
        self.server.users.xmlstream.addObserver("/message", self._noticed)

    def _noticed(self, message: Any) -> None:
        self.notices.append(message)
        for waiting in list(self._waiting):
            if len(self.notices) >= waiting[0]:
                self._waiting.remove(waiting)
                waiting[1].callback(None)

    def untilNotices(self, count: int) -> Any:
        """
        Fires when so many messages have come.
        """
        arrived: Deferred[None] = Deferred()
        if len(self.notices) >= count:
            arrived.callback(None)
        else:
            self._waiting.append((count, arrived))
        return arrived.addTimeout(PATIENCE, reactor)

    def party(self, sid: str, jid: str, local: str = "127.0.0.1") -> Party:
        """
        Connect a party. Blocks.
        """
        hash = destinationAddress(sid, REQUESTER, TARGET).encode()
        party = Party(self.proxy.port, hash, jid, local)
        self.addCleanup(party.close)
        return party

    async def associated(self, sid: str, jid: str, local: str = "127.0.0.1") -> Party:
        """
        Connect a party that has asked for UDP.
        """
        party = await deferToThread(self.party, sid, jid, local)
        await deferToThread(party.associate)
        return party

    async def initialized(self, sid: str, jid: str, local: str = "127.0.0.1") -> Party:
        """
        Connect a party and initialize its channel.
        """
        party = await self.associated(sid, jid, local)
        count = len(self.notices)
        party.initialize()
        await self.untilNotices(count + 1)
        return party

    async def parties(self, sid: str) -> tuple[Party, Party]:
        """
        Connect both parties and activate their bytestream.

        @return: the requester and the target.
        """
        target = await self.initialized(sid, TARGET)
        requester = await self.initialized(sid, REQUESTER)
        answer = await self.server.activate(sid)
        self.assertEqual(answer["type"], "result", answer.toXml())
        return requester, target

    async def conditionOfActivation(self, sid: str) -> str:
        """
        Activate a bytestream that cannot be.
        """
        answer = await self.server.activate(sid)
        self.assertEqual(answer["type"], "error")
        return str(answer.error.firstChildElement().name)


def pause(seconds: float) -> Any:
    """
    Let time pass.
    """
    return deferLater(reactor, seconds, lambda: None)


class ExchangeTests(UDPTestCase):
    """
    Datagrams through the service.
    """

    async def test_payloadAsItIs(self) -> None:
        """
        A payload arrives without its SOCKS5 header and otherwise as it was sent, both ways.
        """
        await self.startProxy()
        requester, target = await self.parties("both")
        requester.send(PORTS + b"to the target")
        self.assertEqual(await deferToThread(target.receive), PORTS + b"to the target")
        target.send(PORTS + b"to the requester")
        self.assertEqual(await deferToThread(requester.receive), PORTS + b"to the requester")

    async def test_notification(self) -> None:
        """
        The first good initialization packet is answered by listing 34; its repetition is not.
        """
        await self.startProxy()
        target = await self.initialized("notify", TARGET)
        for _ in range(3):
            target.initialize()
        requester = await self.initialized("notify", REQUESTER)
        self.assertEqual(len(self.notices), 2)
        for message, jid in zip(self.notices, (TARGET, REQUESTER), strict=True):
            self.assertEqual((message["from"], message["to"]), (PROXY, jid))
            self.assertTrue(message["id"])
            child = message.firstChildElement()
            self.assertEqual((child.uri, child.name), (NS_BYTESTREAMS, "udpsuccess"))
            self.assertEqual(child["dstaddr"], requester.hash.decode())

    async def test_everySize(self) -> None:
        """
        Empty payloads and those that fill an IP packet go through, alone and in runs.
        """
        await self.startProxy()
        requester, target = await self.parties("sizes")
        for size in (0, 1, 3, 4, 1200, 1473, 9000, 60000, 65507 - 47):
            payload = random.Random(size).randbytes(size)
            # What the kernel keeps for a proxy that is not served at present is not much everywhere.
            run = 4 if size < 10000 else 2
            for _ in range(run):
                requester.send(payload)
            for _ in range(run):
                self.assertEqual(await deferToThread(target.receive), payload)

    async def test_hundredThousand(self) -> None:
        """
        100,000 datagrams of 1 to 1,200 bytes arrive, each with its content, and none of them twice.
        """
        await self.startProxy()
        requester, target = await self.parties("many")
        seen = await deferToThread(_sendWindowed, requester, target, 100000)
        self.assertEqual(seen, {"lost": 0, "wrong": 0, "twice": 0})

    async def test_records(self) -> None:
        """
        The usage record counts datagrams and payload bytes of both directions.
        """
        path = os.path.abspath(self.mktemp())
        await self.startProxy(f"--usage-log={path}")
        requester, target = await self.parties("usage")
        for _ in range(5):
            target.send(b"x" * 100)
            await deferToThread(requester.receive)
        requester.send(b"y" * 7)
        await deferToThread(target.receive)
        target.close()
        await self.proxy.untilLogged("Ended")
        await until(lambda: os.path.exists(path) and os.path.getsize(path))
        with open(path) as log:
            record = json.loads(log.read())
        self.assertEqual(record["kind"], "UDP")
        self.assertEqual(record["datagrams"], [5, 1])
        self.assertEqual(record["bytes"], [500, 7])
        self.assertEqual(record["outcome"], "finished")


def _sendWindowed(sender: Party, receiver: Party, count: int) -> dict[str, int]:
    """
    Send numbered datagrams with at most a few on their way: so many that any kernel keeps them for a
    proxy that is not served at present.
    """
    rng = random.Random(7)
    receiver.udp.settimeout(10)
    sent: dict[int, bytes] = {}
    head = header(sender.hash)
    lost = wrong = twice = 0
    block = rng.randbytes(4096)
    received = 0
    for number in range(count):
        start, size = rng.randrange(2048), rng.randint(0, 1196)
        payload = PORTS + number.to_bytes(4, "big") + block[start : start + size]
        payload = payload[: max(8, size)]
        sent[number] = payload
        sender.udp.send(head + payload)
        if len(sent) < WINDOW and number < count - 1:
            continue
        while sent:
            try:
                got = receiver.udp.recv(2048)
            except TimeoutError:
                lost += len(sent)
                sent.clear()
                break
            received += 1
            which = int.from_bytes(got[4:8], "big")
            expected = sent.pop(which, None)
            twice += expected is None
            wrong += expected is not None and expected != got
    return {"lost": lost, "wrong": wrong, "twice": twice}


class LifeLineTests(UDPTestCase):
    """
    The association lasts as long as its TCP connection.
    """

    async def assertEnds(self, staying: Party, leaving: Party, outcome: str) -> None:
        """
        The other party's connection is closed at once, which means: long before it has been idle for too
        long, and nothing is relayed any more.
        """
        took = await deferToThread(staying.untilClosed)
        self.assertLess(took, 30.0)
        await self.proxy.untilLogged(outcome)
        staying.send(PORTS + b"too late")
        self.assertTrue(await deferToThread(leaving.hearsNothing))

    async def test_closed(self) -> None:
        """
        When one party closes its connection, the association ends at once, on both sides.
        """
        await self.startProxy()
        requester, target = await self.parties("closed")
        target.tcp.close()
        await self.assertEnds(requester, target, "finished")

    async def test_halfClosed(self) -> None:
        """
        A connection that is closed for sending only has ended as well.
        """
        await self.startProxy()
        requester, target = await self.parties("half")
        requester.tcp.shutdown(socket.SHUT_WR)
        await self.assertEnds(target, requester, "finished")

    async def test_reset(self) -> None:
        """
        When one connection breaks, so does the association.
        """
        await self.startProxy()
        requester, target = await self.parties("reset")
        reset(target.tcp)
        await self.assertEnds(requester, target, "broken")

    async def test_endsBeforeActivation(self) -> None:
        """
        A party that leaves before the activation has not been there; what it left unread or said
        over the connection does not matter.
        """
        await self.startProxy()
        target = await self.initialized("early", TARGET)
        target.tcp.sendall(b"what is this for")
        target.tcp.close()
        await self.proxy.untilLogged("left before")
        self.assertEqual(await self.conditionOfActivation("early"), "item-not-found")

    async def test_talk(self) -> None:
        """
        A party that keeps talking over its connection is sent away.
        """
        await self.startProxy()
        requester, target = await self.parties("talk")
        target.tcp.sendall(b"x" * 10000)
        await self.assertEnds(requester, target, "broken")

    async def test_shutdown(self) -> None:
        """
        The end of the service ends associations.
        """
        await self.startProxy()
        requester, _ = await self.parties("shutdown")
        self.proxy.signal("TERM")
        await deferToThread(requester.untilClosed)

    async def test_idle(self) -> None:
        """
        Datagrams in one direction keep both alive; without any, the association ends.
        """
        await self.startProxy("--idle-timeout=2")
        for number in range(10):
            requester, target = await self.parties(f"idle{number}")
            if await self._talk(requester, target) < 2:
                break
        await deferToThread(requester.untilClosed)
        await self.proxy.untilLogged("idle")

    async def _talk(self, requester: Party, target: Party) -> float:
        """
        Send datagrams for longer than the idle timeout, which all arrive unless the machine makes
        longer pauses.

        @return: the longest time between two of them, in seconds.
        """
        last, longest = time.monotonic(), 0.0
        for _ in range(12):
            target.send(PORTS)
            await pause(0.25)
            now = time.monotonic()
            last, longest = now, max(longest, now - last)
        if longest < 2:
            for _ in range(12):
                await deferToThread(requester.receive)
        return longest


class ActivationTests(UDPTestCase):
    """
    When the service activates, and when it does not.
    """

    async def test_withoutInitialization(self) -> None:
        """
        not-allowed until both parties have initialised; then it works.
        """
        await self.startProxy()
        target = await self.associated("order", TARGET)
        requester = await self.associated("order", REQUESTER)
        self.assertEqual(await self.conditionOfActivation("order"), "not-allowed")
        target.initialize()
        await self.untilNotices(1)
        self.assertEqual(await self.conditionOfActivation("order"), "not-allowed")
        requester.initialize()
        await self.untilNotices(2)
        answer = await self.server.activate("order")
        self.assertEqual(answer["type"], "result")

    async def test_wrongJID(self) -> None:
        """
        not-authorized when an initialization packet named somebody else.
        """
        await self.startProxy()
        await self.initialized("wrong", TARGET)
        await self.initialized("wrong", TARGET.replace("nurse", "romeo"))
        self.assertEqual(await self.conditionOfActivation("wrong"), "not-authorized")

    async def test_sameJIDTwice(self) -> None:
        """
        not-authorized when both packets named the same party.
        """
        await self.startProxy()
        await self.initialized("twice", TARGET)
        await self.initialized("twice", TARGET, local="127.0.0.2")
        self.assertEqual(await self.conditionOfActivation("twice"), "not-authorized")

    async def test_unpreparedJID(self) -> None:
        """
        JIDs are compared prepared.
        """
        await self.startProxy()
        await self.initialized("case", TARGET.replace("nurse", "NURSE"))
        await self.initialized("case", REQUESTER)
        answer = await self.server.activate("case")
        self.assertEqual(answer["type"], "result")

    async def test_kindsNeverMeet(self) -> None:
        """
        CONNECT and UDP ASSOCIATE of one hash are not paired, whichever comes first.
        """
        await self.startProxy()
        for sid, commands in (("tcp-first", b"\1\3"), ("udp-first", b"\3\1")):
            hash = destinationAddress(sid, REQUESTER, TARGET).encode()
            first, second = self.openSocket(), self.openSocket()
            for party, command in zip((first, second), commands, strict=True):
                party.sendall(b"\5\1\0")
                await deferToThread(expect, party, b"\5\0")
                party.sendall(bytes((5, command, 0, 3, 40)) + hash + b"\0\0")
            await deferToThread(expect, first, b"\5\0\0\3\x28" + hash + b"\0\0")
            await deferToThread(expect, second, b"\5\2\0\3\x28" + hash + b"\0\0")

    async def test_tcpBeside(self) -> None:
        """
        A TCP bytestream works on the same port as ever.
        """
        await self.startProxy()
        requester, target = await self.pair("tcp")
        requester.sendall(b"over TCP")
        self.assertEqual(await deferToThread(target.recv, 100), b"over TCP")

    async def test_feature(self) -> None:
        """
        disco names UDP mode.
        """
        await self.startProxy()
        answer = await self.server.request("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>")
        self.assertIn(NS_BYTESTREAMS_UDP, answer.toXml())

    async def test_off(self) -> None:
        """
        With --no-udp the feature is not named, UDP ASSOCIATE is refused with 07 and the UDP port is
        free.
        """
        await self.startProxy("--no-udp")
        answer = await self.server.request("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>")
        self.assertNotIn(NS_BYTESTREAMS_UDP, answer.toXml())
        party = self.openSocket()
        party.sendall(b"\5\1\0")
        await deferToThread(expect, party, b"\5\0")
        request = b"\3\0\3\x28" + destinationAddress("off", REQUESTER, TARGET).encode() + b"\0\0"
        party.sendall(b"\5" + request)
        await deferToThread(expect, party, b"\5\7" + request[1:])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind(("127.0.0.1", self.proxy.port))


class StrangerTests(UDPTestCase):
    """
    What others than the parties can do.
    """

    async def test_foreignAddress(self) -> None:
        """
        An initialization packet from another IP address than the connection's does nothing.
        """
        await self.startProxy()
        target = await self.associated("foreign", TARGET)
        target.newSocket("127.0.0.3").send(initPacket(target.hash, TARGET))
        target.newSocket("127.0.0.3").send(initPacket(target.hash, "romeo@montague.example/x"))
        await pause(0.3)
        self.assertEqual(self.notices, [])
        target.initialize()
        await self.untilNotices(1)

    async def test_spoofedPayload(self) -> None:
        """
        A payload from an address that was not learned is not relayed, even with the right hash.
        """
        await self.startProxy()
        requester, target = await self.parties("spoof")
        requester.newSocket("127.0.0.3").send(header(requester.hash) + b"forged")
        requester.newSocket().send(header(requester.hash) + b"forged")
        requester.send(PORTS + b"true")
        self.assertEqual(await deferToThread(target.receive), PORTS + b"true")
        self.assertTrue(await deferToThread(target.hearsNothing))

    async def test_wrongHeader(self) -> None:
        """
        Another hash, a fragment, another port and whatever is cut short are dropped.
        """
        await self.startProxy()
        requester, target = await self.parties("header")
        whole = header(requester.hash) + PORTS
        other = destinationAddress("other", REQUESTER, TARGET).encode()
        for bad in (
            header(other) + PORTS,
            whole[:2] + b"\1" + whole[3:],
            whole[:45] + b"\0\2" + whole[47:],
            *(whole[:length] for length in range(47)),
        ):
            requester.udp.send(bad)
        requester.send(PORTS + b"good")
        self.assertEqual(await deferToThread(target.receive), PORTS + b"good")
        self.assertTrue(await deferToThread(target.hearsNothing))

    async def test_beforeActivation(self) -> None:
        """
        Nothing is relayed before the activation, nor kept until then.
        """
        await self.startProxy()
        target = await self.initialized("before", TARGET)
        requester = await self.initialized("before", REQUESTER)
        requester.send(PORTS + b"too early")
        await pause(0.2)
        await self.server.activate("before")
        self.assertTrue(await deferToThread(target.hearsNothing))

    async def test_changedPort(self) -> None:
        """
        From another port nothing is accepted, nor sent there, until it was initialised; then the
        former one is forgotten. There is no second notification.
        """
        await self.startProxy()
        requester, target = await self.parties("moved")
        old, target.udp = target.udp, target.newSocket()
        self.addCleanup(old.close)
        target.send(PORTS + b"not yet")
        self.assertTrue(await deferToThread(requester.hearsNothing))
        target.initialize()
        await pause(0.2)
        target.send(PORTS + b"now")
        self.assertEqual(await deferToThread(requester.receive), PORTS + b"now")
        requester.send(PORTS + b"back")
        self.assertEqual(await deferToThread(target.receive), PORTS + b"back")
        old.send(header(target.hash) + PORTS + b"from the old port")
        self.assertTrue(await deferToThread(requester.hearsNothing))
        self.assertEqual(len(self.notices), 2)

    async def test_initializationOfOthers(self) -> None:
        """
        During the bytestream, no other JID can take a channel over, from the same IP address either.
        """
        await self.startProxy()
        requester, target = await self.parties("takeover")
        thief = target.newSocket()
        thief.send(initPacket(target.hash, "tybalt@capulet.example/x"))
        await pause(0.2)
        requester.send(PORTS + b"for the target")
        self.assertEqual(await deferToThread(target.receive), PORTS + b"for the target")
        self.assertEqual(len(self.notices), 2)

    async def test_floods(self) -> None:
        """
        Floods of initialization packets and of noise cause one notification a party, few log lines,
        and do not keep the service from its work.
        """
        await self.startProxy()
        target = await self.associated("flood", TARGET)
        rng = random.Random(3)
        noise = target.newSocket("127.0.0.3")
        noise.setblocking(False)
        target.udp.setblocking(False)
        for number in range(20000):
            packet = (initPacket(target.hash, TARGET), rng.randbytes(60))[number % 2]
            for udp in (target.udp, noise):
                try:
                    udp.send(packet)
                except BlockingIOError:
                    await pause(0.01)
        target.udp.settimeout(PATIENCE)
        await self.untilNotices(1)
        requester = await self.associated("flood", REQUESTER)
        while len(self.notices) < 2:
            # As any client does: what remains of the flood may leave no room for the first.
            requester.initialize()
            await pause(0.1)
        answer = await self.server.activate("flood")
        self.assertEqual(answer["type"], "result")
        requester.send(PORTS + b"still")
        self.assertEqual(await deferToThread(target.receive), PORTS + b"still")
        self.assertEqual(len(self.notices), 2)
        self.assertLess(self.proxy.log().count("\n"), 40)

    async def test_noJID(self) -> None:
        """
        An initialization packet without a valid JID does nothing; a good one after it does.
        """
        await self.startProxy()
        target = await self.associated("nojid", TARGET)
        for data in (b"", b"@", b"\xff\xfe", b"x" * 4000, b"a@b@c/"):
            target.udp.send(Datagram(target.hash, 1, data).toBytes())
        target.initialize()
        await self.untilNotices(1)
        self.assertEqual(self.notices[0]["to"], TARGET)

    async def test_rateLimit(self) -> None:
        """
        What is above the rate limit is dropped, and what is below it goes through.
        """
        await self.startProxy("--rate-limit=100k")
        requester, target = await self.parties("rate")
        began = time.monotonic()
        count = 0
        target.udp.setblocking(False)
        while count < 200:
            for _ in range(20):
                requester.send(b"x" * 1024)
            await pause(0.01)
            try:
                while target.udp.recv(2048):
                    count += 1
            except BlockingIOError:
                pass
        # What is more than a burst, which is half a second's worth, takes a hundredth of a second each.
        self.assertGreater(time.monotonic() - began, (count - 60) / 100)
        target.close()
        self.assertIn("Dropped 0 and ", await self.proxy.untilLogged("datagrams between"))

    async def test_tcpIsServedUnderLoad(self) -> None:
        """
        While datagrams come as fast as they can, a TCP bytestream is served.
        """
        await self.startProxy("--relay=copy")
        requester, _ = await self.parties("load")
        one, other = await self.pair("beside")
        done = False

        def load() -> None:
            while not done:
                for _ in range(100):
                    requester.send(b"x" * 1000)

        loading = deferToThread(load)
        took = []
        for _ in range(20):
            began = time.monotonic()
            one.sendall(b"ping")
            await deferToThread(expect, other, b"ping")
            took.append(time.monotonic() - began)
        done = True
        await loading
        # The machine may stop for a while: that is not every other time.
        self.assertLess(sorted(took)[10], 1.0)


class AddressTests(UDPTestCase):
    """
    Sockets that are bound to all addresses, IPv4 and IPv6.
    """

    async def exchange(self, requesterAddress: str, targetAddress: str) -> None:
        """
        Let two parties exchange datagrams by way of the addresses that they know of the proxy. Their
        sockets hear these addresses only.
        """
        port = freePort()
        await self.startProxy(f"--listen=tcp:{port}")
        hash = destinationAddress("all", REQUESTER, TARGET).encode()
        parties = []
        for jid, address in ((REQUESTER, requesterAddress), (TARGET, targetAddress)):
            party = AnywhereParty(address, port, hash, jid)
            self.addCleanup(party.close)
            await deferToThread(party.associate)
            party.initialize()
            parties.append(party)
        await self.untilNotices(2)
        await self.server.activate("all")
        requester, target = parties
        for _ in range(3):
            for sender, receiver in ((requester, target), (target, requester)):
                for number in range(5):
                    sender.send(PORTS + bytes((number,)))
                for number in range(5):
                    self.assertEqual(await deferToThread(receiver.receive), PORTS + bytes((number,)))

    async def test_answersFromTheAddressThatIsKnown(self) -> None:
        """
        A party hears the proxy from the address that it talks to, although the proxy has others.
        """
        await self.exchange("127.0.0.5", "127.0.0.6")

    async def test_bothFamilies(self) -> None:
        """
        A party on IPv6 and one on IPv4 are relayed.
        """
        requireIPv6()
        await self.exchange("::1", "127.0.0.7")


class AnywhereParty(Party):
    """
    A party that talks to any address of the proxy.
    """

    def __init__(self, address: str, port: int, hash: bytes, jid: str) -> None:
        self.hash = hash
        self.jid = jid
        self.tcp = socket.create_connection((address, port), timeout=PATIENCE)
        self.udp = socket.socket(self.tcp.family, socket.SOCK_DGRAM)
        self.udp.connect((address, port))
        self.udp.settimeout(PATIENCE)
        # The proxy must see the same address of ours over both.
        assert self.udp.getsockname()[0] == self.tcp.getsockname()[0]
