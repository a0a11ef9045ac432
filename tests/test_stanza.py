"""
Tests for L{xmppbytes.stanza}.
"""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID
from twisted.words.protocols.jabber.xmlstream import TimeoutError as RequestTimeout
from twisted.words.xish.domish import Element

from tests.s5b.proxyworld import Face, errorOf, stanza
from xmppbytes.stanza import RequestHandler, parseJID, senderOf
from xmppbytes.stream import REQUEST_TIMEOUT

NS = "urn:example:questions"


class Oracle(RequestHandler):
    """
    Answers in all ways.
    """

    requests = {
        ("get", NS, "one"): "onOne",
        ("get", NS, "several"): "onSeveral",
        ("set", NS, "nothing"): "onNothing",
        ("get", NS, "later"): "onLater",
        ("get", NS, "coroutine"): "onCoroutine",
        ("get", NS, "refused"): "onRefused",
        ("get", NS, "broken"): "onBroken",
        ("get", NS, "nonsense"): "onNonsense",
    }

    def __init__(self) -> None:
        super().__init__()
        self.later: Deferred[Any] = Deferred()
        self.asked: list[str] = []

    def onOne(self, iq: Element) -> Element:
        self.asked.append(iq["id"])
        return Element((NS, "answer"))

    def onSeveral(self, iq: Element) -> Any:
        return [Element((NS, "a")), Element((NS, "b"))]

    def onNothing(self, iq: Element) -> None:
        pass

    def onLater(self, iq: Element) -> "Deferred[Any]":
        return self.later

    async def onCoroutine(self, iq: Element) -> Any:
        return await self.later

    def onRefused(self, iq: Element) -> None:
        raise StanzaError("not-acceptable", text="no")

    def onBroken(self, iq: Element) -> None:
        raise KeyError("broken")

    def onNonsense(self, iq: Element) -> int:
        return 5


def iq(child: str, kind: str = "get") -> str:
    return f"<iq from='a@b/c' to='d' id='1' type='{kind}'><{child} xmlns='{NS}'/></iq>"


class AnswerTests(SynchronousTestCase):
    """
    Answering requests.
    """

    def setUp(self) -> None:
        self.oracle = Oracle()
        self.face = Face(self.oracle)

    def names(self, answer: Element) -> list[str]:
        self.assertEqual(
            (answer["type"], answer["to"], answer["from"], answer["id"]), ("result", "a@b/c", "d", "1")
        )
        return [child.name for child in answer.elements()]

    def test_payloads(self) -> None:
        """
        One element, several, or none.
        """
        self.assertEqual(self.names(self.face.ask(iq("one"))), ["answer"])
        self.assertEqual(self.names(self.face.ask(iq("several"))), ["a", "b"])
        self.assertEqual(self.names(self.face.ask(iq("nothing", "set"))), [])

    def test_notOurs(self) -> None:
        """
        Other names, namespaces and types are somebody else's; so is what was handled already.
        """
        for xml in (
            iq("one", "set"),
            iq("other"),
            iq("one", "result"),
            iq("one", "error"),
            iq("one").replace(NS, "x"),
        ):
            self.assertEqual(self.face.send(xml), [])
        self.assertEqual(self.face.send("<iq from='a@b' id='1' type='get'></iq>"), [])
        self.assertEqual(self.face.send("<iq from='a@b' id='1' ><one xmlns='x'/></iq>"), [])
        handled: Any = stanza(iq("one"))
        handled.handled = True
        self.oracle.handleRequest(handled)
        self.assertEqual((self.face.output, self.oracle.asked), ([], []))

    def test_refused(self) -> None:
        """
        A StanzaError is the answer, and no line in the log.
        """
        with capturedLogs() as events:
            answer = self.face.ask(iq("refused"))
        self.assertEqual((errorOf(answer), events), (("not-acceptable", "modify", "no"), []))

    def test_broken(self) -> None:
        """
        Anything else is our fault, and logged; so is a result that is none.
        """
        for child, error in (("broken", KeyError), ("nonsense", TypeError)):
            answer = self.face.ask(iq(child))
            self.assertEqual(errorOf(answer)[:2], ("internal-server-error", "cancel"))
            self.assertEqual(len(self.flushLoggedErrors(error)), 1)

    def test_later(self) -> None:
        """
        An answer, or an error, may come later.
        """
        for child in ("later", "coroutine"):
            self.oracle.later = Deferred()
            self.assertEqual(self.face.send(iq(child)), [])
            self.oracle.later.callback(Element((NS, "x")))
            self.assertEqual(self.names(self.face.output[-1]), ["x"])
        self.oracle.later = Deferred()
        self.face.send(iq("later"))
        self.oracle.later.errback(StanzaError("gone"))
        self.assertEqual(errorOf(self.face.output[-1])[0], "gone")
        self.oracle.later = Deferred()
        self.face.send(iq("later"))
        self.oracle.later.errback(KeyError())
        self.assertEqual(errorOf(self.face.output[-1])[0], "internal-server-error")
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_tooLate(self) -> None:
        """
        An answer goes to the stream on which the request came, or nowhere.
        """
        first = self.face.output
        self.face.send(iq("later"))
        self.face.closeStream()
        second = self.face.openStream()
        self.oracle.later.callback(None)
        self.assertEqual((first, second), ([], []))

    def test_streamGone(self) -> None:
        """
        With no stream at all it goes nowhere as well.
        """
        self.face.send(iq("later"))
        self.face.closeStream()
        self.oracle.later.callback(None)
        self.assertEqual(self.face.output, [])

    def test_table(self) -> None:
        """
        A stream that has a table of requests gets the entries of an exclusive handler, and no observer.
        """
        self.face.closeStream()
        oracle = Oracle()
        oracle.exclusive = True  # type: ignore[misc]
        oracle.xmlstream = type("Stream", (), {"requestTable": {}})()
        oracle.connectionInitialized()
        self.assertEqual(set(oracle.xmlstream.requestTable), set(Oracle.requests))


class AskTests(SynchronousTestCase):
    """
    Requests of our own.
    """

    def setUp(self) -> None:
        self.oracle = Oracle()
        self.face = Face(self.oracle)

    def ask(self, **arguments: Any) -> Any:
        asked = self.oracle.ask(arguments.pop("to", JID("a@b/c")), "get", Element((NS, "q")), **arguments)
        self.sent = self.face.output[-1] if self.face.output else None
        return asked

    def answer(self, kind: str) -> None:
        self.face.send(f"<iq type='{kind}' from='a@b/c' id='{self.sent['id']}'><x xmlns='{NS}'/></iq>")

    def test_answered(self) -> None:
        """
        The answer is the whole stanza.
        """
        asked = self.ask()
        self.assertEqual((self.sent["to"], self.sent["type"]), ("a@b/c", "get"))
        self.assertFalse(self.sent.hasAttribute("from"))
        self.assertNoResult(asked)
        self.answer("result")
        self.assertEqual(self.successResultOf(asked)["type"], "result")

    def test_addresses(self) -> None:
        """
        Whatever names somebody will do; the sender may be given.
        """
        self.ask(to="juliet@pronto", sender="romeo@forza").addErrback(lambda _: None)
        self.assertEqual((self.sent["to"], self.sent["from"]), ("juliet@pronto", "romeo@forza"))
        self.face.closeStream()

    def test_idsCannotBeGuessed(self) -> None:
        """
        No two are alike, and none is short.
        """
        ids = set()
        for _ in range(50):
            self.ask().addErrback(lambda _: None)
            ids.add(self.sent["id"])
        self.assertEqual((len(ids), {len(i) >= 16 for i in ids}), (50, {True}))
        self.face.closeStream()

    def test_error(self) -> None:
        """
        An error is a StanzaError.
        """
        asked = self.ask()
        self.face.send(
            f"<iq type='error' from='a@b/c' id='{self.sent['id']}'><error type='cancel'>"
            "<gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
        )
        self.assertEqual(self.failureResultOf(asked, StanzaError).value.condition, "gone")

    def test_timeout(self) -> None:
        """
        Without an answer it fails, after the time that was asked for or that of the manager.
        """
        clock = self.face.manager._reactor
        short, usual = self.ask(timeout=5), self.ask()
        clock.advance(5)
        self.failureResultOf(short, RequestTimeout)
        self.assertNoResult(usual)
        clock.advance(REQUEST_TIMEOUT)
        self.failureResultOf(usual, RequestTimeout)
        self.assertEqual(self.face.manager._iqDeferreds, {})

    def test_cancelled(self) -> None:
        """
        A request that is cancelled is forgotten, and its answer nobody's.
        """
        asked = self.ask()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual(self.face.manager._iqDeferreds, {})
        self.assertEqual(self.face.manager._reactor.getDelayedCalls(), [])
        self.answer("result")

    def test_noStream(self) -> None:
        """
        With no stream it fails at once, and is not sent later.
        """
        self.face.closeStream()
        self.failureResultOf(self.ask(), ConnectionLost)
        self.assertEqual(self.face.openStream(), [])


class AddressTests(SynchronousTestCase):
    """
    Addresses in stanzas.
    """

    def test_sender(self) -> None:
        """
        A sender is prepared; none, or one that is none, is refused.
        """
        self.assertEqual(senderOf(stanza("<iq from='A@B/c' />")).full(), "a@b/c")
        for xml in ("<iq />", "<iq from='' />", "<iq from='@' />"):
            error = self.assertRaises(StanzaError, senderOf, stanza(xml))
            self.assertEqual(error.condition, "jid-malformed")

    def test_text(self) -> None:
        """
        The error says what is malformed, and how.
        """
        error = self.assertRaises(StanzaError, parseJID, "a@b@c", "the target")
        self.assertIn("the target 'a@b@c' is not a valid address", error.text)

    def test_longText(self) -> None:
        """
        It repeats no more than a piece of what may be any length.
        """
        error = self.assertRaises(StanzaError, parseJID, "@" * 100_000, "the target")
        self.assertLess(len(error.text), 200)
