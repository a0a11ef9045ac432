"""
Tests for L{xmppbytes.core.origin}.
"""

from twisted.trial.unittest import TestCase

from xmppbytes.core.origin import originOf, plainPeer


class PlainPeerTests(TestCase):
    """
    Addresses for people.
    """

    def test_mapped(self) -> None:
        """
        An IPv4 peer of a dual-stack socket is called by its IPv4 address.
        """
        self.assertEqual(plainPeer("::ffff:192.0.2.1"), "192.0.2.1")

    def test_others(self) -> None:
        """
        What is no such address stays as it is.
        """
        for host in ("192.0.2.1", "2001:db8::1", "fe80::1%eth0", "::ffff:1", "?"):
            self.assertEqual(plainPeer(host), host)


class OriginTests(TestCase):
    """
    What limits count.
    """

    def test_ipv4(self) -> None:
        """
        Each IPv4 address is an origin of its own.
        """
        self.assertEqual(originOf("192.0.2.1"), "192.0.2.1")

    def test_ipv6(self) -> None:
        """
        The addresses of one /64 are one origin, whatever their scope.
        """
        self.assertEqual(originOf("2001:db8:0:1::1"), "2001:db8:0:1::/64")
        self.assertEqual(originOf("2001:db8:0:1:ffff::2"), "2001:db8:0:1::/64")
        self.assertNotEqual(originOf("2001:db8:0:2::1"), originOf("2001:db8:0:1::1"))
        self.assertEqual(originOf("fe80::1%eth0"), originOf("fe80::2%eth0"))

    def test_noAddress(self) -> None:
        """
        Peers of other kinds of sockets are one origin.
        """
        self.assertEqual(originOf("?"), "?")
