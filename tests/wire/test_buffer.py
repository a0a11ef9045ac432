"""
Tests for L{xmppbytes.wire.buffer}.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from xmppbytes.errors import WireError
from xmppbytes.wire.buffer import ReceiveBuffer


def filled(*pieces: bytes) -> ReceiveBuffer:
    """
    A buffer into which these pieces have come.
    """
    buffer = ReceiveBuffer()
    for piece in pieces:
        buffer.append(piece)
    return buffer


class TakeTests(SynchronousTestCase):
    """
    Pieces of a known length.
    """

    def test_wholeOrNothing(self) -> None:
        """
        While there are too few bytes none is taken.
        """
        buffer = filled(b"ab")
        self.assertIsNone(buffer.take(3))
        buffer.append(b"cd")
        self.assertEqual(buffer.take(3), b"abc")
        self.assertEqual((len(buffer.data), buffer.data[0]), (1, ord("d")))

    def test_nothingIsAPiece(self) -> None:
        """
        A piece of no bytes is always there.
        """
        self.assertEqual(filled().take(0), b"")

    def test_rest(self) -> None:
        """
        The rest is taken once.
        """
        buffer = filled(b"a", b"b")
        self.assertEqual((buffer.rest(), buffer.rest()), (b"ab", b""))


class TakeUntilTests(SynchronousTestCase):
    """
    Pieces that end with a delimiter.
    """

    def test_delimiterIsTakenAway(self) -> None:
        """
        The delimiter belongs to no piece.
        """
        buffer = filled(b"one\r\ntwo\r\n")
        self.assertEqual(buffer.takeUntil(b"\r\n", 10), b"one")
        self.assertEqual(buffer.takeUntil(b"\r\n", 10), b"two")
        self.assertIsNone(buffer.takeUntil(b"\r\n", 10))

    def test_splitDelimiter(self) -> None:
        """
        A delimiter may arrive in two pieces.
        """
        buffer = filled(b"one\r")
        self.assertIsNone(buffer.takeUntil(b"\r\n", 10))
        buffer.append(b"\n")
        self.assertEqual(buffer.takeUntil(b"\r\n", 10), b"one")

    def test_exactlyTheMaximum(self) -> None:
        """
        A piece may be as long as the maximum.
        """
        self.assertEqual(filled(b"12345\r\n").takeUntil(b"\r\n", 5), b"12345")

    def test_tooLong(self) -> None:
        """
        One byte more is an error, though its delimiter is there.
        """
        self.assertRaises(WireError, filled(b"123456\r\n").takeUntil, b"\r\n", 5)

    def test_cannotBecomeShortEnough(self) -> None:
        """
        It is an error as soon as no delimiter can come in time, and not before.
        """
        self.assertIsNone(filled(b"12345\r").takeUntil(b"\r\n", 5))
        self.assertRaises(WireError, filled(b"12345\rx").takeUntil, b"\r\n", 5)

    @given(st.binary(max_size=40), st.integers(0, 20), st.data())
    def test_anySplit(self, text: bytes, maximum: int, data: st.DataObject) -> None:
        """
        In how many pieces the bytes come makes no difference to what is taken in the end.
        """
        cut = data.draw(st.integers(0, len(text)))
        outcomes = []
        for pieces in ([text], [text[:cut], text[cut:]]):
            buffer, taken = ReceiveBuffer(), []
            try:
                for piece in pieces:
                    buffer.append(piece)
                    while (found := buffer.takeUntil(b"\0\1", maximum)) is not None:
                        taken.append(found)
                outcomes.append((taken, buffer.rest()))
            except WireError:
                outcomes.append((taken, None))
        self.assertEqual(outcomes[0], outcomes[1])
