"""
Tests for L{xmppbytes.filetransfer.ibb}, over an XMPP server in memory.
"""

import base64
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish.domish import Element
from zope.interface import implementer

from tests.filetransfer.test_inband import Application
from xmppbytes.compat import disco
from xmppbytes.errors import LimitReached, NotReachable, Refused
from xmppbytes.filetransfer import ibb
from xmppbytes.filetransfer.blocks import NS_IBB
from xmppbytes.filetransfer.ibb import InBandHandler
from xmppbytes.filetransfer.inband import OFFLINE_PATIENCE
from xmppbytes.interfaces import IBytestreamAcceptor
from xmppbytes.stanza import RequestHandler
from xmppbytes.testing import MemoryXMPPServer

ROMEO = "romeo@montague.example/orchard"
JULIET = "juliet@capulet.example/balcony"


class ApplicationFactory(Factory):
    """
    Makes and keeps applications.
    """

    noisy = False

    def __init__(self, greeting: bytes = b"") -> None:
        self.made: list[Application] = []
        self.greeting = greeting
        self.willing = True

    def buildProtocol(self, addr: Any) -> Any:
        if not self.willing:
            return None
        application = Application()
        if self.greeting:
            application.connectionMade = (  # type: ignore[method-assign]
                lambda: application.transport.write(self.greeting)
            )
        self.made.append(application)
        return application


@implementer(IBytestreamAcceptor)
class Acceptor:
    """
    Accepts, unless told otherwise.
    """

    def __init__(self, factory: Any) -> None:
        self.answer = factory

    def bytestreamRequested(self, offer: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def bytestreamFailed(self, offer: Any, error: Any) -> None:
        raise AssertionError("in-band bytestreams do not fail like that")


class Asker(RequestHandler):
    """
    Sends what a test wants.
    """


class InBandTestCase(SynchronousTestCase):
    """
    Romeo opens, Juliet accepts.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.server = MemoryXMPPServer(self.clock)
        self.romeo, self.juliet = InBandHandler(self.clock, 8), InBandHandler(self.clock)
        self.managers = {}
        for address, handler in ((ROMEO, self.romeo), (JULIET, self.juliet)):
            self.managers[address] = self.server.connect(address)
            handler.setHandlerParent(self.managers[address])
        self.asker = Asker()
        self.asker.setHandlerParent(self.managers[ROMEO])
        self.factory, self.accepted = ApplicationFactory(), ApplicationFactory()
        self.acceptor = Acceptor(self.accepted)

    def open(self, sid: str = "sid") -> Any:
        """
        Open a stream that is expected.

        @return: both applications.
        """
        self.juliet.expectBytestream(ROMEO, sid, self.acceptor)
        opened = self.romeo.requestBytestream(JID(JULIET), self.factory, sid)
        self.clock.advance(0)
        return self.successResultOf(opened), self.accepted.made[-1]

    def goOffline(self, address: str) -> None:
        """
        Let Romeo hear that somebody is not there any more.
        """
        presence = Element((None, "presence"))
        presence["to"], presence["type"] = ROMEO, "unavailable"
        self.server.route(address, presence)
        self.clock.advance(0)

    def element(self, name: str, content: str = "", **attributes: str) -> Element:
        """
        Make an element.
        """
        element = Element((NS_IBB, name))
        for key, value in attributes.items():
            element[key.replace("_", "-")] = value
        element.addContent(content)
        return element

    def refusal(self, element: Element) -> str:
        """
        Send a request from Romeo to Juliet that is refused.

        @return: the condition.
        """
        answer = self.asker.ask(JULIET, "set", element)
        self.clock.advance(0)
        condition: str = self.failureResultOf(answer, StanzaError).value.condition
        return condition


class StreamTests(InBandTestCase):
    """
    A bytestream.
    """

    def test_bothWays(self) -> None:
        """
        Bytes go both ways, in blocks as small as the opener has asked for.
        """
        first, second = self.open()
        first.transport.write(b"0123456789")
        second.transport.write(b"abcdefghij")
        self.clock.advance(0)
        self.assertEqual(second.received, [b"01234567", b"89"])
        self.assertEqual(first.received, [b"abcdefgh", b"ij"])

    def test_close(self) -> None:
        """
        When one side closes both have ended, and nothing is left.
        """
        first, second = self.open()
        first.transport.write(b"0123456789")
        first.transport.loseConnection()
        self.clock.advance(0)
        self.assertEqual(b"".join(second.received), b"0123456789")
        self.assertEqual((len(first.lost), len(second.lost)), (1, 1))
        self.assertEqual((self.romeo._streams, self.juliet._streams), ({}, {}))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_greeting(self) -> None:
        """
        What the accepting side writes at once follows its yes.
        """
        self.accepted.greeting = b"hello"
        first, _ = self.open()
        self.assertEqual(first.received, [b"hello"])
        kinds = [stanza for stanza in self.server.stanzas if "from='juliet" in stanza]
        self.assertIn("type='result'", kinds[0])
        self.assertIn("<data", kinds[1])

    def test_sameSidTwice(self) -> None:
        """
        One sid names one stream, and one expectation.
        """
        self.open()
        self.assertRaises(ValueError, self.juliet.expectBytestream, ROMEO, "sid", self.acceptor)
        self.assertEqual(self.refusal(self.element("open", sid="sid", block_size="8")), "not-acceptable")

    def test_lostConnection(self) -> None:
        """
        With the XML stream all bytestreams are lost.
        """
        first, second = self.open()
        self.server.disconnect(ROMEO)
        self.assertIn("our own server was lost", first.lost[0].getErrorMessage())
        second.transport.write(b"0")
        self.clock.advance(0)
        self.assertEqual(second.lost[0].getErrorMessage(), "a block was not taken: service-unavailable")

    def test_offline(self) -> None:
        """
        When the other side has gone offline and nothing moves any more, the stream ends soon.
        """
        first, second = self.open()
        self.server.intercept = lambda stanza: None if "<data" in stanza.toXml() else stanza
        first.transport.write(b"0")
        self.goOffline(JULIET + "x")
        self.goOffline(JULIET)
        self.goOffline(JULIET)
        self.clock.advance(OFFLINE_PATIENCE - 1)
        self.assertEqual(first.lost, [])
        self.clock.advance(1)
        self.assertEqual(first.lost[0].getErrorMessage(), "the other side has gone offline")
        second.transport.abortConnection()
        self.clock.advance(0)

    def test_invisible(self) -> None:
        """
        Who has only become invisible goes on; who is made to wait, too.
        """
        first, second = self.open()
        self.goOffline(JULIET)
        first.transport.write(b"0")
        self.clock.pump([1.0] * 30)
        first.transport.pauseProducing()
        self.goOffline(JULIET)
        self.clock.pump([1.0] * 30)
        self.assertEqual((first.lost, second.lost, b"".join(second.received)), ([], [], b"0"))
        self.goOffline(JULIET)
        first.transport.abortConnection()
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_disco(self) -> None:
        """
        It is announced.
        """
        found = self.romeo.getDiscoInfo(JID(JULIET), JID(ROMEO))
        self.assertEqual(found, [disco.DiscoFeature(NS_IBB)])
        self.assertEqual(self.romeo.getDiscoInfo(JID(JULIET), JID(ROMEO), "node"), [])
        self.assertEqual(self.romeo.getDiscoItems(JID(JULIET), JID(ROMEO)), [])


class OpeningTests(InBandTestCase):
    """
    The side that opens.
    """

    def test_refused(self) -> None:
        """
        A stream that nobody expects is refused.
        """
        opened = self.romeo.requestBytestream(JULIET, self.factory)
        self.clock.advance(0)
        error = self.failureResultOf(opened, Refused)
        self.assertIn("not-acceptable", str(error.value))

    def test_smallerBlocks(self) -> None:
        """
        Who wants smaller blocks gets them, within reason.
        """
        sizes: list[int] = []

        def shrink(stanza: Element) -> Element | None:
            child = stanza.firstChildElement()
            if child is not None and child.name == "open":
                sizes.append(int(child["block-size"]))
                if sizes[-1] > limit:
                    self.clock.callLater(0, refuse, stanza)
                    return None
            return stanza

        def refuse(stanza: Element) -> None:
            self.server._wires[ROMEO].deliver(
                StanzaError("resource-constraint", type="modify").toResponse(stanza)
            )

        self.server.intercept = shrink
        self.romeo._blockSize = 4096
        limit = 1024
        self.open()
        self.assertEqual(sizes, [4096, 2048, 1024])
        limit = 1
        opened = self.romeo.requestBytestream(JULIET, self.factory)
        self.clock.advance(0)
        self.failureResultOf(opened, Refused)
        self.assertEqual(sizes[-1], 256)

    def test_noAnswer(self) -> None:
        """
        Who does not answer is not reachable.
        """
        self.server.intercept = lambda stanza: None
        opened = self.romeo.requestBytestream(JULIET, self.factory)
        self.clock.pump([1] * 40)
        self.failureResultOf(opened, NotReachable)

    def test_noConnection(self) -> None:
        """
        Without a connection of our own nobody is.
        """
        self.server.disconnect(ROMEO)
        self.failureResultOf(self.romeo.requestBytestream(JULIET, self.factory), NotReachable)

    def test_cancel(self) -> None:
        """
        Cancelling closes what the other side may have opened.
        """
        self.juliet.expectBytestream(ROMEO, "sid", self.acceptor)
        opened = self.romeo.requestBytestream(JULIET, self.factory, "sid")
        opened.cancel()
        self.failureResultOf(opened)
        self.clock.advance(0)
        self.assertEqual(len(self.accepted.made[0].lost), 1)
        self.assertEqual((self.romeo._streams, self.juliet._streams), ({}, {}))

    def test_limit(self) -> None:
        """
        There are not too many at once.
        """
        self.patch(ibb, "MAX_STREAMS", 1)
        self.open()
        self.juliet.expectBytestream(ROMEO, "other", self.acceptor)
        self.acceptor.answer = AssertionError("was asked although there is no room")
        self.assertEqual(
            self.refusal(self.element("open", sid="other", block_size="8")), "resource-constraint"
        )

    def test_ownLimit(self) -> None:
        """
        What is one too many of ours costs no stanza: the other side would hold what we cannot use.
        """
        self.patch(ibb, "MAX_STREAMS", 1)
        self.juliet.expectBytestream(ROMEO, "sid", Acceptor(Deferred()))
        first = self.romeo.requestBytestream(JULIET, self.factory, "sid")
        first.addErrback(lambda _: None)
        self.failureResultOf(self.romeo.requestBytestream(JULIET, self.factory, "other"), LimitReached)
        self.clock.advance(0)
        self.assertNotIn("other", "".join(self.server.stanzas))
        first.cancel()
        self.romeo.requestBytestream(JULIET, self.factory, "other").addErrback(lambda _: None)
        self.clock.advance(0)
        self.assertIn("other", self.server.stanzas[-1])

    def test_ownSidTwice(self) -> None:
        """
        Nor is a sid used twice, whether the first is open or still asked for.
        """
        self.open()
        again = self.romeo.requestBytestream(JULIET, self.factory, "sid")
        self.assertIn("is open already", str(self.failureResultOf(again, ValueError).value))
        self.juliet.expectBytestream(ROMEO, "slow", Acceptor(Deferred()))
        slow = self.romeo.requestBytestream(JULIET, self.factory, "slow")
        self.failureResultOf(self.romeo.requestBytestream(JULIET, self.factory, "slow"), ValueError)
        self.assertNoResult(slow)
        slow.addErrback(lambda _: None)
        slow.cancel()

    def test_unwanted(self) -> None:
        """
        When our own application does not want what the other side has opened, that is closed there.
        """
        self.factory.willing = False
        self.juliet.expectBytestream(ROMEO, "sid", self.acceptor)
        opened = self.romeo.requestBytestream(JULIET, self.factory, "sid")
        self.clock.advance(0)
        self.clock.advance(0)
        self.failureResultOf(opened, Refused)
        self.assertEqual((self.romeo._streams, self.juliet._streams), ({}, {}))


class AcceptingTests(InBandTestCase):
    """
    The side that is opened to.
    """

    def test_malformed(self) -> None:
        """
        Without a sid or a possible size of blocks there is no stream.
        """
        self.juliet.expectBytestream(ROMEO, "sid", self.acceptor)
        for attributes in (
            {"block_size": "8"},
            {"sid": "sid"},
            {"sid": "sid", "block_size": "0"},
            {"sid": "sid", "block_size": "65536"},
            {"sid": "sid", "block_size": "-8"},
        ):
            self.assertEqual(self.refusal(self.element("open", **attributes)), "bad-request")
        self.assertEqual(self.accepted.made, [])

    def test_refusing(self) -> None:
        """
        The acceptor may refuse, and so may its factory.
        """
        self.juliet.expectBytestream(ROMEO, "sid", self.acceptor)
        wanted = self.element("open", sid="sid", block_size="8")
        self.acceptor.answer = Refused("not now")
        self.assertEqual(self.refusal(wanted), "not-acceptable")
        self.accepted.willing = False
        self.acceptor.answer = self.accepted
        self.assertEqual(self.refusal(wanted), "not-acceptable")

    def test_later(self) -> None:
        """
        The acceptor may take its time.
        """
        decision: Deferred[Any] = Deferred()
        self.acceptor.answer = decision
        self.juliet.expectBytestream(JID(ROMEO), "sid", self.acceptor)
        opened = self.romeo.requestBytestream(JULIET, self.factory, "sid")
        self.clock.advance(0)
        self.assertNoResult(opened)
        decision.callback(self.accepted)
        self.clock.advance(0)
        self.successResultOf(opened)

    def test_forgotten(self) -> None:
        """
        What was forgotten is not accepted; forgetting twice does no harm.
        """
        self.juliet.expectBytestream(ROMEO, "sid", self.acceptor)
        self.juliet.forgetBytestream(ROMEO, "sid")
        self.juliet.forgetBytestream(ROMEO, "sid")
        self.assertEqual(self.refusal(self.element("open", sid="sid", block_size="8")), "not-acceptable")

    def test_undecided(self) -> None:
        """
        While the acceptor thinks, a second <open/> is refused; when the stream is expected no longer, or
        the XML stream has ended, the acceptor need not think any more.
        """
        for end in (
            lambda: self.juliet.forgetBytestream(ROMEO, "sid"),
            lambda: self.server.disconnect(JULIET),
        ):
            withdrawn: list[Any] = []
            decision: Deferred[Any] = Deferred(withdrawn.append)
            self.acceptor.answer = decision
            self.juliet.expectBytestream(ROMEO, "sid", self.acceptor)
            opened = self.romeo.requestBytestream(JULIET, self.factory, "sid")
            self.clock.advance(0)
            self.assertEqual(self.refusal(self.element("open", sid="sid", block_size="8")), "not-acceptable")
            end()
            self.clock.advance(0)
            self.assertEqual((withdrawn, self.juliet._undecided), ([decision], {}))
            opened.addErrback(lambda _: None)
            opened.cancel()
        self.assertEqual(self.accepted.made, [])

    def test_bug(self) -> None:
        """
        An acceptor that fails costs one log entry.
        """
        self.acceptor.answer = RuntimeError("bug")
        self.juliet.expectBytestream(ROMEO, "sid", self.acceptor)
        self.assertEqual(
            self.refusal(self.element("open", sid="sid", block_size="8")), "internal-server-error"
        )
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class BlockTests(InBandTestCase):
    """
    Blocks of strangers.
    """

    def data(self, content: str, seq: str = "0", sid: str = "sid") -> Element:
        return self.element("data", content, seq=seq, sid=sid)

    def test_listing(self) -> None:
        """
        The listing of XEP-0047 section 2.2 has line breaks within its Base64.
        """
        self.romeo._blockSize = 4096
        _, second = self.open()
        content = """
            qANQR1DBwU4DX7jmYZnncmUQB/9KuKBddzQH+tZ1ZywKK0yHKnq57kWq+RFtQdCJ
            WpdWpR0uQsuJe7+vh3NWn59/gTc5MDlX8dS9p0ovStmNcyLhxVgmqS8ZKhsblVeu
            IpQ0JgavABqibJolc3BKrVtVV1igKiX/N7Pi8RtY1K18toaMDhdEfhBRzO/XB0+P
            AQhYlRjNacGcslkhXqNjK5Va4tuOAPy2n1Q8UUrHbUd0g+xJ9Bm0G0LZXyvCWyKH
            kuNEHFQiLuCY6Iv0myq6iX6tjuHehZlFSh80b5BVV9tNLwNR5Eqz1klxMhoghJOA
        """
        answer = self.asker.ask(JULIET, "set", self.data(content))
        self.clock.advance(0)
        self.successResultOf(answer)
        self.assertEqual(second.received, [base64.b64decode("".join(content.split()))])

    def test_unknown(self) -> None:
        """
        A block of no stream is refused, and so is closing one.
        """
        self.assertEqual(self.refusal(self.data("AAAA")), "item-not-found")
        self.assertEqual(self.refusal(self.element("close", sid="sid")), "item-not-found")

    def test_notBase64(self) -> None:
        """
        What is not Base64, even in part, ends the stream (section 7).
        """
        for content in ("=AAA", "BBBB=CCC", "AAA", "AA*A", "AAAA-_", "Ä"):
            _, second = self.open(content)
            self.assertEqual(self.refusal(self.data(content, sid=content)), "bad-request")
            self.assertEqual(len(second.lost), 1, content)

    def test_sequence(self) -> None:
        """
        A block out of sequence ends the stream.
        """
        _, second = self.open()
        self.assertEqual(self.refusal(self.data("AAAA", seq="1")), "unexpected-request")
        self.assertEqual(len(second.lost), 1)

    def test_noNumber(self) -> None:
        """
        So does one without a number, or with one that is none.
        """
        for seq in ("", "x", "65536"):
            _, second = self.open(f"sid{seq}")
            self.assertEqual(self.refusal(self.data("AAAA", seq=seq, sid=f"sid{seq}")), "bad-request")
            self.assertEqual(len(second.lost), 1)

    def test_tooLarge(self) -> None:
        """
        So does one that is larger than agreed upon.
        """
        _, second = self.open()
        self.assertEqual(self.refusal(self.data("A" * 16)), "bad-request")
        self.assertEqual(len(second.lost), 1)

    def test_endedWhileHeld(self) -> None:
        """
        A block that was not taken before the end is not acknowledged.
        """
        _, second = self.open()
        second.transport.pauseProducing()
        answer = self.asker.ask(JULIET, "set", self.data("AAAA"))
        self.clock.advance(0)
        second.transport.abortConnection()
        self.clock.advance(0)
        self.assertEqual(self.failureResultOf(answer, StanzaError).value.condition, "item-not-found")


class MessageTests(InBandTestCase):
    """
    Blocks in messages (section 4).
    """

    def say(self, *elements: Element, **attributes: str) -> None:
        """
        Send a message from Romeo to Juliet.
        """
        message = Element((None, "message"))
        message["to"] = JULIET
        for key, value in attributes.items():
            message[key] = value
        for element in elements:
            message.addChild(element)
        self.managers[ROMEO].send(message)
        self.clock.advance(0)

    def data(self, content: str, seq: str = "0", sid: str = "sid") -> Element:
        return self.element("data", content, seq=seq, sid=sid)

    def test_delivered(self) -> None:
        """
        They are taken as well.
        """
        _, second = self.open()
        self.say(self.data("AAAA"), id="m1")
        self.say(self.data("AAAB", seq="1"), id="m2")
        self.assertEqual(second.received, [b"\0\0\0", b"\0\0\1"])

    def test_wrong(self) -> None:
        """
        A wrong one ends the stream, and the other side is told.
        """
        first, second = self.open()
        self.say(self.data("AAAA", seq="7"))
        self.assertEqual((len(first.lost), len(second.lost)), (1, 1))

    def test_paused(self) -> None:
        """
        Those that are held when the stream ends are nobody's trouble.
        """
        first, second = self.open()
        second.transport.pauseProducing()
        self.say(self.data("AAAA"))
        second.transport.abortConnection()
        self.clock.advance(0)
        self.assertEqual((len(first.lost), len(second.lost)), (1, 1))
        self.assertEqual(second.received, [])

    def test_others(self) -> None:
        """
        Other messages, errors, and blocks of no stream are left alone.
        """
        _, second = self.open()
        self.say()
        self.say(self.data("AAAA"), type="error")
        self.say(self.data("AAAA", sid="other"))
        self.assertEqual((second.received, second.lost), ([], []))
