"""
Finding proxies: on our own server by service discovery, and by configuration (XEP-0065 section 4).
"""

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.words.xish.domish import Element

from xmppbytes.compat import disco
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS, StreamHost, queryElement
from xmppbytes.stanza import REQUEST_FAILURES, failureText

# Services of the server that are looked at, how many at once, and the seconds for each and for all.
MAX_ITEMS = 50
PARALLEL = 8
REQUEST_SECONDS = 5.0
OVERALL_SECONDS = 10.0
# Streamhosts of one proxy that are offered.
MAX_STREAMHOSTS = 4
# Seconds for which what was found, and that nothing was found, is remembered.
REMEMBER_FOUND = 3600.0
REMEMBER_NOTHING = 60.0


@dataclass(slots=True)
class _Known:
    """
    What was found, and until when that counts.
    """

    found: list[StreamHost]
    until: float


class ProxyFinder:
    """
    Finds proxies and their addresses. What was found is remembered for a while.

    @ivar refusals: why proxies that were found lately cannot be used, by their JIDs.
    """

    log = Logger()

    def __init__(self, ask: Callable[..., Deferred[Element]], clock: IReactorTime) -> None:
        """
        @param ask: sends requests, see L{xmppbytes.stanza.RequestHandler.ask}.
        @param clock: an C{IReactorTime}.
        """
        self._ask = ask
        self._clock = clock
        self._known: dict[tuple[str | None, tuple[str, ...]], _Known] = {}
        self.refusals: dict[str, str] = {}

    def forget(self) -> None:
        """
        Forget what was found: the XML stream is another one.
        """
        self._known.clear()
        self.refusals.clear()

    def find(self, server: str | None, configured: Sequence[str] = ()) -> Deferred[list[StreamHost]]:
        """
        Find proxies. One that refuses, or does not answer in time, is left out, with a line in the log.

        @param server: the server whose services are searched; C{None}: none.
        @param configured: JIDs of proxies that are known.
        @return: fires with their streamhosts, those of the configured ones first. May be cancelled.
        """
        return Deferred.fromCoroutine(self._find(server, tuple(configured)))

    async def _find(self, server: str | None, configured: tuple[str, ...]) -> list[StreamHost]:
        key = (server, configured)
        known = self._known.get(key)
        if known is not None and known.until > self._clock.seconds():
            return known.found
        self.refusals.clear()
        order = list(configured)
        found: dict[str, list[StreamHost]] = {}
        search = Deferred.fromCoroutine(self._search(server, order, found))
        search.addTimeout(OVERALL_SECONDS, self._clock)
        try:
            await search
        except DeferredTimeout:
            self.log.warn(
                "The search for proxies is given up after {seconds} s, with {count} found",
                seconds=OVERALL_SECONDS,
                count=len(found),
            )
        streamHosts = [one for proxy in order for one in found.get(proxy, ())]
        seconds = REMEMBER_FOUND if streamHosts else REMEMBER_NOTHING
        self._known[key] = _Known(streamHosts, self._clock.seconds() + seconds)
        return streamHosts

    async def _search(self, server: str | None, order: list[str], found: dict[str, list[StreamHost]]) -> None:
        """
        @param order: the proxies that are known; whatever else the server has is added.
        @param found: gets the streamhosts of those that are proxies.
        """
        configured = tuple(order)

        async def address(proxy: str) -> None:
            found[proxy] = await self._addressesOf(proxy)

        async def inspect(item: str) -> None:
            if await self._isProxy(item):
                await address(item)

        async def discover() -> None:
            if server is not None:
                order.extend(item for item in await self._itemsOf(server) if item not in configured)
                await _forEach(order[len(configured) :], inspect)

        await _together(discover(), _forEach(configured, address))

    async def _itemsOf(self, server: str) -> list[str]:
        answer = await self._request(server, Element((disco.NS_DISCO_ITEMS, "query")), "It is not searched")
        if answer is None:
            return []
        items = (item.getAttribute("jid") for item in _children(answer, disco.NS_DISCO_ITEMS, "item"))
        return list(dict.fromkeys(item for item in items if item))[:MAX_ITEMS]

    async def _isProxy(self, item: str) -> bool:
        answer = await self._request(item, Element((disco.NS_DISCO_INFO, "query")), "It is passed over")
        return answer is not None and any(
            (one.getAttribute("category"), one.getAttribute("type")) == ("proxy", "bytestreams")
            for one in _children(answer, disco.NS_DISCO_INFO, "identity")
        )

    async def _addressesOf(self, proxy: str) -> list[StreamHost]:
        answer = await self._request(proxy, queryElement(), "This proxy is left out", self.refusals)
        if answer is None:
            return []
        read = map(StreamHost.fromElement, _children(answer, NS_BYTESTREAMS, "streamhost"))
        streamHosts = [one for one in read if one is not None and one.jid][:MAX_STREAMHOSTS]
        if not streamHosts:
            self.refusals[proxy] = "it names no address"
            self.log.warn("The proxy {proxy} is left out: it names no address", proxy=proxy)
        return streamHosts

    async def _request(
        self, recipient: str, query: Element, consequence: str, refusals: dict[str, str] | None = None
    ) -> Element | None:
        try:
            return await self._ask(recipient, "get", query, REQUEST_SECONDS)
        except REQUEST_FAILURES as e:
            self.log.info(
                "{recipient} does not answer {namespace}: {reason}. {consequence}.",
                recipient=recipient,
                namespace=query.uri,
                reason=failureText(e),
                consequence=consequence,
            )
            if refusals is not None:
                refusals[recipient] = failureText(e)
            return None


async def _forEach(items: Sequence[str], work: Callable[[str], Any]) -> None:
    """
    Do something for each of several, a few at a time.
    """
    waiting = deque(items)

    async def worker() -> None:
        while waiting:
            await work(waiting.popleft())

    await _together(*(worker() for _ in range(min(PARALLEL, len(waiting)))))


async def _together(*work: Coroutine[Any, Any, None]) -> None:
    """
    Do several things side by side; when one fails the others are cancelled.
    """
    running = [Deferred.fromCoroutine(one) for one in work]
    try:
        await gatherResults(running, consumeErrors=True)
    except FirstError as e:
        e.subFailure.raiseException()
    finally:
        for one in running:
            one.cancel()


def _children(answer: Element, namespace: str, name: str) -> list[Element]:
    query = next((e for e in answer.elements() if e.uri == namespace and e.name == "query"), None)
    if query is None:
        return []
    return [e for e in query.elements() if e.uri == namespace and e.name == name]
