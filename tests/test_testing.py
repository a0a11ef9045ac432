"""
The fakes that are public.
"""

from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish.domish import Element
from zope.interface import implementer

from xmppbytes.stanza import RequestHandler
from xmppbytes.testing import MemoryInternet, MemoryTransport, MemoryXMPPServer, dribble

ROMEO, JULIET = "romeo@montague.example/orchard", "juliet@capulet.example/balcony"


class Answerer(RequestHandler):
    """
    Answers with what it was asked.
    """

    requests = {("get", "urn:test", "query"): "onGet"}

    def onGet(self, iq: Element) -> Element:
        answer = Element(("urn:test", "answer"))
        answer["from"], answer["text"] = iq["from"], str(iq.query)
        return answer


def query(text: str = "") -> Element:
    """
    Something to ask.
    """
    element = Element(("urn:test", "query"))
    element.addContent(text)
    return element


class ServerTests(SynchronousTestCase):
    """
    L{MemoryXMPPServer}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.server = MemoryXMPPServer(self.clock)
        self.asker = RequestHandler()
        self.asker.setHandlerParent(self.server.connect(ROMEO))
        Answerer().setHandlerParent(self.server.connect(JULIET))

    def ask(self, to: str, text: str = "") -> Any:
        asked = self.asker.ask(to, "get", query(text))
        self.clock.advance(0)
        return asked

    def test_realXML(self) -> None:
        """
        Stanzas are serialised and parsed, and come from whom they come from.
        """
        answer = self.successResultOf(self.ask(JULIET, "<ünd>&")).firstChildElement()
        self.assertEqual((answer["text"], answer["from"]), ("<ünd>&", ROMEO))
        self.assertIn("&lt;ünd&gt;&amp;", self.server.stanzas[0])

    def test_nobodyThere(self) -> None:
        """
        Who asks nobody is told so.
        """
        self.failureResultOf(self.ask("nurse@capulet.example/x"), StanzaError)

    def test_intercept(self) -> None:
        """
        A stanza can be lost on its way.
        """
        self.server.intercept = lambda stanza: None
        self.assertNoResult(self.ask(JULIET))

    def test_room(self) -> None:
        """
        In a room each sees the other's nick only.
        """
        self.server.addRoom("verona@chat.example", {"r": ROMEO, "j": JULIET})
        answer = self.successResultOf(self.ask("verona@chat.example/j"))
        self.assertEqual(answer["from"], "verona@chat.example/j")
        self.assertEqual(answer.firstChildElement()["from"], "verona@chat.example/r")

    def test_disconnect(self) -> None:
        """
        A connection that breaks fails what was asked over it.
        """
        asked = self.asker.ask(JULIET, "get", query())
        self.server.disconnect(ROMEO)
        self.clock.advance(0)
        self.assertIsNotNone(self.failureResultOf(asked))


@implementer(IHalfCloseableProtocol)
class End(Protocol):
    """
    Notes what happens, and can be half-closed.
    """

    transport: Any

    def __init__(self) -> None:
        self.events: list[Any] = []

    def dataReceived(self, data: bytes) -> None:
        self.events.append(data)

    def readConnectionLost(self) -> None:
        self.events.append("end")

    def writeConnectionLost(self) -> None:
        self.events.append("ended")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.events.append(reason.type)


class InternetTests(SynchronousTestCase):
    """
    L{MemoryInternet}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.internet = MemoryInternet(self.clock)
        self.near, self.far = self.internet.machine("192.0.2.1"), self.internet.machine("192.0.2.2")

    def connect(self) -> tuple[End, End]:
        near, far = End(), End()
        self.far.listenTCP(80, Factory.forProtocol(lambda: far))  # type: ignore[arg-type]
        connectProtocol(TCP4ClientEndpoint(self.near, "192.0.2.2", 80), near)
        self.clock.advance(0)
        return near, far

    def test_dribble(self) -> None:
        """
        Bytes arrive in order, and not while the receiver is paused.
        """
        near, far = self.connect()
        far.transport.pauseProducing()
        dribble(near.transport.write, b"hello")
        self.clock.advance(0)
        self.assertEqual(far.events, [])
        far.transport.resumeProducing()
        self.clock.advance(0)
        self.assertEqual(b"".join(far.events), b"hello")
        self.assertEqual(dribble(len, b"hello", 2), [2, 2, 1])

    def test_halfClose(self) -> None:
        """
        One direction can be ended by itself.
        """
        near, far = self.connect()
        near.transport.write(b"all")
        near.transport.loseWriteConnection()
        near.transport.write(b"too late")
        far.transport.write(b"answer")
        self.clock.advance(0)
        self.assertEqual((far.events, near.events), ([b"all", "end"], ["ended", b"answer"]))

    def test_reset(self) -> None:
        """
        An aborted connection is lost at the other end, even when that is paused.
        """
        near, far = self.connect()
        far.transport.pauseProducing()
        near.transport.abortConnection()
        self.clock.advance(0)
        self.assertEqual(far.events, [ConnectionLost])
        self.assertEqual(self.internet.transports, [])

    def test_noConnection(self) -> None:
        """
        A host refuses, or says nothing until the time is over.
        """
        self.internet.silent.add("192.0.2.9")
        refused = connectProtocol(TCP4ClientEndpoint(self.near, "192.0.2.2", 81), End())
        silent = connectProtocol(TCP4ClientEndpoint(self.near, "192.0.2.9", 80, timeout=5), End())
        self.clock.advance(0)
        self.failureResultOf(refused, ConnectionRefusedError)
        self.assertNoResult(silent)
        self.clock.advance(5)
        self.failureResultOf(silent, ConnectTimeout)

    def test_nobodyAccepts(self) -> None:
        """
        A factory without a protocol closes the connection.
        """
        factory = Factory()
        factory.buildProtocol = lambda addr: None  # type: ignore[method-assign]
        self.far.listenTCP(80, factory)
        end = End()
        connectProtocol(TCP4ClientEndpoint(self.near, "192.0.2.2", 80), end)
        self.clock.advance(0)
        self.assertEqual(end.events, [ConnectionLost])

    def test_pullProducer(self) -> None:
        """
        A pull producer is asked for more until it is done.
        """
        near, far = self.connect()
        transport: MemoryTransport = near.transport

        class Counting:
            left = 3

            def resumeProducing(self) -> None:
                self.left -= 1
                transport.write(b"x")
                if not self.left:
                    transport.unregisterProducer()

            def stopProducing(self) -> None:
                raise AssertionError("it was done")

        transport.registerProducer(Counting(), False)
        self.clock.pump([0.01] * 5)
        self.assertEqual(far.events, [b"x"] * 3)
        transport.stopProducing()
        self.clock.advance(0)
        self.assertEqual(far.events[-1], "end")
