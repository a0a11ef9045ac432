"""
The rendezvous: connections that name the same bytestream meet here, and wait for its activation.

The only place where state about strangers grows, and so the only place with the limits on it. Tables
are changed first and others are called last, since what is called may call back.
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from xmppbytes.core.deadlines import Deadlines
from xmppbytes.core.limits import Limits
from xmppbytes.core.origin import originOf
from xmppbytes.core.sessions import Parties, Session, Sessions
from xmppbytes.errors import KeyTaken, LimitReached, NobodyConnected, PartyMismatch, PartyMissing
from xmppbytes.interfaces import IHangupWatch, ILeg, IStreamHost

_PARTIES = 2


@implementer(IStreamHost)
class Rendezvous:
    """
    Pairs legs by key and starts their bytestream when it is activated.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, limits: Limits, sessions: Sessions, watch: IHangupWatch) -> None:
        """
        @param clock: an C{IReactorTime}.
        @param limits: of which maxPending, maxPendingPerAddress and pendingTimeout are used.
        @param sessions: gets what is activated.
        @param watch: notices waiting parties that leave.
        """
        self.limits = limits
        self.sessions = sessions
        self._watch = watch
        # Bound once: a waiting connection is to cost little.
        self._gone = self._left
        self._keyOf: dict[ILeg, bytes | None] = {}
        self._legsOf: dict[bytes, tuple[ILeg, ...]] = {}
        self._perOrigin: Counter[str] = Counter()
        self._deadlines: Deadlines[ILeg] = Deadlines(clock, limits.pendingTimeout, self._expired)

    @property
    def pending(self) -> int:
        """
        How many connections are not activated.
        """
        return len(self._keyOf)

    def admit(self, leg: ILeg) -> None:
        """
        See L{IStreamHost}.
        """
        if len(self._keyOf) >= self.limits.maxPending:
            raise LimitReached(f"{len(self._keyOf)} connections are waiting already, which is the limit")
        origin = originOf(leg.address)
        waiting = self._perOrigin[origin]
        if waiting >= self.limits.maxPendingPerAddress:
            raise LimitReached(
                f"{waiting} connections from {origin} are waiting already, the limit for one address"
            )
        self._keyOf[leg] = None
        self._perOrigin[origin] += 1
        self._deadlines.add(leg)

    def join(self, key: bytes, leg: ILeg) -> None:
        """
        See L{IStreamHost}.
        """
        others = self._legsOf.get(key, ())
        if len(others) >= _PARTIES or self.sessions.find(key) is not None:
            raise KeyTaken("both parties of this bytestream are connected already")
        if any(other.kind is not leg.kind for other in others):
            raise KeyTaken("the other party of this bytestream asked for another kind of it")
        self._keyOf[leg] = key
        self._legsOf[key] = (*others, leg)
        self._watch.watch(leg.transport, partial(self._gone, leg))

    def leave(self, leg: ILeg) -> None:
        """
        See L{IStreamHost}.
        """
        if leg in self._keyOf:
            self._forget(leg)

    def legs(self, key: bytes) -> Sequence[ILeg]:
        """
        The legs that have joined under a key and wait.
        """
        return self._legsOf.get(key, ())

    def knows(self, key: bytes) -> bool:
        """
        Tell whether anybody waits, or is relayed, under a key.
        """
        return key in self._legsOf or self.sessions.find(key) is not None

    def activate(self, key: bytes, parties: Parties) -> Session:
        """
        Begin to relay. To activate again what is active changes nothing (Smack does).

        @param key: what the two parties have joined under.
        @param parties: who the activation names.
        @return: the active session.
        @raise PartyMismatch: when the bytestream belongs to others, or this requester runs this sid
            with another target.
        @raise NobodyConnected: when no party is connected.
        @raise PartyMissing: when only one is, or one is not ready.
        @raise LimitReached: when there are too many active bytestreams; the parties go on waiting.
        """
        running = self.sessions.find(key) or self.sessions.findRequest(parties.requester, parties.sid)
        if running is not None:
            if running.parties != parties:
                raise PartyMismatch(
                    f"{parties.requester} runs sid {parties.sid!r} with {running.parties.target} at present"
                    if running.parties.requester == parties.requester
                    else "this bytestream was activated by somebody else"
                )
            return running
        legs = self._legsOf.get(key, ())
        self._checkReady(legs, parties)
        self.sessions.check(parties)
        del self._legsOf[key]
        for leg in legs:
            self._uncount(leg)
            self._watch.unwatch(leg.transport)
        try:
            return self.sessions.start(key, parties, *legs)
        except Exception:
            for leg in legs:
                leg.close("the relay failed to start")
            raise

    def closeAll(self, reason: str) -> None:
        """
        Send everybody away who waits.
        """
        for leg in list(self._keyOf):
            leg.close(reason)

    def _checkReady(self, legs: Sequence[ILeg], parties: Parties) -> None:
        if not legs:
            raise NobodyConnected("nobody is connected here with the hash of this sid, requester and target")
        if len(legs) < _PARTIES:
            raise PartyMissing("only one party is connected for this bytestream")
        if not all(leg.ready for leg in legs):
            raise PartyMissing("a party has not initialised its UDP channel yet")
        if not all(leg.speaksFor(parties) for leg in legs):
            raise PartyMismatch("the connected parties say that they are others than the activation names")

    def _left(self, leg: ILeg) -> None:
        # Who has sent all that it had glued to its request, and left, was quick: its bytes count.
        if not leg.early:
            leg.close("it left before the activation")

    def _expired(self, leg: ILeg) -> None:
        leg.close(f"no activation within {self.limits.pendingTimeout:g} s")

    def _forget(self, leg: ILeg) -> None:
        key = self._uncount(leg)
        if key is None:
            return
        self._watch.unwatch(leg.transport)
        others = tuple(other for other in self._legsOf[key] if other is not leg)
        if others:
            self._legsOf[key] = others
        else:
            del self._legsOf[key]

    def _uncount(self, leg: ILeg) -> bytes | None:
        """
        Take a leg out of what is limited.

        @return: its key.
        """
        self._deadlines.discard(leg)
        origin = originOf(leg.address)
        if self._perOrigin[origin] > 1:
            self._perOrigin[origin] -= 1
        else:
            del self._perOrigin[origin]
        return self._keyOf.pop(leg)
