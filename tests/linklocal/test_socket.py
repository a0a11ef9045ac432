"""
Tests for L{xmppbytes.linklocalsocket}.
"""

import os
import shutil
import stat
import tempfile
from pathlib import Path
from types import SimpleNamespace

from twisted.trial.unittest import TestCase

from xmppbytes.errors import ConfigurationError
from xmppbytes.linklocalsocket import checkFolder, checkSocket, makeFolder, privateControl


class FolderTests(TestCase):
    """
    Whether a folder can be trusted.
    """

    def setUp(self):
        # Short, since the path of a socket is.
        self.home = Path(tempfile.mkdtemp(prefix="xb"))
        self.addCleanup(shutil.rmtree, self.home)

    def refused(self, check, path):
        return str(self.assertRaises(ConfigurationError, check, path))

    def pretend(self, mode, owner):
        """
        Let every path belong to somebody.
        """
        status = SimpleNamespace(st_mode=stat.S_IFDIR | mode, st_uid=owner)
        self.patch(Path, "stat", lambda path: status)

    def test_made(self):
        """
        A folder that is not there is made for our eyes only.
        """
        folder = self.home / "run"
        self.assertEqual(privateControl(f"unix:{folder}/c"), f"unix:{folder}/c:mode=600:lockfile=1")
        self.assertEqual(folder.stat().st_mode & 0o777, 0o700)

    def test_writable(self):
        """
        A folder to which others may write is refused; sticky ones and those that can only be read are not.
        """
        for mode in (0o777, 0o770, 0o702):
            self.home.chmod(mode)
            error = self.refused(privateControl, f"unix:{self.home}/c")
            self.assertIn("others may write to the folder", error)
            self.assertIn(f"chmod go-w {self.home}", error)
        for mode in (0o1777, 0o755, 0o700):
            self.home.chmod(mode)
            makeFolder(self.home)

    def test_owner(self):
        """
        So is one of somebody else, whatever its mode; root's may be used.
        """
        self.pretend(0o700, os.geteuid() + 4242)
        self.assertIn("belongs to somebody else", self.refused(makeFolder, self.home))
        self.pretend(0o1777, 0)
        makeFolder(self.home)

    def test_notAFolder(self):
        """
        What cannot be a folder is said to be so.
        """
        (self.home / "file").touch()
        self.assertIn("cannot make the folder", self.refused(makeFolder, self.home / "file" / "run"))
        self.assertIn("cannot make the folder", self.refused(makeFolder, self.home / "file"))

    def test_socket(self):
        """
        A socket of somebody else, in a folder that anybody may use, is not connected to.
        """
        self.assertRaises(OSError, checkSocket, self.home / "c")
        (self.home / "c").touch()
        checkSocket(self.home / "c")
        folder, socket = Path("/tmp"), Path("/tmp/c")
        owners = {folder: 0, socket: os.geteuid() + 4242}
        self.patch(
            Path, "stat", lambda path: SimpleNamespace(st_mode=stat.S_IFDIR | 0o1777, st_uid=owners[path])
        )
        checkFolder(folder)
        self.assertIn("the socket /tmp/c belongs to somebody else", self.refused(checkSocket, socket))
