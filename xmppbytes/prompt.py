"""
Asking yes or no on the terminal, one question after the other.
"""

import os
import sys
from collections import deque
from typing import Any

from twisted.internet import stdio
from twisted.internet.defer import Deferred
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from xmppbytes.errors import Refused


def openPrompt(reactor: Any) -> "Prompt | None":
    """
    Make a prompt on our terminal.

    @param reactor: reads it.
    @return: C{None} when there is no terminal.
    """
    if not sys.stdin.isatty():
        return None
    # Opened anew: what Twisted reads and writes becomes non-blocking, also for whoever shares it.
    name = os.ttyname(sys.stdin.fileno())
    prompt = Prompt()
    connect: Any = stdio.StandardIO
    connect(
        prompt,
        stdin=os.open(name, os.O_RDONLY | os.O_NOCTTY),
        stdout=os.open(name, os.O_WRONLY | os.O_NOCTTY),
        reactor=reactor,
    )
    return prompt


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
            print("(not asked any more)", file=sys.stderr)
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
