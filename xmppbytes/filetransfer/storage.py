"""
Where received files go: written beside their final name, renamed when they are whole, never over
anything.

A file that is not whole yet is C{NAME.HASH.part}, HASH being the beginning of the MD5 that was offered:
so the next offer of the same content finds it and goes on where it ends. Without an MD5 nothing could
tell whether two halves belong together: such a file is C{NAME.part}, begins anew, and does not stay.
"""

import errno
import fcntl
import os
from pathlib import Path
from typing import BinaryIO, cast

from xmppbytes.errors import TransferError
from xmppbytes.filetransfer.names import PART, numbered, safeName
from xmppbytes.filetransfer.offer import FileOffer

# How many files of one name are told apart, "name (2).ext" and so on.
MAX_NUMBER = 9999
# What is left free on a disk, in bytes: others write there, too.
RESERVE = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Why something cannot be written -> what to do.
_ADVICE: dict[int | None, str] = {
    errno.EACCES: "check the folder's permissions",
    errno.EPERM: "check the folder's permissions",
    errno.EROFS: "choose a folder that can be written to",
    errno.ENOENT: "is the folder still there?",
}


class DiskFull(TransferError):
    """
    There is no room for a file.
    """


class PartFile:
    """
    A file that is being received.

    @ivar path: where it is now.
    @ivar offset: how many bytes of it were there before.
    @ivar size: how many bytes it has at present.
    """

    def __init__(self, path: Path, file: BinaryIO, offer: FileOffer) -> None:
        """
        @param path: where it is.
        @param file: open for reading and writing, and locked.
        @param offer: what it is to become.
        """
        self.path = path
        self._file = file
        self._offer = offer
        self.offset = self.size = file.seek(0, os.SEEK_END)

    @property
    def file(self) -> BinaryIO:
        """
        The open file, for reading what is there already.
        """
        return self._file

    def write(self, data: bytes) -> None:
        """
        Append.

        @raise DiskFull: when there is no room.
        @raise TransferError: when it cannot be written for another reason.
        """
        left = memoryview(data)
        try:
            self._file.seek(self.size)
            while left:
                # A disk that is nearly full takes a part.
                left = left[self._file.write(left) :]
        except OSError as e:
            raise _writeError(self.path, e) from e
        self.size += len(data)

    def finish(self) -> Path:
        """
        Give the file, which is whole and verified, its name.

        @return: where it is now.
        @raise TransferError: when that cannot be done.
        """
        folder, name = self.path.parent, safeName(self._offer.name)
        try:
            for number in range(1, MAX_NUMBER + 1):
                final = folder / numbered(name, number)
                if _take(final):
                    self._moveTo(final)
                    return final
        except OSError as e:
            raise _writeError(self.path, e) from e
        raise TransferError(f"{folder} holds {MAX_NUMBER} files called {name}; move them away")

    def _moveTo(self, final: Path) -> None:
        try:
            os.replace(self.path, final)
        except OSError:
            # The name was only reserved.
            final.unlink(missing_ok=True)
            raise
        self._file.close()

    def abandon(self, resumable: bool) -> bool:
        """
        Stop before the file is whole.

        @param resumable: keep what is there for the next time, if it can be continued at all.
        @return: whether it was kept.
        """
        keep = resumable and self._offer.resumable and self.size > 0
        if not keep:
            # While it is still locked: nobody else may have begun to use it.
            self.path.unlink(missing_ok=True)
        self._file.close()
        return keep


class Inbox:
    """
    A folder that files are received into.
    """

    def __init__(self, folder: Path) -> None:
        """
        @param folder: exists.
        """
        self.folder = folder

    def open(self, offer: FileOffer) -> PartFile:
        """
        Make ready to receive a file, or to go on with it.

        @raise DiskFull: when there is not enough room for it.
        @raise TransferError: when the folder cannot be written to.
        """
        name = safeName(offer.name)
        tag = f".{offer.md5[:8]}" if offer.resumable and offer.md5 else ""
        try:
            part = self._openPart(name + tag, offer)
        except OSError as e:
            raise _writeError(self.folder, e) from e
        try:
            self._checkRoom(offer.size - part.offset)
        except DiskFull:
            part.abandon(resumable=True)
            raise
        return part

    def _openPart(self, stem: str, offer: FileOffer) -> PartFile:
        for number in range(1, MAX_NUMBER + 1):
            path = self.folder / (numbered(stem, number) + PART)
            file = _openLocked(path, existing=offer.resumable)
            if file is None:
                continue
            held = file.seek(0, os.SEEK_END)
            # The last byte is always received anew, so that there is a stream to wait for.
            usable = min(held, offer.size - 1) if offer.resumable and offer.size else 0
            if held > usable:
                file.truncate(usable if held <= offer.size else 0)
            return PartFile(path, file, offer)
        raise TransferError(f"{self.folder} holds {MAX_NUMBER} unfinished files called {stem}; remove them")

    def _checkRoom(self, needed: int) -> None:
        room = os.statvfs(self.folder)
        free = room.f_bavail * room.f_frsize
        if needed + RESERVE > free:
            raise DiskFull(
                f"the disk has room for {max(0, free - RESERVE)} bytes and {needed} are to come; make room"
            )


def _openLocked(path: Path, existing: bool) -> BinaryIO | None:
    """
    Open a file for ourselves alone.

    @param existing: whether one that is there already will do.
    @return: C{None} when somebody else uses it.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags if existing else flags | os.O_EXCL, 0o666)
    except FileExistsError:
        return None
    # Unbuffered: what is written is on its way to the disk, and a full disk shows at once.
    file = cast(BinaryIO, os.fdopen(descriptor, "r+b", buffering=0))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return file
    except (BlockingIOError, FileNotFoundError):
        # In use, or gone since we opened it.
        pass
    file.close()
    return None


def _take(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    except FileExistsError:
        return False
    return True


def _writeError(path: Path, error: OSError) -> TransferError:
    if error.errno in _FULL:
        return DiskFull(f"the disk is full ({path}: {error.strerror}); make room")
    advice = _ADVICE.get(error.errno, "check the disk")
    return TransferError(f"{path} cannot be written ({error.strerror}); {advice}")
