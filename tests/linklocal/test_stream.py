"""
Tests for L{xmppbytes.linklocal.stream}.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.words.xish.domish import Element

from xmppbytes.errors import NotReachable, Refused, WireError
from xmppbytes.linklocal.connection import NS_CLIENT
from xmppbytes.linklocal.pins import Pin, PinStore
from xmppbytes.linklocal.safety import PolicyViolation, Security, TLSPolicy
from xmppbytes.linklocal.stream import PeerStream
from xmppbytes.linklocal.tcp import scopedAddress
from xmppbytes.tls import createIdentity

IDENTITY = createIdentity()
# What libpurple 2.14.12 writes.
PURPLE = (
    b'<?xml version="1.0" encoding="UTF-8" ?>\n<stream:stream xmlns="jabber:client" '
    b'xmlns:stream="http://etherx.jabber.org/streams" from="juliet@pronto" to="romeo@forza">'
)
FINAL = PURPLE[:-1] + b" version='1.0'>"
STARTTLS = b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>"
MESSAGE = b"<message to='romeo@forza' from='forged@name'><body>hi</body></message>"


class Owner:
    """
    Notes what a stream tells.
    """

    def __init__(self, policy=TLSPolicy.OPTIONAL):
        self.security = Security(policy, IDENTITY, PinStore(None))
        self.asked = []
        self.answer = Deferred()
        self.stanzas = []
        self.ready = []
        self.ended = []

    def ownName(self):
        return "romeo@forza"

    def features(self):
        return [Element(("disco", "query"))]

    def identify(self, address, ownAddress, claimed):
        self.asked.append((address, ownAddress, claimed))
        return self.answer

    def streamReady(self, stream):
        self.ready.append(stream)

    def stanzaReceived(self, stream, stanza):
        self.stanzas.append(stanza.toXml())

    def streamEnded(self, stream, reason, clean):
        self.ended.append((reason, clean))


class Transport(StringTransport):
    """
    Has what a TCP transport has beyond a StringTransport.
    """

    aborted = False
    tls = None

    def abortConnection(self):
        self.aborted = True

    def startTLS(self, contextFactory, normal):
        self.tls = (contextFactory, normal)

    def unregisterProducer(self):
        self.producer = None

    def pop(self):
        data = self.value().decode()
        self.clear()
        return data


class StreamTestCase(TestCase):
    """
    One stream on a transport in memory.
    """

    def make(self, peer="", policy=TLSPolicy.OPTIONAL):
        self.clock = Clock()
        self.owner = Owner(policy)
        self.stream = PeerStream(self.clock, self.owner, peer)
        self.results = []
        self.stream.ready.addBoth(self.results.append)
        self.transport = Transport(
            hostAddress=IPv4Address("TCP", "169.254.1.2", 5562),
            peerAddress=IPv4Address("TCP", "169.254.1.1", 40000),
        )
        self.stream.makeConnection(self.transport)
        return self.stream

    def tearDown(self):
        if not self.owner.ended:
            self.stream.connectionLost(Failure(ConnectionError("the test is over")))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def error(self, kind):
        [failure] = self.results
        self.assertIsInstance(failure.value, kind)
        return str(failure.value)


class InitiatorTests(StreamTestCase):
    """
    We have called.
    """

    def test_purple(self):
        """
        libpurple answers without version: stanzas flow at once, both ways.
        """
        stream = self.make("juliet@pronto")
        self.assertEqual(
            self.transport.pop(),
            "<?xml version='1.0' encoding='UTF-8'?><stream:stream xmlns='jabber:client' "
            "xmlns:stream='http://etherx.jabber.org/streams' from=\"romeo@forza\" "
            "to=\"juliet@pronto\" version='1.0'>",
        )
        stream.dataReceived(PURPLE)
        self.assertEqual(self.results, [stream])
        stream.dataReceived(MESSAGE)
        self.assertEqual(len(self.owner.stanzas), 1)
        message = Element((NS_CLIENT, "message"))
        message.addElement("body", content="<&>")
        stream.send(message)
        self.assertEqual(self.transport.pop(), "<message><body>&lt;&amp;&gt;</body></message>")
        self.assertEqual((stream.tls, stream.pin, stream.code), (False, Pin.NONE, ""))

    def test_byteByByte(self):
        """
        The same when every byte comes alone.
        """
        stream = self.make("juliet@pronto")
        for byte in PURPLE + MESSAGE + MESSAGE:
            stream.dataReceived(bytes((byte,)))
        self.assertEqual(len(self.owner.stanzas), 2)

    def test_noNames(self):
        """
        A header without from and to (version 0.9) will do, and so does an empty one.
        """
        for names in (b"", b" from='' to=''"):
            stream = self.make("juliet@pronto")
            stream.dataReceived(
                b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
                + names
                + b">"
            )
            self.assertEqual(self.results, [stream])
            stream.connectionLost(Failure(ConnectionError("over")))

    def test_escapedNames(self):
        """
        Names are escaped in the header.
        """
        self.make("o'hara\"&@m")
        self.assertIn('to="o\'hara&quot;&amp;@m"', self.transport.pop())

    def test_somebodyElse(self):
        """
        Somebody of another name answers: the stream is refused.
        """
        stream = self.make("nurse@verona")
        stream.dataReceived(PURPLE)
        self.assertIn("'juliet@pronto' answers", self.error_after())
        self.assertIn("not-authorized", self.transport.pop())

    def error_after(self):
        self.stream.connectionLost(Failure(ConnectionError("over")))
        return self.error(Refused)

    def test_caseOfNames(self):
        """
        Names are compared without case.
        """
        stream = self.make("Juliet@Pronto")
        stream.dataReceived(PURPLE)
        self.assertEqual(self.results, [stream])

    def test_noFeatures(self):
        """
        A peer that says 1.0 and sends no features is waited for two seconds.
        """
        stream = self.make("juliet@pronto")
        stream.dataReceived(FINAL)
        self.clock.advance(1.9)
        self.assertEqual(self.results, [])
        self.clock.advance(0.2)
        self.assertEqual(self.results, [stream])

    def test_emptyFeatures(self):
        """
        Empty features (salut): no TLS, go on.
        """
        stream = self.make("juliet@pronto")
        stream.dataReceived(FINAL + b"<stream:features/>")
        self.assertEqual(self.results, [stream])

    def test_stanzaInsteadOfFeatures(self):
        """
        A stanza where features should be: the peer has decided.
        """
        self.make("juliet@pronto").dataReceived(FINAL + MESSAGE)
        self.assertEqual(len(self.owner.stanzas), 1)

    def test_starttls(self):
        """
        TLS is begun in the very turn in which <proceed/> comes, and plain text behind it is nobody's.
        """
        stream = self.make("juliet@pronto")
        stream.dataReceived(FINAL + STARTTLS)
        self.assertTrue(self.transport.pop().endswith("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"))
        stream.dataReceived(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" + MESSAGE)
        self.assertTrue(self.transport.tls[1])
        self.assertEqual((self.owner.stanzas, self.results), ([], []))

    def test_tlsRefused(self):
        """
        A peer that offers TLS and then refuses it is not spoken to.
        """
        stream = self.make("juliet@pronto")
        stream.dataReceived(FINAL + STARTTLS + b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        self.assertIn("refuses it", self.error_after())

    def test_off(self):
        """
        With TLS off an offer is passed over.
        """
        stream = self.make("juliet@pronto", TLSPolicy.OFF)
        stream.dataReceived(FINAL + STARTTLS)
        self.assertEqual(self.results, [stream])

    def test_required(self):
        """
        With TLS required nothing is said to a peer that cannot.
        """
        self.make("juliet@pronto", TLSPolicy.REQUIRED).dataReceived(PURPLE)
        self.assertIn("policy-violation", self.transport.pop())
        self.stream.connectionLost(Failure(ConnectionError("over")))
        self.error(PolicyViolation)

    def test_downgrade(self):
        """
        A peer whose key is pinned must encrypt.
        """
        stream = self.make("juliet@pronto")
        self.owner.security.pins.check("Juliet@pronto", "a" * 64)
        stream.dataReceived(FINAL + b"<stream:features/>" + MESSAGE)
        self.assertEqual(self.owner.stanzas, [])
        self.stream.connectionLost(Failure(ConnectionError("over")))
        self.assertIn("has encrypted before", self.error(PolicyViolation))

    def test_outOfOrder(self):
        """
        <proceed/> that nobody has asked for ends the stream.
        """
        self.make("juliet@pronto").dataReceived(
            PURPLE + b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
        )
        self.assertIn("unsupported-stanza-type", self.transport.pop())

    def test_closedAtOnce(self):
        """
        A peer that does not know us closes without a word: not reachable, so that it is tried again.
        """
        self.make("juliet@pronto")
        self.stream.connectionLost(Failure(ConnectionError("closed")))
        self.error(NotReachable)

    def test_silence(self):
        """
        A peer that says nothing is given up after twenty seconds.
        """
        self.make("juliet@pronto")
        self.clock.advance(20)
        self.assertTrue(self.transport.disconnecting)
        self.clock.advance(5)
        self.assertTrue(self.transport.aborted)
        self.stream.connectionLost(Failure(ConnectionError("over")))
        self.assertIn("in time", self.error(NotReachable))

    def test_notXMPP(self):
        """
        Something else answers.
        """
        for data in (b"HTTP/1.1 400 Bad Request\r\n", b"<html>", b"<stream:stream xmlns:stream='x'>"):
            self.make("juliet@pronto").dataReceived(data)
            self.stream.connectionLost(Failure(ConnectionError("over")))
            self.error(WireError)

    def test_theirError(self):
        """
        The peer ends the stream with an error, which is told.
        """
        self.make("juliet@pronto").dataReceived(PURPLE + b"<stream:error><conflict/></stream:error>")
        self.stream.connectionLost(Failure(ConnectionError("over")))
        self.assertIn("conflict", self.owner.ended[0][0])

    def test_cancelled(self):
        """
        Nobody waits any more: the connection is broken off.
        """
        stream = self.make("juliet@pronto")
        stream.ready.cancel()
        self.assertTrue(self.transport.aborted)

    @given(st.binary(max_size=300))
    def test_anyBytes(self, data):
        """
        Bytes of any kind never raise.
        """
        for prefix in (b"", PURPLE, FINAL, FINAL + STARTTLS):
            self.make("juliet@pronto").dataReceived(prefix)
            self.stream.dataReceived(data)
            self.stream.connectionLost(Failure(ConnectionError("over")))


class ResponderTests(StreamTestCase):
    """
    We are called.
    """

    def test_identified(self):
        """
        Nothing is read, and nothing said, until it is known whose address this is.
        """
        stream = self.make()
        stream.dataReceived(PURPLE + MESSAGE)
        self.assertEqual(self.owner.asked, [("169.254.1.1", "169.254.1.2", "juliet@pronto")])
        self.assertEqual((self.transport.value(), self.transport.producerState), (b"", "paused"))
        self.owner.answer.callback("Juliet@pronto")
        self.assertIn('to="Juliet@pronto"', self.transport.pop())
        self.assertEqual(self.transport.producerState, "producing")
        self.assertEqual((stream.peer, len(self.owner.stanzas)), ("Juliet@pronto", 1))

    def test_endInOneBreath(self):
        """
        Header, stanza and end in one piece.
        """
        stream = self.make()
        stream.dataReceived(PURPLE + MESSAGE + b"</stream:stream>")
        self.owner.answer.callback("juliet@pronto")
        self.assertEqual(len(self.owner.stanzas), 1)
        self.assertTrue(self.transport.pop().endswith("</stream:stream>"))
        stream.connectionLost(Failure(ConnectionError("over")))
        self.assertTrue(self.owner.ended[0][1])

    def test_unidentified(self):
        """
        Somebody else's name: not-authorized.
        """
        self.make().dataReceived(PURPLE + MESSAGE)
        self.owner.answer.errback(Refused("no such person"))
        self.assertIn("not-authorized", self.transport.pop())
        self.assertEqual(self.owner.stanzas, [])

    def test_goneMeanwhile(self):
        """
        The caller hangs up while it is being identified.
        """
        stream = self.make()
        stream.dataReceived(PURPLE)
        stream.connectionLost(Failure(ConnectionError("over")))
        self.assertTrue(self.owner.answer.called)
        self.error(NotReachable)

    def test_features(self):
        """
        Features go to whom has said 1.0, and no stanza of ours before the peer has decided about TLS.
        """
        stream = self.make()
        self.owner.answer.callback("juliet@pronto")
        stream.dataReceived(FINAL)
        self.assertIn(
            "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><query xmlns='disco'/>"
            "</stream:features>",
            self.transport.pop(),
        )
        self.assertFalse(stream.isReady)
        self.assertRaises(NotReachable, stream.send, Element((None, "message")))
        stream.dataReceived(b"<stream:features/>")
        self.clock.advance(2)
        self.assertTrue(stream.isReady)

    def test_noFeaturesForOldPeers(self):
        """
        No features go to whom has not.
        """
        self.make().dataReceived(PURPLE)
        self.owner.answer.callback("juliet@pronto")
        self.assertNotIn("features", self.transport.pop())

    def test_required(self):
        """
        With TLS required the offer says so, and a stanza without it ends the stream.
        """
        stream = self.make(policy=TLSPolicy.REQUIRED)
        self.owner.answer.callback("juliet@pronto")
        stream.dataReceived(FINAL)
        self.assertIn("<required", self.transport.pop())
        stream.dataReceived(MESSAGE)
        self.assertIn("policy-violation", self.transport.pop())
        self.assertEqual(self.owner.stanzas, [])

    def test_starttls(self):
        """
        <starttls/> is answered, and TLS begins in that very turn; what is behind it is nobody's.
        """
        stream = self.make()
        self.owner.answer.callback("juliet@pronto")
        stream.dataReceived(FINAL)
        self.transport.pop()
        stream.dataReceived(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" + MESSAGE)
        self.assertEqual(self.transport.pop(), "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        self.assertIsNot(self.transport.tls, None)
        self.assertEqual(self.owner.stanzas, [])
        stream.connectionLost(Failure(ConnectionError("over")))
        self.assertIn("handshake", self.error(Refused))

    def test_starttlsOff(self):
        """
        <starttls/> when TLS is off is refused.
        """
        stream = self.make(policy=TLSPolicy.OFF)
        self.owner.answer.callback("juliet@pronto")
        stream.dataReceived(FINAL + b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        self.assertIn("<failure", self.transport.pop())
        self.assertTrue(self.transport.disconnecting)

    def test_ipv6(self):
        """
        A link-local address is known by its scope, an IPv4 address in the form of IPv6 by itself.
        """
        self.make()
        self.assertEqual(scopedAddress(IPv6Address("TCP", "::ffff:10.0.0.1", 1)), "10.0.0.1")
        self.assertEqual(scopedAddress(IPv6Address("TCP", "fe80::1%lo", 1, 0, 1)), "fe80::1%lo")
        self.assertEqual(scopedAddress(IPv6Address("TCP", "fe80::1", 1, 0, 1)), "fe80::1%lo")
        self.assertEqual(scopedAddress(IPv6Address("TCP", "fe80::1", 1, 0, 999999)), "fe80::1")


class ClosingTests(StreamTestCase):
    """
    The end of a stream.
    """

    def open(self):
        stream = self.make("juliet@pronto")
        stream.dataReceived(PURPLE)
        self.transport.pop()
        return stream

    def test_ours(self):
        """
        We close: the tag, late stanzas are taken, at the peer's tag the connection is closed.
        """
        stream = self.open()
        stream.close("enough")
        stream.close("enough")
        self.assertEqual(self.transport.pop(), "</stream:stream>")
        self.assertFalse(self.transport.disconnecting)
        stream.dataReceived(MESSAGE)
        self.assertEqual(len(self.owner.stanzas), 1)
        stream.dataReceived(b"</stream:stream>")
        self.assertTrue(self.transport.disconnecting)
        stream.connectionLost(Failure(ConnectionError("over")))
        self.assertEqual(self.owner.ended, [("enough", True)])

    def test_oursUnanswered(self):
        """
        Without an answer the connection is closed after five seconds.
        """
        stream = self.open()
        stream.close("enough")
        self.clock.advance(5)
        self.assertTrue(self.transport.disconnecting)
        self.clock.advance(5)
        self.assertTrue(self.transport.aborted)

    def test_theirs(self):
        """
        The peer closes: we answer, and it is to close the connection; after five seconds we do.
        """
        stream = self.open()
        stream.dataReceived(b"</stream:stream>")
        self.assertEqual(self.transport.pop(), "</stream:stream>")
        self.assertFalse(self.transport.disconnecting)
        self.clock.advance(5)
        self.assertTrue(self.transport.disconnecting)

    def test_idle(self):
        """
        After ten minutes without a stanza in either direction the stream is closed.
        """
        stream = self.open()
        self.clock.advance(599)
        stream.dataReceived(MESSAGE)
        self.clock.advance(599)
        stream.send(Element((NS_CLIENT, "message")))
        self.clock.advance(599)
        self.transport.pop()
        self.clock.advance(1)
        self.assertEqual(self.transport.pop(), "</stream:stream>")

    def test_beforeTheHeader(self):
        """
        A caller that has not said anything is not told anything.
        """
        stream = self.make()
        stream.close("enough")
        self.assertEqual((self.transport.value(), self.transport.disconnecting), (b"", True))

    def test_broken(self):
        """
        A connection that breaks is no clean end.
        """
        stream = self.open()
        stream.connectionLost(Failure(ConnectionError("reset")))
        self.assertEqual(self.owner.ended, [("reset", False)])
        self.assertTrue(stream.isBroken)
        self.assertEqual(stream.unacknowledged(), 0)
        stream.dataReceived(MESSAGE)
        self.assertEqual(self.owner.stanzas, [])


class PressureTests(StreamTestCase):
    """
    Who sends too much, and who does not read.
    """

    def test_rate(self):
        """
        More than 1 MiB a second on average is not read.
        """
        stream = self.make("juliet@pronto")
        stream.dataReceived(PURPLE)
        message = b"<message><body>" + b"x" * 60000 + b"</body></message>"
        for _ in range(10):
            stream.dataReceived(message)
        self.assertEqual(self.transport.producerState, "paused")
        self.clock.pump([0.25] * 4)
        self.assertEqual(self.transport.producerState, "producing")

    def test_notReading(self):
        """
        Who does not read what we answer is not read.
        """
        stream = self.make("juliet@pronto")
        stream.dataReceived(PURPLE)
        self.assertIs(self.transport.producer, stream)
        stream.pauseProducing()
        self.assertEqual(self.transport.producerState, "paused")
        stream.resumeProducing()
        self.assertEqual(self.transport.producerState, "producing")
        stream.stopProducing()
