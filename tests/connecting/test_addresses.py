"""
This machine's own addresses, and the kinds of address.
"""

import ctypes
import socket
from ipaddress import IPv4Address, IPv6Address

from twisted.trial.unittest import SynchronousTestCase

from xmppbytes.connecting import addresses
from xmppbytes.connecting.addresses import LocalAddress, localAddresses, parseAddress, plainAddress


class LocalAddressesTests(SynchronousTestCase):
    """
    L{localAddresses}.
    """

    def test_loopback(self) -> None:
        """
        The loopback is always there, and has a known interface.
        """
        [found] = [one for one in localAddresses() if one.ip == IPv4Address("127.0.0.1")]
        self.assertIn(found.interface, [name for _, name in socket.if_nameindex()])

    def test_allCanBeBound(self) -> None:
        """
        Each address that is told is one of ours.
        """
        for one in localAddresses():
            family = socket.AF_INET if one.ip.version == 4 else socket.AF_INET6
            place = socket.getaddrinfo(str(one), 0, family, socket.SOCK_STREAM)[0][4]
            with socket.socket(family) as probe:
                probe.bind(place)

    def test_systemRefuses(self) -> None:
        """
        A system that cannot tell its addresses is an C{OSError}.
        """

        class Library:
            def getifaddrs(self, head: object) -> int:
                return -1

        self.patch(addresses.ctypes, "CDLL", lambda *args, **kwargs: Library())
        self.assertRaises(OSError, localAddresses)

    def test_familyByte(self) -> None:
        """
        On BSD a socket address begins with its length, and the family is one byte.
        """
        self.patch(addresses, "_FAMILY_IS_A_BYTE", True)
        raw = ctypes.create_string_buffer(bytes((16, socket.AF_INET, 0, 0, 192, 0, 2, 1)) + bytes(8))
        self.assertEqual(addresses._addressAt(ctypes.addressof(raw)), IPv4Address("192.0.2.1"))

    def test_otherFamily(self) -> None:
        """
        What is neither IPv4 nor IPv6, such as a link address, is passed over.
        """
        raw = ctypes.create_string_buffer(b"\xfe\xfe" + bytes(20))
        self.assertIsNone(addresses._addressAt(ctypes.addressof(raw)))

    def test_scope(self) -> None:
        """
        A link-local address is of no use without its interface.
        """
        self.assertEqual(str(LocalAddress("eth7", IPv6Address("fe80::1"))), "fe80::1%eth7")
        self.assertEqual(str(LocalAddress("eth7", IPv6Address("2001:db8::1"))), "2001:db8::1")


class ParseAddressTests(SynchronousTestCase):
    """
    L{parseAddress} and L{plainAddress}.
    """

    def test_forms(self) -> None:
        """
        Brackets, scopes and mapped addresses are understood.
        """
        self.assertEqual(parseAddress("[2001:db8::1]"), IPv6Address("2001:db8::1"))
        self.assertEqual(parseAddress("fe80::1%eth0"), IPv6Address("fe80::1%eth0"))
        self.assertEqual(parseAddress("::ffff:192.0.2.1"), IPv4Address("192.0.2.1"))
        self.assertIsNone(parseAddress("example.org"))

    def test_plain(self) -> None:
        """
        Addresses are written as people know them; the rest stays as it is.
        """
        self.assertEqual(plainAddress("::ffff:192.0.2.1"), "192.0.2.1")
        self.assertEqual(plainAddress("somewhere"), "somewhere")
