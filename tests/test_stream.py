"""
Tests for L{xmppbytes.stream}, against a server that is played by the tests.
"""

from hashlib import sha1
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID
from twisted.words.protocols.jabber.xmlstream import TimeoutError as RequestTimeout
from twisted.words.xish.domish import Element
from zope.interface import implementer

from tests.fakes import FakeTransport, lines
from tests.s5b.proxyworld import Face, errorOf
from xmppbytes.compat import disco, ping
from xmppbytes.component import ComponentFactory, ComponentManager
from xmppbytes.serverstream import CLOSING_TIMEOUT, STEADY, STREAM_TIMEOUT
from xmppbytes.stanza import RequestHandler
from xmppbytes.stream import (
    MAX_DEPTH,
    REFUSED_DELAY,
    REQUEST_TIMEOUT,
    StreamService,
    prune,
)
from xmppbytes.xmlparser import MAX_SERVER_STANZA

JID_ = "proxy.example.com"
HEADER = (
    "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' "
    f"id='3BF96D32' from='{JID_}'>"
)
STREAM_ERROR = (
    "<stream:error><{0} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>{1}</stream:error></stream:stream>"
)
TEXT = "<text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>going down</text>"


@implementer(IStreamClientEndpoint)
class FakeServer:
    """
    An XMPP server that does what it is told.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.up = True
        self.attempts: list[float] = []
        self.transport: Any = None

    def connect(self, factory: Any) -> "Deferred[Any]":
        self.attempts.append(self.clock.seconds())
        if not self.up:
            return fail(ConnectionRefusedError(111, "Connection refused"))
        self.transport = FakeTransport(self.clock)
        protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 5347))
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)
        return succeed(protocol)

    def say(self, xml: str) -> None:
        self.transport.receive(xml.encode("utf-8"))

    def accept(self) -> None:
        """
        Let the component in.
        """
        self.say(HEADER)
        self.say("<handshake/>")

    def refuse(self, condition: str, text: str = "") -> None:
        """
        End the stream with an error, and the connection.
        """
        self.say(HEADER + STREAM_ERROR.format(condition, text))
        self.clock.advance(0)


class ServiceCase(SynchronousTestCase):
    """
    A component and its server.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.server = FakeServer(self.clock)
        self.factory = ComponentFactory(JID_, "secret")
        self.manager = ComponentManager(self.factory, self.clock)
        self.service = StreamService(
            self.server, self.factory, self.clock, "Component", lambda failures: 2.0**failures
        )
        self.log: Any = capturedLogs()
        self.events = self.log.__enter__()
        self.addCleanup(self.log.__exit__, None, None, None)

    def logged(self) -> list[str]:
        """
        The lines of our own since the last look.
        """
        own = [e for e in self.events if e["log_namespace"] == "xmppbytes.stream.StreamService"]
        self.events.clear()
        return lines(own)


class ConnectingTests(ServiceCase):
    """
    A stream for ever.
    """

    def test_handshake(self) -> None:
        """
        XEP-0114: the digest of stream id and secret; then the stream can be used.
        """
        self.service.startService()
        self.assertIn(f"to='{JID_}'".encode(), self.server.transport.sent)
        self.assertFalse(self.manager.connected)
        self.server.say(HEADER)
        self.assertIn(sha1(b"3BF96D32secret").hexdigest().encode(), self.server.transport.sent)
        self.server.say("<handshake/>")
        self.assertTrue(self.manager.connected)
        self.assertEqual(self.logged(), ["Component: connected"])
        self.assertEqual(self.server.transport.options, {"nodelay": True, "keepalive": True})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_noServer(self) -> None:
        """
        While nobody listens it tries for ever, ever more slowly, and says so once.
        """
        self.server.up = False
        self.service.startService()
        self.clock.pump([1] * 65)
        self.assertEqual(self.server.attempts, [0, 2, 6, 14, 30, 62])
        (line,) = self.logged()
        self.assertIn("cannot connect", line)
        self.assertIn("will try again", line)

    def test_serverComesBack(self) -> None:
        """
        A server that restarts is found again, with three lines for it, and the waiting starts anew.
        """
        self.service.startService()
        self.server.accept()
        self.logged()
        self.server.up = False
        self.server.transport.receiveEnd()
        self.clock.pump([1] * 10)
        self.server.up = True
        self.clock.pump([1] * 10)
        self.server.accept()
        self.assertEqual(
            [line.split(";")[0].split(" (")[0] for line in self.logged()],
            ["Component: the stream has ended", "Component: cannot connect", "Component: connected"],
        )
        before = len(self.server.attempts)
        self.server.transport.reset()
        self.clock.advance(2)
        self.assertEqual(len(self.server.attempts), before + 1)

    def test_wrongSecret(self) -> None:
        """
        A wrong secret is reported in one line, and tried slowly.
        """
        self.service.startService()
        self.server.refuse("not-authorized")
        for _ in range(3):
            self.clock.advance(REFUSED_DELAY - 1)
            attempts = len(self.server.attempts)
            self.clock.advance(1)
            self.assertEqual(len(self.server.attempts), attempts + 1)
            self.server.refuse("not-authorized")
        (line,) = self.logged()
        self.assertIn("refuses the secret", line)

    def test_otherRefusals(self) -> None:
        """
        Each refusal is explained.
        """
        self.service.startService()
        for condition, words in (("conflict", "another instance"), ("host-unknown", "knows no component")):
            self.server.refuse(condition)
            (line,) = self.logged()
            self.assertIn(words, line)
            self.assertIn(condition, line)
            self.clock.advance(REFUSED_DELAY)

    def test_otherErrors(self) -> None:
        """
        Any other error is told with its text, and tried again as usual.
        """
        self.service.startService()
        self.server.refuse("system-shutdown", TEXT)
        self.assertIn("ends the stream with system-shutdown (going down)", self.logged()[0])
        self.clock.advance(2)
        self.server.refuse("internal-server-error")
        self.assertIn("internal-server-error (no text)", self.logged()[0])
        self.assertEqual(len(self.server.attempts), 2)

    def test_refusedIsForgotten(self) -> None:
        """
        After a refusal, a server that is down is tried as usual.
        """
        self.service.startService()
        self.server.refuse("conflict")
        self.server.up = False
        self.clock.advance(REFUSED_DELAY)
        attempts = len(self.server.attempts)
        self.clock.advance(8)
        self.assertEqual(len(self.server.attempts), attempts + 1)

    def test_endsBeforeItIsUsable(self) -> None:
        """
        A server that closes before the handshake is over, as some do for a wrong secret, is no reason to
        stop trying.
        """
        self.service.startService()
        for _ in range(3):
            self.server.say(HEADER)
            self.server.transport.receiveEnd()
            self.clock.pump([1] * 16)
        self.assertEqual(len(self.server.attempts), 4)
        self.assertEqual(len(self.logged()), 1)

    def test_silence(self) -> None:
        """
        A server that says nothing is given up.
        """
        self.service.startService()
        self.clock.pump([1] * (int(STREAM_TIMEOUT) + 3))
        self.assertEqual(len(self.server.attempts), 2)

    def test_notXML(self) -> None:
        """
        A server that speaks something else is given up.
        """
        self.service.startService()
        self.server.say("HTTP/1.1 400 Bad Request\r\n\r\n")
        self.clock.pump([1] * 3)
        self.assertEqual(len(self.server.attempts), 2)

    def test_stop(self) -> None:
        """
        When it is stopped the stream is closed, nothing is tried again, and nothing is said to be.
        """
        self.service.startService()
        self.server.accept()
        self.logged()
        done = self.service.stopService()
        self.clock.advance(0)
        self.successResultOf(done)
        self.clock.advance(1000)
        self.assertEqual((len(self.server.attempts), self.logged()), (1, []))

    def test_stopWithoutAnswer(self) -> None:
        """
        A server that does not read any more is left alone after a while.
        """
        self.service.startService()
        self.server.accept()
        self.server.transport.room = 0
        self.server.transport.write(b"<iq/>")
        done = self.service.stopService()
        self.clock.advance(CLOSING_TIMEOUT - 1)
        self.assertNoResult(done)
        self.clock.pump([1, 0])
        self.successResultOf(done)
        self.assertEqual((self.server.transport.state, self.clock.getDelayedCalls()), ("reset", []))

    def test_defaultBackoff(self) -> None:
        """
        Without a policy of its own it waits at most about a minute.
        """
        self.server.up = False
        service = StreamService(self.server, self.factory, self.clock, "Component")
        service.startService()
        self.clock.pump([1] * 600)
        self.assertGreater(len(self.server.attempts), 8)
        self.successResultOf(service.stopService())

    def test_endlessStanza(self) -> None:
        """
        A server that sends a stanza without an end is told so and left, one line says so, and it is tried
        again.
        """
        self.service.startService()
        self.server.accept()
        self.logged()
        self.server.say("<iq from='a@b'><q>" + "x" * MAX_SERVER_STANZA)
        self.assertIn(b"<policy-violation xmlns=", self.server.transport.sent)
        self.assertTrue(self.server.transport.sent.endswith(b"</stream:error></stream:stream>"))
        self.clock.advance(0)
        (line,) = self.logged()
        self.assertIn("a stanza is larger than 4096 KiB); will try again", line)
        self.assertEqual(self.server.transport.state, "closed")
        self.clock.advance(2)
        self.server.accept()
        self.assertEqual(self.logged(), ["Component: connected"])

    def test_endlessAttribute(self) -> None:
        """
        So it is with an attribute, of the first tag as well.
        """
        self.service.startService()
        self.server.say(HEADER[:-1] + " x='" + "x" * MAX_SERVER_STANZA)
        self.clock.advance(0)
        self.assertEqual(self.server.transport.state, "closed")
        self.assertEqual(len(self.logged()), 1)

    def test_breaksTheRulesEachTime(self) -> None:
        """
        A server that lets us in and then breaks the rules each time is tried ever more slowly; once a stream
        has lasted it is forgotten.
        """
        self.service.startService()
        for _ in range(4):
            self.server.accept()
            self.server.say("<iq></wrong>")
            self.clock.pump([0] + [1] * 16)
        self.assertEqual(self.server.attempts, [0, 2, 20, 40, 64])
        self.server.accept()
        self.clock.advance(STEADY)
        self.server.say("<iq></wrong>")
        self.clock.pump([0, 1, 1])
        self.assertEqual(self.server.attempts[5:], [64 + STEADY + 2])

    def test_brokenAndDeaf(self) -> None:
        """
        A server that breaks the rules and does not read either is cut off; what it still sends is nobody's.
        """
        self.service.startService()
        self.server.accept()
        transport = self.server.transport
        transport.room = 0
        transport.write(b"<iq/>")
        self.server.say("<iq></wrong>")
        self.server.say("<iq></wrong>" * 100)
        self.clock.advance(CLOSING_TIMEOUT)
        self.assertEqual(transport.state, "reset")
        self.assertEqual(len(self.logged()), 2)

    def test_levels(self) -> None:
        """
        Trouble is a warning, success is not.
        """
        self.service.startService()
        self.server.accept()
        self.server.transport.reset()
        levels = [e["log_level"] for e in self.events if "StreamService" in e["log_namespace"]]
        self.assertEqual(levels, [LogLevel.info, LogLevel.warn])


class Answering(RequestHandler):
    """
    Answers one request.
    """

    requests = {("get", "urn:example:q", "q"): "onQ"}
    exclusive = True

    def onQ(self, iq: Element) -> Element:
        return Element(("urn:example:q", "a"))


class ComponentTests(ServiceCase):
    """
    Stanzas over a component's stream.
    """

    def setUp(self) -> None:
        super().setUp()
        for handler in (Answering(), disco.DiscoHandler(), ping.PingHandler()):
            handler.setHandlerParent(self.manager)
        self.service.startService()
        self.server.accept()

    def ask(self, xml: str) -> str:
        """
        The server delivers a stanza.

        @return: what comes back.
        """
        self.server.transport.sent = b""
        self.server.say(xml)
        answer: bytes = self.server.transport.sent
        return answer.decode("utf-8")

    def test_table(self) -> None:
        """
        Requests are found by the table of the stream, others by their observers, and each is answered once.
        """
        question = "<q xmlns='urn:example:q'/>"
        for child in (question, question + "<ping xmlns='urn:xmpp:ping'/>", "<ping xmlns='urn:xmpp:ping'/>"):
            answer = self.ask(f"<iq from='a@b' to='{JID_}' id='1' type='get'>{child}</iq>")
            self.assertEqual(answer.count("<iq"), 1, answer)
            self.assertIn("type='result'", answer)

    def test_notInTheTable(self) -> None:
        """
        Answers, other stanzas, and requests that nobody knows go their usual way.
        """
        for xml in (
            "<iq from='a@b' id='1' type='result'><q xmlns='urn:example:q'/></iq>",
            "<iq from='a@b' id='1' type='get'/>",
            "<message from='a@b'><q xmlns='urn:example:q'/></message>",
            "<iq from='a@b' id='1' type='get'><other xmlns='urn:example:q'/></iq>",
        ):
            self.assertEqual(self.ask(xml), "")

    def test_fromIsAdded(self) -> None:
        """
        What names no sender comes from the component; what names one is left alone.
        """
        self.server.transport.sent = b""
        self.manager.send(Element((None, "presence")))
        other = Element((None, "presence"))
        other["from"] = f"{JID_}/x"
        self.manager.send(other)
        self.manager.send("<presence id='raw'/>")
        sent = self.server.transport.sent.decode()
        self.assertIn(f"<presence from='{JID_}'/><presence from='{JID_}/x'/><presence id='raw'/>", sent)

    def test_nothingIsSentLater(self) -> None:
        """
        What is sent while there is no stream is dropped.
        """
        self.server.transport.receiveEnd()
        self.manager.send(Element((None, "presence")))
        self.clock.advance(2)
        self.server.accept()
        self.assertNotIn(b"presence", self.server.transport.sent)

    def test_requestFailsWithTheStream(self) -> None:
        """
        A request that waits when the stream ends fails.
        """
        client = disco.DiscoClientProtocol()
        client.setHandlerParent(self.manager)
        asked = client.requestInfo(JID("a@b"))
        self.server.transport.reset()
        self.failureResultOf(asked)
        self.failureResultOf(client.requestInfo(JID("a@b")), ConnectionLost)

    def test_wokkelsRequestsTimeOut(self) -> None:
        """
        Requests of wokkel's own fail in time as well.
        """
        client = disco.DiscoClientProtocol()
        client.setHandlerParent(self.manager)
        asked = client.requestInfo(JID("a@b"))
        self.clock.advance(REQUEST_TIMEOUT)
        self.failureResultOf(asked, RequestTimeout)
        answered = client.requestInfo(JID("a@b"))
        id = self.server.transport.sent.decode().rsplit("id='", 1)[1].split("'")[0]
        self.server.say(f"<iq from='a@b' to='{JID_}' id='{id}' type='error'><error type='cancel'/></iq>")
        self.failureResultOf(answered, StanzaError)


class DeepTests(SynchronousTestCase):
    """
    Elements within elements.
    """

    def nested(self, depth: int) -> Element:
        iq = outer = Element((None, "iq"))
        for _ in range(depth):
            outer = outer.addElement("a")
        return iq

    def test_deepIsCutOff(self) -> None:
        """
        Thousands of levels are cut off where no sensible stanza is any more, and can be written then.
        """
        iq = self.nested(5000)
        prune(iq)
        self.assertEqual(iq.toXml().count("<a"), MAX_DEPTH)

    def test_sensibleIsKept(self) -> None:
        """
        What is not so deep is left alone, however broad.
        """
        iq = self.nested(MAX_DEPTH)
        for _ in range(100):
            iq.addElement("b", content="text")
        before = iq.toXml()
        prune(iq)
        self.assertEqual(iq.toXml(), before)


class CrowdedTests(SynchronousTestCase):
    """
    Requests with several children.
    """

    def test_once(self) -> None:
        """
        They are answered once, with an error; requests with one child, and answers, are left alone.
        """
        face = Face(ping.PingHandler())
        two = "<ping xmlns='urn:xmpp:ping'/><ping xmlns='urn:xmpp:ping'/>"
        answer = face.ask(f"<iq from='a@b' id='1' type='get'>{two}</iq>")
        self.assertEqual(errorOf(answer)[:2], ("bad-request", "modify"))
        self.assertEqual(face.send(f"<iq from='a@b' id='1' type='result'>{two}</iq>"), [])
        self.assertEqual(
            face.ask("<iq from='a@b' id='1' type='get'> <ping xmlns='urn:xmpp:ping'/> </iq>")["type"],
            "result",
        )
