"""
Tests for L{xmppbytes.filetransfer.receiveone} and L{xmppbytes.filetransfer.stack}.
"""

from typing import Any

from tests.filetransfer.world import JULIET, ROMEO, FileTestCase
from xmppbytes.errors import Refused, TransferError
from xmppbytes.filetransfer import storage
from xmppbytes.filetransfer.methods import StreamMethod
from xmppbytes.filetransfer.receiveone import receiveFile
from xmppbytes.filetransfer.stack import addFileTransfer


class ReceiveFileTests(FileTestCase):
    """
    A single file.
    """

    def receive(self, **options: Any) -> Any:
        """
        Let Juliet receive a file from Romeo.
        """
        return receiveFile(
            self.clock,
            self.juliet.initiation,
            self.folder,
            lambda incoming: incoming.sender == ROMEO and incoming.file.name == "doc.bin",
            **options,
        )

    def test_received(self) -> None:
        """
        The file is there; nothing more is accepted.
        """
        seen: list[tuple[int, int]] = []
        receiving = self.receive(progress=lambda done, size: seen.append((done, size)))
        done, second = self.send(), self.send()
        self.pump()
        self.successResultOf(done)
        self.failureResultOf(second, Refused)
        self.assertEqual(self.successResultOf(receiving).path, self.folder / "doc.bin")
        self.assertEqual(seen[-1], (len(self.content), len(self.content)))
        third = self.send()
        self.pump()
        self.failureResultOf(third, Refused)

    def test_notPermitted(self) -> None:
        """
        What is not permitted is refused, and does not end the waiting.
        """
        receiving = self.receive()
        self.path = self.path.rename(self.path.with_name("other"))
        refused = self.send()
        self.pump()
        self.failureResultOf(refused, Refused)
        self.assertNoResult(receiving)

    def test_broken(self) -> None:
        """
        A file that breaks is told.
        """
        receiving = self.receive()
        job: list[Any] = []
        job.append(self.send(progress=lambda done, size: self.clock.callLater(0, job[0].cancel)))
        self.pump()
        self.failureResultOf(job[0])
        self.failureResultOf(receiving, Refused)

    def test_disconnectsAtOnce(self) -> None:
        """
        The sender hears of a full disk although the application then goes offline at once.
        """
        self.patch(storage, "RESERVE", 1 << 62)
        receiving = self.receive()
        failed = receiving.addErrback(lambda failure: self.server.disconnect(JULIET))
        done = self.send()
        self.pump()
        self.successResultOf(failed)
        self.assertIn("there is no room", str(self.failureResultOf(done, Refused).value))

    def test_cancelled(self) -> None:
        """
        Cancelling tells the sender.
        """
        receiving = self.receive()
        done = self.send(progress=lambda *_: self.clock.callLater(0, receiving.cancel))
        self.pump()
        self.failureResultOf(receiving, TransferError)
        self.assertIn("cancelled by the receiver", str(self.failureResultOf(done, Refused).value))

    def test_cancelledIdle(self) -> None:
        """
        Cancelling before anything has come just ends it.
        """
        receiving = self.receive()
        receiving.cancel()
        self.failureResultOf(receiving)
        self.assertIsNone(self.juliet.initiation.decide)


class AddFileTransferTests(FileTestCase):
    """
    Everything in one call.
    """

    def test_methods(self) -> None:
        """
        SOCKS5 bytestreams come first, in-band ones last, others between; either may be left out.
        """
        other = StreamMethod("urn:other", None)
        for options, expected in (
            ({}, ["bytestreams", "ibb"]),
            ({"others": [other]}, ["bytestreams", "urn:other", "ibb"]),
            ({"socks": False}, ["ibb"]),
            ({"inBand": False}, ["bytestreams"]),
        ):
            manager = self.server.connect("nurse@capulet.example/x")
            initiation = addFileTransfer(self.juliet.reactor, manager, **options)  # type: ignore[arg-type]
            names = [name.rpartition("/")[2] for name in initiation.methods.namespaces]
            self.assertEqual(names, expected)
            self.assertIs(initiation.parent, manager)

    def test_works(self) -> None:
        """
        And a file can be received at once.
        """
        manager = self.server.connect(JULIET)
        initiation = addFileTransfer(self.juliet.reactor, manager)
        receiving = receiveFile(self.clock, initiation, self.folder, lambda incoming: True)
        done = self.send()
        self.pump()
        self.successResultOf(done)
        self.successResultOf(receiving)
