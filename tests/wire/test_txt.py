"""
Tests for L{xmppbytes.wire.txt}.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from xmppbytes.errors import WireError
from xmppbytes.wire.txt import MAX_TEXT, decodePairs, encodePairs

keys = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="="), min_size=1, max_size=9
)


class TextTests(TestCase):
    """
    Pairs to bytes and back.
    """

    @given(st.dictionaries(keys.map(str.lower), st.text(max_size=20), max_size=8))
    def test_roundTrip(self, pairs):
        """
        Pairs are read as they were written.
        """
        self.assertEqual(decodePairs(encodePairs(pairs.items())), pairs)

    @given(st.binary(max_size=700))
    def test_anyBytes(self, data):
        """
        Bytes of any kind are pairs or a WireError.
        """
        try:
            decodePairs(data)
        except WireError:
            pass

    def test_empty(self):
        """
        No pair is one zero byte; nothing at all and empty strings are read as no pair.
        """
        self.assertEqual(encodePairs([]), b"\0")
        for data in (b"", b"\0", b"\0\0"):
            self.assertEqual(decodePairs(data), {})

    def test_order(self):
        """
        The pairs stand in the given order.
        """
        self.assertEqual(encodePairs([("txtvers", "1"), ("1st", "J")]), b"\x09txtvers=1\x051st=J")

    def test_firstCounts(self):
        """
        Of a key that comes twice, in whatever case, the first counts.
        """
        self.assertEqual(decodePairs(b"\3a=1\3A=2"), {"a": "1"})

    def test_oddStrings(self):
        """
        A string without = is a key without a value; strings without a key, or with one that is not
        ASCII, are ignored.
        """
        self.assertEqual(decodePairs(b"\4flag\2=x\3\xc3=y"), {"flag": ""})

    def test_notUTF8(self):
        """
        What is not UTF-8 is replaced.
        """
        self.assertEqual(decodePairs(b"\5msg=\xff"), {"msg": "\ufffd"})

    def test_cutShort(self):
        """
        A string that is longer than the data is refused.
        """
        self.assertRaises(WireError, decodePairs, b"\5msg")

    def test_tooMany(self):
        """
        More strings than anybody needs are refused.
        """
        self.assertRaises(WireError, decodePairs, b"\3a=b" * 257)

    def test_longValue(self):
        """
        A value is cut so that its string has 255 bytes at most, at the end of a character.
        """
        data = encodePairs([("msg", "\u00e9" * 200)])
        self.assertEqual(decodePairs(data), {"msg": "\u00e9" * 125})

    def test_longRecord(self):
        """
        A pair for which there is no room is left out, a shorter one behind it is not.
        """
        pairs = [(f"k{n}", "x" * 250) for n in range(6)] + [("last", "y")]
        data = encodePairs(pairs)
        self.assertTrue(len(data) <= MAX_TEXT)
        self.assertEqual(set(decodePairs(data)), {"k0", "k1", "k2", "k3", "k4", "last"})
