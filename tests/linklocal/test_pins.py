"""
Tests for L{xmppbytes.linklocal.pins}.
"""

from pathlib import Path

from twisted.trial.unittest import TestCase

from xmppbytes.errors import ConfigurationError
from xmppbytes.linklocal import pins as module
from xmppbytes.linklocal.pins import Pin, PinMismatch, PinStore, loadIdentity

A, B = "a" * 64, "b" * 64


class PinTests(TestCase):
    """
    Keys that are remembered.
    """

    def setUp(self):
        self.path = Path(self.mktemp()) / "pins"

    def test_firstUse(self):
        """
        A key is remembered at the first contact, on disk, for our eyes only.
        """
        self.assertIs(PinStore(self.path).check("Juliet Capulet@pronto", A), Pin.NEW)
        again = PinStore(self.path)
        self.assertIs(again.check("juliet capulet@pronto", A), Pin.SAME)
        self.assertEqual(again.get("Juliet Capulet@pronto"), A)
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.path.read_text(), f"sha256:{A} Juliet Capulet@pronto\n")

    def test_spaces(self):
        """
        Spaces at the ends of a name, which anybody on the link may have, are kept and break nothing.
        """
        for name in (" juliet@pronto", "\u00a0nurse@verona", "romeo@forza "):
            PinStore(self.path).check(name, A)
            self.assertIs(PinStore(self.path).check(name, A), Pin.SAME)
        self.assertIsNone(PinStore(self.path).get("romeo@forza"))

    def test_mismatch(self):
        """
        Another key, or none, is refused, and changes nothing.
        """
        store = PinStore(self.path)
        store.check("juliet@pronto", A)
        for other in (B, None):
            self.assertRaises(PinMismatch, store.check, "juliet@pronto", other)
        self.assertRaises(PinMismatch, store.check, "nurse@verona", None)
        self.assertEqual((store.get("juliet@pronto"), store.get("nurse@verona")), (A, None))

    def test_memory(self):
        """
        Without a file pins last as long as the program.
        """
        store = PinStore(None)
        store.check("juliet@pronto", A)
        error = self.assertRaises(PinMismatch, store.check, "juliet@pronto", B)
        self.assertIn("restart", str(error))

    def test_comments(self):
        """
        Empty lines and comments may be there.
        """
        self.path.parent.mkdir()
        self.path.write_text(f"# mine\n\nsha256:{A} juliet@pronto\n")
        self.assertEqual(PinStore(self.path).get("juliet@pronto"), A)

    def test_broken(self):
        """
        A file that cannot be read is said to be so, with its line.
        """
        self.path.parent.mkdir()
        self.path.write_text("juliet@pronto\n")
        self.assertIn("line 1", str(self.assertRaises(ConfigurationError, PinStore, self.path)))
        self.path.write_bytes(b"\xff")
        self.assertRaises(ConfigurationError, PinStore, self.path)

    def test_full(self):
        """
        Strangers cannot make the file grow without end.
        """
        self.patch(module, "MAX_PINS", 1)
        store = PinStore(None)
        store.check("juliet@pronto", A)
        self.assertIs(store.check("nurse@verona", B), Pin.NEW)
        self.assertIs(store.get("nurse@verona"), None)

    def test_notWritable(self):
        """
        A file that cannot be written costs one line in the log, not the stream.
        """
        self.path.parent.touch()
        store = PinStore(self.path)
        self.assertIs(store.check("juliet@pronto", A), Pin.NEW)


class IdentityTests(TestCase):
    """
    Our own key.
    """

    def test_kept(self):
        """
        It is made once.
        """
        path = Path(self.mktemp()) / "key"
        first = loadIdentity(path, "juliet@pronto")
        self.assertEqual(loadIdentity(path, "juliet@pronto").fingerprint, first.fingerprint)
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertNotEqual(loadIdentity(None, "juliet@pronto").fingerprint, first.fingerprint)

    def test_broken(self):
        """
        A file that is no key, or cannot be written, is said to be so.
        """
        path = Path(self.mktemp())
        path.write_text("nothing")
        self.assertIn(str(path), str(self.assertRaises(ConfigurationError, loadIdentity, path, "x")))
        self.assertRaises(ConfigurationError, loadIdentity, path / "below", "x")
