"""
C{xmppbytes receive} into a disk that really becomes full: a small file system in memory, mounted where only
the command sees it.
"""

import errno
import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.interop.filecommands import Receive

SIZE = 8 << 20  # bytes of the disk
BLOCK = 1 << 16
_MOUNT = f'mount -t tmpfs -o size={SIZE} none "$0" && exec "$@"'


@cache
def namespace() -> tuple[str, ...]:
    """
    Find out how this machine lets us mount something that others do not see.

    @return: the beginning of a command line; empty: not at all.
    """
    if shutil.which("unshare") is None:
        return ()
    for options in (("--mount",), ("--map-root-user", "--mount")):
        command = ("unshare", *options)
        trial = subprocess.run(
            [*command, "sh", "-c", _MOUNT, "/mnt", "true"], capture_output=True, check=False
        )
        if trial.returncode == 0:
            return command
    return ()


class ReceiveIntoSmallDisk(Receive):
    """
    The command, its folder being a disk of its own.
    """

    @property
    def received(self) -> Path:
        """
        Its folder, as it sees it itself.
        """
        return Path(f"/proc/{self.pid}/root{self.folder}/files")

    def command(self) -> list[str]:
        folder = str(self.folder / "files")
        command = super(Receive, self).command()
        return [*namespace(), "sh", "-c", _MOUNT, folder, *command, "--dir", folder]

    def fill(self) -> Path:
        """
        Let others use all the room that is left.

        @return: what to remove for the room to be there again.
        """
        path = self.received / "filler"
        with path.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(BLOCK))
            except OSError as e:
                if e.errno != errno.ENOSPC:
                    raise
        return path
