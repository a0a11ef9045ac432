"""
Tests for L{xmppbytes.core.acceptloop} and L{xmppbytes.core.acceptedtransport}: a reactor that a test turns
by hand, and real sockets, since nothing else behaves as an edge-triggered epoll wants it.
"""

import errno
import os
import select
import socket
import struct
from typing import Any
from unittest import mock

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IListeningPort, ITransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.tcp import Port
from twisted.internet.unix import Port as UNIXPort
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.fakes import ReaderReactor, lines
from xmppbytes.core import acceptloop
from xmppbytes.core.acceptedtransport import HANDSHAKE_READ_SIZE, AcceptedTransport
from xmppbytes.core.acceptloop import ACCEPTS_PER_TURN, AcceptLoop, makeAcceptLoop
from xmppbytes.core.damper import LogDamper
from xmppbytes.core.hangup import EpollWatch

_LINGER = struct.Struct("ii")


class Talk(Protocol):
    """
    Notes what happens to it.
    """

    transport: Any

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def dataReceived(self, data: bytes) -> None:
        self.seen.append(data)
        if data == b"pause":
            self.transport.pauseProducing()
        if data == b"fail":
            raise ValueError("a fault of ours")

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.seen.append(reason.type)


class FailingTalk(Talk):
    """
    Has a fault.
    """

    def connectionMade(self) -> None:
        raise ValueError("a fault of ours")


@implementer(IHalfCloseableProtocol)
class HalfTalk(Talk):
    """
    Notes the end of each direction as well.
    """

    def readConnectionLost(self) -> None:
        self.seen.append("end")

    def writeConnectionLost(self) -> None:
        """
        Nothing ends our direction but ourselves.
        """


class AdoptingReactor(ReaderReactor):
    """
    Notes what it is asked to adopt.
    """

    refuses = False

    def __init__(self) -> None:
        super().__init__()
        self.adopted: list[int] = []

    def removeWriter(self, writer: Any) -> None:
        """
        Nothing of these tests writes by the reactor.
        """

    def adoptStreamConnection(self, descriptor: int, family: int, factory: Any) -> None:
        if self.refuses:
            raise OSError(errno.EMFILE, "Too many open files")
        self.adopted.append(os.dup(descriptor))
        factory.buildProtocol(None).makeConnection(mock.Mock(spec=["write"]))


class LoopCase(SynchronousTestCase):
    """
    A loop with one port on loopback.
    """

    def setUp(self) -> None:
        self.reactor = AdoptingReactor()
        self.exhausted = 0
        self.loop = AcceptLoop(self.reactor, self._exhausted)
        self.addCleanup(self.loop.close)
        self.talks: list[Talk] = []
        self.kind = Talk
        self.factory = Factory.forProtocol(self._talk)
        self.factory.noisy = False
        self.port = self.loop.take(self.listen(), self.factory)
        self.addCleanup(self.port.stopListening)

    def _talk(self) -> Talk:
        self.talks.append(self.kind())
        return self.talks[-1]

    def _exhausted(self) -> None:
        self.exhausted += 1

    def listen(self) -> Any:
        port = Port(0, self.factory, 200, "127.0.0.1", self.reactor)
        port.startListening()
        return port

    def connect(self) -> socket.socket:
        """
        Be a peer.
        """
        host = self.port.getHost()
        peer = socket.create_connection((host.host, host.port))
        self.addCleanup(peer.close)
        peer.settimeout(5)
        return peer

    def connected(self) -> tuple[socket.socket, Talk]:
        """
        Be a peer, and get the protocol at the other end.
        """
        peer = self.connect()
        self.reactor.turn()
        return peer, self.talks[-1]

    def turns(self, number: int = 3) -> None:
        for _ in range(number):
            self.reactor.turn()
            self.reactor.advance(0)

    def linger(self, descriptor: int) -> tuple[int, int]:
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            return _LINGER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER.size))


class AcceptTests(LoopCase):
    """
    Ports.
    """

    def test_interfaces(self) -> None:
        """
        Port and transport look like the reactor's.
        """
        self.assertTrue(verifyObject(IListeningPort, self.port))
        _, talk = self.connected()
        self.assertTrue(verifyObject(ITransport, talk.transport))
        self.port.startListening()

    def test_oneReader(self) -> None:
        """
        To the reactor all ports and connections are one reader, and none when there are none.
        """
        peers = [self.connect() for _ in range(3)]
        self.turns()
        self.assertEqual(len(self.talks), 3)
        self.assertEqual(self.reactor.readers, [self.loop])
        self.port.stopListening()
        self.assertEqual(self.reactor.readers, [self.loop])
        for peer in peers:
            peer.close()
        self.turns()
        self.assertEqual(self.reactor.readers, [])

    def test_bequest(self) -> None:
        """
        What is accepted has no Nagle delay, is kept alive and does not block. The listening socket, which may
        have other owners, closes as ever.
        """
        _, talk = self.connected()
        descriptor = talk.transport.fileno()
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            self.assertTrue(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            self.assertTrue(connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
            self.assertFalse(os.get_blocking(descriptor))
        self.assertEqual(self.linger(self.port._listening.fileno()), (0, 0))  # type: ignore[attr-defined]

    def test_factoryFails(self) -> None:
        """
        A factory that raises, or wants nobody, costs one connection each, and no other.
        """
        faults = iter((ValueError("a fault of ours"), None))
        make = self.factory.buildProtocol

        def build(addr: Any) -> Any:
            fault = next(faults, make)
            if isinstance(fault, Exception):
                raise fault
            return fault and make(addr)

        self.factory.buildProtocol = build  # type: ignore[method-assign]
        first, second, _ = (self.connect() for _ in range(3))
        self.turns()
        self.assertRaises(ConnectionResetError, first.recv, 1)
        self.assertEqual(second.recv(1), b"")
        self.assertEqual(len(self.talks), 1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_connectionMadeFails(self) -> None:
        """
        So does a protocol that raises when it is connected.
        """
        self.kind = FailingTalk
        first = self.connect()
        self.turns()
        self.kind = Talk
        self.connect()
        self.turns()
        self.assertRaises(ConnectionResetError, first.recv, 1)
        self.assertEqual([talk.seen for talk in self.talks], [[ConnectionAborted], []])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_damped(self) -> None:
        """
        A fault that comes again and again does not fill the log.
        """
        self.kind = FailingTalk
        self.loop.damper = LogDamper(self.reactor, perOrigin=2)
        for _ in range(4):
            self.connect()
        with capturedLogs() as events:
            self.turns()
            self.loop.damper.flush()
        self.flushLoggedErrors(ValueError)
        self.assertEqual(len(events), 3)
        self.assertIn("Left out 2 more lines", lines(events)[-1])

    def test_noRoomInEpoll(self) -> None:
        """
        A connection that cannot be watched is closed, and the owner told.
        """
        peer = self.connect()
        self.loop._epoll, epoll = mock.Mock(wraps=self.loop._epoll), self.loop._epoll
        self.loop._epoll.register.side_effect = OSError(errno.ENOSPC, "No space left on device")
        self.loop.doRead()
        self.loop._epoll = epoll
        self.assertEqual((self.exhausted, self.talks, peer.recv(1)), (1, [], b""))

    def test_numberComesAgain(self) -> None:
        """
        Events of a connection that was closed meanwhile are not those of the next with its number.
        """
        one, first = self.connected()
        other, second = self.connected()
        number = second.transport.fileno()
        first.dataReceived = lambda data: second.transport.abortConnection()  # type: ignore[method-assign]
        one.send(b"now")
        other.send(b"old")
        self.connect()
        self.reactor.turn()
        third = self.talks[-1]
        self.assertEqual(third.transport.fileno(), number)
        self.turns()
        self.assertEqual((second.seen, third.seen, third.transport._ending), ([ConnectionAborted], [], 0))

    def test_again(self) -> None:
        """
        A loop that was closed begins anew with the next port.
        """
        self.port.stopListening()
        self.loop.close()
        self.port = self.loop.take(self.listen(), self.factory)
        self.connected()
        self.assertEqual(len(self.talks), 1)

    def test_cannotAccept(self) -> None:
        """
        A port that does not accept, whatever it is, is tried again later, with a line each time.
        """
        port: Any = self.port
        self.connect()
        port._listening, listening = mock.Mock(wraps=port._listening), port._listening
        port._listening.accept.side_effect = OSError(errno.EINVAL, "Invalid argument")
        with capturedLogs() as events:
            self.turns(5)
        [line] = lines(events)
        self.assertIn("Invalid argument", line)
        self.assertIn("Cannot accept connections", line)
        self.port.resumeProducing()
        port._listening = listening
        self.turns()
        self.assertEqual(self.talks, [])
        self.reactor.advance(10)
        self.turns()
        self.assertEqual(len(self.talks), 1)

    def test_stoppedMeanwhile(self) -> None:
        """
        A port that is stopped is not tried again.
        """
        port: Any = self.port
        self.connect()
        with mock.patch.object(port, "_listening", wraps=port._listening) as listening:
            listening.accept.side_effect = OSError(errno.EINVAL, "Invalid argument")
            self.turns()
        port.stopListening()
        self.reactor.advance(0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_manyAtOnce(self) -> None:
        """
        A crowd is accepted in turns of bounded length.
        """
        for _ in range(ACCEPTS_PER_TURN + 5):
            self.connect()
        self.reactor.turn()
        self.assertEqual(len(self.talks), ACCEPTS_PER_TURN)
        self.reactor.turn()
        self.assertEqual(len(self.talks), ACCEPTS_PER_TURN + 5)

    def test_pause(self) -> None:
        """
        A port that is paused lets those who connect wait.
        """
        self.port.pauseProducing()
        self.port.pauseProducing()
        self.connect()
        self.turns()
        self.assertEqual(self.talks, [])
        self.port.resumeProducing()
        self.port.resumeProducing()
        self.turns()
        self.assertEqual(len(self.talks), 1)

    def test_noDescriptors(self) -> None:
        """
        Without descriptors the owner is told, who pauses; errors of those who connect concern nobody else.
        """
        self.connect()
        listening = mock.Mock(wraps=self.port._listening)  # type: ignore[attr-defined]
        self.port._listening = listening  # type: ignore[attr-defined]
        listening.accept.side_effect = OSError(errno.EMFILE, "Too many open files")
        self.reactor.turn()
        self.assertEqual((self.exhausted, self.talks), (1, []))
        aborted = OSError(errno.ECONNABORTED, "Software caused connection abort")
        listening.accept.side_effect = [aborted, BlockingIOError()]
        self.reactor.turn()
        self.assertEqual((self.exhausted, self.talks), (1, []))
        listening.accept.side_effect = None
        self.port._listening = listening._mock_wraps  # type: ignore[attr-defined]
        self.turns()
        self.assertEqual(len(self.talks), 1)

    def test_pausedInTheMiddle(self) -> None:
        """
        Who pauses the port while it accepts is heard at once.
        """
        for _ in range(3):
            self.connect()
        self.factory.buildProtocol = lambda addr: (self.port.pauseProducing(), self._talk())[1]  # type: ignore
        self.turns()
        self.assertEqual(len(self.talks), 1)

    def test_othersStayTheReactors(self) -> None:
        """
        What is not plain TCP, or is wrapped, is not for us.
        """
        path = self.mktemp()
        unix: Any = UNIXPort(path, self.factory, reactor=self.reactor)
        self.assertIs(self.loop.take(unix, self.factory), unix)
        wrapped = self.listen()
        self.addCleanup(wrapped.stopListening)
        self.assertIs(self.loop.take(wrapped, Factory()), wrapped)
        self.assertIn(wrapped, self.reactor.readers)

    def test_otherProtocols(self) -> None:
        """
        A stream that is no TCP, such as MPTCP from a socket of systemd, stays the reactor's.
        """
        port = self.listen()
        self.addCleanup(port.stopListening)
        with mock.patch.object(acceptloop.socket, "IPPROTO_TCP", 262):
            self.assertIs(self.loop.take(port, self.factory), port)
        self.assertIn(port, self.reactor.readers)

    def test_platform(self) -> None:
        """
        There is a loop where there is epoll.
        """
        loop = makeAcceptLoop(self.reactor, self._exhausted)
        assert loop is not None
        loop.close()
        with mock.patch.object(acceptloop, "select", object()):
            self.assertIsNone(makeAcceptLoop(self.reactor, self._exhausted))

    def test_reactorEnds(self) -> None:
        """
        When the reactor is done, everybody is told, and peers see a reset.
        """
        peer, talk = self.connected()
        self.loop.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(talk.seen, [ConnectionAborted])
        talk.transport.cut()
        self.assertEqual((talk.seen, self.reactor.getDelayedCalls()), ([ConnectionAborted], []))
        self.assertRaises(ConnectionResetError, peer.recv, 1)
        self.assertEqual(self.loop.logPrefix(), "accept")


class ReadTests(LoopCase):
    """
    What comes from a peer.
    """

    def test_pieces(self) -> None:
        """
        Bytes are delivered as they come.
        """
        peer, talk = self.connected()
        peer.send(b"one")
        self.turns()
        peer.send(b"two")
        self.turns()
        self.assertEqual(talk.seen, [b"one", b"two"])

    def test_much(self) -> None:
        """
        What is longer than a buffer comes in several pieces, all in one turn.
        """
        peer, talk = self.connected()
        peer.send(b"x" * (2 * HANDSHAKE_READ_SIZE + 1))
        self.reactor.turn()
        self.assertEqual([len(piece) for piece in talk.seen], [HANDSHAKE_READ_SIZE] * 2 + [1])

    def test_end(self) -> None:
        """
        Who knows no half-close is closed when the peer has ended, be it glued to the last bytes.
        """
        peer, talk = self.connected()
        peer.send(b"bye")
        peer.close()
        self.turns()
        self.assertEqual(talk.seen, [b"bye", ConnectionDone])
        self.assertEqual((talk.transport.fileno(), talk.transport.disconnected), (-1, True))

    def test_halfClose(self) -> None:
        """
        Who knows half-close may still write.
        """
        self.kind = HalfTalk
        peer, talk = self.connected()
        peer.shutdown(socket.SHUT_WR)
        self.turns()
        self.assertEqual(talk.seen, ["end"])
        talk.transport.write(b"still")
        talk.transport.loseConnection()
        self.turns()
        self.assertEqual((peer.recv(10), peer.recv(10)), (b"still", b""))
        self.assertEqual(talk.seen, ["end", ConnectionDone])

    def test_reset(self) -> None:
        """
        A reset ends the connection.
        """
        peer, talk = self.connected()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER.pack(1, 0))
        peer.close()
        self.turns()
        self.assertEqual(talk.seen, [ConnectionLost])

    def test_paused(self) -> None:
        """
        What comes during a pause is delivered after it.
        """
        peer, talk = self.connected()
        peer.send(b"pause")
        self.turns()
        peer.send(b"later")
        self.turns()
        self.assertEqual(talk.seen, [b"pause"])
        talk.transport.resumeProducing()
        self.turns()
        self.assertEqual(talk.seen, [b"pause", b"later"])

    def test_protocolFails(self) -> None:
        """
        A protocol that raises loses its connection; the others do not notice.
        """
        _, other = self.connected()
        peer, talk = self.connected()
        peer.send(b"fail")
        with capturedLogs() as events:
            self.turns()
        self.assertEqual(talk.seen, [b"fail", ConnectionAborted])
        self.assertIn("A connection from 127.0.0.1 is closed: its protocol failed", lines(events)[0])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(other.seen, [])

    def test_addresses(self) -> None:
        """
        Both ends have names.
        """
        peer, talk = self.connected()
        self.assertEqual((talk.transport.getPeer().host, talk.transport.getPeer().port), peer.getsockname())
        self.assertEqual(talk.transport.getHost().port, self.port.getHost().port)
        self.assertEqual(talk.transport.host, "127.0.0.1")
        # Whoever has not heard yet that it is lost may still ask.
        talk.transport.abortConnection()
        self.assertEqual(talk.transport.getHost().port, self.port.getHost().port)

    def test_addressesIPv6(self) -> None:
        """
        A connection over IPv6 has an IPv6 address.
        """
        ours, _ = socket.socketpair()
        self.addCleanup(_.close)
        transport = AcceptedTransport(self.loop, ours, ("2001:db8::1", 7777, 0, 0), Talk())
        self.assertEqual((transport.getPeer().type, transport.getPeer().host), ("TCP", "2001:db8::1"))
        ours.close()


class WriteTests(LoopCase):
    """
    What goes to a peer.
    """

    def fill(self, talk: Talk) -> int:
        """
        Write more than the socket takes.
        """
        data = b"x" * 20_000_000
        talk.transport.write(data)
        self.assertTrue(talk.transport.unsent)
        return len(data)

    def receive(self, peer: socket.socket) -> bytes:
        """
        Read until the end, while the other end goes on.
        """
        received = []
        peer.setblocking(False)
        while True:
            try:
                received.append(peer.recv(1 << 20))
            except BlockingIOError:
                select.select([peer], [], [], 0.01)
            else:
                if not received[-1]:
                    return b"".join(received)
            self.turns(1)

    def test_sequence(self) -> None:
        """
        A sequence is written as one piece.
        """
        peer, talk = self.connected()
        talk.transport.writeSequence([b"a", b"b"])
        self.assertEqual(peer.recv(10), b"ab")

    def test_tooMuch(self) -> None:
        """
        What the socket does not take at once follows, in order, and then the end.
        """
        peer, talk = self.connected()
        count = self.fill(talk)
        talk.transport.write(b"end")
        talk.transport.loseConnection()
        talk.transport.write(b"too late")
        received = self.receive(peer)
        self.assertEqual((len(received), received[-3:]), (count + 3, b"end"))
        self.turns()
        self.assertEqual(talk.seen, [ConnectionDone])

    def test_brokenPipe(self) -> None:
        """
        To write to a peer that has gone ends the connection, once.
        """
        peer, talk = self.connected()
        talk.transport.pauseProducing()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER.pack(1, 0))
        peer.close()
        talk.transport.write(b"one")
        talk.transport.write(b"two")
        talk.transport.abortConnection()
        self.turns()
        self.assertEqual(talk.seen, [ConnectionLost])

    def test_finish(self) -> None:
        """
        What is closed in good order is not reset.
        """
        peer, talk = self.connected()
        talk.transport.stopProducing()
        self.assertEqual(peer.recv(1), b"")
        self.turns()
        self.assertEqual(talk.seen, [ConnectionDone])

    def test_abort(self) -> None:
        """
        What is aborted is reset.
        """
        peer, talk = self.connected()
        talk.transport.abortConnection()
        self.assertRaises(ConnectionResetError, peer.recv, 1)
        self.turns()
        self.assertEqual(talk.seen, [ConnectionAborted])


class HangupTests(LoopCase):
    """
    Noticing that a peer has gone which is not read.
    """

    def waiting(self) -> tuple[socket.socket, Talk, list[str]]:
        peer, talk = self.connected()
        talk.transport.pauseProducing()
        gone: list[str] = []
        talk.transport.watchHangup(lambda: gone.append("gone"))
        return peer, talk, gone

    def test_close(self) -> None:
        """
        It is noticed once that the peer has closed; nothing is read.
        """
        peer, talk, gone = self.waiting()
        peer.close()
        self.turns()
        self.assertEqual((gone, talk.seen), (["gone"], []))

    def test_reset(self) -> None:
        """
        A reset is noticed, even with bytes unread.
        """
        peer, _, gone = self.waiting()
        peer.send(b"unread")
        self.turns()
        self.assertEqual(gone, [])
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER.pack(1, 0))
        peer.close()
        self.turns()
        self.assertEqual(gone, ["gone"])

    def test_quickSender(self) -> None:
        """
        Who has sent everything and closed is a sender that was quick.
        """
        peer, _, gone = self.waiting()
        peer.send(b"everything")
        peer.close()
        self.turns()
        self.assertEqual(gone, [])

    def test_before(self) -> None:
        """
        An end that came glued to what was read last is noticed.
        """
        peer, talk = self.connected()
        peer.send(b"pause")
        peer.close()
        self.turns()
        gone: list[str] = []
        talk.transport.watchHangup(lambda: gone.append("gone"))
        self.assertEqual(gone, [])
        self.turns()
        self.assertEqual((gone, talk.seen), (["gone"], [b"pause"]))

    def test_byTheWatch(self) -> None:
        """
        The watch of waiting parties leaves the work to such a transport.
        """
        watch = EpollWatch(self.reactor)
        self.addCleanup(watch.connectionLost, Failure(ConnectionDone()))
        peer, talk, gone = self.waiting()
        other, otherTalk, _ = self.waiting()
        for waiting in (talk, otherTalk):
            watch.watch(waiting.transport, lambda waiting=waiting: gone.append(waiting))
        self.assertEqual(self.reactor.readers, [self.loop])
        watch.unwatch(otherTalk.transport)
        peer.close()
        other.close()
        self.turns()
        self.assertEqual(gone, [talk])

    def test_notAnyMore(self) -> None:
        """
        Nobody is called who does not want to know any more.
        """
        peer, talk, gone = self.waiting()
        talk.transport.watchHangup(None)
        peer.close()
        self.turns()
        self.assertEqual((gone, talk.seen), ([], []))


class ReleaseTests(LoopCase):
    """
    Letting go of the socket.
    """

    def test_release(self) -> None:
        """
        The descriptor is the caller's; the loop does not look at it any more.
        """
        peer, talk = self.connected()
        peer.send(b"unread")
        descriptor = talk.transport.release()
        self.addCleanup(os.close, descriptor)
        self.turns()
        self.assertEqual(talk.seen, [])
        self.assertEqual(os.read(descriptor, 10), b"unread")
        self.assertEqual(self.linger(descriptor), (1, 0))
        self.assertEqual((talk.transport.release(), talk.transport.fileno()), (-1, -1))
        talk.transport.write(b"nobody's")
        talk.transport.resumeProducing()
        talk.transport.abortConnection()
        talk.transport.loseConnection()
        os.write(descriptor, b"ours")
        self.assertEqual(peer.recv(10), b"ours")

    def test_joinReactor(self) -> None:
        """
        The protocol gets a transport of the reactor, which closes as its connections do, and what was
        still to be sent.
        """
        _, talk = self.connected()
        transport = talk.transport
        transport._unsent = b"unsent"
        transport.joinReactor()
        [adopted] = self.reactor.adopted
        self.addCleanup(os.close, adopted)
        self.assertEqual(self.linger(adopted), (0, 0))
        self.assertIsNot(talk.transport, transport)
        talk.transport.write.assert_called_once_with(b"unsent")
        transport.joinReactor()
        self.assertEqual(len(self.reactor.adopted), 1)

    def test_joinFails(self) -> None:
        """
        When no descriptor is left the connection is lost, soon; a producer learns that at once.
        """
        peer, talk = self.connected()
        self.reactor.refuses = True
        talk.transport.joinReactor()
        self.assertEqual(talk.seen, [])
        producer = mock.Mock()
        talk.transport.registerProducer(producer, True)
        talk.transport.unregisterProducer()
        producer.stopProducing.assert_called_once_with()
        self.turns()
        self.assertEqual(talk.seen, [ConnectionLost])
        # Not an end: it would look like that of an empty bytestream.
        self.assertRaises(ConnectionResetError, peer.recv, 1)
