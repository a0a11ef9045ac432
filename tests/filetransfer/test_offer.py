"""
Tests for L{xmppbytes.filetransfer.offer}.
"""

from datetime import UTC, datetime

from twisted.trial.unittest import SynchronousTestCase

from xmppbytes.filetransfer.offer import FileOffer, Range, readDate, readMD5, readSize, writeDate


class ReadingTests(SynchronousTestCase):
    """
    Attributes of strangers.
    """

    def test_size(self) -> None:
        """
        A size is a number of at most 63 bits; more than 4 GiB is nothing special.
        """
        self.assertEqual(readSize("0"), 0)
        self.assertEqual(readSize(" 5368709120 "), 5 << 30)
        self.assertEqual(readSize(str(2**63 - 1)), 2**63 - 1)
        for text in (None, "", "-1", "1.5", "0x10", "²", str(2**63), "9" * 100):
            self.assertIsNone(readSize(text), text)

    def test_md5(self) -> None:
        """
        A hash is 32 hexadecimal digits, in either case.
        """
        self.assertEqual(readMD5("552DA749930852C69AE5D2141D3766B1"), "552da749930852c69ae5d2141d3766b1")
        for text in (None, "", "552da749", "g" * 32, "5" * 33):
            self.assertIsNone(readMD5(text), text)

    def test_dates(self) -> None:
        """
        Dates are understood as the clients write them.
        """
        moment = datetime(1969, 7, 21, 2, 56, 15, tzinfo=UTC)
        for text in (
            "1969-07-21T02:56:15Z",
            "1969-07-21T02:56:15",
            "1969-07-20T21:56:15-05:00",
            "1969-07-21T02:56:15+00:00Z",
            "19690721T02:56:15",
        ):
            self.assertEqual(readDate(text), moment, text)
        self.assertEqual(readDate("2026-11-20T09:20:57.454Z"), datetime(2026, 11, 20, 9, 20, 57, 454000, UTC))

    def test_noDates(self) -> None:
        """
        What is no date is none, and no reason to fail.
        """
        for text in (None, "", "yesterday", "0000-00-00T00:00:00Z", "0001-01-01T00:00:00+23:59"):
            self.assertIsNone(readDate(text), text)

    def test_writeDate(self) -> None:
        """
        A date is written in UTC.
        """
        self.assertEqual(writeDate(datetime(1969, 7, 21, 2, 56, 15, tzinfo=UTC)), "1969-07-21T02:56:15Z")


class RangeTests(SynchronousTestCase):
    """
    The part of a file that is wanted: the examples of XEP-0096 section 4.
    """

    def test_within(self) -> None:
        """
        Without a length it goes up to the end.
        """
        self.assertEqual(Range(0, 256).within(1000), Range(0, 256))
        self.assertEqual(Range(128, 256).within(1000), Range(128, 256))
        self.assertEqual(Range(128).within(1000), Range(128, 872))
        self.assertEqual(Range(1000).within(1000), Range(1000, 0))

    def test_outside(self) -> None:
        """
        What lies outside the file cannot be sent.
        """
        for wanted in (Range(1001), Range(0, 1001), Range(999, 2), Range(-1)):
            self.assertRaises(ValueError, wanted.within, 1000)


class FileOfferTests(SynchronousTestCase):
    """
    What can be done with an offer.
    """

    def test_resumable(self) -> None:
        """
        Only what can begin anywhere and be verified can be continued.
        """
        md5 = "0" * 32
        self.assertTrue(FileOffer(name="a", size=1, md5=md5, ranged=True).resumable)
        self.assertFalse(FileOffer(name="a", size=1, ranged=True).resumable)
        self.assertFalse(FileOffer(name="a", size=1, md5=md5).resumable)
