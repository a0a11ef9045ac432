"""
Finding proxies.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.xmlstream import TimeoutError as RequestTimeout
from twisted.words.xish.domish import Element

from xmppbytes.compat import disco
from xmppbytes.s5b import discovery
from xmppbytes.s5b.discovery import ProxyFinder
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS, StreamHost, queryElement

SERVER = "example.com"
PROXY = "streamer.example.com"


class Network:
    """
    Answers requests: (recipient, namespace) -> an answer's query, an exception, or a Deferred.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.answers: dict[tuple[str, str], Any] = {}
        self.asked: list[tuple[str, str]] = []
        self.running = 0
        self.mostRunning = 0

    def ask(self, recipient: str, kind: str, query: Element, timeout: float) -> Deferred[Element]:
        assert kind == "get"
        self.asked.append((recipient, query.uri))
        answer = self.answers.get((recipient, query.uri), StanzaError("service-unavailable"))
        self.running += 1
        self.mostRunning = max(self.mostRunning, self.running)
        waiting: Deferred[Any] = Deferred()
        delay = self.clock.callLater(0.1, self._answer, waiting, answer)

        def ended(result: Any) -> Any:
            self.running -= 1
            if delay.active():
                delay.cancel()
            return result

        return waiting.addBoth(ended)

    def _answer(self, waiting: Deferred[Any], answer: Any) -> None:
        if isinstance(answer, Exception):
            waiting.errback(answer)
        elif isinstance(answer, Deferred):
            answer.chainDeferred(waiting)
        else:
            iq = Element((None, "iq"))
            iq.addChild(answer)
            waiting.callback(iq)

    def items(self, *jids: str) -> None:
        query = Element((disco.NS_DISCO_ITEMS, "query"))
        for jid in jids:
            query.addElement("item")["jid"] = jid
        self.answers[SERVER, disco.NS_DISCO_ITEMS] = query

    def info(self, jid: str, *identities: tuple[str, str]) -> None:
        query = Element((disco.NS_DISCO_INFO, "query"))
        for category, kind in identities:
            identity = query.addElement("identity")
            identity["category"], identity["type"] = category, kind
        self.answers[jid, disco.NS_DISCO_INFO] = query

    def proxy(self, jid: str, *hosts: str) -> None:
        query = queryElement()
        for host in hosts or ("24.24.24.1",):
            query.addChild(StreamHost(jid, host, 7625).toElement())
        self.answers[jid, NS_BYTESTREAMS] = query
        self.info(jid, ("proxy", "bytestreams"))


class ProxyFinderTests(SynchronousTestCase):
    """
    L{ProxyFinder}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.network = Network(self.clock)
        self.finder = ProxyFinder(self.network.ask, self.clock)

    def find(self, server: str | None = SERVER, *configured: str, seconds: float = 3) -> list[str]:
        """
        @return: the hosts that were found.
        """
        found = self.finder.find(server, configured)
        self.clock.pump([0.1] * round(seconds / 0.1))
        hosts = [streamHost.host for streamHost in self.successResultOf(found)]
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return hosts

    def test_discovery(self) -> None:
        """
        Of the server's items those are asked for their address that are proxies (listings 3 to 8).
        """
        self.network.items("chat.example.com", "news.example.com", PROXY)
        self.network.info("chat.example.com", ("conference", "text"))
        self.network.proxy(PROXY)
        self.assertEqual(self.find(), ["24.24.24.1"])
        asked = [recipient for recipient, namespace in self.network.asked if namespace == NS_BYTESTREAMS]
        self.assertEqual(asked, [PROXY])

    def test_allStreamhosts(self) -> None:
        """
        All streamhosts of a proxy are used, within reason.
        """
        self.network.proxy(PROXY, "192.0.2.1", "2001:db8::1", "p.example", "192.0.2.2", "192.0.2.3")
        self.assertEqual(self.find(None, PROXY), ["192.0.2.1", "2001:db8::1", "p.example", "192.0.2.2"])

    def test_configuredFirst(self) -> None:
        """
        Configured proxies come before those of the server, whoever answers first, and none twice.
        """
        self.network.items("b.example.com", PROXY, "a.example.com")
        for number, jid in enumerate(("a.example.com", "b.example.com", PROXY, "far.example")):
            self.network.proxy(jid, str(number))
        self.assertEqual(self.find(SERVER, "far.example", PROXY), ["3", "2", "1", "0"])

    def test_refusingProxyIsLeftOut(self) -> None:
        """
        A proxy that refuses, is too slow, or names no address costs only itself.
        """
        jids = ("forbids.example", "slow.example", "lost.example", "empty.example", "useless.example")
        for jid in jids:
            self.network.proxy(jid)
        bad = StanzaError("forbidden", text="not for you")
        self.network.answers[jids[0], NS_BYTESTREAMS] = bad
        self.network.answers[jids[1], NS_BYTESTREAMS] = RequestTimeout("no")
        self.network.answers[jids[2], NS_BYTESTREAMS] = ConnectionLost()
        self.network.answers[jids[3], NS_BYTESTREAMS] = Element((NS_BYTESTREAMS, "other"))
        useless = queryElement()
        useless.addElement("streamhost")["zeroconf"] = "_jabber.bytestreams"
        self.network.answers[jids[4], NS_BYTESTREAMS] = useless
        self.network.proxy(PROXY)
        self.assertEqual(self.find(None, *jids, PROXY), ["24.24.24.1"])
        reasons = self.finder.refusals
        self.assertEqual(set(reasons), set(jids))
        self.assertEqual(reasons[jids[0]], "forbidden (not for you)")
        self.assertEqual(reasons[jids[4]], "it names no address")
        self.finder.forget()
        self.assertEqual(self.finder.refusals, {})

    def test_serverWithoutDiscovery(self) -> None:
        """
        A server that tells nothing leaves the configured proxies.
        """
        self.network.proxy(PROXY)
        self.assertEqual(self.find(SERVER, PROXY), ["24.24.24.1"])

    def test_remembered(self) -> None:
        """
        What was found is not searched for again for an hour, or until the stream changes.
        """
        self.network.proxy(PROXY)
        self.find(None, PROXY)
        asked = len(self.network.asked)
        self.clock.advance(3500)
        self.assertEqual(self.find(None, PROXY, seconds=0), ["24.24.24.1"])
        self.assertEqual(len(self.network.asked), asked)
        self.finder.forget()
        self.find(None, PROXY)
        self.clock.advance(3601)
        self.find(None, PROXY)
        self.assertEqual(len(self.network.asked), 3 * asked)

    def test_nothingIsRememberedForAMinute(self) -> None:
        """
        That nothing was found is forgotten soon.
        """
        self.assertEqual(self.find(), [])
        self.network.proxy(PROXY)
        self.network.items(PROXY)
        self.assertEqual(self.find(seconds=0), [])
        self.clock.advance(60)
        self.assertEqual(self.find(), ["24.24.24.1"])

    def test_bounded(self) -> None:
        """
        Of a server with very many items only the first are asked, few at a time.
        """
        self.network.items(*(f"s{n}.example.com" for n in range(500)))
        self.assertEqual(self.find(), [])
        self.assertEqual(len(self.network.asked), 1 + discovery.MAX_ITEMS)
        self.assertEqual(self.network.mostRunning, discovery.PARALLEL)

    def test_timeLimit(self) -> None:
        """
        After ten seconds the search ends with what it has found.
        """
        self.network.items("mute.example.com", PROXY)
        self.network.proxy(PROXY)
        self.network.answers["mute.example.com", disco.NS_DISCO_INFO] = Deferred()
        self.assertEqual(self.find(seconds=10.2), ["24.24.24.1"])
        self.assertEqual(self.network.running, 0)

    def test_cancel(self) -> None:
        """
        Cancelling a search cancels what was asked, and remembers nothing.
        """
        self.network.items("mute.example.com", PROXY)
        self.network.answers["mute.example.com", disco.NS_DISCO_INFO] = Deferred()
        found = self.finder.find(SERVER, ["mute.example"])
        self.clock.pump([0.1] * 5)
        found.cancel()
        self.failureResultOf(found, CancelledError)
        self.assertEqual(self.network.running, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.network.proxy(PROXY)
        self.network.info("mute.example.com")
        self.assertEqual(self.find(), ["24.24.24.1"])

    def test_unforeseenFailure(self) -> None:
        """
        A fault of ours is not taken for a proxy's silence.
        """
        broken: Callable[..., Deferred[Any]] = lambda *args: fail(RuntimeError("broken"))  # noqa: E731
        self.finder = ProxyFinder(broken, self.clock)
        found = maybeDeferred(self.finder.find, SERVER, [PROXY])
        self.failureResultOf(found, RuntimeError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
