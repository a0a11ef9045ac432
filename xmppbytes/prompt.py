"""
Asking yes or no on the terminal, one question after the other.
"""

import sys
from collections import deque

from twisted.internet.defer import Deferred
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from xmppbytes.errors import Refused


class Prompt(LineOnlyReceiver):
    """
    The terminal's input.
    """

    delimiter = b"\n"

    def __init__(self) -> None:
        self._questions: deque[tuple[str, Deferred[bool]]] = deque()
        self._closed = False

    def ask(self, question: str) -> "Deferred[bool]":
        """
        Ask, when all earlier questions were answered.

        @param question: fit for a terminal.
        @return: fires with whether the answer was yes; fails with L{Refused} when there is nobody to
            answer (any more). May be cancelled.
        """
        answer: Deferred[bool] = Deferred(self._withdraw)
        if self._closed:
            answer.errback(Refused("the terminal is closed"))
            return answer
        self._questions.append((question, answer))
        if len(self._questions) == 1:
            self._show()
        return answer

    def _show(self) -> None:
        print(self._questions[0][0], end="", file=sys.stderr, flush=True)

    def _withdraw(self, answer: "Deferred[bool]") -> None:
        first = self._questions[0][1] is answer
        self._questions = deque(entry for entry in self._questions if entry[1] is not answer)
        if first:
            print("(taken back)", file=sys.stderr)
            self._next()

    def _next(self) -> None:
        if self._questions:
            self._show()

    def lineReceived(self, line: bytes) -> None:
        """
        See L{LineOnlyReceiver}: an answer, or somebody hit the Enter key.
        """
        if not self._questions:
            return
        _, answer = self._questions.popleft()
        answer.callback(line.strip().lower() in (b"y", b"yes"))
        self._next()

    def connectionLost(self, reason: Failure | None = None) -> None:  # type: ignore[override]
        """
        See L{LineOnlyReceiver}: the terminal is closed.
        """
        self._closed = True
        questions, self._questions = self._questions, deque()
        for _, answer in questions:
            answer.errback(Refused("the terminal is closed"))
