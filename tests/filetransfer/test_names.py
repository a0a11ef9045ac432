"""
Tests for L{xmppbytes.filetransfer.names}.
"""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from xmppbytes.filetransfer.names import MAX_NAME, numbered, printable, safeName, sayable


class SafeNameTests(SynchronousTestCase):
    """
    What strangers call their files.
    """

    def test_ordinary(self) -> None:
        """
        An ordinary name stays.
        """
        for name in ("doc.bin", "a b.txt", "Übung 1.tar.gz", "x", "no extension", "日本語.pdf"):
            self.assertEqual(safeName(name), name)

    def test_paths(self) -> None:
        """
        Of a path, of any system, the last component stays.
        """
        for name in ("../../etc/passwd", "/etc/passwd", "C:\\x\\passwd", "..\\passwd", "a/passwd/"):
            self.assertEqual(safeName(name), "passwd")

    def test_nothingLeft(self) -> None:
        """
        A name of which nothing is left gets one.
        """
        for name in ("", ".", "..", "...", "/", "\\", "a/..", "\x00", " ", "\u202e"):
            self.assertEqual(safeName(name), "unnamed")

    def test_hidden(self) -> None:
        """
        No file is hidden.
        """
        self.assertEqual(safeName(".bashrc"), "_bashrc")

    def test_part(self) -> None:
        """
        No file looks as if it were being received.
        """
        self.assertEqual(safeName("doc.bin.1a2b3c4d.part"), "doc.bin.1a2b3c4d_part")

    def test_controls(self) -> None:
        """
        Characters that do not show, or change how others show, are left out.
        """
        self.assertEqual(safeName("a\x1b[2J\x9b\u202etxt.exe\n"), "a[2Jtxt.exe")

    def test_long(self) -> None:
        """
        A long name keeps its extension.
        """
        short = safeName("ü" * 500 + ".tar.gz")
        self.assertTrue(short.endswith("ü.tar.gz"), short)
        self.assertLessEqual(len(short.encode()), MAX_NAME)

    def test_longExtension(self) -> None:
        """
        What is too long for an extension is not kept as one.
        """
        self.assertEqual(len(safeName("a." + "b" * 500).encode()), MAX_NAME)

    @given(st.text())
    def test_always(self, name: str) -> None:
        """
        Whatever comes, the name is one visible component that a disk can hold, and safe to use again.
        """
        safe = safeName(name)
        self.assertTrue(safe)
        self.assertNotIn("/", safe)
        self.assertNotIn("\x00", safe)
        self.assertFalse(safe.startswith("."))
        self.assertFalse(safe.endswith(".part"))
        self.assertLessEqual(len(safe.encode()), MAX_NAME)
        self.assertFalse({"Cc", "Cf", "Cs", "Zl", "Zp"} & {unicodedata.category(c) for c in safe})
        self.assertEqual(safeName(safe), safe)


class NumberedTests(SynchronousTestCase):
    """
    Several files of one name.
    """

    def test_first(self) -> None:
        """
        The first has the name itself.
        """
        self.assertEqual(numbered("doc.bin", 1), "doc.bin")

    def test_further(self) -> None:
        """
        The number stands before the extension.
        """
        self.assertEqual(numbered("doc.bin", 2), "doc (2).bin")
        self.assertEqual(numbered("doc.tar.gz", 3), "doc (3).tar.gz")
        self.assertEqual(numbered("doc", 4), "doc (4)")
        self.assertEqual(numbered("Mr. Smith is here", 2), "Mr. Smith is here (2)")


class PrintableTests(SynchronousTestCase):
    """
    What strangers say.
    """

    def test_controls(self) -> None:
        """
        Nothing moves the cursor; line breaks become spaces.
        """
        self.assertEqual(printable("a\x1b[31m\r\nb\u202ec\x9b"), "a[31m  bc")

    def test_long(self) -> None:
        """
        An endless text ends.
        """
        self.assertEqual(printable("x" * 50, 10), "x" * 9 + "…")


class SayableTests(SynchronousTestCase):
    """
    What we say.
    """

    def test_whatXMLCannotSay(self) -> None:
        """
        Controls, bytes that are not UTF-8 and non-characters are replaced.
        """
        self.assertEqual(sayable("a\x00\x1b\udcff\ufffeb"), "a____b")

    def test_everythingElse(self) -> None:
        """
        Whatever else is in a name stays.
        """
        for text in ("héllo\t\n", "\U0001f469\u200d\U0001f680", "a<&'\">"):
            self.assertEqual(sayable(text), text)
