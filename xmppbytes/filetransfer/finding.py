"""
Finding where a person can receive a file: by presence, and by what their clients can do (XEP-0030).
"""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID
from twisted.words.protocols.jabber.xmlstream import TimeoutError as RequestTimeout
from twisted.words.xish.domish import Element

from xmppbytes.compat import disco
from xmppbytes.errors import NotReachable
from xmppbytes.filetransfer.stanzas import NS_FILE, NS_SI, errorText
from xmppbytes.stanza import RequestHandler

# Seconds: for presence to arrive, and for a client to say what it can.
PRESENCE_TIMEOUT = 5.0
DISCO_TIMEOUT = 10.0
# How many clients of one person are asked.
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
        self._searches: set[_Search] = set()

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
        bare, slash, _ = sender.partition("/")
        if not slash or presence.getAttribute("type") is not None:
            return
        for search in list(self._searches):
            if search.wanted == bare:
                search.seen(sender)

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
                raise NotReachable(
                    f"{target.full()} cannot receive files: {missing}; with {target.userhost()} alone all "
                    "clients that are seen there are tried"
                )
            return str(target.full())
        return await self._findResource(target, methods)

    async def _findResource(self, target: JID, methods: Sequence[str]) -> str:
        search = _Search(self._clock, target, lambda address: self._missing(address, methods))
        self._searches.add(search)
        # Those who do not have us in their roster may answer this.
        presence = Element((None, "presence"))
        presence["to"] = search.wanted
        self.send(presence)
        try:
            return await search.found
        finally:
            self._searches.discard(search)
            search.stop()

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
            return f"it is not online, or does not talk to strangers ({errorText(e)})"
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


class _Search:
    """
    Asks all clients of one person that show themselves, side by side: one that does not answer holds
    nobody up.

    @ivar wanted: the person's bare JID.
    @ivar found: fires with the full JID of the first that can; fails with L{NotReachable}. May be
        cancelled.
    """

    def __init__(
        self, clock: IReactorTime, target: JID, missing: Callable[[str], Coroutine[Any, Any, str]]
    ) -> None:
        """
        @param missing: tells what a client lacks.
        """
        self.wanted = str(target.userhost())
        self.found: Deferred[str] = Deferred()
        self._target = target
        self._missing = missing
        self._asking: dict[str, Deferred[str]] = {}
        self._asked: dict[str, str] = {}
        self._timer: Any = clock.callLater(PRESENCE_TIMEOUT, self._allSeen)

    def seen(self, address: str) -> None:
        """
        A client is there.
        """
        if address in self._asked or len(self._asked) >= MAX_RESOURCES:
            return
        self._asked[address] = ""
        asking = self._asking[address] = Deferred.fromCoroutine(self._missing(address))
        asking.addCallbacks(lambda lacks: self._told(address, lacks), self._failed)

    def _told(self, address: str, lacks: str) -> None:
        del self._asking[address]
        self._asked[address] = lacks
        if self.found.called:
            return
        if not lacks:
            self.found.callback(address)
        else:
            self._endWhenAllHaveTold()

    def _failed(self, failure: Failure) -> None:
        if not self.found.called:
            self.found.errback(failure)

    def _allSeen(self) -> None:
        self._timer = None
        self._endWhenAllHaveTold()

    def _endWhenAllHaveTold(self) -> None:
        if self._timer is None and not self._asking:
            self.found.errback(NotReachable(_nobody(self._target, self._asked)))

    def stop(self) -> None:
        """
        Wait for nobody any more.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for asking in list(self._asking.values()):
            asking.cancel()


def _nobody(target: JID, asked: dict[str, str]) -> str:
    if not asked:
        return (
            f"{target.full()} is not online, or does not show it to us; give the full address "
            f"({target.full()}/RESOURCE)"
        )
    each = "; ".join(f"{address} cannot receive files: {missing}" for address, missing in asked.items())
    return f"{each}; another client is needed there"
