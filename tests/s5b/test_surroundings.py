"""
Names, hashes and addresses on a stream through a server.
"""

from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.jid import JID

from xmppbytes.connecting import surroundings as module
from xmppbytes.connecting.addresses import LocalAddress
from xmppbytes.errors import ConfigurationError, NegotiationError, NotReachable
from xmppbytes.s5b.address import destinationAddress, latin1Address
from xmppbytes.s5b.options import BytestreamOptions
from xmppbytes.s5b.surroundings import ServerSurroundings

OWN = "romeo@montague.example/orchard"


def stream(own: str = OWN, host: str = "192.0.2.9", peer: str = "192.0.2.100") -> Any:
    """
    A client's stream.
    """
    transport = SimpleNamespace(
        getHost=lambda: IPv4Address("TCP", host, 1), getPeer=lambda: IPv4Address("TCP", peer, 5222)
    )
    return SimpleNamespace(authenticator=SimpleNamespace(jid=JID(own)), transport=transport)


class ServerSurroundingsTests(SynchronousTestCase):
    """
    L{ServerSurroundings}.
    """

    def make(self, attached: Any = None, jid: str | None = None, **options: Any) -> ServerSurroundings:
        surroundings = ServerSurroundings(BytestreamOptions(**options), jid)
        surroundings.attached(attached or stream())
        return surroundings

    def test_ownName(self) -> None:
        """
        A client is what its stream is bound to, a component what its stream is for.
        """
        self.assertEqual(self.make().ownName(), OWN)
        component = SimpleNamespace(authenticator=object(), thisEntity=JID("files.example"))
        self.assertEqual(self.make(component).ownName(), "files.example")
        self.assertEqual(self.make(component, "X@files.example/y").ownName(), "x@files.example/y")

    def test_noStream(self) -> None:
        """
        Without a stream nobody is anybody.
        """
        surroundings = ServerSurroundings(BytestreamOptions())
        self.assertRaises(NegotiationError, surroundings.ownName)
        self.assertRaises(NotReachable, surroundings.policyFor("x").admit, "127.0.0.1")

    def test_hashes(self) -> None:
        """
        The hash of prepared addresses comes first, that of others only where it differs.
        """
        surroundings = self.make()
        plain = destinationAddress("s", OWN, "j@x/y")
        self.assertEqual(surroundings.hashesOf("s", OWN, "j@x/y"), (plain,))
        raw = destinationAddress("s", OWN, "J@X/y")
        self.assertEqual(surroundings.hashesOf("s", OWN, "J@X/y"), (plain, raw))

    def test_hashOfQXmpp(self) -> None:
        """
        QXmpp hashes in Latin-1: the third form, where an address is not ASCII.
        """
        target = "j@x/K\xfcche"
        prepared, latin1 = self.make().hashesOf("s", OWN, target)
        self.assertEqual(prepared, destinationAddress("s", OWN, target))
        self.assertEqual(latin1, latin1Address("s", OWN, target))
        self.assertEqual(len(self.make().hashesOf("s", OWN, "J@x/K\xfcche")), 3)

    def test_whoseStreamHost(self) -> None:
        """
        A streamhost is the requester's own when it has its JID, or one of a user (whose JID a room hides).
        """
        surroundings = self.make()
        for jid, own in ((OWN, True), ("Romeo@montague.example/orchard", True), ("tybalt@c.example/x", True)):
            self.assertIs(surroundings.isRequesters(jid, OWN, "s"), own)
        for jid in ("proxy.example", "proxy.example/7", "@", ""):
            self.assertFalse(surroundings.isRequesters(jid, OWN, "s"))

    def test_proxyServer(self) -> None:
        """
        A user looks for proxies on its server, a component on the one that it is part of.
        """
        self.assertEqual(self.make().proxyServer(), "montague.example")
        self.assertEqual(self.make(stream("files.montague.example")).proxyServer(), "montague.example")
        self.assertEqual(self.make(stream("files")).proxyServer(), "files")

    def local(self, *addresses: str) -> None:
        """
        Give this machine these addresses.
        """
        found = [LocalAddress("eth0", ip_address(address)) for address in addresses]
        self.patch(module, "localAddresses", lambda: found)

    def test_offeredAddresses(self) -> None:
        """
        The address that the server sees comes first; loopback and link addresses mean nothing far away.
        """
        self.local("127.0.0.1", "192.0.2.8", "192.0.2.9", "169.254.1.1", "::1", "fe80::1", "2001:db8::1")
        self.assertEqual(self.make().offeredAddresses("x"), ["192.0.2.9", "192.0.2.8", "2001:db8::1"])

    def test_offeredLoopback(self) -> None:
        """
        Where the server was reached over the loopback, the loopback is offered, too, at the end.
        """
        self.local("127.0.0.1", "192.0.2.8", "::1")
        surroundings = self.make(stream(host="127.0.0.1"))
        self.assertEqual(surroundings.offeredAddresses("x"), ["192.0.2.8", "127.0.0.1", "::1"])

    def test_offeredAtMost(self) -> None:
        """
        A machine with very many addresses offers four: some targets look at five streamhosts only.
        """
        self.local(*(f"192.0.2.{n}" for n in range(1, 20)))
        self.assertEqual(
            self.make().offeredAddresses("x"), ["192.0.2.9", "192.0.2.1", "192.0.2.2", "192.0.2.3"]
        )

    def test_offeredByConfiguration(self) -> None:
        """
        Configured addresses are offered as they are.
        """
        self.assertEqual(self.make(addresses=["a.example", "b"]).offeredAddresses("x"), ["a.example", "b"])

    def test_unixSocket(self) -> None:
        """
        A server behind a UNIX socket has no address.
        """
        odd = stream()
        odd.transport.getPeer = lambda: UNIXAddress("/run/x")
        self.assertRaises(NotReachable, self.make(odd).policyFor("x").admit, "127.0.0.1")

    def test_badAllowance(self) -> None:
        """
        An address that cannot be allowed is found out at once.
        """
        self.assertRaises(ConfigurationError, self.make, allowAddresses=["nonsense"])
