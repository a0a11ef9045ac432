"""
Tests for L{xmppbytes.wire.dtcp}.
"""

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from xmppbytes.errors import WireError
from xmppbytes.wire.dtcp import ERROR, KEY, MAX_LINE, OK, STARTTLS, Line, LineParser, ServerParser
from xmppbytes.wire.dtcprelay import Request, Verb

# Every listing of XEP-0046 section 3.3, and what libpsi of 2002 says.
VECTORS = [
    (b"starttls\n", Line(STARTTLS)),
    (b"ok\n", Line(OK)),
    (b"error\n", Line(ERROR)),
    (b"key:a1b2c3d4\n", Line(KEY, b"a1b2c3d4")),
    (b"ok:c7b5ea3f\n", Line(OK, b"c7b5ea3f")),
    (b"key:dtcp_0123456789abcdef\n", Line(KEY, b"dtcp_0123456789abcdef")),
    (b"error:bad input\n", Line(ERROR, b"bad input")),
    (b"error:no such key or key active\n", Line(ERROR, b"no such key or key active")),
    (b"key:a:b\n", Line(KEY, b"a:b")),
    (b"key:\n", Line(KEY, b"")),
    (b"\n", Line(b"")),
    (b":x\n", Line(b"", b"x")),
    (b"ok\r\n", Line(b"ok\r")),
    (b"\xff\x00\n", Line(b"\xff\x00")),
]

CONNECT = Request(Verb.CONNECT, b"k", "romeo@montague.example/orchard", "juliet@capulet.example/balcony")

words = st.binary(max_size=40).filter(lambda word: not {10, 58} & set(word))
arguments = st.none() | st.binary(max_size=60).filter(lambda argument: b"\n" not in argument)
lines = st.builds(Line, words, arguments)


def parseAll(parser: Any, pieces: list[bytes]) -> list[Any]:
    """
    Feed pieces, and take every line as soon as it is there.
    """
    events = []
    for piece in pieces:
        found = list(parser.feed(piece))
        while found:
            events += found
            parser.proceed()
            found = list(parser.feed(b""))
    return events


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """
    Cut bytes into pieces.
    """
    places = [0, *sorted(place % (len(data) + 1) for place in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(places)]


class LineTests(TestCase):
    """
    Writing and reading lines.
    """

    def test_listings(self) -> None:
        """
        Each listing is read, whole and byte by byte, and written as it was.
        """
        for wire, line in VECTORS:
            self.assertEqual(parseAll(LineParser(), [wire]), [line])
            self.assertEqual(parseAll(LineParser(), [wire[n : n + 1] for n in range(len(wire))]), [line])
            self.assertEqual(line.toBytes(), wire)

    def test_unwritable(self) -> None:
        """
        What would be read as something else is not written.
        """
        for line in (Line(b"a\nb"), Line(KEY, b"a\n"), Line(b"a:b"), Line(b"a:b", b"c")):
            self.assertRaises(ValueError, line.toBytes)
        self.assertRaises(ValueError, Line(b"x" * (MAX_LINE + 1)).toBytes)

    @given(st.lists(lines, max_size=4), st.lists(st.integers(0, 400), max_size=8))
    def test_anySplit(self, sent: list[Line], cuts: list[int]) -> None:
        """
        However lines are cut, the same lines are read.
        """
        wire = b"".join(line.toBytes() for line in sent)
        self.assertEqual(parseAll(LineParser(), cut(wire, cuts)), sent)


class LineParserTests(TestCase):
    """
    What is not a matter of one line.
    """

    def test_oneAtATime(self) -> None:
        """
        A line is given out alone; the next only after the parser was told to proceed.
        """
        parser = LineParser()
        self.assertEqual(parser.feed(b"starttls\nkey:a\n"), [Line(STARTTLS)])
        self.assertEqual(parser.feed(b""), [])
        parser.proceed()
        self.assertEqual(parser.feed(b""), [Line(KEY, b"a")])

    def test_rest(self) -> None:
        """
        What follows a line, and arrives later, is kept as it is.
        """
        parser = LineParser()
        parser.feed(b"ok:k\nPK\x03\x04\n")
        parser.feed(b"more\n")
        self.assertEqual(parser.rest(), b"PK\x03\x04\nmore\n")
        self.assertEqual(parser.rest(), b"")

    def test_received(self) -> None:
        """
        A parser can begin with what has arrived before.
        """
        self.assertEqual(LineParser(b"ok\nx").feed(b""), [Line(OK)])

    def test_longest(self) -> None:
        """
        A line of the greatest length is read; one byte more is refused, with or without its end.
        """
        longest = b"x" * MAX_LINE
        self.assertEqual(LineParser().feed(longest + b"\n"), [Line(longest)])
        self.assertEqual(LineParser().feed(longest), [])
        self.assertRaises(WireError, LineParser().feed, longest + b"x")
        self.assertRaises(WireError, LineParser().feed, longest + b"x\n")

    @given(st.lists(st.binary(max_size=300), max_size=8))
    def test_anything(self, pieces: list[bytes]) -> None:
        """
        Any bytes are lines or refused, never anything else.
        """
        try:
            parseAll(LineParser(), pieces)
        except WireError:
            pass


class ServerParserTests(TestCase):
    """
    Lines with or without a CONNECT before them.
    """

    def test_onlyLines(self) -> None:
        """
        Lines are read as by the other parser, also those that begin like CONNECT.
        """
        for wire in (b"starttls\nkey:a\n", b"CONNECT\nkey:a\n", b"CON\nC\n", b"\nCONNECT:\n"):
            expected = parseAll(LineParser(), [wire])
            self.assertEqual(len(expected), 2)
            self.assertEqual(parseAll(ServerParser(), [wire]), expected)
            pieces = [wire[n : n + 1] for n in range(len(wire))]
            self.assertEqual(parseAll(ServerParser(), pieces), expected)

    def test_connect(self) -> None:
        """
        CONNECT is understood before the lines, whole and byte by byte.
        """
        wire = CONNECT.toBytes() + b"key:a\n"
        expected = [CONNECT, Line(KEY, b"a")]
        self.assertEqual(parseAll(ServerParser(), [wire]), expected)
        pieces = [wire[n : n + 1] for n in range(len(wire))]
        self.assertEqual(parseAll(ServerParser(), pieces), expected)

    def test_connectOnlyFirst(self) -> None:
        """
        Behind a line, CONNECT is no request any more.
        """
        events = parseAll(ServerParser(), [b"x\n" + CONNECT.toBytes() + b"\n"])
        self.assertEqual([type(event) for event in events], [Line, Line])

    def test_rest(self) -> None:
        """
        What was not parsed is kept, whatever came before it.
        """
        for wire, rest in (
            (b"CONN", b"CONN"),
            (b"", b""),
            (b"key:a\nDATA", b"DATA"),
            (CONNECT.toBytes() + b"DATA", b"DATA"),
        ):
            parser = ServerParser()
            parser.feed(wire)
            self.assertEqual(parser.rest(), rest)

    def test_proceedBeforeAnything(self) -> None:
        """
        To proceed with nothing read changes nothing.
        """
        parser = ServerParser()
        parser.proceed()
        self.assertEqual(list(parser.feed(b"ok\n")), [Line(OK)])

    def test_wrongConnect(self) -> None:
        """
        A CONNECT that breaks its form is refused.
        """
        self.assertRaises(WireError, ServerParser().feed, b"CONNECT\0\0a\0b\0")

    @given(st.lists(lines, max_size=3), st.booleans(), st.lists(st.integers(0, 400), max_size=8))
    def test_anySplit(self, sent: list[Line], opening: bool, cuts: list[int]) -> None:
        """
        However the bytes are cut, the same events are read.
        """
        events: list[Any] = [CONNECT, *sent] if opening else [*sent]
        wire = b"".join(event.toBytes() for event in events)
        self.assertEqual(parseAll(ServerParser(), cut(wire, cuts)), parseAll(ServerParser(), [wire]))
        if opening or not wire.startswith(b"CONNECT\0"):
            self.assertEqual(parseAll(ServerParser(), [wire]), events)
