"""
Tests for L{xmppbytes.dtcp.client}, requester and target: everything but the connections themselves.
"""

import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID
from twisted.words.protocols.jabber.xmlstream import TimeoutError as RequestTimeout
from twisted.words.xish.domish import Element
from wokkel.subprotocols import XMPPHandler

from tests.dtcp.lab import REQUESTER, TARGET, Acceptor, Lab, RecorderFactory
from tests.dtcp.test_stanzas import parse
from tests.waiting import pause
from xmppbytes.compat import disco
from xmppbytes.dtcp.channel import TLSMode
from xmppbytes.dtcp.client import DTCPClientHandler
from xmppbytes.dtcp.options import DTCPOptions
from xmppbytes.dtcp.shared import ClientMeans
from xmppbytes.dtcp.stanzas import NS_DTCP, Host, Query, Trouble
from xmppbytes.errors import ConfigurationError, NegotiationError, NotReachable, Refused

KEY = "a1b2c3d4"


class Scripted(XMPPHandler):  # type: ignore[misc]
    """
    The other side, which says what the test wants.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Element] = []

    def connectionInitialized(self) -> None:
        self.xmlstream.addObserver("/iq", self.heard.append)

    def say(self, iq: Element) -> None:
        """
        Send a stanza.
        """
        self.send(iq)

    def answer(self, *children: Element) -> None:
        """
        Answer what was heard last.
        """
        iq = Element((None, "iq"))
        iq["type"], iq["to"], iq["id"] = "result", self.heard[-1]["from"], self.heard[-1]["id"]
        for child in children:
            iq.addChild(child)
        self.say(iq)

    def refuse(self, error: StanzaError) -> None:
        """
        Refuse what was heard last.
        """
        self.say(error.toResponse(self.heard[-1]))

    def request(self, to: str, payload: Element | str) -> None:
        """
        Send an iq-set.
        """
        iq = Element((None, "iq"))
        iq["type"], iq["to"], iq["id"] = "set", to, "ask1"
        iq.addChild(parse(payload) if isinstance(payload, str) else payload)
        self.say(iq)


class RequesterTests(TestCase):
    """
    We ask.
    """

    timeout = 300

    def setUp(self) -> None:
        self.lab = Lab()
        self.peer = Scripted()
        self.peer.setHandlerParent(self.lab.router.join(TARGET))

    async def ask(self, **options: Any) -> "Deferred[Any]":
        self.client = self.lab.join(REQUESTER, None, True, DTCPOptions(tls=TLSMode.OFF, **options))
        connecting = self.client.connect(JID(TARGET), RecorderFactory(), "s1")
        await pause()
        return connecting

    async def test_asks(self) -> None:
        """
        The request has our key, our hosts and the sid.
        """
        connecting = await self.ask()
        query = Query.fromElement(self.peer.heard[0].query)
        self.assertEqual((len(query.hosts), query.sid), (1, "s1"))
        self.peer.refuse(StanzaError("forbidden"))
        await self.assertFailure(connecting, Refused)

    async def test_refusals(self) -> None:
        """
        Each error has words of its own.
        """
        for condition, words in (
            ("feature-not-implemented", "does not support DTCP"),
            ("service-unavailable", "not there"),
            ("forbidden", "refuses"),
        ):
            connecting = await self.ask()
            self.peer.refuse(StanzaError(condition, text="because"))
            error = await self.assertFailure(connecting, Refused)
            self.assertIn(words, str(error))
            self.assertIn("because", str(error))

    async def test_legacyError(self) -> None:
        """
        Listing 3: an error that is a code and a text.
        """
        connecting = await self.ask()
        iq = Element((None, "iq"))
        iq["type"], iq["to"], iq["id"] = "error", REQUESTER, self.peer.heard[0]["id"]
        iq.addElement("error", content="DTCP not supported")["code"] = "501"
        self.peer.say(iq)
        error = await self.assertFailure(connecting, Refused)
        self.assertIn("DTCP not supported", str(error))

    async def test_unknownCode(self) -> None:
        """
        An error with a code that nobody knows is an error all the same, and nothing breaks.
        """
        connecting = await self.ask()
        iq = Element((None, "iq"))
        iq["type"], iq["to"], iq["id"] = "error", REQUESTER, self.peer.heard[0]["id"]
        iq.addElement("error", content="whatever")["code"] = "999"
        self.peer.say(iq)
        await self.assertFailure(connecting, Refused)

    async def test_strangeAnswers(self) -> None:
        """
        An answer without a query, or without a key, is a failure.
        """
        for children in ((), (Element((NS_DTCP, "query")),), (Element(("x", "query")),)):
            connecting = await self.ask()
            self.peer.answer(*children)
            await self.assertFailure(connecting, NegotiationError)

    async def test_noAnswer(self) -> None:
        """
        No answer in time.
        """
        connecting = await self.ask(answerTimeout=0.1)
        error = await self.assertFailure(connecting, NotReachable)
        self.assertIn("0.1 s", str(error))

    async def test_connectTimeout(self) -> None:
        """
        Nobody connects in time: the target is told that we have given up.
        """
        connecting = await self.ask(connectTimeout=0.1)
        self.peer.answer(Query(KEY).toElement())
        error = await self.assertFailure(connecting, NotReachable)
        self.assertIn("0.1 s", str(error))
        await pause()
        self.assertEqual(Trouble.fromElement(self.peer.heard[-1]).key, KEY)  # type: ignore[union-attr]

    async def test_cancelledBeforeTheAnswer(self) -> None:
        """
        When the answer comes after we have cancelled, the target is told.
        """
        connecting = await self.ask()
        connecting.cancel()
        await self.assertFailure(connecting, CancelledError)
        self.peer.answer(Query(KEY).toElement())
        await pause()
        trouble = Trouble.fromElement(self.peer.heard[-1])
        assert trouble is not None
        self.assertEqual((trouble.key, trouble.code), (KEY, 403))

    async def test_closed(self) -> None:
        """
        Closing the handler gives everything up.
        """
        connecting = await self.ask()
        self.peer.answer(Query(KEY).toElement())
        await pause()
        self.client.close()
        await self.assertFailure(connecting, CancelledError)

    async def test_closedUnanswered(self) -> None:
        """
        Also what was not answered yet; then nothing is waited for any more.
        """
        connecting = await self.ask()
        self.client.close()
        await self.assertFailure(connecting, CancelledError)

    async def test_troubleOfOthers(self) -> None:
        """
        An error with our key from somebody else changes nothing; nor does one of no valid sender, or
        one that is not about DTCP.
        """
        connecting = await self.ask()
        key = str(self.peer.heard[0].query.key)
        stranger = Scripted()
        stranger.setHandlerParent(self.lab.router.join("tybalt@elsewhere.example/x"))
        stranger.say(Trouble(key, 403).toElement(REQUESTER))
        self.peer.say(Trouble("unknown", 403).toElement(REQUESTER))
        unrelated = Element((None, "iq"))
        unrelated["type"], unrelated["to"], unrelated["id"] = "error", REQUESTER, "z"
        self.peer.say(unrelated)
        await pause()
        invalid = Trouble(key, 403).toElement(REQUESTER)
        invalid["from"] = "@"
        self.client.onTrouble(invalid)
        handled: Any = Trouble(key, 403).toElement(REQUESTER)
        handled["from"], handled.handled = TARGET, True
        self.client.onTrouble(handled)
        self.assertFalse(connecting.called)
        self.peer.say(Trouble(key, 403, "Rejected").toElement(REQUESTER))
        error = await self.assertFailure(connecting, Refused)
        self.assertIn("Rejected", str(error))

    async def test_noPort(self) -> None:
        """
        When no port is free nothing is offered, and we connect only.
        """
        with socket.socket(socket.AF_INET6) as taken:
            taken.bind(("::", 0))
            taken.listen()
            connecting = await self.ask(ports=(taken.getsockname()[1],))
        self.assertEqual(Query.fromElement(self.peer.heard[0].query).hosts, [])
        self.peer.refuse(StanzaError("forbidden"))
        await self.assertFailure(connecting, Refused)

    async def test_badTarget(self) -> None:
        """
        What is no JID is a mistake of ours.
        """
        client = self.lab.join(REQUESTER)
        await self.assertFailure(client.connect("@", RecorderFactory()), ValueError)

    async def test_noStream(self) -> None:
        """
        Without an XMPP stream there is nobody to ask.
        """
        client = DTCPClientHandler(reactor)
        error = await self.assertFailure(client.connect(TARGET, RecorderFactory()), NegotiationError)
        self.assertIn("no connection", str(error))

    async def test_streamLost(self) -> None:
        """
        The stream is lost while we wait for the answer.
        """
        client = self.lab.join(REQUESTER, None, True)
        asked: Deferred[Any] = Deferred()
        client.request = lambda request: asked  # type: ignore[method-assign]
        connecting = client.connect(TARGET, RecorderFactory())
        await pause()
        client.connectionLost(Failure(ConnectionLost()))
        asked.errback(ConnectionLost())
        error = await self.assertFailure(connecting, NegotiationError)
        self.assertIn("lost", str(error))
        client._sendStanza(Element((None, "iq")))

    async def test_bug(self) -> None:
        """
        A mistake of ours is not taken for a refusal.
        """
        client = self.lab.join(REQUESTER, None, True)
        asked: Deferred[Any] = Deferred()
        client.request = lambda request: asked  # type: ignore[method-assign]
        connecting = client.connect(TARGET, RecorderFactory())
        await pause()
        asked.errback(ZeroDivisionError("oops"))
        error = await self.assertFailure(connecting, NegotiationError)
        self.assertIn("log", str(error))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_bugInConnecting(self) -> None:
        """
        So it is where we connect: the other side is told, and nobody waits for the time to be over.
        """

        class Broken:
            def connect(self, places: Any, attempt: Any, discard: Any) -> "Deferred[Any]":
                return _failed(ZeroDivisionError("oops"))

        self.patch(ClientMeans, "connectorFor", lambda means, peer: Broken())
        connecting = await self.ask()
        self.peer.answer(Query(KEY, (Host("127.0.0.1", 1),)).toElement())
        error = await self.assertFailure(connecting, NegotiationError)
        self.assertIn("log", str(error))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        await pause()
        self.assertEqual(self.peer.heard[-1].error["code"], "500")

    async def test_timeoutKind(self) -> None:
        """
        The stream manager's own timeout is known.
        """
        client = self.lab.join(REQUESTER, None, True)
        client.request = lambda request: _failed(RequestTimeout())  # type: ignore[method-assign]
        await self.assertFailure(client.connect(TARGET, RecorderFactory()), NotReachable)


def _failed(error: Exception) -> "Deferred[Any]":
    failed: Deferred[Any] = Deferred()
    failed.errback(error)
    return failed


class TargetTests(TestCase):
    """
    We are asked.
    """

    timeout = 300

    def setUp(self) -> None:
        self.lab = Lab()
        self.peer = Scripted()
        self.peer.setHandlerParent(self.lab.router.join(REQUESTER))
        self.acceptor = Acceptor()

    def join(self, acceptor: Any = None, **options: Any) -> DTCPClientHandler:
        return self.lab.join(TARGET, acceptor, True, DTCPOptions(tls=TLSMode.OFF, **options))

    async def ask(self, payload: Element | str | None = None) -> Any:
        self.peer.request(TARGET, Query(KEY).toElement() if payload is None else payload)
        await pause()
        return self.peer.heard[-1] if self.peer.heard else None

    async def finish(self, answer: Any) -> None:
        """
        Say that it is over.
        """
        self.peer.say(Trouble(str(answer.query.key), 403).toElement(TARGET))
        await pause()

    async def test_answers(self) -> None:
        """
        The answer has our key and hosts; an error of the other side ends the negotiation.
        """
        self.join(self.acceptor)
        answer = await self.ask()
        query = Query.fromElement(answer.query)
        self.assertEqual((answer["type"], len(query.hosts)), ("result", 1))
        await self.finish(answer)
        self.assertIsInstance(await self.acceptor.failed, Refused)

    async def refused(self, condition: str, payload: Element | str | None = None) -> None:
        answer = await self.ask(payload)
        self.assertEqual(answer["type"], "error")
        self.assertIn(condition, [e.name for e in answer.error.elements()])

    async def test_nobodyExpectsIt(self) -> None:
        """
        Without an acceptor everything is rejected.
        """
        self.join()
        await self.refused("forbidden")
        self.assertEqual(self.peer.heard[-1].error["code"], "403")

    async def test_badRequest(self) -> None:
        """
        A query without a key is a bad request.
        """
        self.join(self.acceptor)
        await self.refused("bad-request", f"<query xmlns='{NS_DTCP}'/>")

    async def test_badSender(self) -> None:
        """
        A sender whose address is none.
        """
        client = self.join(self.acceptor)
        iq = parse(f"<iq type='set' id='x' from='@'><query xmlns='{NS_DTCP}'><key>k</key></query></iq>")
        error = self.assertRaises(StanzaError, client.onRequest, iq)
        self.assertEqual(error.condition, "jid-malformed")

    async def test_limit(self) -> None:
        """
        Too many at once wait for nothing.
        """
        self.join(self.acceptor, maxIncoming=1)
        first = await self.ask()
        await self.refused("resource-constraint", Query("other").toElement())
        await self.finish(first)

    async def test_limitOfOne(self) -> None:
        """
        One account cannot take all places, whatever its resource.
        """
        self.join(self.acceptor, maxIncomingPerPeer=1)
        first = await self.ask()
        await self.refused("resource-constraint", Query("other").toElement())
        await self.finish(first)

    async def test_expectedIsNotCounted(self) -> None:
        """
        What is expected takes no place from those who are not, nor needs one.
        """
        client, other = self.join(self.acceptor, maxIncoming=1), Acceptor()
        client.expectBytestream(REQUESTER, "s1", other)
        answers = [await self.ask(Query(KEY, sid=sid).toElement()) for sid in ("s1", "unknown")]
        self.assertEqual([answer["type"] for answer in answers], ["result", "result"])
        for answer in answers:
            await self.finish(answer)

    async def test_expectedOnce(self) -> None:
        """
        What was agreed upon is negotiated once at a time, with or without its sid.
        """
        client, other = self.join(), Acceptor()
        client.expectBytestream(REQUESTER, "s1", other)
        answer = await self.ask(Query(KEY, sid="s1").toElement())
        await self.refused("conflict", Query("other", sid="s1").toElement())
        await self.refused("conflict", Query("other").toElement())
        self.assertEqual(len(other.offers), 1)
        await self.finish(answer)
        other.failed = Deferred()
        again = await self.ask(Query(KEY, sid="s1").toElement())
        self.assertEqual(again["type"], "result")
        await self.finish(again)

    async def test_expected(self) -> None:
        """
        What was agreed upon goes to its own acceptor, by its sid.
        """
        client, other = self.join(self.acceptor), Acceptor()
        client.expectBytestream(REQUESTER, "s1", other)
        self.assertRaises(ValueError, client.expectBytestream, JID(REQUESTER), "s1", other)
        answer = await self.ask(Query(KEY, sid="s1").toElement())
        self.assertEqual(other.offers[0].sid, "s1")
        self.assertEqual(self.acceptor.offers, [])
        await self.finish(answer)
        await other.failed

    async def test_withoutSid(self) -> None:
        """
        Without a sid the only one that is expected of that JID is meant.
        """
        client, other = self.join(), Acceptor()
        client.expectBytestream(REQUESTER, "s1", other)
        client.expectBytestream("tybalt@elsewhere.example/x", "s2", self.acceptor)
        answer = await self.ask()
        self.assertEqual(other.offers[0].sid, "s1")
        await self.finish(answer)
        await other.failed

    async def test_withoutSidButTwo(self) -> None:
        """
        With two that are expected of that JID, a request without a sid is for neither.
        """
        client, other = self.join(), Acceptor()
        client.expectBytestream(REQUESTER, "s1", other)
        client.expectBytestream(REQUESTER, "s2", other)
        await self.refused("forbidden")

    async def test_forgotten(self) -> None:
        """
        What is not expected any more is given up, and the other side told.
        """
        client, other = self.join(), Acceptor()
        client.expectBytestream(REQUESTER, "s1", other)
        await self.ask(Query(KEY, sid="s1").toElement())
        client.forgetBytestream(REQUESTER, "s1")
        client.forgetBytestream(REQUESTER, "s1")
        self.assertIsInstance(await other.failed, Refused)
        await pause()
        self.assertEqual(Trouble.fromElement(self.peer.heard[-1]).code, 403)  # type: ignore[union-attr]
        await self.refused("forbidden")

    async def test_forgottenWhileDeciding(self) -> None:
        """
        The same while the acceptor thinks: it hears of it, and the answer is no.
        """
        client, slow = self.join(), Slow()
        client.expectBytestream(REQUESTER, "s1", slow)
        await self.ask(Query(KEY, sid="s1").toElement())
        client.forgetBytestream(REQUESTER, "s1")
        await self.assertFailure(slow.decision, CancelledError)
        await pause()
        self.assertEqual(self.peer.heard[-1].error["code"], "403")

    async def test_decisionTimeout(self) -> None:
        """
        An acceptor that does not decide.
        """
        slow = Slow()
        self.join(slow, decisionTimeout=0.1)
        await self.ask()
        await self.assertFailure(slow.decision, CancelledError)
        await pause()
        self.assertEqual(self.peer.heard[-1].error["code"], "403")

    async def test_applicationFails(self) -> None:
        """
        An application that fails in its own code costs one line in the log.
        """
        failing = Failing()
        self.join(failing)
        answer = await self.ask()
        await self.finish(answer)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_disco(self) -> None:
        """
        The feature is told.
        """
        client = self.join()
        self.assertEqual(client.getDiscoInfo(JID(REQUESTER), JID(TARGET)), [disco.DiscoFeature(NS_DTCP)])
        self.assertEqual(client.getDiscoInfo(JID(REQUESTER), JID(TARGET), "node"), [])
        self.assertEqual(client.getDiscoItems(JID(REQUESTER), JID(TARGET)), [])


class Slow(Acceptor):
    """
    Never decides.
    """

    def __init__(self) -> None:
        super().__init__()
        self.decision: Deferred[Any] = Deferred()

    def bytestreamRequested(self, offer: Any) -> Any:
        asked: Deferred[Any] = Deferred(lambda _: self.decision.cancel())
        return asked


class Failing(Acceptor):
    """
    Cannot even hear of a failure.
    """

    def bytestreamFailed(self, offer: Any, error: Any) -> None:
        raise ZeroDivisionError("oops")


class OptionTests(TestCase):
    """
    Choices that make no sense.
    """

    def test_wrong(self) -> None:
        """
        They are told when they are made.
        """
        self.assertRaises(ConfigurationError, DTCPOptions, advertise=["host:port"])
        self.assertRaises(ConfigurationError, DTCPOptions, relays=["a", "b", "c", "d"])
        self.assertRaises(
            ConfigurationError, DTCPClientHandler, Clock(), None, DTCPOptions(allowAddresses=["x"])
        )
