"""
Tests for L{xmppbytes.filetransfer.storage}.
"""

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from xmppbytes.errors import TransferError
from xmppbytes.filetransfer import storage
from xmppbytes.filetransfer.offer import FileOffer
from xmppbytes.filetransfer.storage import DiskFull, Inbox

MD5 = "1a2b3c4d" * 4


def offered(name: str = "doc.bin", size: int = 10, md5: str | None = MD5, ranged: bool = True) -> FileOffer:
    """
    An offer, which can be resumed unless told otherwise.
    """
    return FileOffer(name=name, size=size, md5=md5, ranged=ranged)


class InboxTests(SynchronousTestCase):
    """
    A folder that files are received into.
    """

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.inbox = Inbox(self.folder)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def test_whole(self) -> None:
        """
        A file is called .part until it is whole.
        """
        part = self.inbox.open(offered())
        part.write(b"01234")
        self.assertEqual(self.names(), ["doc.bin.1a2b3c4d.part"])
        part.write(b"56789")
        self.assertEqual(part.finish(), self.folder / "doc.bin")
        self.assertEqual(self.names(), ["doc.bin"])
        self.assertEqual((self.folder / "doc.bin").read_bytes(), b"0123456789")

    def test_noOverwrite(self) -> None:
        """
        What is there stays; the new file gets a number.
        """
        (self.folder / "doc.bin").write_bytes(b"precious")
        (self.folder / "doc (2).bin").write_bytes(b"precious, too")
        part = self.inbox.open(offered())
        part.write(b"0123456789")
        self.assertEqual(part.finish(), self.folder / "doc (3).bin")
        self.assertEqual((self.folder / "doc.bin").read_bytes(), b"precious")

    def test_foreignPart(self) -> None:
        """
        A file of somebody's that only looks like one of ours is not touched.
        """
        (self.folder / "doc.bin.part").write_bytes(b"precious")
        part = self.inbox.open(offered(md5=None))
        self.assertEqual(part.path.name, "doc (2).bin.part")
        self.assertEqual((self.folder / "doc.bin.part").read_bytes(), b"precious")

    def test_outsideName(self) -> None:
        """
        A name with a path stays in the folder.
        """
        part = self.inbox.open(offered("../../escape.txt"))
        part.write(b"0123456789")
        self.assertEqual(part.finish(), self.folder / "escape.txt")

    def test_resume(self) -> None:
        """
        What has arrived before is continued, when the same content is offered.
        """
        part = self.inbox.open(offered())
        part.write(b"0123")
        self.assertTrue(part.abandon(resumable=True))
        again = self.inbox.open(offered())
        self.assertEqual((again.path, again.offset, again.size), (part.path, 4, 4))
        again.write(b"456789")
        self.assertEqual(again.finish().read_bytes(), b"0123456789")

    def test_otherContent(self) -> None:
        """
        Another content of the same name begins anew.
        """
        part = self.inbox.open(offered())
        part.write(b"0123")
        part.abandon(resumable=True)
        other = self.inbox.open(offered(md5="f" * 32))
        self.assertEqual(other.offset, 0)
        self.assertNotEqual(other.path, part.path)

    def test_completePart(self) -> None:
        """
        Of what was complete but never verified the last byte is asked for again.
        """
        (self.folder / "doc.bin.1a2b3c4d.part").write_bytes(b"0123456789")
        self.assertEqual(self.inbox.open(offered()).offset, 9)

    def test_tooLongPart(self) -> None:
        """
        What is longer than the file is of no use.
        """
        (self.folder / "doc.bin.1a2b3c4d.part").write_bytes(b"0123456789x")
        self.assertEqual(self.inbox.open(offered()).offset, 0)

    def test_emptyFile(self) -> None:
        """
        An empty file is complete at once.
        """
        part = self.inbox.open(offered(size=0))
        self.assertEqual(part.finish().read_bytes(), b"")

    def test_inUse(self) -> None:
        """
        Two transfers of the same content do not share a file.
        """
        first = self.inbox.open(offered())
        second = self.inbox.open(offered())
        first.write(b"0123")
        second.write(b"01")
        self.assertEqual(self.names(), ["doc.bin (2).1a2b3c4d.part", "doc.bin.1a2b3c4d.part"])

    def test_abandonUnverifiable(self) -> None:
        """
        What could not be continued does not stay; nor what is empty, or known to be wrong.
        """
        for offer, data, resumable in (
            (offered(md5=None), b"0123", True),
            (offered(ranged=False), b"0123", True),
            (offered(), b"", True),
            (offered(), b"0123", False),
        ):
            part = self.inbox.open(offer)
            part.write(data)
            self.assertFalse(part.abandon(resumable))
            self.assertEqual(self.names(), [])

    def test_link(self) -> None:
        """
        A link that waits under the name of a part is not followed.
        """
        outside = Path(self.mktemp())
        outside.write_bytes(b"precious")
        (self.folder / "doc.bin.1a2b3c4d.part").symlink_to(outside.absolute())
        self.assertRaises(TransferError, self.inbox.open, offered())
        self.assertEqual(outside.read_bytes(), b"precious")

    def test_noRoom(self) -> None:
        """
        What does not fit is not begun; what is there of it stays.
        """
        part = self.inbox.open(offered())
        part.write(b"0123")
        part.abandon(resumable=True)
        error = self.assertRaises(DiskFull, self.inbox.open, offered(size=1 << 62))
        self.assertIn("make room", str(error))
        self.assertRaises(DiskFull, self.inbox.open, offered(name="other", size=1 << 62))
        self.assertEqual(self.names(), ["doc.bin.1a2b3c4d.part"])

    def test_diskFull(self) -> None:
        """
        A disk that becomes full is told from other trouble.
        """
        part = self.inbox.open(offered())
        for number, kind in ((errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EIO, TransferError)):
            part._file = Broken(number)  # type: ignore[assignment]
            error = self.assertRaises(TransferError, part.write, b"0123")
            self.assertIs(type(error), kind)

    def test_shortWrites(self) -> None:
        """
        A disk that takes less than it is given gets the rest as well.
        """
        part = self.inbox.open(offered())
        part._file = slow = Slow()  # type: ignore[assignment]
        part.write(b"0123456789")
        self.assertEqual(slow.content, b"0123456789")

    def test_noFolder(self) -> None:
        """
        A folder that is not there is an error in words.
        """
        error = self.assertRaises(TransferError, Inbox(self.folder / "missing").open, offered())
        self.assertIn("cannot be written (No such file or directory); is the folder still there?", str(error))

    def test_cannotBeRenamed(self) -> None:
        """
        When the file cannot get its name, nothing of that name is there.
        """

        def fails(*_: Any) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        part = self.inbox.open(offered())
        part.write(b"0123456789")
        self.patch(os, "replace", fails)
        error = self.assertRaises(TransferError, part.finish)
        self.assertIn("(Permission denied); check the folder's permissions", str(error))
        self.assertEqual(list(self.folder.iterdir()), [part.path])

    def test_lostFolder(self) -> None:
        """
        A folder that goes away meanwhile is, too.
        """
        part = self.inbox.open(offered())
        os.unlink(part.path)
        os.rmdir(self.folder)
        self.assertRaises(TransferError, part.finish)

    def test_tooManyNames(self) -> None:
        """
        There is an end to the numbers.
        """
        self.patch(storage, "MAX_NUMBER", 2)
        (self.folder / "doc.bin").touch()
        (self.folder / "doc (2).bin").touch()
        part = self.inbox.open(offered())
        self.assertRaises(TransferError, part.finish)
        parts = [self.inbox.open(offered(name="same")) for _ in range(2)]
        self.assertEqual(len(parts), 2)
        self.assertRaises(TransferError, self.inbox.open, offered(name="same"))

    def test_goneWhileOpening(self) -> None:
        """
        A part that another process takes away in the moment of opening is not used.
        """
        real = os.stat
        calls: list[Any] = []

        def stat(path: Any, **kwargs: Any) -> Any:
            if str(path).endswith(".part") and not calls:
                calls.append(path)
                raise FileNotFoundError(path)
            return real(path, **kwargs)

        with mock.patch.object(storage.os, "stat", stat):
            part = self.inbox.open(offered())
        self.assertEqual(part.path.name, "doc.bin (2).1a2b3c4d.part")


class Broken(SimpleNamespace):
    """
    A file that cannot be written.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number=number)

    def seek(self, position: int) -> None:
        raise OSError(self.number, os.strerror(self.number))


class Slow(SimpleNamespace):
    """
    A file that takes three bytes at a time.
    """

    content = b""

    def seek(self, position: int) -> None:
        assert position == 0

    def write(self, data: memoryview) -> int:
        self.content += bytes(data[:3])
        return len(data[:3])
