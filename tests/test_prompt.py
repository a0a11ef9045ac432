"""
Tests for L{xmppbytes.prompt}.
"""

import io

from twisted.internet.defer import CancelledError
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from xmppbytes import prompt
from xmppbytes.errors import Refused
from xmppbytes.prompt import Prompt


class PromptTests(SynchronousTestCase):
    """
    Questions on a terminal.
    """

    def setUp(self) -> None:
        self.shown = io.StringIO()
        self.patch(prompt.sys, "stderr", self.shown)
        self.prompt = Prompt()
        self.prompt.makeConnection(StringTransport())

    def test_answers(self) -> None:
        """
        Only a clear yes is one.
        """
        for line, expected in (
            (b"y\n", True),
            (b" YES \r\n", True),
            (b"\n", False),
            (b"n\n", False),
            (b"yeah\n", False),
            (b"\xff\n", False),
        ):
            answer = self.prompt.ask("? ")
            self.prompt.dataReceived(line)
            self.assertIs(self.successResultOf(answer), expected)

    def test_oneByOne(self) -> None:
        """
        The next question is shown when the one before was answered.
        """
        first, second = self.prompt.ask("one? "), self.prompt.ask("two? ")
        self.assertEqual(self.shown.getvalue(), "one? ")
        self.prompt.dataReceived(b"y\n")
        self.assertEqual(self.shown.getvalue(), "one? two? ")
        self.assertTrue(self.successResultOf(first))
        self.assertNoResult(second)
        self.prompt.dataReceived(b"n\n")
        self.assertFalse(self.successResultOf(second))

    def test_unasked(self) -> None:
        """
        What is typed without a question answers no later one.
        """
        self.prompt.dataReceived(b"y\n")
        self.assertNoResult(self.prompt.ask("? "))

    def test_withdrawn(self) -> None:
        """
        A question that is taken back makes room for the next; one that was not shown yet just goes.
        """
        first, second, third = (self.prompt.ask(f"{n}? ") for n in range(3))
        second.cancel()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.shown.getvalue(), "0? (not asked any more)\n2? ")
        self.prompt.dataReceived(b"y\n")
        self.assertTrue(self.successResultOf(third))

    def test_lastWithdrawn(self) -> None:
        """
        After the last one nothing is shown.
        """
        question = self.prompt.ask("? ")
        question.cancel()
        self.failureResultOf(question, CancelledError)
        self.assertEqual(self.shown.getvalue(), "? (not asked any more)\n")

    def test_closed(self) -> None:
        """
        Without a terminal there is no yes.
        """
        open_ = self.prompt.ask("? ")
        self.prompt.connectionLost()
        self.failureResultOf(open_, Refused)
        self.failureResultOf(self.prompt.ask("? "), Refused)
