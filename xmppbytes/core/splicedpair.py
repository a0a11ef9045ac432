"""
What is known of two connections whose bytes L{xmppbytes.core.splice} moves. There may be thousands, so
each is small.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from zope.interface import implementer

from xmppbytes.core.outcome import Outcome
from xmppbytes.core.pipes import Pipe
from xmppbytes.core.throttle import TokenBucket
from xmppbytes.interfaces import IRelayedSession

if TYPE_CHECKING:
    from xmppbytes.core.splice import Splicer


class Tally(Protocol):
    """
    Two counters.
    """

    def __getitem__(self, index: int, /) -> int:
        """
        Read one.
        """

    def __setitem__(self, index: int, value: int, /) -> None:
        """
        Set one.
        """


class End:
    """
    One connection of a pair, and the direction of the bytes that come from it.

    @ivar held: how many bytes of it are in the pipe.
    @ivar ended: whether its end of stream was read.
    @ivar blocked: whether it takes no more bytes at present.
    @ivar bulky: whether it filled a pipe when it was last looked at.
    """

    __slots__ = ("blocked", "bulky", "descriptor", "ended", "held", "index", "pair", "peer", "pipe")

    peer: "End"

    def __init__(self, pair: "SplicedPair", index: int) -> None:
        self.pair = pair
        self.index = index
        self.descriptor = -1
        self.pipe: Pipe | None = None
        self.held = 0
        self.ended = False
        self.blocked = False
        self.bulky = False


@implementer(IRelayedSession)
class SplicedPair:
    """
    Two connections between which bytes are moved.

    @ivar tally: the bytes delivered from the first to the second, and back.
    @ivar outcome: how it ended; C{None} while it has not.
    """

    __slots__ = ("_splicer", "bucket", "ended", "first", "outcome", "second", "tally")

    def __init__(
        self,
        splicer: "Splicer",
        rate: int | None,
        ended: Callable[[Outcome], None],
        tally: Tally,
    ) -> None:
        self._splicer = splicer
        self.ended = ended
        self.tally = tally
        self.outcome: Outcome | None = None
        self.bucket: TokenBucket | None = None
        self.first = End(self, 0)
        self.second = End(self, 1)
        self.first.peer, self.second.peer = self.second, self.first
        self.setRate(rate)

    def counts(self) -> tuple[int, int]:
        """
        See L{IRelayedSession}.
        """
        return self.tally[0], self.tally[1]

    def setRate(self, rate: int | None) -> None:
        """
        See L{IRelayedSession}.
        """
        self.bucket = None if rate is None else TokenBucket(rate, self._splicer.now)

    def abort(self, outcome: Outcome) -> None:
        """
        See L{IRelayedSession}.
        """
        self._splicer.end(self, outcome)
