"""
The Requester's own StreamHost: it takes the connections of direct bytestreams (XEP-0065 section 5).

It is to L{StreamHostProtocol} what the rendezvous is in a proxy, only that the second party of each
bytestream is the application here. Targets may connect several times (to several of our addresses, by
design or out of impatience): all of them are granted, and who is meant is decided once the target has
said that it is connected.
"""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFDSet, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from xmppbytes.connecting.addresses import plainAddress
from xmppbytes.connecting.listening import SharedListener
from xmppbytes.core.handshake import handshakeDeadlines
from xmppbytes.core.hangup import NoHangupWatch, makeHangupWatch
from xmppbytes.core.limits import Limits
from xmppbytes.errors import KeyTaken, LimitReached, NotReachable
from xmppbytes.interfaces import IHangupWatch, ILeg, IStreamHost
from xmppbytes.s5b.protocol import StreamHostFactory

# How many connections may be accepted and not in use, in all and for one bytestream.
MAX_WAITING = 100
MAX_LEGS = 16
# Where a target has several connections, it gets this long to close those that it does not use.
SETTLE_SECONDS = 0.2


@implementer(IStreamHost)
class LocalStreamHost:
    """
    Listens while there are open offers, and keeps what connects for them.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        ports: Sequence[int] = (0,),
        makeWatch: Callable[[Any], IHangupWatch] | None = None,
    ) -> None:
        """
        @param reactor: listens, tells the time.
        @param ports: TCP ports, the first that is free is used; 0: any.
        @param makeWatch: makes the L{IHangupWatch} that notices targets which close what they do not
            need; called with the reactor when the first offer is opened. C{None}: the best there is.
        """
        self._reactor = reactor
        self._makeWatch = makeWatch or _bestWatch
        self._watch: IHangupWatch | None = None
        factory = StreamHostFactory(self, handshakeDeadlines(reactor, Limits().handshakeTimeout))
        self._listener = SharedListener(reactor, factory, ports)
        self._offers: dict[bytes, LocalOffer] = {}
        self._waiting: dict[ILeg, LocalOffer | None] = {}
        self._inUse: dict[ILeg, LocalOffer] = {}

    @property
    def listening(self) -> bool:
        """
        Whether a port is open at present.
        """
        return self._listener.listening

    @property
    def waiting(self) -> int:
        """
        How many connections are accepted and not in use.
        """
        return len(self._waiting)

    def open(
        self, destinations: Sequence[str], permits: Callable[[str], bool] | None = None
    ) -> Deferred["LocalOffer"]:
        """
        Accept connections for a bytestream from now on.

        @param destinations: the values of DST.ADDR that mean it.
        @param permits: tells from which addresses; C{None}: from any.
        @return: fires with the offer, which must be closed in the end; fails with L{NotReachable}
            when no port can be opened. May be cancelled.
        """
        if self._watch is None:
            self._watch = self._makeWatch(self._reactor)
        keys = [destination.lower().encode("ascii") for destination in destinations]

        def opened(port: int) -> LocalOffer:
            offer = LocalOffer(self, self._reactor, port, keys, permits)
            self._offers.update(dict.fromkeys(keys, offer))
            return offer

        return self._listener.acquire().addCallback(opened)

    def admit(self, leg: ILeg) -> None:
        """
        See L{IStreamHost}.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise LimitReached(f"{MAX_WAITING} connections are waiting already")
        self._waiting[leg] = None

    def join(self, key: bytes, leg: ILeg) -> None:
        """
        See L{IStreamHost}.
        """
        offer = self._offers.get(key)
        if offer is None:
            raise KeyTaken("no bytestream is offered under this hash (any more)")
        if offer.permits is not None and not offer.permits(leg.address):
            raise KeyTaken("the bytestream of this hash is for somebody at another address")
        if len(offer.legs) >= MAX_LEGS:
            raise KeyTaken(f"{MAX_LEGS} connections for this bytestream are waiting already")
        self._waiting[leg] = offer
        offer.legs.append(leg)
        assert self._watch is not None
        self._watch.watch(leg.transport, lambda: leg.close("the target does not need it"))

    def leave(self, leg: ILeg) -> None:
        """
        See L{IStreamHost}.
        """
        finished = self._inUse.pop(leg, None)
        if finished is not None:
            finished.closeLegs("the bytestream has ended, over another connection")
        elif leg in self._waiting:
            self._forget(leg)

    def _forget(self, leg: ILeg) -> None:
        offer = self._waiting.pop(leg)
        if offer is None:
            return
        offer.legs.remove(leg)
        assert self._watch is not None
        self._watch.unwatch(leg.transport)

    def use(self, leg: ILeg) -> None:
        """
        A leg that waits is taken into use. Others of the same bytestream stay until it has ended:
        there are targets that take the end of any of their connections for the end of all.
        """
        offer = self._waiting[leg]
        assert offer is not None
        self._forget(leg)
        self._inUse[leg] = offer

    def close(self, offer: "LocalOffer") -> None:
        """
        Accept nothing more for an offer.
        """
        for key in offer.keys:
            if self._offers.get(key) is offer:
                del self._offers[key]
        if offer not in self._inUse.values():
            offer.closeLegs("the bytestream did not come about this way")
        self._listener.release()


class LocalOffer:
    """
    A bytestream for which a L{LocalStreamHost} accepts connections.

    @ivar port: the port on which it listens.
    @ivar keys: what names the bytestream.
    @ivar legs: the connections that wait, in the order in which they were granted.
    """

    def __init__(
        self,
        streamHost: LocalStreamHost,
        clock: IReactorTime,
        port: int,
        keys: Sequence[bytes],
        permits: Callable[[str], bool] | None = None,
    ) -> None:
        """
        @param streamHost: where the connections arrive.
        @param clock: an C{IReactorTime}.
        @param port: the port on which it listens.
        @param keys: what names the bytestream.
        @param permits: tells from which addresses it may be connected to; C{None}: from any.
        """
        self.permits = permits
        self.port = port
        self.keys = tuple(keys)
        self.legs: list[ILeg] = []
        self._streamHost = streamHost
        self._clock = clock
        self._closed = False

    def choose(self, addresses: Sequence[str]) -> Deferred[ILeg]:
        """
        The target says that it is connected to us: take the connection that it means.

        Where it has several, those that it closes soon are not meant. Of the rest it is the one to
        the address that we have offered first; of several to this address, the first.

        @param addresses: our addresses in the order in which they were offered.
        @return: fires with the connection, which is not being read; fails with L{NotReachable} when
            there is none. May be cancelled.
        """
        return Deferred.fromCoroutine(self._choose(addresses))

    async def _choose(self, addresses: Sequence[str]) -> ILeg:
        if len(self.legs) > 1:
            await deferLater(self._clock, SETTLE_SECONDS)
        if not self.legs:
            raise NotReachable("the target says that it is connected to us, but it is not")
        order = {address: n for n, address in enumerate(addresses)}
        chosen = min(self.legs, key=lambda leg: order.get(_reachedAt(leg), len(order)))
        self._streamHost.use(chosen)
        return chosen

    def close(self) -> None:
        """
        Accept nothing more, and close what was not chosen unless something was.
        """
        if not self._closed:
            self._closed = True
            self._streamHost.close(self)

    def closeLegs(self, reason: str) -> None:
        """
        Close what waits.
        """
        for leg in list(self.legs):
            leg.close(reason)


def _bestWatch(reactor: Any) -> IHangupWatch:
    return makeHangupWatch(reactor) if IReactorFDSet.providedBy(reactor) else NoHangupWatch()


def _reachedAt(leg: ILeg) -> str:
    """
    The address of ours that a connection was made to.
    """
    return plainAddress(str(getattr(leg.transport.getHost(), "host", "")))
