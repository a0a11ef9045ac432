"""
The Requester's own StreamHost in UDP mode: TCP and UDP on one port number, for direct bytestreams
(XEP-0065 sections 5 and 8).
"""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from zope.interface import implementer

from xmppbytes.connecting.addresses import plainAddress
from xmppbytes.connecting.listening import SharedListener
from xmppbytes.core.channel import Channel
from xmppbytes.core.datagramport import DatagramPort, Strangers
from xmppbytes.core.handshake import handshakeDeadlines
from xmppbytes.core.leg import LegKind
from xmppbytes.core.limits import Limits
from xmppbytes.errors import ConfigurationError, KeyTaken, LimitReached, NotReachable
from xmppbytes.interfaces import IDatagramLeg, IStreamHost
from xmppbytes.s5b.association import AssociationFactory
from xmppbytes.s5b.datagrams import DatagramPath, maxPayload, pathMTU
from xmppbytes.s5b.udp import Associations, listenDatagrams

# How many connections may be accepted and not in use, in all and for one bytestream.
MAX_WAITING = 100
MAX_LEGS = 16
# Where a target has several associations, it gets this long to close those that it does not use.
SETTLE_SECONDS = 0.2
# The system chooses a port number that is free for TCP; it may be taken for UDP.
_TRIES = 8


class TwinListener(SharedListener):
    """
    Listens on TCP and UDP ports of one number.
    """

    def __init__(self, reactor: Any, factory: Any, strangers: Strangers, ports: Sequence[int]) -> None:
        """
        @param reactor: an C{IReactorTCP} and C{IReactorFDSet}.
        @param factory: makes the protocols of what is accepted.
        @param strangers: see L{DatagramPort}.
        @param ports: port numbers, the first that is free is used; 0: any.
        """
        super().__init__(reactor, factory, ports)
        self._strangers = strangers

    def _listenOn(self, port: int) -> list[IListeningPort]:
        for remaining in range(0 if port else _TRIES - 1, -1, -1):
            opened: list[Any] = super()._listenOn(port)
            try:
                for one in tuple(opened):
                    opened.append(_Twin(listenDatagrams(self._reactor, one, self._strangers)))
                return opened
            except ConfigurationError as e:
                for one in opened:
                    one.stopListening()
                if not remaining:
                    raise CannotListenError("", port, e) from e
        raise AssertionError("the last try either returns or raises")


class _Twin:
    """
    A datagram port that is stopped as a listening port is.
    """

    def __init__(self, port: DatagramPort) -> None:
        self._port = port

    def stopListening(self) -> None:
        self._port.close()


class ChannelPath(DatagramPath):
    """
    Datagrams to and from a party that has initialised a channel with us. It hears no SOCKS5 header.
    """

    def __init__(self, channel: Channel, closed: Callable[[], None]) -> None:
        """
        @param channel: of the party.
        @param closed: called once when the path is closed.
        """
        self._channel = channel
        self._closed: Callable[[], None] | None = closed

    @property
    def maxPayload(self) -> int:
        """
        See L{DatagramPath}.
        """
        host, port = plainAddress(self._channel.address[0]), self._channel.address[1]
        return maxPayload(pathMTU(None, host, port), host, 0)

    def send(self, payload: bytes) -> bool:
        """
        See L{DatagramPath}.
        """
        return self._channel.send(payload)

    def open(self, deliver: Callable[[bytes], None]) -> None:
        """
        See L{DatagramPath}.
        """
        self._channel.open(deliver=deliver)

    def close(self) -> None:
        """
        See L{DatagramPath}.
        """
        self._channel.close()
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()


@implementer(IStreamHost)
class LocalDatagramHost:
    """
    Listens while there are open offers or bytestreams, and keeps the associations for them.
    """

    def __init__(
        self,
        reactor: Any,
        ports: Sequence[int],
        notify: Callable[[str, str], bool],
    ) -> None:
        """
        @param reactor: listens, tells the time.
        @param ports: port numbers, the first that is free is used; 0: any.
        @param notify: sends a C{<udpsuccess/>} to a JID, for a DST.ADDR.
        """
        limits = Limits()
        self._reactor = reactor
        self._notify = notify
        self._offers: dict[bytes, DatagramOffer] = {}
        self._waiting: dict[IDatagramLeg, DatagramOffer | None] = {}
        associations = Associations(reactor, limits, self._initialized)
        factory = AssociationFactory(self, handshakeDeadlines(reactor, limits.handshakeTimeout), associations)
        self._listener = TwinListener(reactor, factory, associations.datagramReceived, ports)

    @property
    def listening(self) -> bool:
        """
        Whether ports are open at present.
        """
        return self._listener.listening

    def open(
        self, destinations: Sequence[str], permits: Callable[[str], bool] | None = None
    ) -> Deferred["DatagramOffer"]:
        """
        Accept associations for a bytestream from now on.

        @param destinations: the values of DST.ADDR that mean it.
        @param permits: tells from which addresses; C{None}: from any.
        @return: fires with the offer, which must be closed in the end; fails with L{NotReachable}
            when no port can be opened. May be cancelled.
        """
        keys = [destination.lower().encode("ascii") for destination in destinations]

        def opened(port: int) -> DatagramOffer:
            offer = DatagramOffer(self, self._reactor, port, keys, permits)
            self._offers.update(dict.fromkeys(keys, offer))
            return offer

        return self._listener.acquire().addCallback(opened)

    def _initialized(self, jid: str, destination: str) -> bool:
        offer = self._offers.get(destination.lower().encode("ascii"))
        # Nobody else is ever notified by us, whatever an initialization packet says.
        return offer is not None and offer.target == jid and self._notify(jid, destination)

    def admit(self, leg: IDatagramLeg) -> None:
        """
        See L{IStreamHost}.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise LimitReached(f"{MAX_WAITING} connections are waiting already")
        self._waiting[leg] = None

    def join(self, key: bytes, leg: IDatagramLeg) -> None:
        """
        See L{IStreamHost}.
        """
        offer = self._offers.get(key)
        if offer is None or leg.kind is not LegKind.DATAGRAM:
            raise KeyTaken("no UDP bytestream is offered under this hash (any more)")
        if offer.permits is not None and not offer.permits(leg.address):
            raise KeyTaken("the UDP bytestream of this hash is for somebody at another address")
        if len(offer.legs) >= MAX_LEGS:
            raise KeyTaken(f"{MAX_LEGS} connections for this bytestream are waiting already")
        self._waiting[leg] = offer
        offer.legs.append(leg)

    def leave(self, leg: IDatagramLeg) -> None:
        """
        See L{IStreamHost}.
        """
        offer = self._waiting.pop(leg, None)
        if offer is not None:
            offer.legs.remove(leg)

    def close(self, offer: "DatagramOffer") -> None:
        """
        Accept nothing more for an offer.
        """
        for key in offer.keys:
            if self._offers.get(key) is offer:
                del self._offers[key]
        for leg in list(offer.legs):
            leg.close("the bytestream did not come about this way")

    def release(self) -> None:
        """
        An offer, and what came of it, is over.
        """
        self._listener.release()


class DatagramOffer:
    """
    A bytestream for which a L{LocalDatagramHost} accepts associations.

    @ivar port: the port number.
    @ivar keys: what names the bytestream.
    @ivar target: the target's JID, prepared: whose initialization packets count. To be set before
        the target knows of the offer.
    @ivar legs: the associations that wait.
    """

    def __init__(
        self,
        host: LocalDatagramHost,
        clock: Any,
        port: int,
        keys: Sequence[bytes],
        permits: Callable[[str], bool] | None,
    ) -> None:
        """
        @param host: where the associations arrive.
        @param clock: an C{IReactorTime}.
        @param port: see above.
        @param keys: see above.
        @param permits: see L{LocalDatagramHost.open}.
        """
        self.permits = permits
        self.port = port
        self.keys = tuple(keys)
        self.target = ""
        self.legs: list[IDatagramLeg] = []
        self._host = host
        self._clock = clock
        self._users = 1
        self._closed = False

    async def choose(self) -> tuple[IDatagramLeg, ChannelPath]:
        """
        The target says that it is connected to us: take the association that it means.

        @raise NotReachable: when there is none.
        """
        if len(self._ready()) > 1:
            await deferLater(self._clock, SETTLE_SECONDS)
        ready = self._ready()
        if not ready:
            raise NotReachable(
                "the target says that it is connected to us, but its channel is not initialised"
            )
        leg = ready[0]
        self._host.leave(leg)
        self._users += 1
        return leg, ChannelPath(leg.channel, self._release)

    def _ready(self) -> list[Any]:
        return [leg for leg in self.legs if leg.ready and getattr(leg, "jid", None) == self.target]

    def close(self) -> None:
        """
        Accept nothing more. The UDP port stays for the association that was chosen.
        """
        if not self._closed:
            self._closed = True
            self._host.close(self)
            self._release()

    def _release(self) -> None:
        self._users -= 1
        if not self._users:
            self._host.release()
