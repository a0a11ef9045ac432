"""
DTCP with peers that are not ours: libpsi of 2002, and strangers with plain sockets.
"""

from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from tests.dtcp.lab import REQUESTER, TARGET, Acceptor, Lab, Recorder, RecorderFactory
from tests.dtcp.libpsi import KEY, LibPsi
from tests.dtcp.test_client import Scripted
from tests.fakes import lines
from tests.waiting import pause
from xmppbytes.dtcp.channel import TLSMode
from xmppbytes.dtcp.client import DTCPClientHandler
from xmppbytes.dtcp.options import DTCPOptions
from xmppbytes.dtcp.stanzas import Query
from xmppbytes.errors import NegotiationError, NotReachable, Refused
from xmppbytes.wire.dtcprelay import Request, Verb


class LibPsiTests(TestCase):
    """
    The one other implementation.
    """

    timeout = 300

    def setUp(self) -> None:
        self.lab = Lab()
        self.acceptor = Acceptor()

    def psi(self, name: str, reachable: bool = True) -> LibPsi:
        psi = LibPsi(reachable)
        self.addCleanup(psi.listening.stopListening)
        psi.setHandlerParent(self.lab.router.join(name))
        return psi

    async def end(self, psi: LibPsi, ours: Recorder) -> None:
        """
        Data passes both ways; everything but one connection is closed.
        """
        one = await psi.established
        one.transport.write(b"from 2002")
        ours.transport.write(b"from today")
        self.assertEqual(await ours.whenReceived(9), b"from 2002")
        await pause()
        self.assertEqual(psi.data, b"from today")
        self.assertEqual([socket for socket in psi.sockets if not socket.closed.called], [one])
        ours.transport.loseConnection()
        await ours.lost
        await one.closed

    async def asTarget(self, psiReachable: bool, weReachable: bool) -> LibPsi:
        psi = self.psi(TARGET, psiReachable)
        client = self.lab.join(REQUESTER, None, weReachable)
        factory = RecorderFactory()
        await client.connect(TARGET, factory)
        await self.end(psi, factory.recorder)
        return psi

    async def asRequester(self, psiReachable: bool, weReachable: bool) -> None:
        psi = self.psi(REQUESTER, psiReachable)
        self.lab.join(TARGET, self.acceptor, weReachable)
        psi.request(TARGET)
        await self.acceptor.recorder.made
        await self.end(psi, self.acceptor.recorder)

    async def test_asTarget(self) -> None:
        """
        It is the target, and both can be reached.
        """
        await self.asTarget(True, True)

    async def test_asTargetOnlyItReachable(self) -> None:
        """
        It is the target and serves: it answers starttls by an error, we give the key on the same
        connection, and acknowledge.
        """
        psi = await self.asTarget(True, False)
        heard = psi.sockets[0].heard
        self.assertEqual(heard[0], b"starttls")
        self.assertEqual(heard[1:], [b"key:" + KEY.encode(), b"ok"])

    async def test_asTargetOnlyWeReachable(self) -> None:
        """
        It is the target and connects.
        """
        await self.asTarget(False, True)

    async def test_asRequester(self) -> None:
        """
        It is the requester, and both can be reached.
        """
        await self.asRequester(True, True)

    async def test_asRequesterOnlyItReachable(self) -> None:
        """
        It is the requester and serves: its answer is final, and we send no ack.
        """
        await self.asRequester(True, False)

    async def test_asRequesterOnlyWeReachable(self) -> None:
        """
        It is the requester and connects, and acknowledges.
        """
        await self.asRequester(False, True)

    async def test_givesUpWithoutId(self) -> None:
        """
        Its give-up without an id is understood.
        """
        self.psi(TARGET, False)
        options = DTCPOptions(advertise=("127.0.0.1:1",))
        client = self.lab.join(REQUESTER, None, False, options)
        error = await self.assertFailure(client.connect(TARGET, RecorderFactory()), NotReachable)
        self.assertIn("Could not connect to any of the hosts.", str(error))

    async def rejected(self, code: str, text: str, words: str) -> None:
        psi = self.psi(TARGET, False)
        factory = Factory.forProtocol(Recorder)
        silent = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(silent.stopListening)
        options = DTCPOptions(advertise=(f"127.0.0.1:{silent.getHost().port}",))
        client = self.lab.join(REQUESTER, None, False, options)
        connecting = client.connect(TARGET, RecorderFactory())
        await pause()
        psi.giveUp(code, text)
        error = await self.assertFailure(connecting, Refused)
        self.assertIn(words, str(error))
        self.assertIn(text, str(error))
        for socket in psi.sockets:
            socket.transport.loseConnection()
            await socket.closed

    async def test_rejects(self) -> None:
        """
        Its other errors end the negotiation, with words for each code.
        """
        await self.rejected("403", "Rejected", "rejects")

    async def test_keyInUse(self) -> None:
        """
        The same with 500 and 502.
        """
        await self.rejected("500", "Key in use", "failed")

    async def test_notSupported(self) -> None:
        """
        And with 501.
        """
        await self.rejected("501", "DTCP not supported", "does not support")

    async def test_tlsRequired(self) -> None:
        """
        Where TLS is required, it is told so and never gets a key.
        """
        psi = self.psi(TARGET)
        client = self.lab.join(REQUESTER, None, True, DTCPOptions(tls=TLSMode.REQUIRED))
        await self.assertFailure(client.connect(TARGET, RecorderFactory()), NegotiationError)
        await pause()
        self.assertEqual(psi.troubles[0].error["code"], "403")
        self.assertNotIn(b"key:" + KEY.encode(), [line for one in psi.sockets for line in one.heard])


class StrangerTests(TestCase):
    """
    Plain sockets at our port, while we wait for a target that does nothing.
    """

    timeout = 300

    async def connectTo(self, client: DTCPClientHandler, silent: bool = True) -> tuple[Any, Any]:
        """
        @return: what is being connected, and the query that was sent.
        """
        self.factory = RecorderFactory()
        connecting = client.connect(TARGET, self.factory)
        await pause()
        return connecting, self.lab.said("set")[-1].query

    async def raw(self, query: Any) -> Recorder:
        recorder = Recorder()
        host, _, port = str(query.host).partition(":")
        await TCP4ClientEndpoint(reactor, host, int(port)).connect(Factory.forProtocol(lambda: recorder))
        return recorder

    async def setUpClient(self, **options: Any) -> None:
        self.lab = Lab()
        self.psi = LibPsi(False)
        await self.psi.listening.stopListening()
        self.psi._begin = lambda iq: setattr(self.psi, "peerKey", str(iq.query.key))  # type: ignore[method-assign]
        self.psi.setHandlerParent(self.lab.router.join(TARGET))
        client = self.lab.join(REQUESTER, None, True, DTCPOptions(**options))
        self.connecting, self.query = await self.connectTo(client)

    async def stop(self, *connections: Recorder) -> None:
        for one in connections:
            one.transport.loseConnection()
            await one.lost
        self.connecting.cancel()
        await self.assertFailure(self.connecting, Exception)
        await pause()

    async def test_errors(self) -> None:
        """
        Commands that are wrong are answered by an error each, and the connection stays open.
        """
        await self.setUpClient()
        one = await self.raw(self.query)
        for n, line in enumerate([b"hello", b"key:wrong", b"key", b"ok"], 1):
            one.transport.write(line + b"\n")
            await pause()
            answers = one.received.split(b"\n")
            self.assertEqual(len(answers), n + 1)
            self.assertTrue(answers[n - 1].startswith(b"error:"), answers)
        await self.stop(one)

    async def test_anotherTry(self) -> None:
        """
        After an error the right key is still taken.
        """
        await self.setUpClient(tls=TLSMode.OFF)
        one = await self.raw(self.query)
        one.transport.write(b"starttls\nkey:wrong\nkey:" + str(self.query.key).encode() + b"\nDATA")
        protocol = await self.connecting
        await pause()
        answers = one.received.split(b"\n")
        self.assertEqual(answers[2], b"ok:" + KEY.encode())
        self.assertEqual([answer[:6] for answer in answers[:2]], [b"error:", b"error:"])
        self.assertEqual(await protocol.whenReceived(4), b"DATA")
        one.transport.loseConnection()
        await one.lost
        await protocol.lost

    async def test_tooManyErrors(self) -> None:
        """
        Guessing keys ends after five.
        """
        await self.setUpClient()
        one = await self.raw(self.query)
        one.transport.write(b"key:guess\n" * 10)
        await one.lost
        self.assertEqual(one.received.count(b"error:no such key\n"), 5)
        await self.stop()

    async def test_longLine(self) -> None:
        """
        A line without an end closes the connection.
        """
        await self.setUpClient()
        one = await self.raw(self.query)
        one.transport.write(b"x" * 2000)
        await one.lost
        await self.stop()

    async def test_silent(self) -> None:
        """
        Who says nothing is sent away in the handshake timeout.
        """
        await self.setUpClient(handshakeTimeout=0.1)
        one = await self.raw(self.query)
        await one.lost
        await self.stop()

    async def test_plainBehindStarttls(self) -> None:
        """
        Plain text behind starttls closes the connection, glued or not.
        """
        await self.setUpClient()
        key = str(self.query.key).encode()
        glued = await self.raw(self.query)
        glued.transport.write(b"starttls\nkey:" + key + b"\n")
        await glued.lost
        self.assertNotIn(KEY.encode(), glued.received)
        later = await self.raw(self.query)
        later.transport.write(b"starttls\n")
        self.assertEqual(await later.whenReceived(3), b"ok\n")
        later.transport.write(b"key:" + key + b"\n")
        await later.lost
        self.assertNotIn(KEY.encode(), later.received)
        await self.stop()

    async def test_tooMany(self) -> None:
        """
        One connection too many is closed, the others stay.
        """
        await self.setUpClient(maxConnections=3, maxConnectionsPerAddress=2)
        ones = [await self.raw(self.query) for _ in range(3)]
        await ones[2].lost
        self.assertFalse(ones[0].lost.called)
        await self.stop(*ones[:2])

    async def test_tooManyInAll(self) -> None:
        """
        The same for the limit of all connections.
        """
        await self.setUpClient(maxConnections=1)
        ones = [await self.raw(self.query) for _ in range(2)]
        await ones[1].lost
        await self.stop(ones[0])

    async def test_plainKeyTooEarly(self) -> None:
        """
        A key in plain text that comes before the target's fingerprint is known waits; when it turns
        out that the target has TLS, it is refused, also when it is given again at once.
        """
        self.lab, target = Lab(), Scripted()
        target.setHandlerParent(self.lab.router.join(TARGET))
        self.connecting, query = await self.connectTo(self.lab.join(REQUESTER))
        one = await self.raw(query)
        key = str(query.key).encode()
        one.transport.write(b"key:" + key + b"\nkey:" + key + b"\n")
        await pause()
        self.assertEqual(one.received, b"")
        target.answer(Query(KEY, fingerprint="ab" * 32).toElement())
        await pause()
        self.assertEqual(one.received, b"error:starttls first\n" * 2)
        await self.stop(one)

    async def served(self, acceptor: Acceptor) -> tuple[Recorder, LibPsi, str]:
        """
        We are the target, and have answered the key of a requester that has connected to us.

        @return: its connection; the requester, which does nothing by itself; our key.
        """
        lab, psi = Lab(), LibPsi(False)
        psi.setHandlerParent(lab.router.join(REQUESTER))
        await psi.listening.stopListening()
        lab.join(TARGET, acceptor, True, DTCPOptions(tls=TLSMode.OFF))
        psi._begin = lambda iq: None  # type: ignore[method-assign]
        psi.request(TARGET)
        while not lab.said("result"):
            await pause()
        query = lab.said("result")[0].query
        one = await self.raw(query)
        one.transport.write(b"key:" + str(query.key).encode() + b"\n")
        await one.whenReceived(8)
        return one, psi, str(query.key)

    async def test_ackWithColon(self) -> None:
        """
        A colon without an argument is the same as none: so is such an ack.
        """
        acceptor = Acceptor()
        one, _, _ = await self.served(acceptor)
        one.transport.write(b"ok:\nDATA")
        self.assertEqual(await acceptor.recorder.whenReceived(4), b"DATA")
        one.transport.loseConnection()
        await one.lost
        await acceptor.recorder.lost

    async def test_acceptorFails(self) -> None:
        """
        An acceptor whose protocol cannot be built loses the connection, and has a line in the log.
        """
        acceptor = Acceptor()
        acceptor.factory.buildProtocol = lambda addr: 1 / 0  # type: ignore[method-assign,assignment,return-value]
        one, _, _ = await self.served(acceptor)
        with capturedLogs() as events:
            one.transport.write(b"ok\n")
            await one.lost
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIn("The application failed to take a connection", lines(events))

    async def test_notAck(self) -> None:
        """
        As a target we take nothing but the ack for an answer to our answer.
        """
        acceptor = Acceptor()
        one, psi, key = await self.served(acceptor)
        one.transport.write(b"hello\n")
        await one.lost
        await acceptor.failed if acceptor.failed.called else None
        psi._peer, psi.peerKey = TARGET, key
        psi.giveUp("403", "Rejected")
        self.assertIsInstance(await acceptor.failed, Refused)

    async def test_applicationWithoutProtocol(self) -> None:
        """
        An application that makes no protocol, or fails to, closes the connection.
        """
        for build, kind in ((lambda addr: None, NegotiationError), (lambda addr: 1 / 0, ZeroDivisionError)):
            await self.setUpClient(tls=TLSMode.OFF)
            self.factory.buildProtocol = build  # type: ignore[method-assign,assignment]
            one = await self.raw(self.query)
            one.transport.write(b"key:" + str(self.query.key).encode() + b"\n")
            await self.assertFailure(self.connecting, kind)
            await one.lost

    async def test_directConnect(self) -> None:
        """
        CONNECT with our key and the JIDs of both, as to a relay, is answered by OK; the key is
        needed all the same.
        """
        await self.setUpClient(tls=TLSMode.OFF)
        key = str(self.query.key)
        one = await self.raw(self.query)
        request = Request(Verb.CONNECT, key.encode(), "Romeo@montague.example/orchard", TARGET)
        one.transport.write(request.toBytes() + b"key:" + key.encode() + b"\n")
        protocol = await self.connecting
        await pause()
        self.assertEqual(one.received, b"OK\0ok:" + KEY.encode() + b"\n")
        one.transport.loseConnection()
        await one.lost
        await protocol.lost

    async def test_wrongDirectConnect(self) -> None:
        """
        CONNECT for somebody else is answered by ERROR, and closed.
        """
        await self.setUpClient()
        key = str(self.query.key).encode()
        for request in (
            Request(Verb.CONNECT, b"wrong", REQUESTER, TARGET),
            Request(Verb.CONNECT, key, TARGET, REQUESTER),
            Request(Verb.CONNECT, key, "no jid@@", TARGET),
        ):
            one = await self.raw(self.query)
            one.transport.write(request.toBytes())
            await one.lost
            self.assertEqual(one.received, b"ERROR\0")
        await self.stop()
