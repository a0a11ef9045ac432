"""
What any decent service tells about itself: uptime (XEP-0012), time (XEP-0202), vCard (XEP-0054).

Disco, ping and version are wokkel's, by way of L{xmppbytes.compat}.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish.domish import Element
from zope.interface import implementer

from xmppbytes.compat import disco, iwokkel
from xmppbytes.stanza import RequestHandler

NS_LAST = "jabber:iq:last"
NS_TIME = "urn:xmpp:time"
NS_VCARD = "vcard-temp"


@implementer(iwokkel.IDisco)
class ServiceInfoHandler(RequestHandler):
    """
    Answers what people and monitors ask a service.
    """

    requests = {
        ("get", NS_LAST, "query"): "onLast",
        ("get", NS_TIME, "time"): "onTime",
        ("get", NS_VCARD, "vCard"): "onVCard",
    }

    def __init__(
        self, name: str, description: str, category: str, kind: str, now: Callable[[], float] = time.time
    ) -> None:
        """
        @param name: the service's name.
        @param description: what it is, in a sentence.
        @param category: its disco category, such as C{"proxy"}.
        @param kind: its disco type, such as C{"bytestreams"}.
        @param now: tells the time in seconds since the epoch.
        """
        super().__init__()
        self._name = name
        self._description = description
        self._identity = disco.DiscoIdentity(category, kind, name)
        self._now = now
        self._started = now()

    def onLast(self, iq: Element) -> Element:
        """
        XEP-0012: seconds since the service was started.
        """
        query = Element((NS_LAST, "query"))
        query["seconds"] = str(max(0, int(self._now() - self._started)))
        return query

    def onTime(self, iq: Element) -> Element:
        """
        XEP-0202: the time of day. The zone is UTC: a service sits nowhere.
        """
        moment = datetime.fromtimestamp(self._now(), UTC)
        answer = Element((NS_TIME, "time"))
        answer.addElement("tzo", content="+00:00")
        answer.addElement("utc", content=moment.strftime("%Y-%m-%dT%H:%M:%SZ"))
        return answer

    def onVCard(self, iq: Element) -> Element:
        """
        XEP-0054: name and purpose.
        """
        card = Element((NS_VCARD, "vCard"))
        card.addElement("FN", content=self._name)
        card.addElement("DESC", content=self._description)
        return card

    def getDiscoInfo(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[object]:
        """
        See L{iwokkel.IDisco}.
        """
        if nodeIdentifier:
            return []
        features = [disco.NS_DISCO_INFO, disco.NS_DISCO_ITEMS, NS_LAST, NS_TIME, NS_VCARD]
        return [self._identity, *map(disco.DiscoFeature, features)]

    def getDiscoItems(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[object]:
        """
        See L{iwokkel.IDisco}.
        """
        return []
