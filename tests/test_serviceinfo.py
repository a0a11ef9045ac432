"""
Tests for L{xmppbytes.serviceinfo}.
"""

from twisted.trial.unittest import SynchronousTestCase
from twisted.words.xish.domish import Element
from zope.interface.verify import verifyObject

from tests.s5b.proxyworld import Face
from xmppbytes.compat import disco, iwokkel
from xmppbytes.serviceinfo import NS_LAST, NS_TIME, NS_VCARD, ServiceInfoHandler


class ServiceInfoTests(SynchronousTestCase):
    """
    What a service tells about itself.
    """

    def setUp(self) -> None:
        self.now = 1_000_000_000.9
        self.handler = ServiceInfoHandler("The Proxy", "Relays", "proxy", "bytestreams", lambda: self.now)
        self.face = Face(self.handler, disco.DiscoHandler())

    def ask(self, name: str, namespace: str) -> Element:
        answer = self.face.ask(f"<iq from='a@b' to='p' id='1' type='get'><{name} xmlns='{namespace}'/></iq>")
        self.assertEqual((answer["type"], answer["from"]), ("result", "p"))
        child: Element = answer.firstChildElement()
        self.assertEqual((child.name, child.uri), (name, namespace))
        return child

    def test_last(self) -> None:
        """
        XEP-0012: seconds since the start, never negative, whatever the clock does.
        """
        self.now += 90.5
        self.assertEqual(self.ask("query", NS_LAST)["seconds"], "90")
        self.now -= 1000
        self.assertEqual(self.ask("query", NS_LAST)["seconds"], "0")

    def test_time(self) -> None:
        """
        XEP-0202: UTC, in whole seconds.
        """
        answer = self.ask("time", NS_TIME)
        self.assertEqual((str(answer.tzo), str(answer.utc)), ("+00:00", "2001-09-09T01:46:40Z"))

    def test_vCard(self) -> None:
        """
        XEP-0054: name and purpose.
        """
        card = self.ask("vCard", NS_VCARD)
        self.assertEqual((str(card.FN), str(card.DESC)), ("The Proxy", "Relays"))

    def test_disco(self) -> None:
        """
        Its identity and features; none for a node.
        """
        verifyObject(iwokkel.IDisco, self.handler)
        info = disco.DiscoInfo.fromElement(self.ask("query", disco.NS_DISCO_INFO))
        self.assertEqual(info.identities, {("proxy", "bytestreams"): "The Proxy"})
        self.assertLess({NS_LAST, NS_TIME, NS_VCARD}, set(info.features))
        self.assertEqual(self.handler.getDiscoInfo(None, None, "node"), [])  # type: ignore[arg-type]
        self.assertEqual(self.ask("query", disco.NS_DISCO_ITEMS).children, [])
