"""
Tests for L{xmppbytes.accounttrouble}.
"""

import errno

from twisted.internet import error
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.error import StanzaError, StreamError

from xmppbytes.accounttrouble import explain


class ExplainTests(SynchronousTestCase):
    """
    Each trouble in one line: what, why, and what to do.
    """

    def explain(self, trouble: Exception, where: str = "xmpp.example.org:5222") -> str:
        return explain(where, "alice@example.org", "example.org", trouble)

    def test_connecting(self) -> None:
        """
        Why a server cannot be connected to is said in words, without numbers.
        """
        for trouble, why in (
            (error.ConnectionRefusedError("x"), "nothing listens there"),
            (error.TimeoutError(), "no answer"),
            (error.NoRouteError(osError=errno.EHOSTUNREACH), "No route to host"),
            (error.ConnectError(string="odd."), "An error occurred while connecting: odd"),
        ):
            self.assertEqual(
                self.explain(trouble),
                f"cannot connect to xmpp.example.org:5222 ({why}); is the server running there?",
            )

    def test_noAddress(self) -> None:
        """
        A server without an address comes from the JID, or from --server.
        """
        trouble = error.DNSLookupError()
        self.assertIn("; check --server", self.explain(trouble))
        self.assertIn("; check the JID, or give --server", self.explain(trouble, "example.org"))

    def test_refused(self) -> None:
        """
        What a server refuses is followed by advice.
        """
        for trouble, advice in (
            (StreamError("host-unknown"), "check the domain of the JID, and --server"),
            (StanzaError("conflict"), "give another one, or none"),
            (StreamError("internal-server-error"), "try again later"),
        ):
            text = self.explain(trouble)
            self.assertIn(f"refuses the connection: {trouble.condition} (no text); ", text)
            self.assertIn(advice, text)
