"""
Tests for L{xmppbytes.dtcp.stanzas}.
"""

from twisted.trial.unittest import TestCase
from twisted.words.xish.domish import Element, elementStream

from xmppbytes.dtcp.stanzas import (
    MAX_KEY_LENGTH,
    NS_EXTRAS,
    Host,
    Query,
    Relay,
    Trouble,
    newKey,
)
from xmppbytes.errors import NegotiationError

REQUEST = """
<iq type="set" id="dtcp_1" to="joe@blow.com/Home">
  <query xmlns="http://jabber.org/protocol/dtcp">
    <key>c7b5ea3f</key>
    <host>192.168.0.32:8000</host>
    <host>63.110.44.12:8000</host>
  </query>
</iq>"""
RESULT = """
<iq type="result" id="dtcp_1" from="joe@blow.com/Home">
  <query xmlns="http://jabber.org/protocol/dtcp">
    <key>a1b2c3d4</key>
    <host>192.168.0.33:8000</host>
  </query>
</iq>"""
ERROR = """
<iq type="error" id="dtcp_1" from="joe@blow.com/Home">
  <error code="501">DTCP not supported</error>
</iq>"""
GIVE_UP = """
<iq type="error" to="joe@blow.com/Home">
  <query xmlns="http://jabber.org/protocol/dtcp">
    <key>a1b2c3d4</key>
  </query>
  <error code="503">Could not connect to any of the hosts.</error>
</iq>"""
# What libpsi of 2002 adds.
COMMENTED = REQUEST.replace("</query>", "<comment>a file</comment></query>")
FINGERPRINT = "ab" * 32


def parse(text: str) -> Element:
    """
    Read XML.
    """
    found: list[Element] = []
    stream = elementStream()
    stream.DocumentStartEvent = lambda root: None
    stream.ElementEvent = found.append
    stream.DocumentEndEvent = lambda: None
    stream.parse(f"<stream>{text}</stream>".encode())
    return found[0]


def query(text: str) -> Query:
    """
    Read a query.
    """
    return Query.fromElement(parse(f"<query xmlns='http://jabber.org/protocol/dtcp'>{text}</query>"))


class ListingTests(TestCase):
    """
    The listings of XEP-0046.
    """

    def test_request(self) -> None:
        """
        Listing 1, with and without libpsi's comment.
        """
        for text in (REQUEST, COMMENTED):
            read = Query.fromElement(parse(text).firstChildElement())
            hosts = [Host("192.168.0.32", 8000), Host("63.110.44.12", 8000)]
            self.assertEqual(read, Query("c7b5ea3f", hosts, []))

    def test_result(self) -> None:
        """
        Listing 2.
        """
        read = Query.fromElement(parse(RESULT).firstChildElement())
        self.assertEqual(read, Query("a1b2c3d4", [Host("192.168.0.33", 8000)], []))

    def test_giveUp(self) -> None:
        """
        The give-up packet, which has no id.
        """
        trouble = Trouble.fromElement(parse(GIVE_UP))
        assert trouble is not None
        self.assertEqual(trouble, Trouble("a1b2c3d4", 503, "Could not connect to any of the hosts."))
        self.assertIn("Could not connect to any", str(trouble))

    def test_error(self) -> None:
        """
        Listing 3 names no key: it is the answer to a request, and no L{Trouble}.
        """
        self.assertIsNone(Trouble.fromElement(parse(ERROR)))


class QueryTests(TestCase):
    """
    What both sides tell.
    """

    def test_roundTrip(self) -> None:
        """
        Everything that is written is read again.
        """
        relay = Relay("relay.example", "2001:db8::2", 7778, "secret")
        full = Query("key", [Host("2001:db8::1", 1), Host("example.org", 65535)], [relay], FINGERPRINT, "s1")
        for one in (full, Query("key", [], [])):
            self.assertEqual(Query.fromElement(parse(one.toElement().toXml())), one)

    def test_secretsAreNotShown(self) -> None:
        """
        Keys do not get into logs by way of C{repr}.
        """
        for one in (Query("secret"), Relay("j", "h", 1, "secret"), Trouble("secret", 503)):
            self.assertNotIn("secret", repr(one))

    def test_onlyThree(self) -> None:
        """
        More than three hosts or relays are ignored.
        """
        hosts = "".join(f"<host>192.0.2.{n}:80</host>" for n in range(9))
        relays = "".join(
            f"<relay xmlns='{NS_EXTRAS}' jid='j' host='r{n}' port='1' key='k'/>" for n in range(9)
        )
        read = query(f"<key>k</key>{hosts}{relays}")
        self.assertEqual([host.host for host in read.hosts], ["192.0.2.0", "192.0.2.1", "192.0.2.2"])
        self.assertEqual([relay.host for relay in read.relays], ["r0", "r1", "r2"])

    def test_hosts(self) -> None:
        """
        IPv6 is in brackets; what cannot be understood is left out.
        """
        for text, host in (
            ("example.org:80", Host("example.org", 80)),
            (" [2001:db8::1]:80 ", Host("2001:db8::1", 80)),
            ("2001:db8::1:80", None),
            ("example.org", None),
            ("example.org:", None),
            (":80", None),
            ("example.org:0", None),
            ("example.org:65536", None),
            ("example.org:000000080", None),
            ("example.org:99999999999999999999", None),
            ("example.org:+80", None),
            ("two words:80", None),
            ("", None),
        ):
            self.assertEqual(Host.fromText(text), host, text)
        self.assertEqual(Host("2001:db8::1", 80).toText(), "[2001:db8::1]:80")

    def test_relays(self) -> None:
        """
        A relay without host, port or key, or with a key that is too long, is left out.
        """
        for attributes in (
            "port='1' key='k'",
            "host='h' key='k'",
            "host='h' port='x' key='k'",
            "host='h' port='1'",
            f"host='h' port='1' key='{'k' * 129}'",
        ):
            self.assertEqual(query(f"<key>k</key><relay xmlns='{NS_EXTRAS}' {attributes}/>").relays, [])

    def test_foreignElements(self) -> None:
        """
        Elements of other namespaces are ignored, whatever they are called.
        """
        read = query("<key xmlns='x'>no</key><host xmlns='x'>h:1</host><key>yes</key><key>second</key>")
        self.assertEqual(read, Query("yes", [], []))

    def test_impossible(self) -> None:
        """
        A query without a possible key, or with a fingerprint that is none, is refused.
        """
        for text in (
            "",
            "<key/>",
            "<key>  </key>",
            f"<key>{'k' * (MAX_KEY_LENGTH + 1)}</key>",
            "<key>two\nlines</key>",
            f"<key>k</key><tls xmlns='{NS_EXTRAS}'/>",
            f"<key>k</key><tls xmlns='{NS_EXTRAS}' fingerprint='abc'/>",
        ):
            self.assertRaises(NegotiationError, query, text)

    def test_newKey(self) -> None:
        """
        Keys have 128 bits, and are never the same.
        """
        self.assertEqual(len(bytes.fromhex(newKey())), 16)
        self.assertNotEqual(newKey(), newKey())


class TroubleTests(TestCase):
    """
    Errors after the beginning.
    """

    def test_written(self) -> None:
        """
        Ours has an id, the legacy code and text, and a condition of today.
        """
        iq = parse(Trouble("k", 403, "Rejected").toElement("joe@blow.com/Home").toXml())
        self.assertTrue(iq["id"])
        self.assertEqual((iq["type"], iq["to"]), ("error", "joe@blow.com/Home"))
        error = next(e for e in iq.elements() if e.name == "error")
        self.assertEqual((error["code"], error["type"], str(error)), ("403", "auth", "Rejected"))
        self.assertEqual(error.firstChildElement().name, "forbidden")
        self.assertEqual(Trouble.fromElement(iq), Trouble("k", 403, "Rejected"))

    def test_codes(self) -> None:
        """
        The code counts; without one the condition of today; without either it is 500.
        """
        stanzas = "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'"
        for error, code, text in (
            ("<error code='502'>x</error>", 502, "x"),
            ("<error code='999'/>", 999, ""),
            (f"<error type='cancel'><service-unavailable {stanzas}/></error>", 503, ""),
            (f"<error><forbidden {stanzas}/><text {stanzas}>no</text></error>", 403, "no"),
            ("<error code='x'/>", 500, ""),
            ("", 500, ""),
        ):
            iq = parse(
                f"<iq type='error'><query xmlns='http://jabber.org/protocol/dtcp'><key>k</key></query>{error}</iq>"
            )
            self.assertEqual(Trouble.fromElement(iq), Trouble("k", code, text))

    def test_words(self) -> None:
        """
        Each code has words for a person.
        """
        words = {str(Trouble("k", code)) for code in (403, 500, 501, 502, 503, 999)}
        self.assertEqual(len(words), 6)
