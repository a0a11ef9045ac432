"""
Tests for L{xmppbytes.s5b.stanzas}.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.xish.domish import Element

from xmppbytes.compat import generic
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS, StreamHost, queryElement


def read(attributes: str) -> StreamHost | None:
    """
    Read a streamhost with these attributes.
    """
    xml = f"<streamhost xmlns='{NS_BYTESTREAMS}' {attributes}/>"
    return StreamHost.fromElement(generic.parseXml(xml.encode("utf-8")))


class StreamHostTests(SynchronousTestCase):
    """
    Where a StreamHost can be reached.
    """

    def test_listing8(self) -> None:
        """
        XEP-0065 listing 8, read and written.
        """
        streamHost = read("host='24.24.24.1' jid='streamer.example.com' port='7625'")
        self.assertEqual(streamHost, StreamHost("streamer.example.com", "24.24.24.1", 7625))
        assert streamHost is not None
        element = streamHost.toElement()
        self.assertEqual((element.uri, element.name), (NS_BYTESTREAMS, "streamhost"))
        self.assertEqual(
            element.attributes, {"jid": "streamer.example.com", "host": "24.24.24.1", "port": "7625"}
        )

    def test_defaultPort(self) -> None:
        """
        Without a port it is 1080 (9.2); ours is always written.
        """
        streamHost = read("host='h' jid='j'")
        self.assertEqual(streamHost, StreamHost("j", "h", 1080))
        assert streamHost is not None
        self.assertEqual(streamHost.toElement()["port"], "1080")

    def test_useless(self) -> None:
        """
        Without a host, as the old zeroconf form, or with an impossible port it is of no use.
        """
        for attributes in (
            "jid='j' zeroconf='_jabber.bytestreams'",
            "jid='j' host=' '",
            "jid='j' host='a&#10;b'",
            "jid='j&#10;k' host='h'",
            f"jid='j' host='{'h' * 256}'",
            *(
                f"jid='j' host='h' port='{port}'"
                for port in ("", "0", "65536", "-1", "x", "7e2", "\u0665", "9" * 99, "0000080")
            ),
        ):
            self.assertIsNone(read(attributes), attributes)

    def test_spaceAround(self) -> None:
        """
        Space around host and port is not theirs.
        """
        self.assertEqual(read("jid='j' host=' ::1 ' port=' 80 '"), StreamHost("j", "::1", 80))

    @given(st.text(), st.text(), st.text())
    def test_anything(self, jid: str, host: str, port: str) -> None:
        """
        Whatever the attributes say, it can be read, or is of no use.
        """
        element = Element((NS_BYTESTREAMS, "streamhost"))
        element["jid"], element["host"], element["port"] = jid, host, port
        streamHost = StreamHost.fromElement(element)
        if streamHost is not None:
            self.assertTrue(0 < streamHost.port < 65536 and streamHost.host)


class QueryTests(SynchronousTestCase):
    """
    The container.
    """

    def test_query(self) -> None:
        """
        With a sid or without.
        """
        query = queryElement()
        self.assertEqual((query.uri, query.name, query.attributes), (NS_BYTESTREAMS, "query", {}))
        self.assertEqual(queryElement("s")["sid"], "s")
