"""
The loop of a worker process, turned by hand in this one.
"""

import errno
import os
import socket
from array import array
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from xmppbytes.core import splice
from xmppbytes.core.throttle import BURST_SECONDS
from xmppbytes.core.worker import Kind, Worker, decode, encode


class WorkerTests(SynchronousTestCase):
    """
    What a worker is told, and answers.
    """

    def setUp(self) -> None:
        self.parent, channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.parent.settimeout(5)
        self.addCleanup(self.parent.close)
        self.addCleanup(channel.close)
        self.counters = array("Q", [0] * 8)
        self.worker = Worker(channel, memoryview(self.counters))
        self.addCleanup(self.worker._splicer.close)

    def connected(self) -> tuple[socket.socket, int]:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            party = socket.create_connection(listening.getsockname())
            accepted = listening.accept()[0]
        party.settimeout(5)
        self.addCleanup(party.close)
        accepted.setblocking(False)
        return party, accepted.detach()

    def link(
        self, slot: int = 1, rate: int | None = None, pass_: int = 2
    ) -> tuple[socket.socket, socket.socket]:
        (first, one), (second, other) = self.connected(), self.connected()
        message = encode(Kind.LINK, slot, rate, (b"early ", b""))
        socket.send_fds(self.parent, [message], [one, other][:pass_])
        os.close(one)
        os.close(other)
        self.worker.turn()
        return first, second

    def answer(self) -> tuple[Kind, int]:
        return decode(self.parent.recv(100))[:2]

    def test_relays(self) -> None:
        """
        A pair is relayed, counted in its place, and its end is reported.
        """
        first, second = self.link()
        first.send(b"bytes")
        first.shutdown(socket.SHUT_WR)
        second.close()
        while self.worker._pairs:
            self.worker.turn()
        self.assertEqual(self.answer(), (Kind.BROKEN, 1))
        self.assertEqual(list(self.counters[2:4])[1], 0)

    def test_ends(self) -> None:
        """
        A stream that ends well is reported as finished, with its counts in place.
        """
        first, second = self.link(slot=3)
        first.send(b"bytes")
        first.shutdown(socket.SHUT_WR)
        second.shutdown(socket.SHUT_WR)
        while self.worker._pairs:
            self.worker.turn()
        self.assertEqual((self.answer(), list(self.counters[6:8])), ((Kind.FINISHED, 3), [11, 0]))
        self.assertEqual(second.recv(100), b"early bytes")

    def test_limitedIsWoken(self) -> None:
        """
        A limited session waits without turns of the loop, and goes on by itself.
        """
        first, second = self.link(rate=4)
        self.assertEqual(second.recv(100), b"early ")
        first.send(b"1234")
        self.worker.turn()
        self.assertEqual(second.recv(100), b"123")
        timeout = self.worker._timeout()
        assert timeout is not None
        self.assertGreater(timeout, BURST_SECONDS / 2)
        self.worker.turn()
        self.assertEqual(second.recv(100), b"4")

    def test_descriptorsAreMissing(self) -> None:
        """
        When connections did not arrive with a message, the session has failed and the rest is reset.
        """
        first, _ = self.link(pass_=1)
        self.assertEqual(self.answer(), (Kind.FAILED, 1))
        self.assertRaises(ConnectionResetError, first.recv, 1)

    def test_cannotBeSpliced(self) -> None:
        """
        Connections that cannot be spliced are reset, and the session has failed.
        """

        def odd(*arguments: Any) -> int:
            raise OSError(errno.EINVAL, "Invalid argument")

        self.patch(splice.os, "splice", odd)
        first, second = self.link()
        self.assertEqual(self.answer(), (Kind.FAILED, 1))
        for party in (first, second):
            self.assertRaises(ConnectionResetError, party.recv, 1)

    def test_unknownSession(self) -> None:
        """
        What concerns a session that has ended is of no consequence.
        """
        self.parent.send(encode(Kind.RATE, 7, 5))
        self.parent.send(encode(Kind.ABORT, 7))
        self.worker.turn()
        self.parent.setblocking(False)
        self.assertRaises(BlockingIOError, self.parent.recv, 100)

    def test_parentIsSlow(self) -> None:
        """
        Reports wait until the parent takes them.
        """
        count = 0
        while not self.worker._ended:
            self.worker._say(encode(Kind.FINISHED, count))
            count += 1
        self.worker._say(encode(Kind.BROKEN, count))
        for number in range(count - 1):
            self.assertEqual(self.answer(), (Kind.FINISHED, number))
        self.worker.turn()
        self.assertEqual(self.answer(), (Kind.FINISHED, count - 1))
        self.assertEqual((self.answer(), self.worker._ended), ((Kind.BROKEN, count), []))

    def test_parentIsGone(self) -> None:
        """
        Without a parent the loop ends; what was relayed is reset.
        """
        first, _ = self.link()
        self.parent.close()
        self.worker.run()
        self.assertRaises(ConnectionResetError, first.recv, 100)

    def test_parentIsGoneWhenReporting(self) -> None:
        """
        A report that nobody takes ends the loop as well.
        """
        self.parent.close()
        self.worker._say(encode(Kind.FINISHED, 1))
        self.worker.run()
        self.assertFalse(self.worker._parentLives)
