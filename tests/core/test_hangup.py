"""
Tests for L{xmppbytes.core.hangup}, on socket pairs: nothing else has what it looks at.
"""

import os
import select
import socket
import struct
from typing import Any
from unittest import mock

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fakes import ReaderReactor
from xmppbytes.core import hangup
from xmppbytes.core.hangup import PEEK_INTERVAL, EpollWatch, NoHangupWatch, PeekWatch, makeHangupWatch
from xmppbytes.interfaces import IHangupWatch


class Connection:
    """
    A TCP connection over loopback; our end looks like a Twisted transport.
    """

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.peer = socket.create_connection(server.getsockname())
            self.ours: socket.socket | None = server.accept()[0]
        self.ours.setblocking(False)

    def fileno(self) -> int:
        return self.ours.fileno() if self.ours is not None else -1

    def lose(self) -> None:
        """
        Our end is closed: as in Twisted, it has no descriptor from now on.
        """
        assert self.ours is not None
        self.ours.close()
        self.ours = None

    def reset(self) -> None:
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.peer.close()

    def close(self) -> None:
        self.peer.close()
        if self.ours is not None:
            self.ours.close()


class WatchMixin:
    """
    What both watches do.
    """

    def setUp(self) -> None:
        self.reactor = ReaderReactor()
        self.gone: list[Any] = []
        self.watch = self.makeWatch()

    def makeWatch(self) -> Any:
        raise NotImplementedError

    def turn(self) -> None:
        raise NotImplementedError

    def connect(self) -> Connection:
        connection = Connection()
        self.addCleanup(connection.close)
        self.watch.watch(connection, lambda: self.gone.append(connection))
        return connection

    def test_interface(self) -> None:
        """
        It is a watch.
        """
        verifyObject(IHangupWatch, self.watch)

    def test_stays(self) -> None:
        """
        Who is there, silent or not, is not gone.
        """
        self.connect()
        self.connect().peer.send(b"early")
        self.turn()
        self.assertEqual(self.gone, [])

    def test_closes(self) -> None:
        """
        Who closes is gone, once, and the others are not.
        """
        leaver = self.connect()
        self.connect()
        leaver.peer.close()
        self.turn()
        self.turn()
        self.assertEqual(self.gone, [leaver])

    def test_halfCloses(self) -> None:
        """
        Who has nothing to say and sends its end of stream is gone as well.
        """
        leaver = self.connect()
        leaver.peer.shutdown(socket.SHUT_WR)
        self.turn()
        self.assertEqual(self.gone, [leaver])

    def test_quickSender(self) -> None:
        """
        Who closes behind bytes that were not read was quick: it is kept.
        """
        connection = self.connect()
        connection.peer.send(b"a small file")
        connection.peer.close()
        self.turn()
        self.assertEqual(self.gone, [])
        self.watch.unwatch(connection)

    def test_resets(self) -> None:
        """
        Who resets is gone, whatever it has sent.
        """
        leaver = self.connect()
        leaver.peer.send(b"a small file")
        self.turn()
        leaver.reset()
        self.turn()
        self.assertEqual(self.gone, [leaver])

    def test_goneBeforeItIsWatched(self) -> None:
        """
        One that left before the watch began is noticed too.
        """
        connection = Connection()
        self.addCleanup(connection.close)
        connection.peer.close()
        self.watch.watch(connection, lambda: self.gone.append(connection))
        self.turn()
        self.assertEqual(self.gone, [connection])

    def test_unwatched(self) -> None:
        """
        Who is not watched any more is nobody's concern; to unwatch twice does nothing.
        """
        connection = self.connect()
        other = self.connect()
        self.watch.unwatch(connection)
        self.watch.unwatch(connection)
        connection.peer.close()
        self.turn()
        self.assertEqual(self.gone, [])
        self.watch.unwatch(other)

    def test_callbackUnwatchesAnother(self) -> None:
        """
        What is called may call back.
        """
        first, second = Connection(), Connection()
        for connection in (first, second):
            self.addCleanup(connection.close)
            self.watch.watch(
                connection,
                lambda: (self.gone.append(1), self.watch.unwatch(first), self.watch.unwatch(second)),
            )
            connection.peer.close()
        self.turn()
        self.turn()
        self.assertEqual(self.gone, [1])

    def test_comesToRest(self) -> None:
        """
        With nobody to watch nothing is left in the reactor, also when a connection was lost meanwhile.
        """
        lost, left, unwatched = self.connect(), self.connect(), self.connect()
        left.peer.close()
        self.turn()
        lost.lose()
        self.watch.unwatch(lost)
        self.watch.unwatch(unwatched)
        self.assertEqual((self.reactor.readers, self.reactor.getDelayedCalls()), ([], []))

    def test_descriptorIsUsedAgain(self) -> None:
        """
        A new connection that got the number of a lost one is another: neither takes the other's place.
        """
        lost, newer = self.connect(), Connection()
        self.addCleanup(newer.close)
        assert newer.ours is not None
        number = lost.fileno()
        lost.lose()
        os.dup2(newer.fileno(), number)
        newer.ours.close()
        newer.ours = socket.socket(fileno=number)
        self.watch.watch(newer, lambda: self.gone.append(newer))
        self.watch.unwatch(lost)
        newer.peer.close()
        self.turn()
        self.assertEqual(self.gone, [newer])


class EpollWatchTests(WatchMixin, SynchronousTestCase):
    """
    The watch for Linux.
    """

    if not hasattr(select, "epoll"):
        skip = "this platform has no epoll"

    def makeWatch(self) -> EpollWatch:
        watch = EpollWatch(self.reactor)
        self.addCleanup(watch.connectionLost, Failure(ConnectionDone()))
        return watch

    def turn(self) -> None:
        self.reactor.turn()

    def test_reactorEnds(self) -> None:
        """
        A reactor that ends closes the watch before the connections, which then leave.
        """
        connection = self.connect()
        self.watch.connectionLost(Failure(ConnectionDone()))
        self.watch.unwatch(connection)
        self.assertEqual(self.gone, [])

    def test_lostWithinTheSameTurn(self) -> None:
        """
        An event for a connection that was unwatched by an earlier event of the same turn is nobody's.
        """
        connection = self.connect()
        connection.peer.close()
        self.watch._watched.clear()
        self.watch.doRead()
        self.assertEqual(self.gone, [])

    def test_name(self) -> None:
        """
        The reactor can name it in its log.
        """
        self.assertEqual(self.watch.logPrefix(), "hangup watch")


class PeekWatchTests(WatchMixin, SynchronousTestCase):
    """
    The watch for other platforms.
    """

    def makeWatch(self) -> PeekWatch:
        return PeekWatch(self.reactor)

    def turn(self) -> None:
        self.reactor.advance(PEEK_INTERVAL)

    def test_shortOfDescriptors(self) -> None:
        """
        When it cannot look, nobody is said to be gone.
        """
        connection = self.connect()
        connection.peer.close()
        with mock.patch.object(hangup.os, "dup", side_effect=OSError(24, "Too many open files")):
            self.turn()
        self.assertEqual(self.gone, [])
        self.turn()
        self.assertEqual(self.gone, [connection])

    def test_neverConnected(self) -> None:
        """
        What cannot be read at all is gone.
        """
        with socket.socket() as unconnected:
            self.watch.watch(unconnected, lambda: self.gone.append(1))
            self.turn()
        self.assertEqual(self.gone, [1])

    def test_lostUnnoticed(self) -> None:
        """
        A connection that is closed on our side is gone.
        """
        connection = self.connect()
        connection.lose()
        self.turn()
        self.assertEqual(self.gone, [connection])


class ChoiceTests(SynchronousTestCase):
    """
    Which watch is taken.
    """

    def test_best(self) -> None:
        """
        Epoll where there is one, else peeking.
        """
        watch = makeHangupWatch(ReaderReactor())
        self.assertEqual(isinstance(watch, EpollWatch), hasattr(select, "epoll"))
        if isinstance(watch, EpollWatch):
            watch.connectionLost(Failure(ConnectionDone()))
        with mock.patch.object(hangup, "select", object()):
            self.assertIsInstance(makeHangupWatch(ReaderReactor()), PeekWatch)

    def test_none(self) -> None:
        """
        For what is no socket there is a watch that does nothing.
        """
        watch = NoHangupWatch()
        verifyObject(IHangupWatch, watch)
        watch.watch(object(), self.fail)
        watch.unwatch(object())
