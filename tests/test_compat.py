"""
Tests for L{xmppbytes.compat}.
"""

from types import SimpleNamespace
from unittest import mock

from twisted.python import compat as twistedCompat
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.error import StanzaError

from tests.s5b.proxyworld import interned, stanza
from xmppbytes import compat


class ImportTests(SynchronousTestCase):
    """
    Importing what cannot be imported.
    """

    def test_nothingIsLeftBehind(self) -> None:
        """
        What was lent to Twisted around the import is gone again.
        """
        self.assertFalse(hasattr(object.__getattribute__(twistedCompat, "_module"), "_PY3"))

    def test_olderTwisted(self) -> None:
        """
        Where the name exists it is left alone, whether or not the module is behind a proxy.
        """
        old = SimpleNamespace(_PY3=True)
        with mock.patch.object(compat, "_twistedCompat", old):
            (ping,) = compat._importWokkel("ping")
        self.assertIs(ping, compat.ping)
        self.assertTrue(old._PY3)

    def test_givenBackAfterAFailure(self) -> None:
        """
        Also when there is no such module.
        """
        self.assertRaises(ImportError, compat._importWokkel, "no_such_module")
        self.test_nothingIsLeftBehind()


class AddressTests(SynchronousTestCase):
    """
    wokkel's addresses.
    """

    def test_nothingIsKept(self) -> None:
        """
        A stanza that wokkel parses leaves nothing in Twisted's table.
        """
        before = interned()
        parsed = compat.generic.Stanza.fromElement(stanza("<iq from='Stranger@evil.example/1' to='p/2' />"))
        self.assertEqual((parsed.sender.full(), parsed.recipient.full()), ("stranger@evil.example/1", "p/2"))
        self.assertEqual(interned(), before)

    def test_malformed(self) -> None:
        """
        An address that is none becomes an answer.
        """
        error = self.assertRaises(
            StanzaError, compat.generic.Stanza.fromElement, stanza("<iq from='a@b@c' />")
        )
        self.assertEqual(error.condition, "jid-malformed")
