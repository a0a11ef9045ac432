"""
Tests for L{xmppbytes.linklocal.streams} as far as no connection is needed; tests.loopback has the rest.
"""

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.words.xish.domish import Element

from tests.linklocal.fakes import FakeDiscovery
from xmppbytes.errors import NotReachable
from xmppbytes.linklocal import streams as module
from xmppbytes.linklocal.mesh import Mesh
from xmppbytes.linklocal.pins import PinStore
from xmppbytes.linklocal.safety import Security, TLSPolicy
from xmppbytes.linklocal.streams import MAX_NEW_PER_ADDRESS
from xmppbytes.tls import createIdentity

JULIET = "juliet@pronto"
KEY = createIdentity()


class Transport(StringTransport):
    """
    Has what a TCP transport has beyond a StringTransport.
    """

    def __init__(self, peer):
        super().__init__(hostAddress=IPv4Address("TCP", "169.254.1.2", 5562), peerAddress=peer)


class MeshTests(TestCase):
    """
    Many connections, and what is written about them.
    """

    def setUp(self):
        self.clock = Clock()
        self.discovery = FakeDiscovery(self.clock, "romeo@forza", ("169.254.1.2",))
        self.mesh = Mesh(self.clock, self.discovery, Security(TLSPolicy.OFF, KEY, PinStore(None)))
        self.mesh.start()

    def tearDown(self):
        self.successResultOf(self.mesh.stop("the test is over"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def call(self, number):
        """
        Connect, say nothing, go.

        @return: whether the connection was taken.
        """
        address = IPv4Address("TCP", f"169.254.1.{number}", 4000)
        stream = self.mesh.buildProtocol(address)
        if stream is None:
            return False
        stream.makeConnection(StringTransport(peerAddress=address))
        stream.connectionLost(Failure(ConnectionDone()))
        return True

    def test_newConnections(self):
        """
        One address may connect so often a minute; that does not concern the others.
        """
        self.assertEqual(sum(self.call(9) for _ in range(1000)), MAX_NEW_PER_ADDRESS)
        self.assertTrue(self.call(8))
        self.clock.advance(60)
        self.assertTrue(self.call(9))

    def test_lines(self):
        """
        A thousand connections of one address are a handful of lines in the log, the last of which counts
        the others; no address keeps another one's from being written.
        """
        with capturedLogs() as logs:
            for _ in range(1000):
                self.call(9)
            self.call(8)
            self.clock.advance(60)
        self.assertLess(len(logs), 25)
        self.assertEqual([event["address"] for event in logs if "address" in event].count("169.254.1.8"), 1)
        self.assertEqual((logs[-1]["about"], logs[-1]["count"]), ("169.254.1.9", 980))

    def test_refusedLines(self):
        """
        So are a thousand connections that are refused.
        """
        self.patch(module, "MAX_STREAMS", 0)
        with capturedLogs() as logs:
            self.assertFalse(any(self.call(9) for _ in range(1000)))
        self.assertEqual(len(logs), 20)
        self.assertIn("refused", logs[0]["log_format"])

    def test_notDelivered(self):
        """
        What cannot be delivered is logged, or counted when it is too much.
        """
        with capturedLogs() as logs:
            for _ in range(100):
                stanza = Element((None, "iq"))
                stanza["to"] = JULIET
                self.mesh.send(stanza)
        self.assertEqual(len(logs), 20)
        self.assertEqual(logs[0]["recipient"], JULIET)

    def test_stoppedWhileCalling(self):
        """
        When the program ends while somebody is being called, whoever waits for it is told so.
        """
        self.discovery.slow = Deferred()
        calling = [self.mesh.streamTo(JULIET), self.mesh.streamTo("Juliet@PRONTO")]
        self.successResultOf(self.mesh.stop("going offline"))
        for one in calling:
            self.assertIn("going offline", str(self.failureResultOf(one, NotReachable).value))

    def test_bothCall(self):
        """
        Two who call each other at once keep the stream that was opened by whose name sorts first: ours is
        given up for hers, and what waits for it goes over hers.
        """
        self.discovery.add(JULIET, 5562, "169.254.1.1")
        self.discovery.slow = Deferred()
        calling = self.mesh.streamTo(JULIET)
        self.discovery.slow = None
        address = IPv4Address("TCP", "169.254.1.1", 4000)
        stream = self.mesh.buildProtocol(address)
        stream.makeConnection(Transport(address))
        stream.dataReceived(
            b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
            b"from='juliet@pronto' to='romeo@forza'>"
        )
        self.assertIs(self.successResultOf(calling), stream)
        self.assertIs(self.mesh.stream(JULIET), stream)
        stream.connectionLost(Failure(ConnectionDone()))

    def test_ownFault(self):
        """
        A call that fails by our own fault fails for whoever waits, and is in the log.
        """
        self.discovery.slow = fail(RuntimeError("oops"))
        error = self.failureResultOf(self.mesh.streamTo(JULIET), NotReachable)
        self.assertIn("our own fault", str(error.value))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
