"""
Who may have gone without a goodbye: he is asked for, and forgotten when nobody answers.
RFC 6762 section 10.4.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from xmppbytes.linklocal.names import foldText
from xmppbytes.linklocal.timers import cancelAll

# When it is asked, and how long it is waited.
CONFIRM_AT = (0.0, 1.0, 3.0)
CONFIRM_TIMEOUT = 5.0


class Doubts:
    """
    The people of whom it is not sure that they are still on a link.
    """

    def __init__(
        self, clock: IReactorTime, ask: Callable[[str], None], unconfirmed: Callable[[str], None]
    ) -> None:
        """
        @param clock: the reactor, or a L{twisted.internet.task.Clock}.
        @param ask: asks the link for somebody.
        @param unconfirmed: called with the name when nobody has answered.
        """
        self._clock = clock
        self._ask = ask
        self._unconfirmed = unconfirmed
        self._calls: dict[str, list[IDelayedCall]] = {}

    def raiseAbout(self, name: str) -> None:
        """
        Begin to doubt, unless it is doubted already.
        """
        key = foldText(name)
        if key not in self._calls:
            calls = [self._clock.callLater(delay, self._ask, name) for delay in CONFIRM_AT]
            calls.append(self._clock.callLater(CONFIRM_TIMEOUT, self._late, name))
            self._calls[key] = calls

    def _late(self, name: str) -> None:
        del self._calls[foldText(name)]
        self._unconfirmed(name)

    def settle(self, name: str) -> None:
        """
        Doubt no more: he has answered, or he has left.
        """
        cancelAll(self._calls.pop(foldText(name), ()))

    def clear(self) -> None:
        """
        Doubt nobody.
        """
        for calls in self._calls.values():
            cancelAll(calls)
        self._calls.clear()
