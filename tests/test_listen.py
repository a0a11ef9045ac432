"""
Tests for L{xmppbytes.listen}.
"""

import errno
import os
import resource
import socket
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import lines
from xmppbytes import listen
from xmppbytes.errors import ConfigurationError
from xmppbytes.listen import (
    BACKLOG,
    RESERVED_DESCRIPTORS,
    AcceptGate,
    ListenService,
    makeServerEndpoint,
    parseAdvertised,
    raiseDescriptorLimit,
)


class EndpointTests(SynchronousTestCase):
    """
    Endpoint descriptions.
    """

    def listen(self, description: str) -> Any:
        """
        Listen, and tell how: port, interface, backlog.
        """
        reactor = MemoryReactorClock()
        self.successResultOf(makeServerEndpoint(reactor, description).listen(Factory()))
        if reactor.unixServers:
            return reactor.unixServers[0][0]
        port, _, backlog, interface = reactor.tcpServers[0]
        return port, interface, backlog

    def test_dualStack(self) -> None:
        """
        A port alone means IPv4 and IPv6 at once; where there is no IPv6, IPv4.
        """
        with mock.patch.object(listen, "_hasIPv6", return_value=True):
            self.assertEqual(self.listen("tcp:7777"), (7777, "::", BACKLOG))
        with mock.patch.object(listen, "_hasIPv6", return_value=False):
            self.assertEqual(self.listen("tcp:7777"), (7777, "", BACKLOG))

    def test_probe(self) -> None:
        """
        Whether there is IPv6 is found out by trying.
        """
        self.assertIsInstance(listen._hasIPv6(), bool)
        with mock.patch.object(socket, "socket", side_effect=OSError(errno.EAFNOSUPPORT, "no")):
            self.assertFalse(listen._hasIPv6())

    def test_others(self) -> None:
        """
        Other descriptions are Twisted's, with our backlog unless they name one.
        """
        self.assertEqual(self.listen("tcp:7777:interface=127.0.0.1"), (7777, "127.0.0.1", BACKLOG))
        self.assertEqual(self.listen("tcp6:7777"), (7777, "::", BACKLOG))
        self.assertEqual(self.listen("tcp:7777:backlog=5"), (7777, "", 5))
        self.assertEqual(self.listen("unix:/tmp/x"), "/tmp/x")

    def test_nonsense(self) -> None:
        """
        What is no description is an error that says what one looks like.
        """
        for description in (
            "",
            "7777",
            "tcp",
            "tcp:",
            "tcp:x",
            "nosuch:1",
            "systemd:domain=INET",
            "tcp:1:2:3:4:5",
        ):
            error = self.assertRaises(
                ConfigurationError, makeServerEndpoint, MemoryReactorClock(), description
            )
            self.assertIn("tcp:7777", str(error))


class FakePort:
    """
    A listening port.
    """

    def __init__(self) -> None:
        self.accepting = True
        self.stopped = False

    def pauseProducing(self) -> None:
        self.accepting = False

    def resumeProducing(self) -> None:
        self.accepting = True

    def getHost(self) -> str:
        return "here"

    def stopListening(self) -> "Deferred[None]":
        self.stopped = True
        return succeed(None)


class Accepted:
    """
    A connection with a descriptor number.
    """

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        return self._number


class AcceptGateTests(SynchronousTestCase):
    """
    Running short of descriptors.
    """

    limit = 1000

    def setUp(self) -> None:
        self.clock = Clock()
        self.gate = AcceptGate(self.clock, self.limit)
        self.ports = [FakePort(), FakePort()]
        for port in self.ports:
            self.gate.guard(port)
        self.lowest = 10
        self.patch(listen.os, "open", self.open)
        self.patch(listen.os, "close", lambda number: None)

    def open(self, *arguments: Any) -> int:
        if self.lowest >= self.limit:
            raise OSError(errno.EMFILE, "Too many open files")
        return self.lowest

    def fill(self, number: int) -> None:
        """
        A connection gets this number, which is the lowest that was free.
        """
        self.lowest = number + 1
        self.gate.accepted(Accepted(number))

    @property
    def accepting(self) -> list[bool]:
        return [port.accepting for port in self.ports]

    def test_plenty(self) -> None:
        """
        While there are enough nothing happens.
        """
        self.fill(self.limit - RESERVED_DESCRIPTORS - 1)
        self.assertEqual((self.accepting, self.clock.getDelayedCalls()), ([True, True], []))

    def test_pausesAndResumes(self) -> None:
        """
        Short of descriptors all ports pause, with one line; when there is room they go on, with another.
        """
        with capturedLogs() as events:
            self.fill(self.limit - RESERVED_DESCRIPTORS)
            self.fill(self.limit - RESERVED_DESCRIPTORS + 1)
            self.assertEqual(self.accepting, [False, False])
            self.clock.advance(1)
            self.lowest = self.limit
            self.clock.pump([0.5] * 10)
            self.assertEqual(self.accepting, [False, False])
            self.lowest = 500
            self.clock.advance(1)
        self.assertEqual(self.accepting, [True, True])
        short, free = lines(events)
        self.assertIn("Short of descriptors (the limit is 1000)", short)
        self.assertIn("accepting connections", free)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_exhausted(self) -> None:
        """
        When not even one is left all ports pause as well, and go on when there is room.
        """
        with capturedLogs() as events:
            self.lowest = self.limit
            self.gate.exhausted()
            self.gate.exhausted()
            self.assertEqual(self.accepting, [False, False])
            self.lowest = 10
            self.clock.advance(1)
        self.assertEqual(self.accepting, [True, True])
        self.assertEqual(len(events), 2)

    def test_oneLineAMinute(self) -> None:
        """
        A shortage that comes again and again is told once a minute.
        """
        with capturedLogs() as events:
            for _ in range(50):
                self.fill(self.limit)
                self.lowest = 10
                self.clock.advance(1)
            self.assertEqual(len(events), 2)
            self.clock.advance(10)
            self.fill(self.limit)
        self.assertEqual(len(events), 3)
        self.gate.stop()

    def test_smallLimit(self) -> None:
        """
        Of a small limit half is for connections.
        """
        gate, port = AcceptGate(self.clock, 100), FakePort()
        gate.guard(port)
        gate.accepted(Accepted(49))
        self.assertTrue(port.accepting)
        gate.accepted(Accepted(50))
        self.assertFalse(port.accepting)

    def test_stop(self) -> None:
        """
        Ports that are being closed are left alone.
        """
        self.fill(self.limit)
        self.gate.stop()
        self.gate.stop()
        self.clock.advance(10)
        self.assertEqual((self.accepting, self.clock.getDelayedCalls()), ([False, False], []))


class DescriptorLimitTests(SynchronousTestCase):
    """
    As many descriptors as may be.
    """

    def limit(self, soft: int, hard: int, error: Exception | None = None) -> tuple[int, list[Any]]:
        calls: list[Any] = []

        def setrlimit(which: int, limits: tuple[int, int]) -> None:
            calls.append(limits)
            if error is not None:
                raise error

        with (
            mock.patch.object(resource, "getrlimit", return_value=(soft, hard)),
            mock.patch.object(resource, "setrlimit", setrlimit),
        ):
            return raiseDescriptorLimit(), calls

    def test_raised(self) -> None:
        """
        The soft limit becomes the hard one, where that is possible.
        """
        self.assertEqual(self.limit(1024, 4096), (4096, [(4096, 4096)]))
        self.assertEqual(self.limit(4096, 4096), (4096, []))
        self.assertEqual(self.limit(1024, 4096, ValueError("no"))[0], 1024)
        self.assertEqual(self.limit(1024, 4096, OSError("no"))[0], 1024)


class FakeEndpoint:
    """
    Where one listens, or not.
    """

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.ports: list[FakePort] = []

    def listen(self, factory: Any) -> "Deferred[Any]":
        if self.error is not None:
            return fail(self.error)
        self.ports.append(FakePort())
        return succeed(self.ports[-1])


class ListenServiceTests(SynchronousTestCase):
    """
    Listening while the service runs.
    """

    def make(self, endpoint: FakeEndpoint) -> ListenService:
        return ListenService(endpoint, Factory(), "tcp:7777", "twistd x")

    def test_life(self) -> None:
        """
        It listens once, at the start of the process or of the service, until it is stopped; and again.
        """
        endpoint = FakeEndpoint()
        service = self.make(endpoint)
        with capturedLogs() as events:
            service.privilegedStartService()
            service.startService()
        self.assertEqual(lines(events), ["Listening on tcp:7777 (here)"])
        self.assertEqual((len(endpoint.ports), service.port), (1, endpoint.ports[0]))
        self.successResultOf(service.stopService())
        self.assertEqual((endpoint.ports[0].stopped, service.port), (True, None))
        self.assertIsNone(service.stopService())
        service.startService()
        self.assertEqual(len(endpoint.ports), 2)

    def test_loop(self) -> None:
        """
        A loop takes the port if there is one: what it returns is the service's port.
        """
        endpoint, taken = FakeEndpoint(), FakePort()
        loop = mock.Mock()
        loop.take.return_value = taken
        factory = Factory()
        service = ListenService(endpoint, factory, "tcp:7777", "twistd x", loop)
        service.startService()
        loop.take.assert_called_once_with(endpoint.ports[0], factory)
        self.assertIs(service.port, taken)
        self.successResultOf(service.stopService())
        self.assertTrue(taken.stopped)

    def test_loopHasNoDescriptor(self) -> None:
        """
        A port that the loop cannot take is closed, and ends the program as well.
        """
        endpoint, loop = FakeEndpoint(), mock.Mock()
        loop.take.side_effect = OSError(errno.EMFILE, "Too many open files")
        service = ListenService(endpoint, Factory(), "tcp:7777", "twistd x", loop)
        end = self.assertRaises(SystemExit, service.startService)
        self.assertIn("Too many open files", str(end.code))
        self.assertTrue(endpoint.ports[0].stopped)

    def test_cannotListen(self) -> None:
        """
        A port that cannot be had ends the program with one line.
        """
        busy = CannotListenError("", 7777, OSError(errno.EADDRINUSE, "Address already in use"))
        for error, words in ((busy, "Address already in use"), (ValueError("odd"), "odd")):
            end = self.assertRaises(SystemExit, self.make(FakeEndpoint(error)).startService)
            self.assertTrue(str(end.code).startswith("twistd x: cannot listen on tcp:7777: "))
            self.assertIn(words, str(end.code))
            # Else the parent of a daemon waits for ever.
            self.assertIsInstance(end, Exception)


class AdvertisedTests(SynchronousTestCase):
    """
    HOST[:PORT].
    """

    def test_forms(self) -> None:
        """
        Names, IPv4 and IPv6, with a port or without; IPv6 in the form of RFC 5952.
        """
        for text, expected in {
            "proxy.example.org": ("proxy.example.org", None),
            "proxy.example.org:80": ("proxy.example.org", 80),
            "192.0.2.1:7777": ("192.0.2.1", 7777),
            "2001:DB8:0:0::0001": ("2001:db8::1", None),
            "[2001:db8::1]": ("2001:db8::1", None),
            "[2001:db8:0:0:0:0:0:1]:65535": ("2001:db8::1", 65535),
            "::1": ("::1", None),
        }.items():
            self.assertEqual(parseAdvertised(text), expected, text)

    def test_nonsense(self) -> None:
        """
        What is neither is a ValueError.
        """
        for text in (
            "",
            ":80",
            "host:",
            "host:0",
            "host:65536",
            "host:x",
            "host:\xb2",
            "[::1",
            "[::1]80",
            "[]:80",
            "a:b:c",
            "ho st",
            "<host>",
            "host/path",
            "1:2:3",
        ):
            self.assertRaises(ValueError, parseAdvertised, text)

    def test_descriptorIsReal(self) -> None:
        """
        What looks for a free descriptor gives it back.
        """
        gate = AcceptGate(Clock(), 10**6)
        before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        self.assertTrue(gate._isRoomy())
        after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        self.assertEqual(before, after)
