"""
The messages between a service and its workers.
"""

from twisted.trial.unittest import SynchronousTestCase

from xmppbytes.core.worker import MAX_MESSAGE, Kind, decode, encode


class MessageTests(SynchronousTestCase):
    """
    Encoding and decoding.
    """

    def test_roundTrip(self) -> None:
        """
        What was encoded is decoded.
        """
        for message in (
            (Kind.LINK, 0, None, (b"", b"")),
            (Kind.LINK, 32767, 1 << 40, (b"first", b"")),
            (Kind.LINK, 7, 1, (b"", bytes(4096))),
            (Kind.RATE, 7, None, (b"", b"")),
            (Kind.ABORT, 1, None, (b"", b"")),
            (Kind.FINISHED, 1, None, (b"", b"")),
        ):
            self.assertEqual(decode(encode(*message)), message)

    def test_largestFits(self) -> None:
        """
        The largest message there is fits into one read.
        """
        self.assertLess(len(encode(Kind.LINK, 1, 1, (bytes(4096), bytes(4096)))), MAX_MESSAGE)
