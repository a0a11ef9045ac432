"""
Tests for L{xmppbytes.filetransfer.sender} and L{xmppbytes.filetransfer.receiver}: the ends of a connection.
"""

import hashlib
import io
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from xmppbytes.errors import TransferError
from xmppbytes.filetransfer import receiver, sender
from xmppbytes.filetransfer.digests import Digests
from xmppbytes.filetransfer.offer import FileOffer
from xmppbytes.filetransfer.receiver import BrokenOff, Damaged, FileReceiver
from xmppbytes.filetransfer.sender import CHUNK, FileSender
from xmppbytes.filetransfer.storage import Inbox


class Wire(StringTransport):
    """
    A transport that tells how it was ended.
    """

    ended = ""
    protocol: Any = None

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        super().registerProducer(producer, streaming)
        if not streaming:
            producer.resumeProducing()

    def loseConnection(self) -> None:
        self.ended = self.ended or "lost"

    def abortConnection(self) -> None:
        self.ended = self.ended or "aborted"


class SenderTests(SynchronousTestCase):
    """
    The sending end.
    """

    content = bytes(range(256)) * 1024

    def setUp(self) -> None:
        self.clock = Clock()
        self.progress: list[int] = []
        self.digests = Digests(md5=False)
        self.sender = self.make(io.BytesIO(self.content), len(self.content))
        self.wire = Wire()

    def make(self, file: Any, length: int) -> FileSender:
        return FileSender(self.clock, file, length, self.digests, self.progress.append)

    def pull(self, times: int) -> None:
        for _ in range(times):
            self.sender.resumeProducing()

    def lose(self, error: Exception) -> None:
        self.sender.connectionLost(Failure(error))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_pulled(self) -> None:
        """
        The file is read a chunk at a time, as the connection takes it.
        """
        self.sender.makeConnection(self.wire)
        self.assertEqual((len(self.wire.value()), self.wire.streaming), (CHUNK, False))
        self.pull(3)
        self.assertEqual(self.wire.value(), self.content)
        self.assertEqual(self.progress, [CHUNK] * 4)
        self.assertEqual(self.wire.ended, "")
        self.pull(1)
        self.assertEqual(self.wire.ended, "lost")
        self.pull(1)
        self.lose(ConnectionDone())
        self.successResultOf(self.sender.done)
        self.assertEqual(self.digests.sha256, hashlib.sha256(self.content).hexdigest())

    def test_part(self) -> None:
        """
        No more than was asked for is sent, from where the file stands.
        """
        file = io.BytesIO(self.content)
        file.seek(10)
        self.sender = self.make(file, 5)
        self.sender.makeConnection(self.wire)
        self.pull(1)
        self.assertEqual(self.wire.value(), self.content[10:15])

    def test_shrunk(self) -> None:
        """
        A file that has become shorter resets the connection: nobody takes it for whole.
        """
        self.sender = self.make(io.BytesIO(b"0123"), 10)
        self.sender.makeConnection(self.wire)
        self.pull(2)
        self.assertEqual(self.wire.ended, "aborted")
        self.lose(ConnectionAborted())
        self.assertIn("shorter by 6 bytes", str(self.failureResultOf(self.sender.done, TransferError).value))

    def test_unreadable(self) -> None:
        """
        So does a disk that breaks.
        """

        class Bad(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                raise OSError(5, "Input/output error")

        self.sender = self.make(Bad(), 10)
        self.sender.makeConnection(self.wire)
        self.lose(ConnectionAborted())
        self.assertIn("Input/output", str(self.failureResultOf(self.sender.done, TransferError).value))

    def test_receiverLeaves(self) -> None:
        """
        A receiver that closes before the end did not get it.
        """
        self.sender.makeConnection(self.wire)
        self.sender.dataReceived(b"ignored")
        self.sender.readConnectionLost()
        self.sender.writeConnectionLost()
        self.sender.stopProducing()
        self.assertEqual(self.wire.ended, "aborted")
        self.lose(ConnectionAborted())
        error = self.failureResultOf(self.sender.done, TransferError)
        self.assertIn(f"{CHUNK} of {len(self.content)} bytes", str(error.value))

    def test_lost(self) -> None:
        """
        A connection that is lost before the end, even cleanly, did not bring it.
        """
        self.sender.makeConnection(self.wire)
        self.lose(ConnectionDone())
        self.failureResultOf(self.sender.done, TransferError)

    def test_closedByReceiver(self) -> None:
        """
        After the last byte the receiver's closing is the confirmation.
        """
        self.sender.makeConnection(self.wire)
        self.pull(4)
        self.wire.ended = ""
        self.sender.readConnectionLost()
        self.assertEqual(self.wire.ended, "lost")
        self.lose(ConnectionDone())
        self.successResultOf(self.sender.done)

    def test_resetByReceiver(self) -> None:
        """
        And its reset says that something was wrong.
        """
        self.sender.makeConnection(self.wire)
        self.pull(4)
        self.lose(ConnectionLost())
        self.failureResultOf(self.sender.done, TransferError)

    def test_neverClosed(self) -> None:
        """
        A receiver that neither closes nor resets is waited for, not for ever.
        """
        self.sender.makeConnection(self.wire)
        self.pull(4)
        self.wire.ended = ""
        self.clock.advance(sender.CLOSE_TIMEOUT)
        self.assertEqual(self.wire.ended, "aborted")
        self.lose(ConnectionAborted())
        self.assertIn("did not confirm", str(self.failureResultOf(self.sender.done, TransferError).value))

    def test_stalled(self) -> None:
        """
        A connection that takes nothing is given up; one that takes something now and then is not.
        """
        self.sender.makeConnection(self.wire)
        self.clock.advance(sender.IDLE_TIMEOUT - 1)
        self.pull(1)
        self.clock.advance(sender.IDLE_TIMEOUT - 1)
        self.assertEqual(self.wire.ended, "")
        self.clock.advance(1)
        self.assertEqual(self.wire.ended, "aborted")
        self.lose(ConnectionAborted())
        self.assertIn("took nothing", str(self.failureResultOf(self.sender.done, TransferError).value))

    def test_cancel(self) -> None:
        """
        Cancelling resets the connection, and nothing is read any more.
        """
        self.sender.makeConnection(self.wire)
        self.sender.done.cancel()
        self.failureResultOf(self.sender.done, CancelledError)
        self.assertEqual(self.wire.ended, "aborted")
        self.pull(1)
        self.lose(ConnectionAborted())
        self.assertEqual(len(self.wire.value()), CHUNK)

    def test_cancelBefore(self) -> None:
        """
        Cancelling before there is a connection does no harm.
        """
        self.sender.done.cancel()
        self.failureResultOf(self.sender.done, CancelledError)
        self.sender.doStart()
        self.sender.doStop()


class ReceiverTests(SynchronousTestCase):
    """
    The receiving end.
    """

    content = b"0123456789"

    def setUp(self) -> None:
        self.clock = Clock()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.progress: list[int] = []
        self.wire = Wire()

    def receive(self, size: int = 10, md5: str | None = None) -> FileReceiver:
        """
        Begin to receive.
        """
        offer = FileOffer(name="a", size=size, md5=md5)
        part = Inbox(self.folder).open(offer)
        self.receiver = FileReceiver(self.clock, offer, part, Digests(md5 is not None), self.progress.append)
        self.receiver.makeConnection(self.wire)
        return self.receiver

    def lose(self, error: Exception) -> None:
        self.receiver.connectionLost(Failure(error))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_bySize(self) -> None:
        """
        The file is there with its last byte; we close, for some senders never do.
        """
        one = self.receive(md5=hashlib.md5(self.content).hexdigest())
        one.dataReceived(b"01234")
        self.assertEqual(self.wire.ended, "")
        one.dataReceived(b"56789")
        self.assertEqual(self.wire.ended, "lost")
        self.assertEqual((self.folder / "a").read_bytes(), self.content)
        one.dataReceived(b"late")
        self.assertNoResult(one.done)
        self.lose(ConnectionDone())
        self.assertEqual(self.successResultOf(one.done), self.folder / "a")
        self.assertEqual(self.progress, [5, 5])

    def test_tooMuch(self) -> None:
        """
        More than was announced is not what was announced.
        """
        one = self.receive()
        one.dataReceived(b"0123456789x")
        self.assertEqual(self.wire.ended, "aborted")
        one.dataReceived(b"y")
        self.lose(ConnectionAborted())
        self.failureResultOf(one.done, Damaged)

    def test_tooLittle(self) -> None:
        """
        An end before the last byte is a broken transfer.
        """
        one = self.receive()
        one.dataReceived(b"0123")
        self.lose(ConnectionDone())
        self.assertIn("6 of 10 bytes", str(self.failureResultOf(one.done, BrokenOff).value))

    def test_damaged(self) -> None:
        """
        A wrong MD5 resets the connection, so that the sender knows.
        """
        one = self.receive(md5="0" * 32)
        one.dataReceived(self.content)
        self.assertEqual(self.wire.ended, "aborted")
        self.lose(ConnectionAborted())
        self.failureResultOf(one.done, Damaged)
        self.assertFalse((self.folder / "a").exists())

    def test_emptyFile(self) -> None:
        """
        For an empty file we stay until the sender closes: a proxy would not activate the stream.
        """
        one = self.receive(size=0)
        self.assertEqual(self.wire.ended, "")
        self.lose(ConnectionDone())
        self.assertEqual(self.successResultOf(one.done).read_bytes(), b"")

    def test_emptyFileForever(self) -> None:
        """
        But not for ever.
        """
        one = self.receive(size=0)
        self.clock.advance(receiver.EMPTY_TIMEOUT)
        self.assertEqual(self.wire.ended, "lost")
        self.lose(ConnectionDone())
        self.successResultOf(one.done)

    def test_emptyFileBroken(self) -> None:
        """
        A sender that resets did not mean it.
        """
        one = self.receive(size=0)
        self.lose(ConnectionLost())
        self.failureResultOf(one.done, BrokenOff)

    def test_stalled(self) -> None:
        """
        A sender that sends nothing is given up; one that sends something now and then is not.
        """
        one = self.receive()
        self.clock.advance(receiver.IDLE_TIMEOUT - 1)
        one.dataReceived(b"0")
        self.clock.advance(receiver.IDLE_TIMEOUT - 1)
        self.assertEqual(self.wire.ended, "")
        self.clock.advance(1)
        self.assertEqual(self.wire.ended, "aborted")
        self.lose(ConnectionAborted())
        self.assertIn("nothing came", str(self.failureResultOf(one.done, TransferError).value))

    def test_cancel(self) -> None:
        """
        Cancelling resets the connection.
        """
        one = self.receive()
        one.done.cancel()
        self.failureResultOf(one.done, CancelledError)
        self.assertEqual(self.wire.ended, "aborted")
        self.lose(ConnectionAborted())


class Sudden(Wire):
    """
    A transport that is lost at once when it is aborted, as an in-band one is.
    """

    def abortConnection(self) -> None:
        super().abortConnection()
        self.protocol.connectionLost(Failure(ConnectionAborted()))


class SuddenTests(SynchronousTestCase):
    """
    Cancelling on such a transport.
    """

    def test_sender(self) -> None:
        """
        The sender was cancelled, and nothing else.
        """
        sender = FileSender(Clock(), io.BytesIO(b"x" * 10), 10, Digests(), lambda count: None)
        wire = Sudden()
        wire.protocol = sender
        sender.makeConnection(wire)
        sender.done.cancel()
        self.failureResultOf(sender.done, CancelledError)

    def test_receiver(self) -> None:
        """
        So was the receiver.
        """
        offer = FileOffer(name="a", size=10)
        folder = Path(self.mktemp())
        folder.mkdir()
        receiver = FileReceiver(Clock(), offer, Inbox(folder).open(offer), Digests(), lambda count: None)
        wire = Sudden()
        wire.protocol = receiver
        receiver.makeConnection(wire)
        receiver.done.cancel()
        self.failureResultOf(receiver.done, CancelledError)
