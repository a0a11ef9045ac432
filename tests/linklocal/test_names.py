"""
Tests for L{xmppbytes.linklocal.names}.
"""

from itertools import islice

from twisted.trial.unittest import TestCase

from xmppbytes.errors import ConfigurationError
from xmppbytes.linklocal.names import (
    SERVICE,
    foldText,
    hostName,
    instanceName,
    presenceName,
    presenceNames,
)


class NamesTests(TestCase):
    """
    Presence names and the DNS names made of them.
    """

    def test_roundTrip(self):
        """
        Dots, spaces and any letters survive.
        """
        for name in ("first.last@host", "juliet 1@pronto", "\u00e9\u2603@pronto", "x\\40y.z@pronto"):
            self.assertEqual(presenceName(instanceName(name)), name)

    def test_otherNames(self):
        """
        What is no service instance, not UTF-8 or has control characters is no presence name.
        """
        for name in (SERVICE, (b"a", b"b", *SERVICE), (b"a", b"_ipp", b"_tcp", b"local")):
            self.assertIs(presenceName(name), None)
        for label in (b"\xff", b"a\nb", b"a\x1bb", "a\u2028b".encode(), "a\u202eb".encode()):
            self.assertIs(presenceName((label, *SERVICE)), None)
        self.assertIs(presenceName(("jul\u200biet@pronto".encode(), *SERVICE)), None)
        joined = "\u0645\u06cc\u200c\u062e@pronto"
        self.assertEqual(presenceName((joined.encode(), *SERVICE)), joined)

    def test_comparedWithoutCase(self):
        """
        ASCII letters are compared without case, others with it.
        """
        self.assertEqual(foldText("Rom\u00c9o@Forza"), "rom\u00c9o@forza")

    def test_conflicts(self):
        """
        Digits are added to the user (XEP-0174 0.9), or with a dash (2.0.1).
        """
        self.assertEqual(
            list(islice(presenceNames("juliet", "pronto"), 3)),
            ["juliet@pronto", "juliet1@pronto", "juliet2@pronto"],
        )
        self.assertEqual(next(islice(presenceNames("juliet", "pronto", "-"), 1, 2)), "juliet-1@pronto")

    def test_longNames(self):
        """
        A long user is cut at the end of a character, so that the digits still fit.
        """
        first, second = islice(presenceNames("\u00e9" * 50, "pronto"), 2)
        self.assertEqual(first, "\u00e9" * 28 + "@pronto")
        self.assertEqual(second, "\u00e9" * 27 + "1@pronto")

    def test_unfit(self):
        """
        Names that break other clients are refused with a reason.
        """
        for user, machine in (
            ("a&b", "m"),
            ("a<b", "m"),
            ('a"b', "m"),
            ("", "m"),
            ("a\n", "m"),
            ("a", "m\u00e9"),
            ("a", "m@n"),
            ("a", "m" * 48),
        ):
            self.assertRaises(ConfigurationError, presenceNames, user, machine)

    def test_hostName(self):
        """
        The host name is an ASCII label of our own that fits.
        """
        self.assertEqual(hostName("my forza", "00ff00"), (b"my-forza-xb-00ff00", b"local"))
        self.assertEqual(hostName("---", "00ff00"), (b"host-xb-00ff00", b"local"))
        self.assertEqual(len(hostName("m" * 80, "00ff00")[0]), 63)
