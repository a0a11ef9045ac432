"""
The relay engines that a reactor can drive, and the choice among them.
"""

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from xmppbytes.core.acceptedtransport import AcceptedTransport
from xmppbytes.core.outcome import Outcome
from xmppbytes.core.rawsocket import closeSocket, spliceWorks
from xmppbytes.core.relay import CopyEngine
from xmppbytes.core.splice import Splicer, SpliceUnsupported
from xmppbytes.core.splicedpair import SplicedPair
from xmppbytes.core.takeover import PairTakeover, acceptable
from xmppbytes.core.throttle import BURST_SECONDS
from xmppbytes.core.workers import WorkerEngine
from xmppbytes.errors import ConfigurationError
from xmppbytes.interfaces import ILeg, IRelayedSession, IRelayEngine

log = Logger()


def makeEngines(reactor: Any, choice: str = "auto", workers: int = 0) -> list[IRelayEngine]:
    """
    Make the engines of a service, the best first. The last accepts every pair.

    @param reactor: provides C{IReactorFDSet} and C{IReactorTime}.
    @param choice: C{"auto"}: splice where the platform can; C{"splice"}: or not at all;
        C{"copy"}: through Python only.
    @param workers: how many processes are to splice; 0: this one does. They start with the reactor.
    @raise ConfigurationError: when there is no such choice, or it cannot be had.
    """
    if workers < 0 or (workers and choice == "copy"):
        raise ConfigurationError("workers only splice: ask for 0 or more of them, and not for copy")
    copy = CopyEngine(reactor)
    if choice == "copy":
        engines: list[IRelayEngine] = [copy]
    elif choice not in ("auto", "splice"):
        raise ConfigurationError(f"{choice!r} is no way to relay: choose auto, splice or copy")
    elif spliceWorks():
        engines = [SpliceEngine(reactor, copy), copy]
        if workers:
            engines.insert(0, workerEngine := WorkerEngine(reactor, workers))
            reactor.callWhenRunning(workerEngine.start)
    elif choice == "auto":
        engines = [copy]
    else:
        raise ConfigurationError(
            "this platform cannot splice sockets (Linux can); choose auto or copy as the way to relay"
        )
    log.info(
        "Relaying by {engine} (asked for: {choice})",
        engine=" or else ".join(engine.name for engine in engines),
        choice=choice,
    )
    return engines


@implementer(IRelayEngine, IReadDescriptor)
class SpliceEngine:
    """
    Relays inside the kernel; one for each process. To the reactor it is one reader, for any number of
    sessions.
    """

    name = "splice"

    def __init__(self, reactor: Any, fallback: IRelayEngine) -> None:
        """
        @param reactor: provides C{IReactorFDSet} and C{IReactorTime}.
        @param fallback: takes the pairs whose sockets turn out not to be spliceable.
        """
        self._reactor = reactor
        self._fallback = fallback
        self._splicer = Splicer(self, reactor.seconds)
        self._works = False
        self._reading = False
        self._settling = False
        self._waking: IDelayedCall | None = None

    def accepts(self, first: ILeg, second: ILeg) -> bool:
        """
        See L{IRelayEngine}.
        """
        return acceptable(first, second)

    def link(
        self, first: ILeg, second: ILeg, rate: int | None, ended: Callable[[Outcome], None]
    ) -> IRelayedSession:
        """
        See L{IRelayEngine}.
        """
        splicer = self._splicer
        pair = splicer.pair(rate, ended)
        ends = ((pair.first, first), (pair.second, second))
        try:
            for end, leg in ends:
                if pair.outcome is not None:
                    # Broken already. Its other end is closed as well, with nothing in a pipe.
                    break
                if leg.early or not (self._works and isinstance(leg.transport, AcceptedTransport)):
                    splicer.prime(end, leg.transport.fileno(), leg.early)
                    # What an accept loop has accepted is TCP, like this: what works for one works for all.
                    self._works = self._works or isinstance(leg.transport, AcceptedTransport)
        except (SpliceUnsupported, OSError) as e:
            log.warn("Falling back to relay by {engine}: {reason}", engine=self._fallback.name, reason=e)
            for end, leg in ends:
                if end.pipe is not None:
                    leg.early = splicer.takeBack(end)
            return cast(IRelayedSession, self._fallback.link(first, second, rate, ended))
        taking = PairTakeover(lambda *descriptors: self._taken(pair, *descriptors))
        taking.begin(first, second)
        return pair

    def _taken(self, pair: SplicedPair, first: int, second: int) -> None:
        descriptors = (first, second)
        if min(descriptors) < 0:
            self._splicer.end(pair, Outcome.BROKEN)
        if pair.outcome is not None:
            for descriptor in descriptors:
                if descriptor >= 0:
                    closeSocket(descriptor, finish=False)
            return
        if not self._reading:
            self._reading = True
            self._reactor.addReader(self)
        self._splicer.start(pair, *descriptors)

    def settleSoon(self) -> None:
        """
        See L{xmppbytes.core.splice.Owner}.
        """
        if not self._settling:
            self._settling = True
            self._reactor.callLater(0, self._settle)

    def _settle(self) -> None:
        self._settling = False
        if not len(self._splicer):
            self._rest()
        self._splicer.settle()

    def _rest(self) -> None:
        if self._reading:
            self._reading = False
            self._reactor.removeReader(self)
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None

    def wakeLater(self) -> None:
        """
        See L{xmppbytes.core.splice.Owner}.
        """
        if self._waking is None:
            self._waking = self._reactor.callLater(BURST_SECONDS, self._wake)

    def _wake(self) -> None:
        self._waking = None
        self._splicer.wake()

    def fileno(self) -> int:
        """
        See L{IReadDescriptor}.
        """
        return self._splicer.fileno()

    def doRead(self) -> None:
        """
        See L{IReadDescriptor}.
        """
        self._splicer.turns()

    def connectionLost(self, reason: Failure) -> None:
        """
        See L{IReadDescriptor}: the reactor is done.
        """
        self._splicer.close()

    def logPrefix(self) -> str:
        """
        See L{IReadDescriptor}.
        """
        return "splice"
