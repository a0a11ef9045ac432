"""
Requests of ours that wait for their answers.
"""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.words.protocols.jabber.error import StanzaError, exceptionFromStanza
from twisted.words.protocols.jabber.xmlstream import TimeoutError as RequestTimeout
from twisted.words.xish.domish import Element

from xmppbytes.linklocal.names import foldText

# How many may wait.
MAX_REQUESTS = 1000


class NotAnswered(ConnectionLost):
    """
    A request will have no answer.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self._reason = reason

    def __str__(self) -> str:
        return self._reason


def _errorOf(iq: Element) -> StanzaError:
    try:
        error: StanzaError = exceptionFromStanza(iq)
    except KeyError:
        # Without a condition the old numeric code is looked up, which may be any text.
        return StanzaError("undefined-condition")
    return error


class PendingRequests:
    """
    What was asked of whom. Only who was asked can answer.
    """

    def __init__(self, clock: IReactorTime) -> None:
        """
        @param clock: the reactor, or a L{twisted.internet.task.Clock}.
        """
        self._clock = clock
        self._waiting: dict[str, tuple[Deferred[Element], str, IDelayedCall]] = {}

    def add(self, identifier: str, name: str, timeout: float) -> "Deferred[Element]":
        """
        Wait for the answer to a request.

        @param identifier: its id.
        @param name: who is asked.
        @param timeout: in seconds.
        @return: fires with the answer; fails with L{StanzaError}, L{RequestTimeout} or L{NotAnswered}.
            May be cancelled.
        @raise NotAnswered: when it cannot be waited for.
        """
        if identifier in self._waiting or len(self._waiting) >= MAX_REQUESTS:
            raise NotAnswered("a request of this id waits already, or too many do; try again later")
        answer: Deferred[Element] = Deferred()
        timer = self._clock.callLater(timeout, self._tooLate, identifier, timeout)
        self._waiting[identifier] = (answer, foldText(name), timer)
        return answer.addBoth(self._forget, identifier)

    def _forget(self, result: Any, identifier: str) -> Any:
        _, _, timer = self._waiting.pop(identifier)
        if timer.active():
            timer.cancel()
        return result

    def _tooLate(self, identifier: str, timeout: float) -> None:
        self._waiting[identifier][0].errback(RequestTimeout(f"no answer within {timeout:g} s"))

    def answered(self, name: str, iq: Element) -> None:
        """
        An answer has come, of a request of ours or not.

        @param name: from whom.
        """
        answer, asked, _ = self._waiting.get(iq.getAttribute("id", ""), (None, "", None))
        if answer is None or asked != foldText(name):
            return
        if iq["type"] == "error":
            answer.errback(_errorOf(iq))
        else:
            answer.callback(iq)

    def fail(self, identifier: str, reason: str) -> None:
        """
        One request cannot be sent.
        """
        if identifier in self._waiting:
            self._waiting[identifier][0].errback(NotAnswered(reason))

    def failAll(self, reason: str, name: str | None = None) -> None:
        """
        No answer will come any more.

        @param name: from whom; C{None}: from anybody.
        """
        for identifier, (_, asked, _) in list(self._waiting.items()):
            if name is None or asked == foldText(name):
                self.fail(identifier, reason)
