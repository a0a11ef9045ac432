"""
A port that is open only while somebody needs it.
"""

import socket
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from xmppbytes.connecting.listening import SharedListener
from xmppbytes.errors import NotReachable
from xmppbytes.testing import MemoryInternet


class V6OnlySocket:
    """
    A socket whose system keeps IPv6 apart.
    """

    def getsockopt(self, level: int, option: int) -> int:
        assert (level, option) == (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        return 1


class SharedListenerTests(SynchronousTestCase):
    """
    L{SharedListener}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.machine = MemoryInternet(self.clock).machine("192.0.2.1", "2001:db8::1")
        self.interfaces: list[str] = []
        self.refused: set[str] = set()
        listen = self.machine.listenTCP

        def listenTCP(port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
            self.interfaces.append(interface)
            if interface in self.refused:
                raise CannotListenError(interface, port, OSError(97, "not supported"))
            return listen(port, factory, backlog, interface)

        self.machine.listenTCP = listenTCP  # type: ignore[method-assign]

    def listener(self, *ports: int, interface: str = "") -> SharedListener:
        return SharedListener(self.machine, Factory(), ports or (5000,), interface)

    def test_openWhileNeeded(self) -> None:
        """
        The port is opened for the first user and closed after the last.
        """
        listener = self.listener()
        self.assertFalse(listener.listening)
        for _ in range(2):
            self.assertEqual(self.successResultOf(listener.acquire()), 5000)
        self.assertEqual(len(self.machine.ports), 1)
        listener.release()
        self.assertTrue(listener.listening)
        listener.release()
        self.assertFalse(listener.listening)
        self.clock.advance(0)
        self.assertEqual(self.machine.ports, [])

    def test_againWhileClosing(self) -> None:
        """
        Whoever needs the port while it is being closed waits until it can be opened again.
        """
        listener = self.listener()
        self.successResultOf(listener.acquire())
        listener.release()
        again, cancelled = listener.acquire(), listener.acquire()
        self.assertNoResult(again)
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(again), 5000)
        listener.release()
        self.clock.advance(0)
        self.assertEqual(self.machine.ports, [])

    def test_firstFreePort(self) -> None:
        """
        Of several ports the first that is free is used.
        """
        self.machine.listenTCP(5000, Factory())
        self.assertEqual(self.successResultOf(self.listener(5000, 5001).acquire()), 5001)

    def test_noneFree(self) -> None:
        """
        When none is free the error tells some of them and the reason, and the listener stays usable.
        """
        taken = [self.machine.listenTCP(port, Factory()) for port in range(5000, 5004)]
        listener = self.listener(*range(5000, 5004))
        error = self.failureResultOf(listener.acquire(), NotReachable).value
        self.assertIn("tried 5000, 5001, 5002, ...: [Errno 98] Address already in use", str(error))
        taken[0].stopListening()
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(listener.acquire()), 5000)

    def test_bothFamilies(self) -> None:
        """
        One socket takes IPv6 and IPv4.
        """
        self.successResultOf(self.listener().acquire())
        self.assertEqual(self.interfaces, ["::"])

    def test_noIPv6(self) -> None:
        """
        Where there is no IPv6, IPv4 is listened on alone.
        """
        self.refused.add("::")
        self.successResultOf(self.listener().acquire())
        self.assertEqual(self.interfaces, ["::", "0.0.0.0"])

    def test_givenInterface(self) -> None:
        """
        An interface that is configured is the only one.
        """
        self.refused.add("::")
        self.successResultOf(self.listener(interface="192.0.2.1").acquire())
        self.assertEqual(self.interfaces, ["192.0.2.1"])

    def splitFamilies(self) -> None:
        """
        Make the system keep IPv6 apart.
        """
        listen = self.machine.listenTCP

        def listenTCP(port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
            place = {"::": "2001:db8::1", "0.0.0.0": "192.0.2.1"}[interface]
            opened = listen(port, factory, backlog, place)
            if interface == "::":
                opened.socket = V6OnlySocket()  # type: ignore[attr-defined]
            return opened

        self.machine.listenTCP = listenTCP  # type: ignore[method-assign]

    def test_separateFamilies(self) -> None:
        """
        Where the system keeps IPv6 apart, a second socket of the same port takes IPv4.
        """
        self.splitFamilies()
        listener = self.listener()
        self.assertEqual(self.successResultOf(listener.acquire()), 5000)
        self.assertEqual(len(self.machine.ports), 2)
        listener.release()
        self.clock.advance(0)
        self.assertEqual(self.machine.ports, [])

    def test_separateFamiliesHalfTaken(self) -> None:
        """
        Where the port is free for one family only, the next port is tried, and nothing stays open.
        """
        self.machine.listenTCP(5000, Factory(), interface="192.0.2.1")
        self.splitFamilies()
        self.assertEqual(self.successResultOf(self.listener(5000, 5001).acquire()), 5001)
        self.clock.advance(0)
        self.assertEqual(len(self.machine.ports), 3)
