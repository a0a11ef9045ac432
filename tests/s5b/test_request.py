"""
The request for a bytestream and its answer, by the listings of XEP-0065.
"""

from twisted.trial.unittest import SynchronousTestCase
from twisted.words.xish.domish import Element, elementStream

from xmppbytes.s5b.request import BytestreamRequest, activationElement, usedElement, usedStreamHost
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS, StreamHost, queryElement

REQUESTER = "requester@example.com/foo"
DIRECT = StreamHost(REQUESTER, "192.168.4.1", 5086)
PROXY = StreamHost("streamer.example.com", "24.24.24.1", 7625)


def parse(text: str) -> Element:
    """
    Parse one element.
    """
    found: list[Element] = []
    stream = elementStream()
    stream.DocumentStartEvent = lambda root: None
    stream.DocumentEndEvent = lambda: None
    stream.ElementEvent = found.append
    stream.parse(f"<x>{text}</x>")
    return found[0]


class BytestreamRequestTests(SynchronousTestCase):
    """
    L{BytestreamRequest}.
    """

    def test_listing12(self) -> None:
        """
        A direct connection.
        """
        query = parse(
            f"<query xmlns='{NS_BYTESTREAMS}' sid='vxf9n471bn46'>"
            f"<streamhost jid='{REQUESTER}' host='192.168.4.1' port='5086'/></query>"
        )
        self.assertEqual(BytestreamRequest.fromElement(query), BytestreamRequest("vxf9n471bn46", (DIRECT,)))

    def test_listing18(self) -> None:
        """
        A mediated connection.
        """
        query = parse(
            f"<query xmlns='{NS_BYTESTREAMS}' sid='vxf9n471bn46'>"
            "<streamhost host='24.24.24.1' jid='streamer.example.com' port='7625'/></query>"
        )
        self.assertEqual(BytestreamRequest.fromElement(query).streamHosts, (PROXY,))

    def test_listing26(self) -> None:
        """
        Multi-user chat: the hash is given.
        """
        query = parse(
            f"<query xmlns='{NS_BYTESTREAMS}' dstaddr='416781edf1ae50bad01cb8509ba35b43952bc345' "
            "sid='yia72g3v49j7'>"
            "<streamhost host='24.24.24.1' jid='streamer.example.com' port='7625'/></query>"
        )
        request = BytestreamRequest.fromElement(query)
        self.assertEqual(request.destination, "416781edf1ae50bad01cb8509ba35b43952bc345")

    def test_listing30(self) -> None:
        """
        UDP.
        """
        query = parse(
            f"<query xmlns='{NS_BYTESTREAMS}' mode='udp' sid='mySID'>"
            f"<streamhost host='192.168.4.1' jid='{REQUESTER}' port='5086'/></query>"
        )
        self.assertEqual(BytestreamRequest.fromElement(query).mode, "udp")

    def test_extensions(self) -> None:
        """
        What is not known, such as Psi's fast mode, is passed over; what is there twice counts once.
        """
        host = f"<streamhost jid='{REQUESTER}' host='192.168.4.1' port='5086'>"
        proxied = f"{host}<proxy xmlns='http://affinix.com/jabber/stream'/></streamhost>"
        query = parse(
            f"<query xmlns='{NS_BYTESTREAMS}' sid='s' mode='tcp'>{proxied}{proxied}"
            "<fast xmlns='http://affinix.com/jabber/stream'/><streamhost jid='x' zeroconf='y'/></query>"
        )
        self.assertEqual(BytestreamRequest.fromElement(query).streamHosts, (DIRECT,))

    def test_roundTrip(self) -> None:
        """
        What is written is read the same.
        """
        request = BytestreamRequest("s", (DIRECT, PROXY), "udp", "a" * 40)
        self.assertEqual(BytestreamRequest.fromElement(parse(request.toElement().toXml())), request)


class AnswerTests(SynchronousTestCase):
    """
    The answers.
    """

    def test_listing17(self) -> None:
        """
        The target's answer is read with and without a sid.
        """
        for sid in (" sid='vxf9n471bn46'", ""):
            answer = parse(
                f"<iq><query xmlns='{NS_BYTESTREAMS}'{sid}><streamhost-used jid='{REQUESTER}'/></query></iq>"
            )
            self.assertEqual(usedStreamHost(answer), REQUESTER)

    def test_noAnswer(self) -> None:
        """
        An answer that names nothing names nothing.
        """
        empty = f"<iq><x/><query xmlns='{NS_BYTESTREAMS}'><other/><streamhost-used/></query></iq>"
        for text in ("<iq/>", "<iq><query xmlns='other'/></iq>", empty):
            self.assertIsNone(usedStreamHost(parse(text)))

    def test_writtenAndRead(self) -> None:
        """
        What is written is read the same.
        """
        iq = Element((None, "iq"))
        iq.addChild(usedElement("s", "jid"))
        self.assertEqual(usedStreamHost(parse(iq.toXml())), "jid")

    def test_listing24(self) -> None:
        """
        The activation.
        """
        wanted = queryElement("vxf9n471bn46")
        wanted.addElement("activate", content="target@example.org/bar")
        written = activationElement("vxf9n471bn46", "target@example.org/bar").toXml()
        self.assertEqual(written, wanted.toXml())
        self.assertIn("<activate>target@example.org/bar</activate>", written)
