"""
What we are and can do, told in the stream features and to whoever asks (XEP-0030, XEP-0174 section 10).

wokkel's handler reads every sender as a JID, which most presence names are but not all: a name may hold
spaces, capitals, or an underscore in the machine.
"""

from typing import Any

from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish.domish import Element

from xmppbytes.compat import disco, iwokkel
from xmppbytes.stanza import RequestHandler

_NOBODY = JID("link.local")


class DescriptionHandler(RequestHandler):
    """
    Answers disco#info and disco#items from what the other handlers tell about themselves.
    """

    requests = {
        ("get", disco.NS_DISCO_INFO, "query"): "onInfo",
        ("get", disco.NS_DISCO_ITEMS, "query"): "onItems",
    }

    def __init__(self, name: str, category: str, kind: str) -> None:
        """
        @param name: what we are called.
        @param category: our disco category, such as C{"client"}.
        @param kind: our disco type, such as C{"pc"}.
        """
        super().__init__()
        self._identity = disco.DiscoIdentity(category, kind, name)

    def onInfo(self, iq: Element) -> Element:
        """
        Section 3.1.
        """
        return self.describe()

    def onItems(self, iq: Element) -> Element:
        """
        Section 4.1: there are none.
        """
        return Element((disco.NS_DISCO_ITEMS, "query"))

    def describe(self) -> Element:
        """
        Give the disco#info of this client.
        """
        info = disco.DiscoInfo()
        info.append(self._identity)
        known: set[Any] = {disco.NS_DISCO_INFO, disco.NS_DISCO_ITEMS}
        for handler in self.parent:
            if iwokkel.IDisco.providedBy(handler):
                for item in handler.getDiscoInfo(_NOBODY, _NOBODY, ""):
                    if isinstance(item, disco.DiscoFeature):
                        known.add(str(item))
        for feature in sorted(known):
            info.append(disco.DiscoFeature(feature))
        element: Element = info.toElement()
        return element
