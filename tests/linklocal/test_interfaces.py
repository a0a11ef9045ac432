"""
Tests for L{xmppbytes.linklocal.interfaces}.
"""

import socket
from ipaddress import ip_address
from pathlib import Path

from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase
from zope.interface import alsoProvides

from xmppbytes.connecting.addresses import LocalAddress
from xmppbytes.linklocal import interfaces as module
from xmppbytes.linklocal.ilink import NetworkInterface
from xmppbytes.linklocal.interfaces import InterfaceMonitor, listInterfaces

UP, LOOPBACK, RUNNING, MULTICAST = 0x1, 0x8, 0x40, module._IFF_MULTICAST
ETH0 = NetworkInterface("eth0", 2, ("10.0.0.1",))


class ListTests(TestCase):
    """
    Which interfaces count.
    """

    def table(self, *rows):
        found = [LocalAddress(name, ip_address(address), flags) for name, flags, address in rows]
        self.patch(module, "localAddresses", lambda: found)
        self.patch(module, "_PROC_IF_INET6", self.mktemp())
        self.patch(module, "_index", lambda name: {"gone0": 0}.get(name, 7))

    def names(self, *wanted):
        return [interface.name for interface in listInterfaces(wanted)]

    def test_real(self):
        """
        The loopback of this machine is found when it is wanted, and only then.
        """
        [lo] = listInterfaces(["lo"])
        self.assertEqual((lo.name, lo.index, lo.loopback), ("lo", socket.if_nametoindex("lo"), True))
        self.assertIn("127.0.0.1", lo.addresses)
        self.assertNotIn("lo", [interface.name for interface in listInterfaces()])

    def test_filter(self):
        """
        Interfaces that have no carrier, cannot multicast or have just gone do not count.
        """
        good = UP | RUNNING | MULTICAST
        self.table(
            ("eth0", good, "10.0.0.1"),
            ("eth0", good, "fe80::1"),
            ("cable0", UP | MULTICAST, "10.0.0.3"),
            ("tun0", UP | RUNNING, "10.0.0.4"),
            ("lo", good | LOOPBACK, "127.0.0.1"),
            ("gone0", good, "10.0.0.5"),
        )
        self.assertEqual(listInterfaces(), [NetworkInterface("eth0", 7, ("10.0.0.1", "fe80::1"))])
        self.assertEqual(self.names("tun0", "lo", "eth9"), ["tun0", "lo"])

    def test_tentative(self):
        """
        An IPv6 address that may be a duplicate does not count yet, and one that is never.
        """
        self.table(*(("eth0", UP | RUNNING | MULTICAST, f"fe80::{number}") for number in (1, 2, 3)))
        Path(module._PROC_IF_INET6).write_text(
            "fe800000000000000000000000000001 07 40 20 c0 eth0\n"
            "fe800000000000000000000000000002 07 40 20 80 eth0\n"
            "fe800000000000000000000000000003 07 40 20 88 eth0\n"
        )
        self.assertEqual(listInterfaces()[0].addresses, ("fe80::2",))

    def test_goneIndex(self):
        """
        An interface that goes away while it is looked at has no number.
        """
        self.assertEqual(module._index("no-such-if0"), 0)


class MonitorTests(TestCase):
    """
    Interfaces that come and go.
    """

    def test_poll(self):
        """
        A change is told at the next look; no change is not.
        """
        clock, now, told = Clock(), [[ETH0]], []
        monitor = InterfaceMonitor(clock, (), lambda wanted: now[0])
        monitor.start(told.append)
        clock.advance(3)
        now[0] = []
        clock.advance(3)
        monitor.stop()
        clock.advance(30)
        self.assertEqual(told, [[ETH0], []])
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_error(self):
        """
        A look that fails is tried again.
        """
        clock, told, results = Clock(), [], [OSError(12, "no memory"), [ETH0]]

        def listing(wanted):
            result = results.pop(0)
            if isinstance(result, OSError):
                raise result
            return result

        monitor = InterfaceMonitor(clock, ("eth0",), listing)
        monitor.start(told.append)
        clock.advance(3)
        monitor.stop()
        self.assertEqual(told, [[ETH0]])

    def test_ownFault(self):
        """
        When taking notice of a change fails by our own fault the log says so.
        """
        monitor = InterfaceMonitor(Clock(), (), lambda wanted: [ETH0])
        monitor.start(lambda interfaces: 1 / 0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        monitor.stop()

    def test_noNetlink(self):
        """
        Where there is no netlink interfaces are polled, and the log says so.
        """

        def noNetlink(notify):
            raise OSError(93, "Protocol not supported")

        self.patch(module, "_ChangeNotifier", noNetlink)
        clock = Clock()
        alsoProvides(clock, IReactorFDSet)
        told = []
        monitor = InterfaceMonitor(clock, (), lambda wanted: [ETH0])
        with capturedLogs() as logs:
            monitor.start(told.append)
        monitor.stop()
        self.assertIn("polled only", formatEvent(logs[0]))
        self.assertEqual(told, [[ETH0]])
