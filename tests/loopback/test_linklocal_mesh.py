"""
L{xmppbytes.linklocal.mesh} and all below it, over real connections and real TLS.
"""

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.xmlstream import TimeoutError as RequestTimeout
from twisted.words.xish.domish import Element

from tests.linklocal.fakes import FakeDiscovery
from xmppbytes.compat import generic, ping
from xmppbytes.errors import NotReachable, Refused
from xmppbytes.linklocal import streams as module
from xmppbytes.linklocal.disco import DescriptionHandler
from xmppbytes.linklocal.mesh import Mesh
from xmppbytes.linklocal.messages import MessageHandler
from xmppbytes.linklocal.pins import PinMismatch, PinStore
from xmppbytes.linklocal.safety import PolicyViolation, Security, TLSPolicy
from xmppbytes.stanza import Request
from xmppbytes.tls import createIdentity

ROMEO, JULIET = "romeo@forza", "juliet capulet@pronto"
KEYS = [createIdentity() for _ in range(3)]


def pause(seconds):
    return deferLater(reactor, seconds, lambda: None)


class Person:
    """
    A mesh of one person, with the handlers of the service.
    """

    def __init__(self, name, key, policy=TLSPolicy.OPTIONAL, pins=None):
        self.name = name
        self.discovery = FakeDiscovery(reactor, name)
        self.mesh = Mesh(reactor, self.discovery, Security(policy, key, pins or PinStore(None)))
        self.mesh.listener = self
        self.heard, self.opened, self.closed = [], [], []
        self.messages = MessageHandler(reactor, self)
        self.description = DescriptionHandler("test", "client", "pc")
        for handler in (
            self.messages,
            self.description,
            ping.PingHandler(),
            generic.VersionHandler("test", "1"),
            generic.FallbackHandler(),
        ):
            handler.setHandlerParent(self.mesh)
        self.mesh.description = [self.description.describe()]
        self.port = reactor.listenTCP(0, self.mesh, interface="127.0.0.1")
        self.mesh.start()

    @property
    def number(self):
        return self.port.getHost().port

    def messageReceived(self, name, text):
        self.heard.append((name, text))

    def streamChanged(self, stream):
        self.opened.append((stream.peer, stream.tls, stream.pin.value))

    def streamClosed(self, stream, reason):
        self.closed.append(reason)

    def meets(self, *others):
        for other in others:
            self.discovery.add(other.name, other.number, "127.0.0.1")

    async def stop(self):
        await self.mesh.stop("the test is over")
        await self.port.stopListening()
        self.discovery.roster.stop()


class MeshTestCase(TestCase):
    """
    Romeo and Juliet, and whoever else comes.
    """

    timeout = 120

    def person(self, name, key=0, policy=TLSPolicy.OPTIONAL, pins=None):
        person = Person(name, KEYS[key], policy, pins)
        self.addCleanup(lambda: Deferred.fromCoroutine(person.stop()))
        return person

    def pair(self, romeo=TLSPolicy.OPTIONAL, juliet=TLSPolicy.OPTIONAL):
        first, second = self.person(ROMEO, 0, romeo), self.person(JULIET, 1, juliet)
        first.meets(second)
        second.meets(first)
        return first, second

    @inlineCallbacks
    def heard(self, person, count):
        while len(person.heard) < count:
            yield pause(0.02)


class StreamTests(MeshTestCase):
    """
    Streams between two of ours.
    """

    @inlineCallbacks
    def test_message(self):
        """
        A message opens an encrypted stream; the answer takes the same one; both have the same code.
        """
        romeo, juliet = self.pair()
        stream = yield romeo.messages.say(JULIET, "M'lady \u2603 <&>")
        yield self.heard(juliet, 1)
        self.assertEqual(juliet.heard, [(ROMEO, "M'lady \u2603 <&>")])
        yield juliet.messages.say(ROMEO, "Art thou not Romeo?\nAnd a Montague?")
        yield self.heard(romeo, 1)
        self.assertEqual(romeo.heard, [(JULIET, "Art thou not Romeo?\nAnd a Montague?")])
        self.assertEqual((romeo.opened, juliet.opened), ([(JULIET, True, "new")], [(ROMEO, True, "new")]))
        self.assertEqual(stream.code, juliet.mesh.stream(ROMEO).code)
        self.assertEqual(len(stream.code), 9)

    @inlineCallbacks
    def test_pinned(self):
        """
        The second time the key is known.
        """
        romeo, juliet = self.pair()
        yield romeo.messages.say(JULIET, "one")
        self.assertTrue(romeo.mesh.close(JULIET, "enough"))
        while romeo.mesh.stream(JULIET) is not None or juliet.mesh.stream(ROMEO) is not None:
            yield pause(0.02)
        self.assertEqual((romeo.closed, juliet.closed), (["enough"], ["the other side has ended the stream"]))
        self.assertFalse(romeo.mesh.close(JULIET, "enough"))
        yield juliet.messages.say(ROMEO, "two")
        self.assertEqual(juliet.opened[-1], (ROMEO, True, "same"))

    @inlineCallbacks
    def test_linkDown(self):
        """
        A stream over an address that is ours no more is broken off; others stay.
        """
        romeo, juliet = self.pair()
        yield romeo.messages.say(JULIET, "one")
        romeo.mesh.dropLost()
        self.assertTrue(romeo.mesh.stream(JULIET).isReady)
        romeo.discovery.own = ("::1",)
        romeo.mesh.dropLost()
        while romeo.mesh._all or juliet.mesh._all:
            yield pause(0.02)
        self.assertIn("is down", romeo.closed[0])

    @inlineCallbacks
    def test_otherKey(self):
        """
        Somebody with another key is refused, whoever calls, and the text says why.
        """
        romeo, juliet = self.pair()
        yield romeo.messages.say(JULIET, "one")
        yield juliet.mesh.stop("gone")
        fake = self.person(JULIET, 2)
        fake.meets(romeo)
        romeo.discovery.add(JULIET, fake.number, "127.0.0.1")
        yield self.assertFailure(romeo.messages.say(JULIET, "two"), PinMismatch)
        yield self.assertFailure(fake.messages.say(ROMEO, "it is me"), NotReachable, Refused)
        self.assertEqual(romeo.heard, [])

    @inlineCallbacks
    def test_policies(self):
        """
        What each pair of TLS policies leads to.
        """
        off, optional, required = TLSPolicy.OFF, TLSPolicy.OPTIONAL, TLSPolicy.REQUIRED
        for mine, theirs, encrypted in (
            (off, off, False),
            (off, optional, False),
            (optional, off, False),
            (optional, required, True),
            (required, optional, True),
            (required, required, True),
        ):
            romeo, juliet = self.pair(mine, theirs)
            stream = yield romeo.messages.say(JULIET, "hello")
            self.assertEqual(stream.tls, encrypted, (mine, theirs))
            yield self.heard(juliet, 1)
        romeo, juliet = self.pair(required, off)
        yield self.assertFailure(romeo.messages.say(JULIET, "hello"), PolicyViolation)
        romeo, juliet = self.pair(off, required)
        yield romeo.messages.say(JULIET, "hello").addErrback(lambda failure: failure.trap(NotReachable))
        yield pause(0.1)
        self.assertEqual(juliet.heard, [])

    @inlineCallbacks
    def test_bothAtOnce(self):
        """
        Both call at the same moment: every message arrives, and one stream is left.
        """
        romeo, juliet = self.pair()
        for number in range(5):
            yield gatherResults(
                [
                    romeo.messages.say(JULIET, f"r{number}"),
                    romeo.messages.say(JULIET, f"s{number}"),
                    juliet.messages.say(ROMEO, f"j{number}"),
                ]
            )
            yield self.heard(juliet, 2 * number + 2)
            yield self.heard(romeo, number + 1)
            while (len(romeo.mesh._all), len(juliet.mesh._all)) != (1, 1):
                yield pause(0.02)
            romeo.mesh.close(JULIET, "again")
            while romeo.mesh._all or juliet.mesh._all:
                yield pause(0.02)

    @inlineCallbacks
    def test_nobody(self):
        """
        Nobody of that name, our own name, nobody listening, nobody of that name answering.
        """
        romeo, juliet = self.pair()
        for name, text in (("tybalt@verona", "nobody"), (ROMEO, "our own")):
            error = yield self.assertFailure(romeo.messages.say(name, "hello"), NotReachable)
            self.assertIn(text, str(error))
        romeo.discovery.add("nurse@verona", juliet.number, "127.0.0.1")
        yield self.assertFailure(romeo.messages.say("nurse@verona", "hello"), Refused)
        port = reactor.listenTCP(0, self, interface="127.0.0.1")
        romeo.discovery.add("paris@verona", port.getHost().port, "127.0.0.1")
        yield port.stopListening()
        yield self.assertFailure(romeo.messages.say("paris@verona", "hello"), NotReachable)
        self.assertEqual(romeo.discovery.confirmed, ["paris@verona"])

    def doStart(self):
        pass

    def doStop(self):
        pass

    @inlineCallbacks
    def test_tooSoon(self):
        """
        A peer that closes the first connection without a word is called once more.
        """
        romeo, juliet = self.pair()
        real, count = juliet.mesh.buildProtocol, []

        def buildProtocol(addr):
            count.append(addr)
            return None if len(count) == 1 else real(addr)

        juliet.mesh.buildProtocol = buildProtocol
        yield romeo.messages.say(JULIET, "hello")
        yield self.heard(juliet, 1)
        self.assertEqual(len(count), 2)

    @inlineCallbacks
    def test_calledAgain(self):
        """
        Whoever waits no more leaves the call that goes on to the next one: nobody is called twice.
        """
        romeo, _ = self.pair()
        real, made = romeo.mesh._caller.call, []
        romeo.mesh._caller.call = lambda name: made.append(name) or real(name)
        waiting = romeo.mesh.streamTo(JULIET)
        waiting.addErrback(lambda failure: failure.trap(CancelledError) and None)
        waiting.cancel()
        yield romeo.mesh.streamTo(JULIET)
        self.assertEqual(made, [JULIET])

    @inlineCallbacks
    def test_stranger(self):
        """
        Somebody who is not known, and somebody who calls himself what he is not, is told so.
        """
        romeo, juliet = self.pair()
        juliet.discovery.places[ROMEO] = (1, ("127.0.0.9",))
        yield romeo.messages.say(JULIET, "hello").addErrback(lambda failure: failure.trap(Refused))
        yield pause(0.1)
        self.assertEqual(juliet.heard, [])

    @inlineCallbacks
    def test_limits(self):
        """
        One address may have so many connections.
        """
        juliet = self.person(JULIET)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", juliet.number)
        connections = yield gatherResults(
            [connectProtocol(endpoint, _Waiting()) for _ in range(module.MAX_STREAMS_PER_ADDRESS + 2)]
        )
        while sum(connection.lost for connection in connections) < 2:
            yield pause(0.02)
        self.assertEqual(len(juliet.mesh._all), module.MAX_STREAMS_PER_ADDRESS)
        self.assertEqual(len({id(stream._bucket) for stream in juliet.mesh._all}), 1, "bytes count together")
        for connection in connections:
            connection.transport.abortConnection()
        while juliet.mesh._all:
            yield pause(0.02)
        self.assertEqual((dict(juliet.mesh._perAddress), juliet.mesh._buckets), ({}, {}))


class _Waiting(Protocol):
    lost = False

    def connectionLost(self, reason):
        self.lost = True


class RequestTests(MeshTestCase):
    """
    Requests, by the handlers of wokkel and our own.
    """

    def ask(self, person, recipient, namespace, name, **options):
        request = Request(recipient, "get", Element((namespace, name)))
        for key, value in options.items():
            setattr(request, key, value)
        return person.mesh.request(request)

    @inlineCallbacks
    def test_handlers(self):
        """
        disco, ping and version are answered to somebody whose name is no JID.
        """
        romeo, juliet = self.pair()
        info = yield self.ask(juliet, ROMEO, "http://jabber.org/protocol/disco#info", "query")
        self.assertIn("disco#info", info.toXml())
        self.assertEqual((info["from"], info["to"]), (ROMEO, JULIET))
        items = yield self.ask(juliet, ROMEO, "http://jabber.org/protocol/disco#items", "query")
        self.assertEqual(items["type"], "result")
        pong = yield self.ask(romeo, JULIET, "urn:xmpp:ping", "ping")
        self.assertEqual(pong["type"], "result")
        version = yield self.ask(romeo, JULIET, "jabber:iq:version", "query")
        self.assertIn("<version>1</version>", version.toXml())

    @inlineCallbacks
    def test_unknown(self):
        """
        What nobody answers is service-unavailable.
        """
        romeo, _ = self.pair()
        error = yield self.assertFailure(self.ask(romeo, JULIET, "urn:x", "x"), StanzaError)
        self.assertEqual(error.condition, "service-unavailable")

    @inlineCallbacks
    def test_timeout(self):
        """
        A peer that does not answer.
        """
        romeo, juliet = self.pair()
        yield romeo.messages.say(JULIET, "hello")
        juliet.mesh.xmlstream = None
        yield self.assertFailure(self.ask(romeo, JULIET, "urn:x", "x", timeout=0.2), RequestTimeout)

    @inlineCallbacks
    def test_wrongSender(self):
        """
        An answer from somebody else than who was asked is none.
        """
        romeo, juliet = self.pair()
        nurse = self.person("nurse@verona", 2)
        nurse.meets(romeo)
        romeo.meets(juliet, nurse)
        yield romeo.messages.say(JULIET, "hello")
        juliet.mesh.xmlstream = None
        waiting = self.ask(romeo, JULIET, "urn:x", "x", stanzaID="known", timeout=0.5)
        forged = Element((None, "iq"))
        forged["type"], forged["id"], forged["to"], forged["from"] = "result", "known", ROMEO, JULIET
        nurse.mesh.send(forged)
        yield self.assertFailure(waiting, RequestTimeout)

    @inlineCallbacks
    def test_peerGone(self):
        """
        Who has gone will not answer: what waits fails at once, and so does what cannot be sent.
        """
        romeo, juliet = self.pair()
        yield romeo.messages.say(JULIET, "hello")
        yield self.heard(juliet, 1)
        juliet.mesh.xmlstream = None
        waiting = self.ask(romeo, JULIET, "urn:x", "x")
        juliet.mesh.stream(ROMEO).abort("broken")
        yield self.assertFailure(waiting, ConnectionLost)
        while not romeo.discovery.confirmed:
            yield pause(0.02)
        self.assertEqual(romeo.discovery.confirmed, [JULIET])
        yield self.assertFailure(self.ask(romeo, "tybalt@verona", "urn:x", "x"), ConnectionLost)

    @inlineCallbacks
    def test_stopped(self):
        """
        When the mesh stops everything that waits fails, and nothing more can be asked.
        """
        romeo, juliet = self.pair()
        yield romeo.messages.say(JULIET, "hello")
        juliet.mesh.xmlstream = None
        waiting = self.ask(romeo, JULIET, "urn:x", "x")
        yield pause(0.05)
        yield romeo.mesh.stop("enough")
        yield self.assertFailure(waiting, ConnectionLost)
        yield self.assertFailure(self.ask(romeo, JULIET, "urn:x", "x"), ConnectionLost)
        yield self.assertFailure(romeo.messages.say(JULIET, "hello"), NotReachable)

    @inlineCallbacks
    def test_notDelivered(self):
        """
        What a handler sends to nobody is logged and forgotten; so is what has no recipient.
        """
        romeo, _ = self.pair()
        message = Element((None, "message"))
        romeo.mesh.send(message)
        message["to"] = "tybalt@verona"
        romeo.mesh.xmlstream.send(message)
        yield pause(0.05)

    def test_lateHandler(self):
        """
        A handler that is added later can work at once.
        """
        romeo = self.person(ROMEO)
        handler = ping.PingHandler()
        handler.setHandlerParent(romeo.mesh)
        self.assertIs(handler.xmlstream, romeo.mesh.xmlstream)
