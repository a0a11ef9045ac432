"""
Tests for L{xmppbytes.wire.dtcprelay}.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from xmppbytes.errors import WireError
from xmppbytes.wire.dtcprelay import (
    MAX_KEY,
    MAX_REQUEST,
    Answer,
    AnswerParser,
    Request,
    RequestParser,
    Verb,
)

INITIATOR = "romeo@montague.example/orchard"
TARGET = "juliet@capulet.example/balcony"

# The listings of the proposal.
VECTORS = [
    (b"CONNECT\0k3y\0romeo@montague.example/orchard\0juliet@capulet.example/balcony\0", Verb.CONNECT),
    (b"CREATE\0k3y\0romeo@montague.example/orchard\0juliet@capulet.example/balcony\0", Verb.CREATE),
]

fields = st.text(min_size=1, max_size=60).filter(lambda text: "\0" not in text and _encodable(text))
keys = st.binary(min_size=1, max_size=MAX_KEY).filter(lambda key: 0 not in key)
requests = st.builds(Request, st.sampled_from(Verb), keys, fields, fields)


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


class RequestTests(TestCase):
    """
    CREATE and CONNECT.
    """

    def test_listings(self) -> None:
        """
        Each listing is read, whole and byte by byte, and written as it was.
        """
        for wire, verb in VECTORS:
            request = Request(verb, b"k3y", INITIATOR, TARGET)
            self.assertEqual(RequestParser().feed(wire), [request])
            parser = RequestParser()
            pieces = [parser.feed(wire[n : n + 1]) for n in range(len(wire))]
            self.assertEqual(pieces, [[]] * (len(wire) - 1) + [[request]])
            self.assertEqual(request.toBytes(), wire)

    @given(requests, st.binary(max_size=30), st.integers(0, 300))
    def test_anySplit(self, request: Request, behind: bytes, place: int) -> None:
        """
        However a request is cut, it is read once, and what follows is kept.
        """
        wire = request.toBytes() + behind
        parser = RequestParser()
        self.assertEqual(parser.feed(wire[:place]) + parser.feed(wire[place:]), [request])
        self.assertEqual(parser.rest(), behind)

    def test_onlyOne(self) -> None:
        """
        A second request is not read: it belongs to the bytestream.
        """
        parser = RequestParser()
        parser.feed(VECTORS[0][0])
        self.assertEqual(parser.feed(VECTORS[0][0]), [])
        self.assertEqual(parser.rest(), VECTORS[0][0])

    def test_wrong(self) -> None:
        """
        Everything else is refused as soon as it is certain.
        """
        for wire in (
            b"LISTEN\0",
            b"GET / HTTP/1.1\r\n",
            b"\0",
            b"\x05\x01\x00\0",
            b"CREATE\0\0",
            b"CREATE\0k\0\0",
            b"CREATE\0k\0a\0\0",
            b"CREATE\0k\0\xff\0b\0",
            b"CREATE\0k\0a\0\xff\0",
            b"CREATE\0" + b"k" * (MAX_KEY + 1),
        ):
            self.assertRaises(WireError, RequestParser().feed, wire)

    def test_longest(self) -> None:
        """
        A request of the greatest length is read; one byte more is refused.
        """
        room = MAX_REQUEST - len(b"CREATE\0k\0a\0\0")
        longest = Request(Verb.CREATE, b"k", "a", "b" * room)
        wire = longest.toBytes()
        self.assertEqual(len(wire), MAX_REQUEST)
        self.assertEqual(RequestParser().feed(wire), [longest])
        self.assertRaises(WireError, RequestParser().feed, wire[:-1] + b"b")
        self.assertRaises(ValueError, Request(Verb.CREATE, b"k", "a", "b" * (room + 1)).toBytes)

    def test_longestKey(self) -> None:
        """
        A key of 128 bytes is read.
        """
        request = Request(Verb.CONNECT, b"k" * MAX_KEY, INITIATOR, TARGET)
        self.assertEqual(RequestParser().feed(request.toBytes()), [request])

    def test_firstFieldFillsEverything(self) -> None:
        """
        The limit is one for the whole request.
        """
        wire = b"CREATE\0k\0" + b"a" * (MAX_REQUEST - 10) + b"\0"
        self.assertRaises(WireError, RequestParser().feed, wire + b"b")

    def test_unwritable(self) -> None:
        """
        What would be read as something else is not written.
        """
        for key, initiator, target in (
            (b"", "a", "b"),
            (b"k", "", "b"),
            (b"k", "a", ""),
            (b"k\0", "a", "b"),
            (b"k", "a\0", "b"),
            (b"k" * (MAX_KEY + 1), "a", "b"),
        ):
            self.assertRaises(ValueError, Request(Verb.CREATE, key, initiator, target).toBytes)

    @given(st.lists(st.binary(max_size=300), max_size=8))
    def test_anything(self, pieces: list[bytes]) -> None:
        """
        Any bytes are a request or refused, never anything else.
        """
        parser = RequestParser()
        try:
            for piece in pieces:
                parser.feed(piece)
        except WireError:
            pass


class AnswerTests(TestCase):
    """
    OK and ERROR.
    """

    def test_answers(self) -> None:
        """
        Both answers are read, whole and byte by byte, and what follows is kept.
        """
        for answer, wire in ((Answer.OK, b"OK\0"), (Answer.ERROR, b"ERROR\0")):
            self.assertEqual(answer.toBytes(), wire)
            parser = AnswerParser()
            self.assertEqual(parser.feed(wire + b"key:a\n"), [answer])
            self.assertEqual(parser.feed(b"more"), [])
            self.assertEqual(parser.rest(), b"key:a\nmore")
            parser = AnswerParser()
            pieces = [parser.feed(wire[n : n + 1]) for n in range(len(wire))]
            self.assertEqual(pieces, [[]] * (len(wire) - 1) + [[answer]])

    def test_wrong(self) -> None:
        """
        Everything else is refused.
        """
        for wire in (b"ok\0", b"\0", b"OK\n\0", b"HTTP/1.1 400", b"ERRORS"):
            self.assertRaises(WireError, AnswerParser().feed, wire)
