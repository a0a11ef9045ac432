"""
Tests for L{xmppbytes.linklocal.pins}.
"""

import os
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from xmppbytes.errors import ConfigurationError
from xmppbytes.linklocal import pins as module
from xmppbytes.linklocal.pins import NEW_PER_MINUTE, Pin, PinMismatch, PinStore, loadIdentity

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
        Strangers cannot make the file grow without end: who was not met for longest is forgotten.
        """
        self.patch(module, "MAX_PINS", 3)
        store = PinStore(self.path)
        for name in ("juliet@pronto", "nurse@verona", "romeo@forza"):
            store.check(name, A)
        self.assertIs(store.check("Juliet@pronto", A), Pin.SAME)
        self.assertIs(store.check("tybalt@verona", B), Pin.NEW)
        self.assertIsNone(store.get("nurse@verona"))
        for again in (store, PinStore(self.path)):
            self.assertEqual(
                [again.get(name) for name in ("romeo@forza", "juliet@pronto", "tybalt@verona")], [A, A, B]
            )

    def test_inUse(self):
        """
        Whoever we speak with is not forgotten; when that is everybody the new key is not kept.
        """
        self.patch(module, "MAX_PINS", 2)
        store = PinStore(None)
        store.check("juliet@pronto", A)
        store.check("nurse@verona", A)
        speaking = {"juliet@pronto"}
        store.inUse = speaking.__contains__
        store.check("tybalt@verona", B)
        self.assertEqual([store.get(name) for name in ("juliet@pronto", "nurse@verona")], [A, None])
        speaking.add("tybalt@verona")
        self.assertIs(store.check("paris@verona", B), Pin.NEW)
        self.assertEqual([store.get(name) for name in ("tybalt@verona", "paris@verona")], [B, None])

    def test_orderIsKept(self):
        """
        Who was met last is known after a restart.
        """
        store = PinStore(self.path)
        store.check("juliet@pronto", A)
        store.check("nurse@verona", A)
        store.check("juliet@pronto", A)
        store.save()
        self.patch(module, "MAX_PINS", 2)
        again = PinStore(self.path)
        again.check("tybalt@verona", B)
        self.assertEqual([again.get(name) for name in ("juliet@pronto", "nurse@verona")], [A, None])

    def test_flood(self):
        """
        So many new keys are kept a minute, so that a flood of names does not push out everybody.
        """
        clock = Clock()
        store = PinStore(None, clock.seconds)
        for number in range(NEW_PER_MINUTE + 5):
            self.assertIs(store.check(f"{number}@x", A), Pin.NEW)
        self.assertIsNone(store.get(f"{NEW_PER_MINUTE}@x"))
        clock.advance(60)
        store.check("juliet@pronto", A)
        self.assertEqual(store.get("juliet@pronto"), A)

    def test_edited(self):
        """
        A line that is removed while the program runs is forgotten, and does not come back with the next key.
        """
        store = PinStore(self.path)
        store.check("juliet@pronto", A)
        store.check("nurse@verona", A)
        self.path.write_text(f"sha256:{A} nurse@verona\n")
        self.assertIs(store.check("juliet@pronto", B), Pin.NEW)
        self.assertEqual(self.path.read_text(), f"sha256:{A} nurse@verona\nsha256:{B} juliet@pronto\n")
        self.path.unlink()
        self.assertIsNone(store.get("nurse@verona"))

    def test_editedWrong(self):
        """
        When what was edited cannot be read, the pins that were read before count.
        """
        store = PinStore(self.path)
        store.check("juliet@pronto", A)
        self.path.write_text("nonsense\n")
        self.assertRaises(PinMismatch, store.check, "juliet@pronto", B)
        self.assertIs(store.check("juliet@pronto", A), Pin.SAME)

    def test_diskFull(self):
        """
        A file that cannot be replaced leaves nothing behind, and what was there stays.
        """
        store = PinStore(self.path)
        store.check("juliet@pronto", A)

        def full(*_):
            raise OSError(28, "No space left on device")

        self.patch(os, "replace", full)
        self.assertIs(store.check("nurse@verona", A), Pin.NEW)
        self.assertIs(store.check("nurse@verona", A), Pin.SAME)
        self.assertEqual(os.listdir(self.path.parent), ["pins"])
        self.assertEqual(self.path.read_text(), f"sha256:{A} juliet@pronto\n")

    def test_notReadableMeanwhile(self):
        """
        A file that cannot be looked at for a while does not make strangers of everybody.
        """
        store = PinStore(self.path)
        store.check("juliet@pronto", A)
        self.patch(Path, "stat", lambda path: (_ for _ in ()).throw(OSError(5, "the disk is gone")))
        self.assertRaises(PinMismatch, store.check, "juliet@pronto", B)

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
