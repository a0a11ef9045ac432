"""
Tests for L{xmppbytes.srv}.
"""

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.names import dns
from twisted.names.error import DomainError
from twisted.trial.unittest import SynchronousTestCase

from xmppbytes import srv
from xmppbytes.errors import ConfigurationError, NotReachable
from xmppbytes.srv import ClientServerEndpoint, parseServer
from xmppbytes.testing import MemoryInternet


class ParseServerTests(SynchronousTestCase):
    """
    What people write for a server.
    """

    def test_forms(self) -> None:
        """
        A name or an address, with or without a port.
        """
        for text, expected in (
            ("example.org", ("example.org", 5222)),
            ("example.org:15222", ("example.org", 15222)),
            ("192.0.2.1:1", ("192.0.2.1", 1)),
            ("[2001:db8::1]:5223", ("2001:db8::1", 5223)),
            ("[2001:db8::1]", ("2001:db8::1", 5222)),
            ("2001:db8::1", ("2001:db8::1", 5222)),
        ):
            self.assertEqual(parseServer(text), expected, text)

    def test_nonsense(self) -> None:
        """
        Anything else is refused.
        """
        wrong = ["", ":5222", "example.org:", "example.org:x", "example.org:0", "example.org:65536"]
        for text in (*wrong, "192.0.2.1:1:2", "[example.org:1]:2"):
            self.assertRaises(ConfigurationError, parseServer, text)


class Resolver:
    """
    Answers with records, or an error.
    """

    def __init__(self, *answers: Any) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def lookupService(self, name: str, timeout: Any) -> "Deferred[Any]":
        self.asked.append(name)
        if isinstance(self.answers[0], Exception):
            return fail(self.answers[0])
        headers = [dns.RRHeader(name, answer.TYPE, payload=answer) for answer in self.answers]
        return succeed((headers, [], []))


class Speaker(Protocol):
    """
    A connection.
    """


class ClientServerEndpointTests(SynchronousTestCase):
    """
    Finding and connecting.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.internet = MemoryInternet(self.clock)
        self.machine = self.internet.machine("192.0.2.1")
        self.internet.names = {
            "one.example": ["192.0.2.11"],
            "two.example": ["192.0.2.12"],
            "example.org": ["192.0.2.10"],
            "192.0.2.10": ["192.0.2.10"],
            "xn--bcher-kva.example": ["192.0.2.10"],
        }

    def serve(self, address: str, port: int = 5222) -> None:
        """
        Let a server listen.
        """
        self.internet.machine(address).listenTCP(port, Factory.forProtocol(Speaker))

    def connect(self, domain: str, resolver: Any) -> Any:
        """
        Try to connect.
        """
        endpoint = ClientServerEndpoint(self.machine, domain, resolver)
        done = endpoint.connect(Factory.forProtocol(Speaker))
        self.clock.pump([0.1] * 300)
        return done

    def tried(self) -> list[tuple[str, int]]:
        return [(host, port) for _, host, port in self.internet.attempts]

    def test_priority(self) -> None:
        """
        Servers are tried in the order of their priorities.
        """
        self.serve("192.0.2.12", 5333)
        resolver = Resolver(
            dns.Record_SRV(20, 0, 5333, b"two.example"), dns.Record_SRV(10, 5, 5444, b"one.example")
        )
        self.successResultOf(self.connect("example.org", resolver))
        self.assertEqual(self.tried(), [("192.0.2.11", 5444), ("192.0.2.12", 5333)])
        self.assertEqual(resolver.asked, ["_xmpp-client._tcp.example.org"])

    def test_weight(self) -> None:
        """
        Among equals chance decides, by weight.
        """
        records = [dns.Record_SRV(10, 90, 1, b"heavy"), dns.Record_SRV(10, 10, 2, b"light")]
        firsts = [str(srv._ordered(records)[0].target) for _ in range(400)]
        self.assertTrue(300 < firsts.count("heavy") < 400, firsts.count("heavy"))

    def test_noRecords(self) -> None:
        """
        Without records the domain itself is the server.
        """
        self.serve("192.0.2.10")
        for resolver in (Resolver(DomainError()), Resolver(dns.Record_A("192.0.2.99"))):
            self.successResultOf(self.connect("example.org", resolver))
        self.assertEqual(self.tried(), [("192.0.2.10", 5222)] * 2)

    def test_international(self) -> None:
        """
        Domains are looked up as name servers know them.
        """
        resolver = Resolver(DomainError())
        self.connect("bücher.example", resolver).addErrback(lambda _: None)
        self.assertEqual(resolver.asked, ["_xmpp-client._tcp.xn--bcher-kva.example"])

    def test_notLookedUp(self) -> None:
        """
        Nobody is asked about localhost, or an address.
        """
        self.serve("192.0.2.10")
        resolver = Resolver(DomainError())
        self.successResultOf(self.connect("192.0.2.10", resolver))
        self.connect("localhost", resolver).addErrback(lambda _: None)
        self.assertEqual(resolver.asked, [])

    def test_noService(self) -> None:
        """
        A domain may say that it has no server.
        """
        done = self.connect("example.org", Resolver(dns.Record_SRV(0, 0, 0, b".")))
        self.failureResultOf(done, NotReachable)
        self.assertEqual(self.tried(), [])

    def test_allDead(self) -> None:
        """
        When none answers the last error tells.
        """
        done = self.connect("example.org", Resolver(dns.Record_SRV(0, 0, 5222, b"one.example")))
        self.failureResultOf(done, ConnectionRefusedError)
