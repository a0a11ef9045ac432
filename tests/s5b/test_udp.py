"""
Tests for xmppbytes.s5b.udp.
"""

import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs, globalLogPublisher
from twisted.trial.unittest import TestCase

from tests.core.test_channel import FakePort
from xmppbytes.core.damper import LogDamper
from xmppbytes.core.limits import Limits
from xmppbytes.errors import ConfigurationError
from xmppbytes.s5b.udp import MAX_REFUSALS, Associations, listenDatagrams
from xmppbytes.wire.s5budp import Datagram, header, initPacket

KEY = b"972b7bf47291ca609517f67f86b5081086052dad"
TARGET = "target@example.org/bar"
REQUESTER = "requester@example.com/foo"


class FakeLeg:
    """
    A connection that has asked for UDP.
    """

    initialData = b""
    jid = ""
    notified = False
    refusals = 0
    channel: Any = None

    def __init__(self, address: str = "192.0.2.1", key: bytes = KEY) -> None:
        self.address = address
        self.key = key
        self.transport = StringTransport(IPv4Address("TCP", "192.0.2.99", 7777))

    def initialized(self, channel: Any, data: bytes, jid: str) -> None:
        self.channel, self.initialData, self.jid = channel, data, jid


class AssociationsTests(TestCase):
    """
    L{Associations}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.notices: list[tuple[str, str]] = []
        self.connected = True
        self.port: Any = FakePort()
        self.associations = Associations(self.clock, Limits(noticesPerMinute=3), self.notify)

    def notify(self, jid: str, address: str) -> bool:
        if self.connected:
            self.notices.append((jid, address))
        return self.connected

    def associated(self, address: str = "192.0.2.1", key: bytes = KEY) -> FakeLeg:
        leg = FakeLeg(address, key)
        self.associations.add(leg)
        return leg

    def receive(self, data: bytes, host: str = "192.0.2.1", port: int = 1000, at: Any = None) -> None:
        self.associations.datagramReceived(at or self.port, data, (host, port))

    def dropped(self) -> list[str]:
        return sorted(self.associations.drops)

    def test_manyLines(self) -> None:
        """
        What the parties of one address make us write is bounded.
        """
        self.associations.damper = LogDamper(self.clock, perOrigin=2)
        with capturedLogs() as events:
            for number in range(5):
                self.associated()
                self.receive(initPacket(KEY, TARGET), port=1000 + number)
                self.associated(key=b"1" * 40)
                self.receive(initPacket(b"1" * 40, "@"), port=2000 + number)
            self.associations.damper.flush()
        kinds = [event["log_format"].partition(" ")[0] for event in events]
        self.assertEqual(
            [kind for kind in kinds if kind != "Dropped"], ["Initialized", "Ignored"] * 2 + ["Left"] * 2
        )

    def test_initializes(self) -> None:
        """
        A good packet makes the leg's channel, to the address that it came from, and is answered once.
        """
        leg = self.associated()
        for _ in range(3):
            self.receive(initPacket(KEY, TARGET))
        self.assertEqual(leg.channel.address, ("192.0.2.1", 1000))
        self.assertEqual(leg.channel.header, header(KEY))
        self.assertEqual(leg.channel.destination[2], "192.0.2.99")
        self.assertEqual(self.notices, [(TARGET, KEY.decode())])
        self.assertEqual(self.associations.drops, {"duplicate initialization": 2})

    def test_upperCase(self) -> None:
        """
        The case of the hash does not matter; the answer, and the header that is expected of this
        party, are as it writes it.
        """
        leg = self.associated()
        self.receive(initPacket(KEY.upper(), TARGET))
        self.assertEqual(self.notices, [(TARGET, KEY.decode().upper())])
        self.assertEqual(leg.channel.header, header(KEY.upper()))

    def test_preparedJID(self) -> None:
        """
        The JID is prepared, for the comparison as for the notification.
        """
        self.associated()
        self.receive(initPacket(KEY, "TARGET@Example.ORG/bar"))
        self.assertEqual(self.notices, [(TARGET, KEY.decode())])
        self.assertEqual(self.associations.jids(KEY), {TARGET})

    def test_ipv4OnIPv6Sockets(self) -> None:
        """
        IPv4 addresses are the same in both forms, and scopes do not matter.
        """
        mapped = self.associated("::ffff:192.0.2.1")
        self.receive(initPacket(KEY, TARGET))
        self.assertEqual(mapped.jid, TARGET)
        other = b"1" * 40
        scoped = self.associated("fe80::1%eth0", other)
        self.receive(initPacket(other, REQUESTER), "fe80::1")
        self.assertEqual(scoped.jid, REQUESTER)

    def test_refused(self) -> None:
        """
        What is no good packet is dropped and counted, and causes nothing.
        """
        self.associated()
        self.receive(b"")
        self.receive(b"x" * 100)
        self.receive(header(KEY)[:46])
        self.receive(initPacket(b"2" * 40, TARGET))
        self.receive(initPacket(KEY, TARGET), "192.0.2.2")
        self.receive(header(KEY) + b"payload")
        self.receive(initPacket(KEY, TARGET), port=0)
        self.receive(initPacket(KEY, "@"))
        self.assertEqual(self.notices, [])
        self.assertEqual(
            self.associations.drops,
            {
                "malformed": 4,
                "of an unknown hash": 1,
                "from a foreign address": 1,
                "before the activation, or from an address that was not initialised": 1,
                "initialization without a JID": 1,
            },
        )

    def test_everyJIDIsReadOrRefused(self) -> None:
        """
        Whatever stands where the JID should, nothing is raised.
        """
        for n, data in enumerate((b"", b"\xff", b"@", b"a@", b"/", b"x" * 5000, b" ", b"a@b@c", b"\0")):
            key = b"%040d" % n
            leg = self.associated(key=key)
            self.receive(Datagram(key, 1, data).toBytes())
            self.assertIsNone(leg.channel, data)

    def test_badPacketsAreNotReadForEver(self) -> None:
        """
        After some packets without a JID, those of this leg are not looked at any more.
        """
        leg = self.associated()
        for _ in range(MAX_REFUSALS + 5):
            self.receive(initPacket(KEY, "@"))
        self.assertEqual(leg.refusals, MAX_REFUSALS)
        self.receive(initPacket(KEY, TARGET))
        self.assertIsNone(leg.channel)

    def test_anotherJID(self) -> None:
        """
        A leg that is initialised does not become somebody else's.
        """
        leg = self.associated()
        self.receive(initPacket(KEY, TARGET))
        self.receive(initPacket(KEY, "thief@example.org/x"), port=2000)
        self.receive(initPacket(KEY, "thief@example.org/x"))
        self.assertEqual((leg.jid, leg.channel.address), (TARGET, ("192.0.2.1", 1000)))
        self.assertEqual(len(self.notices), 1)
        self.assertEqual(
            self.dropped(),
            [
                "initialization from an address that another one has taken",
                "initialization with another JID than before",
            ],
        )

    def test_moves(self) -> None:
        """
        The same packet from another port, or at another port of ours, moves the channel without a
        notification; the former address is free.
        """
        leg = self.associated()
        self.receive(initPacket(KEY, TARGET))
        self.receive(initPacket(KEY, TARGET), port=2000)
        self.assertEqual(leg.channel.address, ("192.0.2.1", 2000))
        other: Any = FakePort()
        self.receive(initPacket(KEY, TARGET), port=2000, at=other)
        self.assertIs(leg.channel.port, other)
        self.assertEqual(len(self.notices), 1)
        second = self.associated()
        self.receive(initPacket(KEY, REQUESTER))
        self.assertEqual(second.channel.address, ("192.0.2.1", 1000))

    def test_bothFromOneAddress(self) -> None:
        """
        Two parties behind one IP address are told apart by their JIDs.
        """
        first, second = self.associated(), self.associated()
        self.receive(initPacket(KEY, TARGET), port=1000)
        self.receive(initPacket(KEY, REQUESTER), port=2000)
        self.receive(initPacket(KEY, TARGET), port=3000)
        self.assertEqual((first.jid, first.channel.address[1]), (TARGET, 3000))
        self.assertEqual((second.jid, second.channel.address[1]), (REQUESTER, 2000))

    def test_onePartyTwice(self) -> None:
        """
        A party that connects twice has two channels: it may be trying two addresses of ours.
        """
        first, second = self.associated(), self.associated()
        self.receive(initPacket(KEY, TARGET), port=1000)
        self.receive(initPacket(KEY, TARGET), port=2000)
        self.assertEqual((first.channel.address[1], second.channel.address[1]), (1000, 2000))
        self.assertEqual(len(self.notices), 2)

    def test_sharedSource(self) -> None:
        """
        An address from which one bytestream is initialised cannot be another's.
        """
        other = b"3" * 40
        self.associated()
        leg = self.associated(key=other)
        self.receive(initPacket(KEY, TARGET))
        self.receive(initPacket(other, TARGET))
        self.assertIsNone(leg.channel)

    def test_discards(self) -> None:
        """
        A leg that is gone is forgotten, its channel closed and its address free; its partner stays.
        """
        first, second = self.associated(), self.associated()
        self.receive(initPacket(KEY, TARGET))
        self.assertEqual(len(self.associations), 2)
        first.channel.open(deliver=lambda data: None)
        self.associations.discard(first)
        self.associations.discard(first)
        self.assertFalse(first.channel.isOpen)
        self.assertEqual(len(self.associations), 1)
        self.receive(initPacket(KEY, REQUESTER))
        self.assertEqual(second.jid, REQUESTER)
        self.associations.discard(second)
        self.assertEqual(len(self.associations), 0)
        self.assertEqual(self.associations.jids(KEY), set())

    def test_streamDown(self) -> None:
        """
        While there is no XMPP stream nobody can be notified; a repeated packet tries again.
        """
        self.connected = False
        leg = self.associated()
        self.receive(initPacket(KEY, TARGET))
        self.assertIsNotNone(leg.channel)
        self.connected = True
        self.receive(initPacket(KEY, TARGET))
        self.receive(initPacket(KEY, TARGET))
        self.assertEqual(len(self.notices), 1)

    def test_unsentIsNotRationed(self) -> None:
        """
        A notification that was not sent takes nothing from the ration, however often the packet comes.
        """
        self.connected = False
        self.associated()
        for _ in range(10):
            self.receive(initPacket(KEY, TARGET))
        self.connected = True
        self.receive(initPacket(KEY, TARGET))
        self.assertEqual(len(self.notices), 1)

    def test_ration(self) -> None:
        """
        One IP address causes so many notifications a minute; who got none is notified later.
        """
        keys = [b"%040d" % n for n in range(5)]
        for n, key in enumerate(keys):
            self.associated(key=key)
            self.receive(initPacket(key, f"user{n}@example.org/x"), port=1000 + n)
        self.assertEqual(len(self.notices), 3)
        self.clock.advance(60)
        self.receive(initPacket(keys[4], "user4@example.org/x"), port=1004)
        self.assertEqual(self.notices[-1][0], "user4@example.org/x")

    def test_rationOfIPv6(self) -> None:
        """
        In IPv6 a whole /64 counts as one address.
        """
        for n in range(5):
            key = b"%040d" % n
            self.associated(f"2001:db8::{n}", key)
            self.receive(initPacket(key, f"user{n}@example.org/x"), f"2001:db8::{n}")
        self.assertEqual(len(self.notices), 3)

    def test_report(self) -> None:
        """
        Drops cost one line a minute, which tells how many there were since the last.
        """
        lines: list[str] = []

        def observe(event: Any) -> None:
            if "reasons" in event:
                lines.append(event["reasons"])

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        for _ in range(1000):
            self.receive(b"noise")
        self.clock.advance(60)
        self.receive(initPacket(b"2" * 40, TARGET))
        self.assertEqual(lines, ["1 malformed", "999 malformed, 1 of an unknown hash"])


class ListenTests(TestCase):
    """
    L{listenDatagrams}.
    """

    def test_besideTCP(self) -> None:
        """
        The UDP port has the interface and the number of the TCP port.
        """
        listening: Any = reactor.listenTCP(0, Factory(), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(listening.stopListening)
        port = listenDatagrams(reactor, listening, lambda *arguments: None)
        self.addCleanup(port.close)
        self.assertEqual(port.getHost(), ("127.0.0.1", listening.getHost().port))

    def test_taken(self) -> None:
        """
        A port that is taken is an error that says so.
        """
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))

            class Listening:
                def getHost(self) -> IPv4Address:
                    return IPv4Address("TCP", *taken.getsockname())

            with self.assertRaisesRegex(ConfigurationError, "UDP port [0-9]+ .*in use"):
                listenDatagrams(reactor, Listening(), lambda *arguments: None)
