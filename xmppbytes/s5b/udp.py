"""
The UDP side of a StreamHost: its ports, and the initialization packets (XEP-0065 section 8.3.2).

Every datagram that belongs to no open channel comes to L{Associations}. An initialization packet is
good when it names a hash for which a TCP connection from the same IP address has asked, and a valid
JID. Everything else is dropped and counted; the log gets a line a minute at most.
"""

import os
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.words.protocols.jabber.jid import InvalidFormat

from xmppbytes.connecting.addresses import plainAddress
from xmppbytes.core.batchport import makeDatagramPort
from xmppbytes.core.channel import Channel
from xmppbytes.core.damper import Undamped
from xmppbytes.core.datagramport import DatagramPort, Strangers
from xmppbytes.core.limits import Limits
from xmppbytes.core.origin import originOf
from xmppbytes.errors import ConfigurationError, WireError
from xmppbytes.jids import prepareJID
from xmppbytes.s5b.notices import NoticeRation
from xmppbytes.wire.s5budp import INIT_PORT, MAX_JID, Datagram, header

# Packets of one association that may name no valid JID, before they are not even looked at.
MAX_REFUSALS = 8
# Seconds between two lines about drops.
REPORT_INTERVAL = 60.0


class Associations:
    """
    The UDP associations of a StreamHost, and what was learned about their parties.

    A party that sends a good initialization packet from another port is heard there from now on. It
    is notified once.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        limits: Limits,
        notify: Callable[[str, str], bool],
        damper: Undamped | None = None,
    ) -> None:
        """
        @param clock: tells the time.
        @param limits: of which noticesPerMinute and maxNoticesPerMinute are used.
        @param notify: called with a JID and a DST.ADDR when the channel of a party is initialised.
            Returns whether the notification was sent; otherwise a repeated packet tries again.
        @param damper: writes the lines about initializations; C{None}: each of them.
        """
        self.damper = damper or Undamped()
        self._clock = clock
        self._notify = notify
        self._ration = NoticeRation(clock, limits.noticesPerMinute, limits.maxNoticesPerMinute)
        self._legsOf: dict[bytes, tuple[Any, ...]] = {}
        self._legAt: dict[tuple[DatagramPort, tuple[Any, ...]], Any] = {}
        self._reported: Counter[str] = Counter()
        self._nextReport = 0.0
        self.drops: Counter[str] = Counter()

    def __len__(self) -> int:
        return sum(map(len, self._legsOf.values()))

    def add(self, leg: Any) -> None:
        """
        A connection has asked for UDP.

        @param leg: the L{xmppbytes.s5b.association.AssociationProtocol}.
        """
        self._legsOf[leg.key] = (*self._legsOf.get(leg.key, ()), leg)

    def discard(self, leg: Any) -> None:
        """
        The association has ended. Does nothing when it is not known (any more).
        """
        legs = self._legsOf.get(leg.key, ())
        if leg not in legs:
            return
        others = tuple(other for other in legs if other is not leg)
        if others:
            self._legsOf[leg.key] = others
        else:
            del self._legsOf[leg.key]
        if leg.channel is not None:
            self._legAt.pop((leg.channel.port, leg.channel.address), None)
            leg.channel.close()

    def jids(self, key: bytes) -> set[str]:
        """
        The JIDs in the initialization packets for a hash, prepared.
        """
        return {leg.jid for leg in self._legsOf.get(key, ())}

    def datagramReceived(self, port: DatagramPort, data: bytes, address: tuple[Any, ...]) -> None:
        """
        A datagram has come that belongs to no open channel.

        @param port: where.
        @param data: whole.
        @param address: the socket address that it comes from.
        """
        try:
            datagram = Datagram.fromBytes(data)
        except WireError:
            self._drop("malformed")
            return
        key = datagram.address.lower()
        if key not in self._legsOf:
            self._drop("of an unknown hash")
            return
        host = hostOf(address[0])
        legs = [leg for leg in self._legsOf[key] if hostOf(leg.address) == host]
        if not legs:
            self._drop("from a foreign address")
        elif datagram.port != INIT_PORT:
            self._drop("before the activation, or from an address that was not initialised")
        elif not address[1]:
            self._drop("malformed")
        else:
            self._initialize(legs, port, datagram, address)

    def _initialize(
        self, legs: Sequence[Any], port: DatagramPort, datagram: Datagram, address: tuple[Any, ...]
    ) -> None:
        user = self._legAt.get((port, address))
        if user is not None:
            self._again(user, datagram)
            return
        # Where two connections from one IP address wait, a packet is that of the one without any:
        # parties share addresses, and a party may try several addresses of ours at once.
        fresh = next((leg for leg in legs if leg.channel is None and leg.refusals < MAX_REFUSALS), None)
        known = next((leg for leg in legs if leg.initialData == datagram.data and leg.channel), None)
        if fresh is not None:
            self._first(fresh, port, datagram, address)
        elif known is not None:
            del self._legAt[known.channel.port, known.channel.address]
            known.channel.move(port, address)
            self._legAt[port, address] = known
            self._tell(known, datagram)
        else:
            self._drop("initialization with another JID than before")

    def _again(self, leg: Any, datagram: Datagram) -> None:
        """
        A packet from an address that is initialised.
        """
        if leg.key != datagram.address.lower() or leg.initialData != datagram.data:
            self._drop("initialization from an address that another one has taken")
        elif leg.notified:
            self._drop("duplicate initialization")
        else:
            self._tell(leg, datagram)

    def _first(self, leg: Any, port: DatagramPort, datagram: Datagram, address: tuple[Any, ...]) -> None:
        try:
            jid = _readJID(datagram.data)
        except WireError as e:
            leg.refusals += 1
            self._drop("initialization without a JID")
            self.damper.info(
                self.log,
                originOf(leg.address),
                "Ignored a UDP initialization of {address}: {reason}",
                address=leg.address,
                reason=e,
            )
            return
        channel = Channel(port, address, header(datagram.address), leg.transport.getHost().host)
        self._legAt[port, address] = leg
        leg.initialized(channel, datagram.data, jid)
        self.damper.info(
            self.log,
            originOf(leg.address),
            "Initialized UDP of {jid} at {address} port {port}",
            jid=jid,
            address=leg.address,
            port=address[1],
        )
        self._tell(leg, datagram)

    def _tell(self, leg: Any, datagram: Datagram) -> None:
        if leg.notified:
            return
        ration = originOf(leg.address), leg.jid.partition("/")[0]
        if not self._ration.take(*ration):
            self._drop("initialization above the limit of notifications")
            return
        leg.notified = self._notify(leg.jid, datagram.address.decode("ascii"))
        if not leg.notified:
            self._ration.giveBack(*ration)

    def _drop(self, reason: str) -> None:
        self.drops[reason] += 1
        now = self._clock.seconds()
        if now < self._nextReport:
            return
        self._nextReport = now + REPORT_INTERVAL
        since = self.drops - self._reported
        self._reported = self.drops.copy()
        self.log.info(
            "Dropped datagrams: {reasons}",
            reasons=", ".join(f"{count} {why}" for why, count in sorted(since.items())),
        )


def _readJID(data: bytes) -> str:
    """
    Prepare the JID of an initialization packet.

    @raise WireError: when it is none.
    """
    if not 0 < len(data) <= MAX_JID:
        raise WireError(f"its {len(data)} bytes are no JID")
    try:
        jid: str = prepareJID(data.decode("utf-8")).full()
    except (InvalidFormat, UnicodeError) as e:
        raise WireError(f"it names no valid JID ({e})") from e
    return jid


def hostOf(address: str) -> str:
    """
    Write an IP address in one form, whichever socket has told it: IPv4 as such on IPv6 sockets too,
    and without a scope, which TCP tells and UDP does not.
    """
    return plainAddress(address.partition("%")[0])


def listenDatagrams(reactor: Any, listening: Any, strangers: Strangers, plain: bool = False) -> DatagramPort:
    """
    Open the UDP port beside a TCP port: on the same interface, with the same number.

    @param reactor: the reactor.
    @param listening: the C{IListeningPort} of the TCP side.
    @param strangers: see L{DatagramPort}.
    @param plain: see L{makeDatagramPort}.
    @raise ConfigurationError: when that is not possible.
    """
    host = listening.getHost()
    family = socket.AF_INET6 if ":" in host.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        address = socket.getaddrinfo(host.host, host.port, family, socket.SOCK_DGRAM)[0][4]
        sock.bind(address)
    except OSError as e:
        sock.close()
        raise ConfigurationError(
            f"cannot listen on UDP port {host.port} beside the TCP port of {host.host} "
            f"({os.strerror(e.errno) if e.errno else e}); free it, or turn UDP mode off"
        ) from e
    return makeDatagramPort(reactor, sock, strangers, plain)
