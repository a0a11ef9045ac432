"""
Tests for L{xmppbytes.xmlparser}.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.xish.domish import Element

from xmppbytes.xmlparser import (
    MAX_DEPTH,
    MAX_ELEMENTS,
    MAX_SERVER_ELEMENTS,
    MAX_SERVER_STANZA,
    MAX_STANZA,
    ServerStreamParser,
    StreamBroken,
    StreamParser,
)


class StreamParserTests(SynchronousTestCase):
    """
    A stranger's stream.
    """

    def setUp(self) -> None:
        self.seen: list[str] = []
        self.parser = StreamParser(
            lambda root: self.seen.append(root.name),
            lambda element: self.seen.append(element.name),
            lambda: self.seen.append("end"),
        )

    def refuse(self, data: bytes, condition: str) -> None:
        error = self.assertRaises(StreamBroken, self.parser.feed, b"<s>" + data)
        self.assertEqual(error.condition, condition)

    def test_stream(self) -> None:
        """
        Root, elements, end.
        """
        self.parser.feed(b"<s><a/><b>")
        self.parser.feed(b"</b></s>")
        self.assertEqual(self.seen, ["s", "a", "b", "end"])

    def test_restricted(self) -> None:
        """
        Comments are refused.
        """
        self.refuse(b"<!-- x -->", "restricted-xml")

    def test_processingInstruction(self) -> None:
        """
        So are processing instructions.
        """
        self.refuse(b"<?x y?>", "restricted-xml")

    def test_doctype(self) -> None:
        """
        So are document types, and the entities that they would define.
        """
        bomb = b"<!DOCTYPE s [<!ENTITY a 'aaaaaaaa'>]><s>&a;</s>"
        self.assertRaises(StreamBroken, self.parser.feed, bomb)

    def test_big(self) -> None:
        """
        A stanza that is too big is refused before it is whole.
        """
        self.refuse(b"<a>" + b"x" * MAX_STANZA, "policy-violation")

    def test_many(self) -> None:
        """
        So is one of too many elements.
        """
        self.refuse(b"<a>" + b"<b/>" * (MAX_ELEMENTS + 1), "policy-violation")

    def test_deep(self) -> None:
        """
        So is one that is nested too deep.
        """
        self.refuse(b"<a>" * (MAX_DEPTH + 1), "policy-violation")

    def test_mute(self) -> None:
        """
        A muted parser tells nothing of the rest of the piece.
        """
        self.parser.ElementEvent = lambda element: self.parser.mute()
        self.parser.feed(b"<s><a/><b/></s>")
        self.assertEqual(self.seen, ["s"])

    def test_notWellFormed(self) -> None:
        """
        What is no XML at all is told apart from what is too much.
        """
        self.refuse(b"<a></b>", "not-well-formed")

    def test_endlessAttribute(self) -> None:
        """
        A tag that does not end is too big as well, though no element has begun.
        """
        self.parser.feed(b"<s>")
        self.parser.feed(b"<a b='")
        with self.assertRaises(StreamBroken):
            for _ in range(MAX_STANZA // 4096 + 1):
                self.parser.feed(b"x" * 4096)

    def test_countedForEachStanza(self) -> None:
        """
        A stream may be as long as it likes: the limits are those of one stanza.
        """
        self.parser.feed(b"<s>")
        for _ in range(3):
            self.parser.feed(b"<a>" + b"x" * (MAX_STANZA // 2) + b"</a>")
            self.parser.feed(b"<a>" + b"<b/>" * (MAX_ELEMENTS - 2) + b"</a>")
        self.assertEqual(self.seen, ["s"] + 6 * ["a"])


class ServerStreamParserTests(SynchronousTestCase):
    """
    The stream of a server.
    """

    def setUp(self) -> None:
        self.stanzas: list[Element] = []
        self.parser = ServerStreamParser(lambda root: None, self.stanzas.append, lambda: None)
        self.parser.feed(b"<s>")

    def test_deepIsLeftOut(self) -> None:
        """
        What strangers nest too deep is left out, with its text, and the stream goes on.
        """
        deep = b"<a>text" * 5000 + b"</a>" * 5000
        self.parser.feed(b"<iq>" + deep + b"<b>kept</b></iq><iq/>")
        first, second = self.stanzas
        self.assertEqual(first.toXml().count("<a>"), MAX_DEPTH - 2)
        self.assertEqual(first.toXml().count("text"), MAX_DEPTH - 2)
        self.assertIn("<b>kept</b>", first.toXml())
        self.assertEqual(second.toXml(), "<iq/>")

    def test_manyAreLeftOut(self) -> None:
        """
        What is too many is left out; the next stanza is whole again.
        """
        self.parser.feed(b"<iq>" + b"<a/>" * (2 * MAX_SERVER_ELEMENTS) + b"</iq><iq><a/></iq>")
        first, second = self.stanzas
        self.assertLessEqual(len(first.children), MAX_SERVER_ELEMENTS)
        self.assertGreater(len(first.children), MAX_SERVER_ELEMENTS - 3)
        self.assertEqual(second.toXml(), "<iq><a/></iq>")

    def test_prefixesAreLeftOut(self) -> None:
        """
        What is left out declares nothing for what comes after it.
        """
        self.parser.feed(b"<iq>" + b"<a>" * 70 + b"<x:a xmlns:x='urn:x'/>" + b"</a>" * 70 + b"</iq><iq/>")
        self.assertEqual(self.stanzas[1].toXml(), "<iq/>")

    def test_textInFewPieces(self) -> None:
        """
        Text of many entities and lines is put together before it is put behind what is there, which copies
        it all.
        """
        pieces: list[str] = []
        self.parser._onCdata = pieces.append
        self.parser.parser.CharacterDataHandler = self.parser._onCdata
        self.parser.feed(b"<iq>" + b"&quot;\n" * 60000 + b"</iq>")
        self.assertEqual("".join(pieces), '"\n' * 60000)
        self.assertLess(len(pieces), 5)

    def test_largest(self) -> None:
        """
        A stanza of 512 KiB of quotation marks, each written as an entity, is taken; more than the maximum
        ends the stream.
        """
        self.parser.feed(b"<iq>" + b"&quot;" * (512 * 1024) + b"</iq>")
        self.assertEqual(len(str(self.stanzas[0])), 512 * 1024)
        with self.assertRaises(StreamBroken) as raised:
            self.parser.feed(b"<iq>" + b"x" * MAX_SERVER_STANZA)
        self.assertEqual(raised.exception.condition, "policy-violation")
        self.assertIn("4096 KiB", str(raised.exception))

    @given(st.lists(st.integers(0, 2), max_size=30), st.integers(1, 40))
    def test_anySplit(self, shape: list[int], size: int) -> None:
        """
        However it is cut, the same stanzas come out.
        """
        parts = [b"<a/>", b"<iq>" + b"<b>" * 80 + b"x" + b"</b>" * 80 + b"y</iq>", b" "]
        data = b"<s>" + b"".join(parts[each] for each in shape)
        whole: list[str] = []
        pieces: list[str] = []
        for found, step in ((whole, len(data)), (pieces, size)):
            parser = ServerStreamParser(
                lambda root: None, lambda e, found=found: found.append(e.toXml()), lambda: None
            )
            for start in range(0, len(data), step):
                parser.feed(data[start : start + step])
        self.assertEqual(whole, pieces)
        self.assertEqual(len(whole), len([each for each in shape if each < 2]))
