"""
The datagram ports over real sockets: the one that reads in batches and the portable one, by one suite.
"""

import errno
import random
import select
import socket
import struct
from typing import Any
from unittest import SkipTest

from twisted.internet import reactor
from twisted.internet.error import ConnectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.machine import requireIPv6
from xmppbytes.core import batchport, mmsg
from xmppbytes.core.batchport import BatchPort, makeDatagramPort, packAddress, unpackAddress
from xmppbytes.core.channel import Channel
from xmppbytes.core.datagramport import DatagramPort
from xmppbytes.core.throttle import TokenBucket
from xmppbytes.wire.s5budp import HEADER_LENGTH, header

ONE = header(b"1" * 40)
OTHER = header(b"2" * 40)


_ports: list[DatagramPort] = []


async def pause(seconds: float = 0.02) -> None:
    """
    Let the reactor read until no port has anything left to read.
    """
    for _ in range(500):
        await deferLater(reactor, seconds, lambda: None)
        descriptors = [port.descriptor for port in _ports if port.descriptor >= 0]
        if not select.select(descriptors, [], [], 0)[0]:
            return


class Ports:
    """
    The suite: what every kind of port does.
    """

    plain: bool
    family = socket.AF_INET
    host = "127.0.0.1"

    def setUp(self) -> None:
        if self.family == socket.AF_INET6:
            requireIPv6()
        self.strange: list[tuple[bytes, Any]] = []
        self.sockets: list[socket.socket] = []
        self.addCleanup(lambda: [each.close() for each in self.sockets])  # type: ignore[attr-defined]
        self.port = self.makePort()

    def makePort(self, host: str | None = None) -> DatagramPort:
        sock = socket.socket(self.family, socket.SOCK_DGRAM)
        sock.bind((self.host if host is None else host, 0))
        port = makeDatagramPort(reactor, sock, self.stranger, self.plain)
        _ports.append(port)
        self.addCleanup(_ports.remove, port)  # type: ignore[attr-defined]
        self.addCleanup(port.close)  # type: ignore[attr-defined]
        return port

    def stranger(self, port: DatagramPort, data: bytes, address: Any) -> None:
        self.strange.append((data, address))

    def party(self, port: DatagramPort | None = None) -> socket.socket:
        """
        Make a party's socket, which hears the port only.
        """
        party = socket.socket(self.family, socket.SOCK_DGRAM)
        party.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        party.connect((port or self.port).getHost())
        party.setblocking(False)
        self.sockets.append(party)
        return party

    def pair(self, rate: int | None = None) -> tuple[socket.socket, socket.socket, Channel, Channel]:
        """
        Make two parties with open channels.
        """
        one, other = self.party(), self.party()
        first = Channel(self.port, one.getsockname(), ONE)
        second = Channel(self.port, other.getsockname(), ONE)
        if rate is not None:
            first.bucket = second.bucket = TokenBucket(rate, lambda: 0.0)
        first.open(second)
        second.open(first)
        return one, other, first, second

    def drain(self, party: socket.socket) -> list[bytes]:
        """
        Read what has come.
        """
        found = []
        try:
            while True:
                found.append(party.recv(65536))
        except BlockingIOError:
            return found

    async def test_bothWays(self: Any) -> None:
        """
        Payloads go on as they are, both ways, and are counted.
        """
        one, other, first, second = self.pair()
        one.send(ONE + b"to the other")
        other.send(ONE + b"back")
        await pause()
        self.assertEqual(self.drain(other), [b"to the other"])
        self.assertEqual(self.drain(one), [b"back"])
        self.assertEqual((first.datagrams, first.octets), (1, 12))
        self.assertEqual((second.datagrams, second.octets), (1, 4))

    async def test_runs(self: Any) -> None:
        """
        Runs of equal datagrams, longer than any batch, arrive in order and whole.
        """
        one, other, first, _ = self.pair()
        payloads = [bytes((n % 256,)) * 1200 for n in range(300)]
        for payload in payloads:
            one.send(ONE + payload)
        await pause(0.1)
        self.assertEqual(self.drain(other), payloads)
        self.assertEqual((first.datagrams, first.octets), (300, 300 * 1200))

    async def test_mixedSizes(self: Any) -> None:
        """
        Datagrams of all sizes, empty and largest ones among them, arrive in order and whole.
        """
        one, other, first, _ = self.pair()
        rng = random.Random(5)
        sizes = [0, 0, 1, 1, 1, 1200, 1200, 1199, 60000, 60000, 65507 - HEADER_LENGTH, 0, 1400, 1400]
        payloads = [rng.randbytes(size) for size in sizes]
        for payload in payloads:
            one.send(ONE + payload)
        await pause(0.1)
        self.assertEqual(self.drain(other), payloads)
        self.assertEqual((first.datagrams, first.octets), (len(sizes), sum(sizes)))

    async def test_manyPairs(self: Any) -> None:
        """
        Pairs whose datagrams come mixed do not get each other's.
        """
        pairs = [self.pair() for _ in range(20)]
        for turn in range(10):
            for number, (one, other, _, _) in enumerate(pairs):
                one.send(ONE + bytes((number, turn)))
                other.send(ONE + bytes((number, turn, 1)))
        await pause(0.1)
        for number, (one, other, _, _) in enumerate(pairs):
            self.assertEqual(self.drain(other), [bytes((number, turn)) for turn in range(10)])
            self.assertEqual(self.drain(one), [bytes((number, turn, 1)) for turn in range(10)])

    async def test_wrongHeaders(self: Any) -> None:
        """
        From a known address, what does not begin with its header is shown to who knows, in the middle
        of a run as well; what is cut short is, even where an older datagram would complete it.
        """
        one, other, _, _ = self.pair()
        for _ in range(70):
            one.send(ONE + b"good")
        await pause()
        good = len(self.drain(other))
        for n in range(70):
            one.send(ONE + b"good" if n % 3 else OTHER + b"bad!")
        for length in (0, 1, 46):
            one.send(ONE[:length])
        await pause(0.1)
        self.assertEqual(good, 70)
        self.assertEqual(self.drain(other), [b"good"] * 46)
        self.assertEqual([data for data, _ in self.strange[:24]], [OTHER + b"bad!"] * 24)
        self.assertEqual([data for data, _ in self.strange[24:]], [ONE[:length] for length in (0, 1, 46)])
        self.assertEqual({address for _, address in self.strange}, {one.getsockname()})

    async def test_unknownSource(self: Any) -> None:
        """
        What comes from an unknown address is shown to who knows, whatever its header.
        """
        self.pair()
        stranger = self.party()
        stranger.send(ONE + b"data")
        await pause()
        self.assertEqual(self.strange, [(ONE + b"data", stranger.getsockname())])

    async def test_closedChannel(self: Any) -> None:
        """
        A closed channel relays nothing; one that was opened at its address since is not harmed.
        """
        one, other, first, _ = self.pair()
        again = Channel(self.port, one.getsockname(), ONE)
        again.open(deliver=lambda data: None)
        first.close()
        self.assertIs(self.port.owner(one.getsockname()), again)
        again.close()
        one.send(ONE + b"data")
        await pause()
        self.assertEqual(self.drain(other), [])
        self.assertEqual(len(self.strange), 1)

    async def test_delivers(self: Any) -> None:
        """
        Where the other party is here, payloads are handed over, each by itself.
        """
        one = self.party()
        channel = Channel(self.port, one.getsockname(), ONE)
        got: list[bytes] = []
        channel.open(deliver=got.append)
        for n in range(100):
            one.send(ONE + bytes((n,)) * 100)
        await pause()
        self.assertEqual(got, [bytes((n,)) * 100 for n in range(100)])
        self.assertEqual((channel.datagrams, channel.octets), (100, 10000))
        self.assertTrue(channel.send(b"answer"))
        await pause()
        self.assertEqual(self.drain(one), [b"answer"])

    async def test_closedWhileDelivering(self: Any) -> None:
        """
        Who gets a payload may close the channel, or the port; then nothing more is handed over.
        """
        one = self.party()
        channel = Channel(self.port, one.getsockname(), ONE)
        got: list[bytes] = []

        def deliver(data: bytes) -> None:
            got.append(data)
            if len(got) == 3:
                channel.close()
            if len(got) == 5:
                self.port.close()

        channel.open(deliver=deliver)
        for _ in range(10):
            one.send(ONE + b"x")
        await pause()
        self.assertEqual(len(got), 3)
        channel.open(deliver=deliver)
        for _ in range(10):
            one.send(ONE + b"x")
        await pause()
        self.assertEqual(len(got), 5)
        self.assertEqual(self.port.fileno(), -1)
        self.assertFalse(channel.send(b"too late"))

    async def test_rate(self: Any) -> None:
        """
        What is above the rate limit is dropped and counted, in runs too.
        """
        one, other, first, _ = self.pair(rate=19998)
        for _ in range(30):
            one.send(ONE + b"x" * 1000)
        one.send(ONE + b"y")
        await pause()
        self.assertEqual(self.drain(other), [b"x" * 1000] * 10)
        self.assertEqual((first.datagrams, first.octets, first.dropped), (10, 10000, 21))

    async def test_twoPorts(self: Any) -> None:
        """
        Parties at different ports are relayed, each hears the port that it knows.
        """
        second = self.makePort()
        one, other = self.party(), self.party(second)
        here = Channel(self.port, one.getsockname(), ONE)
        there = Channel(second, other.getsockname(), ONE)
        third = self.pair()
        here.open(there)
        there.open(here)
        for n in range(5):
            one.send(ONE + bytes((n,)))
            third[0].send(ONE + b"beside")
            other.send(ONE + bytes((n, n)))
        await pause()
        self.assertEqual(self.drain(other), [bytes((n,)) for n in range(5)])
        self.assertEqual(self.drain(one), [bytes((n, n)) for n in range(5)])
        self.assertEqual(self.drain(third[1]), [b"beside"] * 5)

    async def test_cannotBeSent(self: Any) -> None:
        """
        What the system refuses to send is counted as dropped, and the rest is sent.
        """
        one, other, _, second = self.pair()
        third = self.party()
        channel = Channel(self.port, third.getsockname(), ONE)
        nowhere = Channel(self.port, (*one.getsockname()[:1], 0, *one.getsockname()[2:]), ONE)
        channel.open(nowhere)
        for _ in range(3):
            third.send(ONE + b"lost")
            other.send(ONE + b"fine")
        await pause()
        self.assertEqual(self.drain(one), [b"fine"] * 3)
        self.assertEqual((channel.datagrams, channel.octets, channel.dropped), (0, 0, 3))
        self.assertEqual(second.datagrams, 3)

    async def test_failingStranger(self: Any) -> None:
        """
        A mistake of who knows is logged, and the port reads on.
        """
        one, other, _, _ = self.pair()

        def fail(*arguments: Any) -> None:
            raise ZeroDivisionError

        self.port._strangers = fail
        self.party().send(b"?")
        await pause()
        one.send(ONE + b"still")
        await pause()
        self.assertEqual(self.drain(other), [b"still"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_descriptor(self: Any) -> None:
        """
        The port is a reader that can be closed more than once, by the reactor too.
        """
        self.assertEqual(self.port.logPrefix(), "datagrams")
        self.assertEqual(self.port.fileno(), self.port.descriptor)
        self.port.connectionLost(Failure(ConnectionDone()))
        self.port.close()
        self.assertEqual(self.port.fileno(), -1)

    async def test_wildcard(self: Any) -> None:
        """
        A port bound to all addresses answers from the one that the party talks to.
        """
        if self.family != socket.AF_INET:
            raise SkipTest("the loopback has one IPv6 address only")
        port = self.makePort("0.0.0.0")
        parties = []
        for local in ("127.0.0.2", "127.0.0.3"):
            party = socket.socket(self.family, socket.SOCK_DGRAM)
            party.connect((local, port.getHost()[1]))
            party.setblocking(False)
            self.sockets.append(party)
            parties.append((party, Channel(port, party.getsockname(), ONE, local)))
        (one, first), (other, second) = parties
        first.open(second)
        second.open(first)
        for size in (10, 20, 20, 20):
            one.send(ONE + b"x" * size)
            other.send(ONE + b"y" * size)
        await pause()
        self.assertEqual(list(map(len, self.drain(other))), [10, 20, 20, 20])
        self.assertEqual(list(map(len, self.drain(one))), [10, 20, 20, 20])
        first.send(b"hello")
        await pause()
        self.assertEqual(self.drain(one), [b"hello"])

    async def test_wildcardOfTheOtherFamily(self: Any) -> None:
        """
        The address that a party's connection tells may be written as a socket of the other family
        writes it.
        """
        port = self.makePort("0.0.0.0" if self.family == socket.AF_INET else "::")
        party = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        party.connect(("127.0.0.2", port.getHost()[1]))
        party.setblocking(False)
        self.sockets.append(party)
        address = party.getsockname()
        if self.family == socket.AF_INET6:
            address = (f"::ffff:{address[0]}", address[1], 0, 0)
        for local in ("127.0.0.2", "::ffff:127.0.0.2"):
            self.assertTrue(Channel(port, address, ONE, local).send(local.encode()))
        await pause()
        self.assertEqual(self.drain(party), [b"127.0.0.2", b"::ffff:127.0.0.2"])


class PlainPortTests(Ports, TestCase):
    """
    The portable port.
    """

    plain = True

    def test_kind(self) -> None:
        """
        This is the portable port.
        """
        self.assertIs(type(self.port), DatagramPort)

    async def test_errorsOfEarlierDatagrams(self) -> None:
        """
        An error that the socket reports instead of a datagram does not end anything.
        """
        one, other, _, _ = self.pair()
        real = self.port._socket
        errors = [ConnectionRefusedError()]

        class Reporting:
            def recvfrom_into(self, buffer: Any) -> Any:
                if errors:
                    raise errors.pop()
                return real.recvfrom_into(buffer)

            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

        self.port._socket = Reporting()  # type: ignore[assignment]
        one.send(ONE + b"data")
        await pause()
        self.assertEqual(self.drain(other), [b"data"])


class BatchPortTests(Ports, TestCase):
    """
    The port that reads in batches.
    """

    plain = False

    def setUp(self) -> None:
        if not mmsg.isAvailable():
            raise SkipTest("there is no recvmmsg here")
        super().setUp()

    def test_kind(self) -> None:
        """
        This is the port that reads in batches.
        """
        self.assertIs(type(self.port), BatchPort)

    async def test_joinedByTheKernel(self) -> None:
        """
        Datagrams that the kernel has joined to one message are cut, relayed and counted one by one.
        """
        one, other, first, _ = self.pair()
        payloads = [bytes((n,)) * 900 for n in range(20)] + [b"short"]
        data = b"".join(ONE + payload for payload in payloads)
        cut = struct.pack("H", HEADER_LENGTH + 900)
        one.sendmsg([data], [(socket.IPPROTO_UDP, mmsg.UDP_SEGMENT, cut)])
        one.send(ONE + b"beside")
        await pause()
        self.assertEqual(self.drain(other), [*payloads, b"beside"])
        self.assertEqual((first.datagrams, first.octets), (22, 20 * 900 + 11))

    async def test_joinedAndWrong(self) -> None:
        """
        Of those, the ones with a wrong header are shown to who knows, and the rest is relayed.
        """
        one, other, first, _ = self.pair()
        parts = [(OTHER if n in (0, 7) else ONE) + bytes((n,)) * 100 for n in range(10)] + [ONE[:30]]
        cut = struct.pack("H", HEADER_LENGTH + 100)
        one.sendmsg([b"".join(parts)], [(socket.IPPROTO_UDP, mmsg.UDP_SEGMENT, cut)])
        await pause()
        self.assertEqual(self.drain(other), [bytes((n,)) * 100 for n in range(10) if n not in (0, 7)])
        self.assertEqual([data for data, _ in self.strange], [parts[0], parts[7], parts[10]])
        self.assertEqual(first.datagrams, 8)

    async def test_joinedUnknown(self) -> None:
        """
        From an unknown address they are shown one by one.
        """
        self.pair()
        stranger = self.party()
        parts = [ONE + b"a" * 10, ONE + b"b" * 10]
        cut = struct.pack("H", HEADER_LENGTH + 10)
        stranger.sendmsg([b"".join(parts)], [(socket.IPPROTO_UDP, mmsg.UDP_SEGMENT, cut)])
        await pause()
        self.assertEqual([data for data, _ in self.strange], parts)

    async def test_joinedFlood(self) -> None:
        """
        Joined datagrams of strangers do not keep everybody else waiting: one batch of them a wake-up.
        """
        stranger = self.party()
        self.port._reactor.removeReader(self.port)
        cut = struct.pack("H", 50)
        for _ in range(100):
            stranger.sendmsg([b"x" * 1000], [(socket.IPPROTO_UDP, mmsg.UDP_SEGMENT, cut)])
        self.port.doRead()
        self.assertEqual(len(self.strange), 64 * 20)
        self.port.doRead()
        self.assertEqual(len(self.strange), 100 * 20)

    async def test_joinedAndLimited(self) -> None:
        """
        The rate limit counts each of them.
        """
        one, other, first, _ = self.pair(rate=1998)
        cut = struct.pack("H", HEADER_LENGTH + 100)
        data = (ONE + b"x" * 100) * 20
        for _ in range(2):
            one.sendmsg([data], [(socket.IPPROTO_UDP, mmsg.UDP_SEGMENT, cut)])
        await pause()
        self.assertEqual(self.drain(other), [b"x" * 100] * 10)
        self.assertEqual((first.datagrams, first.dropped), (10, 30))

    def scripted(self, *errors: int) -> list[int]:
        """
        Let the next calls of sendmmsg fail.

        @param errors: the error of each; 0: it works.
        @return: how many messages each call was to send.
        """
        real, script, calls = mmsg.libc, list(errors), []

        class Failing:
            recvmmsg = real.recvmmsg

            def sendmmsg(self, descriptor: int, headers: int, count: int, flags: int) -> int:
                calls.append(count)
                error = script.pop(0) if script else 0
                if error:
                    mmsg.ctypes.set_errno(error)
                    return -1
                return int(real.sendmmsg(descriptor, headers, count, flags))

        self.patch(mmsg, "libc", Failing())
        return calls

    async def test_uncuttable(self) -> None:
        """
        When the kernel cannot cut a run (the path's MTU is smaller), its datagrams go one by one, and
        runs of this size to this party are not tried again.
        """
        one, other, first, _ = self.pair()
        calls = self.scripted(errno.EINVAL)
        for _ in range(2):
            for n in range(5):
                one.send(ONE + bytes((n,)) * 1400)
            await pause()
        self.assertEqual(self.drain(other), [bytes((n,)) * 1400 for n in range(5)] * 2)
        self.assertEqual(first.datagrams, 10)
        self.assertEqual(calls, [1, 1, 1, 1, 1, 1, 5])
        for _ in range(3):
            one.send(ONE + b"small")
        await pause()
        self.assertEqual(calls[-1], 1)
        self.assertEqual(self.drain(other), [b"small"] * 3)

    async def test_noOffload(self) -> None:
        """
        Where the device cannot do it at all, nothing to this party is cut any more; what fails then
        is counted.
        """
        one, other, first, second = self.pair()
        calls = self.scripted(errno.EIO, 0, errno.EPERM)
        for _ in range(3):
            one.send(ONE + b"abc")
        await pause()
        self.assertEqual(calls, [1, 1, 1, 1])
        self.assertEqual(self.drain(other), [b"abc"] * 2)
        self.assertEqual((first.datagrams, first.octets, first.dropped), (2, 6, 1))
        self.assertEqual(second.destination.packed.largest, 0)

    async def test_wouldBlock(self) -> None:
        """
        When the socket has no room, what is left of the batch is dropped and counted, not kept.
        """
        one, other, first, _ = self.pair()
        third, fourth, another, _ = self.pair()
        calls = self.scripted(errno.EAGAIN)
        for _ in range(3):
            one.send(ONE + b"12345")
        third.send(ONE + b"1")
        await pause()
        self.assertEqual(calls, [2])
        self.assertEqual((first.datagrams, first.octets, first.dropped), (0, 0, 3))
        self.assertEqual((another.datagrams, another.dropped), (0, 1))
        one.send(ONE + b"later")
        await pause()
        self.assertEqual(self.drain(other), [b"later"])
        self.assertEqual(self.drain(fourth), [])

    async def test_joinedAndNotSent(self) -> None:
        """
        Of a joined message that is not sent, as a whole or in pieces, no byte is counted; its last
        datagram may be shorter than the others.
        """
        for errors, counted in (
            ((errno.EAGAIN,), (0, 0, 3)),
            ((errno.EINVAL, 0, 0, errno.EPERM), (2, 1800, 1)),
        ):
            one, other, first, _ = self.pair()
            self.scripted(*errors)
            cut = struct.pack("H", HEADER_LENGTH + 900)
            data = ONE + b"a" * 900 + ONE + b"b" * 900 + ONE + b"short"
            one.sendmsg([data], [(socket.IPPROTO_UDP, mmsg.UDP_SEGMENT, cut)])
            await pause()
            self.assertEqual(self.drain(other), [b"a" * 900, b"b" * 900][: counted[0]])
            self.assertEqual((first.datagrams, first.octets, first.dropped), counted)

    async def test_sentInParts(self) -> None:
        """
        When one message of a batch fails, those behind it are sent.
        """
        one, other, first, _ = self.pair()
        third, fourth, _, _ = self.pair()
        self.scripted(errno.EHOSTUNREACH)
        one.send(ONE + b"1")
        third.send(ONE + b"2")
        await pause()
        self.assertEqual(self.drain(other), [])
        self.assertEqual(self.drain(fourth), [b"2"])
        self.assertEqual(first.dropped, 1)

    def test_withoutJoining(self) -> None:
        """
        A kernel that cannot join datagrams is no hindrance; another error is one.
        """
        for number, raised in ((errno.ENOPROTOOPT, False), (errno.EBADF, True)):

            class Old(socket.socket):
                def setsockopt(self, level: int, *arguments: Any) -> None:  # type: ignore[override]
                    if level == socket.IPPROTO_UDP:
                        raise OSError(number, "scripted")  # noqa: B023
                    super().setsockopt(level, *arguments)

            sock = Old(socket.AF_INET, socket.SOCK_DGRAM)
            self.sockets.append(sock)
            sock.bind(("127.0.0.1", 0))
            if raised:
                with self.assertRaises(OSError):
                    makeDatagramPort(reactor, sock, self.stranger)
            else:
                makeDatagramPort(reactor, sock, self.stranger).close()


class PlainIPv6Tests(PlainPortTests):
    """
    The same over IPv6.
    """

    family = socket.AF_INET6
    host = "::1"


class BatchIPv6Tests(BatchPortTests):
    """
    The same over IPv6.
    """

    family = socket.AF_INET6
    host = "::1"


class ChoiceTests(TestCase):
    """
    Which port is made.
    """

    def test_portableElsewhere(self) -> None:
        """
        Without recvmmsg, the portable port is made.
        """
        self.patch(mmsg, "libc", None)
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        port = makeDatagramPort(reactor, sock, lambda *arguments: None)
        port.close()
        self.assertIs(type(port), DatagramPort)

    def test_notOnOtherSystems(self) -> None:
        """
        recvmmsg is used on 64-bit Linux only.
        """
        self.patch(mmsg.sys, "platform", "darwin")
        self.assertIsNone(mmsg._load())

    def test_notWithoutTheFunctions(self) -> None:
        """
        A C library without these functions is none to use.
        """
        self.patch(mmsg.ctypes, "CDLL", lambda *arguments, **options: object())
        self.assertIsNone(mmsg._load())

    def test_addresses(self) -> None:
        """
        Socket addresses are written and read as the kernel and Python do.
        """
        for family, address in (
            (socket.AF_INET, ("192.0.2.1", 65535)),
            (socket.AF_INET6, ("2001:db8::1", 1, 0, 0)),
            (socket.AF_INET6, ("fe80::1", 80, 0, 3)),
        ):
            self.assertEqual(unpackAddress(family, packAddress(family, address)), address)
        self.assertEqual(
            packAddress(socket.AF_INET6, ("fe80::1%eth0", 80)), packAddress(socket.AF_INET6, ("fe80::1", 80))
        )
        self.assertEqual(batchport.QUANTUM % mmsg.BATCH, 0)
