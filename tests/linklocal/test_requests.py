"""
Tests for L{xmppbytes.linklocal.requests}.
"""

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish.domish import Element

from xmppbytes.linklocal.requests import PendingRequests

JULIET = "juliet@pronto"


class ErrorTests(TestCase):
    """
    Errors that a peer answers with.
    """

    def ask(self, code=None, condition=None):
        clock = Clock()
        requests = PendingRequests(clock)
        answer = requests.add("1", JULIET, 30)
        iq = Element(("jabber:client", "iq"))
        iq["type"], iq["id"] = "error", "1"
        error = iq.addElement("error")
        if code is not None:
            error["code"] = code
        if condition is not None:
            error.addElement(("urn:ietf:params:xml:ns:xmpp-stanzas", condition))
        requests.answered(JULIET, iq)
        self.assertEqual(clock.getDelayedCalls(), [])
        return self.failureResultOf(answer, StanzaError).value.condition

    def test_codes(self):
        """
        A numeric code that stands for nothing is an error like any other, and ends the request.
        """
        self.assertEqual(self.ask(code="404"), "item-not-found")
        for code in ("999", "", "x"):
            self.assertIn(self.ask(code=code), ("undefined-condition", None))

    def test_conditions(self):
        """
        So is a condition of which nobody has heard.
        """
        self.assertEqual(self.ask(condition="forbidden"), "forbidden")
        self.assertEqual(self.ask(condition="bogus"), "bogus")
