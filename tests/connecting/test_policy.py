"""
Which addresses may be connected to.
"""

from twisted.trial.unittest import SynchronousTestCase

from xmppbytes.connecting.policy import AddressPolicy
from xmppbytes.errors import ConfigurationError, NotReachable

PUBLIC = ("198.51.100.7", "10.0.0.5", "192.168.1.9", "2001:db8::1", "fd00::9", "2002:c633:6407::1")
LOOPBACK = ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "2002:7f00:1::", "64:ff9b::127.0.0.1")
LINK = ("169.254.1.1", "fe80::1", "64:ff9b::169.254.1.1")
NEVER = (
    *("0.0.0.0", "0.1.2.3", "::", "224.0.0.251", "ff02::fb", "255.255.255.255", "240.0.0.1"),
    *("::ffff:224.0.0.1", "::ffff:0.0.0.0", "::10.0.0.1", "64:ff9b::224.0.0.1"),
)


class AddressPolicyTests(SynchronousTestCase):
    """
    L{AddressPolicy}.
    """

    def assertAdmits(self, policy: AddressPolicy, *addresses: str) -> None:
        for address in addresses:
            self.assertTrue(policy.admit(address), address)

    def assertRefuses(self, policy: AddressPolicy, *addresses: str) -> None:
        for address in addresses:
            with self.assertRaises(NotReachable, msg=address):
                policy.admit(address)

    def test_fromFar(self) -> None:
        """
        Over a server somewhere else neither this machine nor its links can be meant.
        """
        policy = AddressPolicy.reachedOver("198.51.100.1")
        self.assertAdmits(policy, *PUBLIC)
        self.assertRefuses(policy, *LOOPBACK, *LINK, *NEVER)

    def test_overLoopback(self) -> None:
        """
        Over a server on this machine, this machine may be meant; links still not.
        """
        for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
            policy = AddressPolicy.reachedOver(address)
            self.assertAdmits(policy, *PUBLIC, *LOOPBACK)
            self.assertRefuses(policy, *LINK, *NEVER)

    def test_overALink(self) -> None:
        """
        Over a link, addresses of this link may be meant, and get its scope.
        """
        policy = AddressPolicy.reachedOver("fe80::9%eth7")
        self.assertEqual(policy.admit("fe80::1"), "fe80::1%eth7")
        self.assertEqual(policy.admit("fe80::1%eth8"), "fe80::1%eth7")
        self.assertEqual(policy.admit("169.254.1.1"), "169.254.1.1")
        self.assertRefuses(policy, *LOOPBACK, *NEVER)

    def test_overAnIPv4Link(self) -> None:
        """
        A server with an address like 169.254.1.1 is on a link as well.
        """
        policy = AddressPolicy.reachedOver("169.254.1.1")
        self.assertAdmits(policy, "169.254.1.2", "fe80::1")

    def test_allowed(self) -> None:
        """
        What the user allows is admitted wherever the server is; what nobody can mean is not.
        """
        policy = AddressPolicy(allow=["127.0.0.0/8", "fe80::/10", "0.0.0.0/0", "::1"])
        self.assertAdmits(policy, "127.0.0.1", "fe80::1", "169.254.1.1", "::1")
        self.assertRefuses(policy, *NEVER)

    def test_badNetwork(self) -> None:
        """
        What cannot be allowed is found out at once.
        """
        self.assertRaises(ConfigurationError, AddressPolicy, allow=["example.org"])

    def test_noAddress(self) -> None:
        """
        A name is not decided about.
        """
        self.assertRefuses(AddressPolicy(), "example.org", "", "127.1", "0x7f000001", "2130706433")

    def test_foreignScope(self) -> None:
        """
        The scope that a peer names means nothing here; a system asked about it would only fail.
        """
        self.assertEqual(AddressPolicy().admit("2001:db8::1%nonsense"), "2001:db8::1")
        self.assertRefuses(AddressPolicy(), "::1%lo", "ff02::1%eth0", "fe80::1%eth0")

    def test_mappedIsPlain(self) -> None:
        """
        An IPv4 address in the form of IPv6 is connected to as IPv4.
        """
        self.assertEqual(AddressPolicy().admit("::ffff:192.0.2.1"), "192.0.2.1")
