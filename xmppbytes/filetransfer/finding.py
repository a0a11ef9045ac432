"""
Finding where a person can receive a file: by presence, and by what their clients can do (XEP-0030).
"""

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IReactorTime
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID
from twisted.words.protocols.jabber.xmlstream import TimeoutError as RequestTimeout
from twisted.words.xish.domish import Element

from xmppbytes.compat import disco
from xmppbytes.errors import NotReachable
from xmppbytes.filetransfer.stanzas import NS_FILE, NS_SI
from xmppbytes.stanza import RequestHandler

# Seconds: for presence to arrive, and for a client to say what it can.
PRESENCE_TIMEOUT = 5.0
DISCO_TIMEOUT = 10.0
# How many resources of one person are kept, and how many are asked.
MAX_RESOURCES = 50

# How what may be missing is called.
NAMES = {
    NS_SI: "stream initiation (XEP-0095)",
    NS_FILE: "file transfer by stream initiation (XEP-0096)",
    "http://jabber.org/protocol/bytestreams": "SOCKS5 bytestreams (XEP-0065)",
    "http://jabber.org/protocol/ibb": "in-band bytestreams (XEP-0047)",
}


class ReceiverFinder(RequestHandler):
    """
    Looks for clients that can receive files.
    """

    def __init__(self, clock: IReactorTime) -> None:
        """
        @param clock: an C{IReactorTime}.
        """
        super().__init__()
        self._clock = clock
        self._wanted = ""
        self._resources: dict[str, None] = {}
        self._changed: Deferred[None] | None = None

    def connectionInitialized(self) -> None:
        """
        See L{XMPPHandler<wokkel.subprotocols.XMPPHandler>}.
        """
        super().connectionInitialized()
        self.xmlstream.addObserver("/presence", self.onPresence)

    def onPresence(self, presence: Any) -> None:
        """
        Somebody comes or goes.
        """
        sender = presence.getAttribute("from", "")
        if not self._wanted or sender.partition("/")[0] != self._wanted:
            return
        if presence.getAttribute("type") is not None or len(self._resources) >= MAX_RESOURCES:
            self._resources.pop(sender, None)
            return
        if "/" in sender:
            self._resources[sender] = None
            changed, self._changed = self._changed, None
            if changed is not None:
                changed.callback(None)

    async def find(self, target: JID, methods: Sequence[str]) -> str:
        """
        Find where to send a file.

        @param target: a full JID, which is checked, or a bare one, of which a resource is found.
        @param methods: the stream methods of which one will do.
        @return: a full JID.
        @raise NotReachable: when there is nobody, or nobody who can; says what is missing.
        """
        if target.resource:
            missing = await self._missing(target.full(), methods)
            if missing:
                raise NotReachable(f"{target.full()} cannot receive files: {missing}")
            return str(target.full())
        return await self._findResource(target, methods)

    async def _findResource(self, target: JID, methods: Sequence[str]) -> str:
        self._wanted, self._resources = target.userhost(), {}
        # Those who do not have us in their roster may answer this.
        presence = Element((None, "presence"))
        presence["to"] = target.userhost()
        self.send(presence)
        asked: dict[str, str] = {}
        end = self._clock.seconds() + PRESENCE_TIMEOUT
        while True:
            resource = next((name for name in self._resources if name not in asked), None)
            if resource is not None and len(asked) < MAX_RESOURCES:
                asked[resource] = await self._missing(resource, methods)
                if not asked[resource]:
                    self._wanted = ""
                    return resource
                continue
            left = end - self._clock.seconds()
            if left <= 0:
                break
            await self._presence(left)
        self._wanted = ""
        raise NotReachable(_nobody(target, asked))

    def _presence(self, seconds: float) -> "Deferred[None]":
        changed: Deferred[None] = Deferred()
        self._changed = changed
        timer = self._clock.callLater(seconds, changed.callback, None)

        def done(result: Any) -> Any:
            self._changed = None
            if timer.active():
                timer.cancel()
            return result

        return changed.addBoth(done)

    async def _missing(self, address: str, methods: Sequence[str]) -> str:
        """
        Ask a client what it can.

        @return: what is missing, in words; empty: nothing.
        """
        query = Element((disco.NS_DISCO_INFO, "query"))
        try:
            answer = await self.ask(address, "get", query, timeout=DISCO_TIMEOUT)
        except StanzaError as e:
            if e.condition == "feature-not-implemented":
                # It does not say; the offer will show.
                return ""
            return f"it is not online, or does not talk to strangers ({e.condition})"
        except RequestTimeout:
            return "it does not answer"
        except ConnectionClosed:
            return "the connection to our own server was lost"
        features = {
            e.getAttribute("var") for e in answer.firstChildElement().elements() if e.name == "feature"
        }
        lacks = [NAMES[feature] for feature in (NS_SI, NS_FILE) if feature not in features]
        if not features.intersection(methods):
            lacks.append(" or ".join(NAMES.get(method, method) for method in methods))
        return f"its client lacks {', and '.join(lacks)}" if lacks else ""


def _nobody(target: JID, asked: dict[str, str]) -> str:
    if not asked:
        return (
            f"{target.full()} is not online, or does not show it to us; give the full address "
            f"({target.full()}/RESOURCE)"
        )
    return "; ".join(f"{address} cannot receive files: {missing}" for address, missing in asked.items())
