"""
Where somebody can be reached right now. XEP-0174 section 12.1: addresses are asked for again just before
they are used, since they may be given to somebody else at any time.
"""

from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.names import dns

from xmppbytes.connecting.addresses import parseAddress
from xmppbytes.errors import NotReachable, WireError
from xmppbytes.linklocal.browser import Browser
from xmppbytes.linklocal.names import instanceName
from xmppbytes.linklocal.timers import cancelAll
from xmppbytes.wire.dnsdata import Service, addressOf, serviceOf
from xmppbytes.wire.mdns import Name, Question, Record

# When it is asked. A responder stays silent if it has multicast the record within the last second.
ASK_AT = (0.0, 0.5, 1.1)
TIMEOUT = 2.2
FRESH = 1.0
# The addresses of the other family may come in another datagram.
SETTLE = 0.1
# More addresses than any host has.
MAX_ADDRESSES = 32


@dataclass(frozen=True)
class Location:
    """
    Where somebody listens, on one link.

    @ivar interface: the name of our interface.
    @ivar addresses: IP addresses; link-local IPv6 ones with the scope of our interface.
    """

    interface: str
    port: int
    addresses: tuple[str, ...]


def scoped(address: str, interface: str) -> str:
    """
    Add the scope to an address which means nothing without it.
    """
    return f"{address}%{interface}" if address.lower().startswith(("fe8", "fe9", "fea", "feb")) else address


def _isNeighbours(address: str, loopback: bool) -> bool:
    """
    Tell whether somebody on a link can have an address. Whoever publishes one of the loopback interface
    wants us to speak to our own machine.
    """
    ip = parseAddress(address)
    if ip is None or ip.is_multicast or ip.is_unspecified or str(ip) == "255.255.255.255":
        return False
    return loopback or not ip.is_loopback


class Resolution:
    """
    One question for the whereabouts of one person on one link.
    """

    def __init__(
        self, clock: IReactorTime, browser: Browser, interface: str, name: str, loopback: bool = False
    ) -> None:
        """
        @param loopback: whether the link is this machine's loopback interface.
        """
        self._clock = clock
        self._loopback = loopback
        self._browser = browser
        self._interface = interface
        self._name = name
        self._instance = instanceName(name)
        self._started = clock.seconds()
        self._hosts: set[Name] = set()
        self._done: Deferred[Location] = Deferred(lambda _: self._finish())
        self._asks: list[IDelayedCall] = []
        self._calls: list[IDelayedCall] = []
        self._settling = False

    def start(self) -> Deferred[Location]:
        """
        Ask.

        @return: fires with the location, or fails with L{NotReachable} when nobody answers. What was
            heard before and is still valid serves when nobody repeats it in time. Can be cancelled.
        """
        self._browser.want(self._instance)
        self._browser.watch(self._heard)
        self._asks = [self._clock.callLater(delay, self._ask) for delay in ASK_AT]
        self._calls.append(self._clock.callLater(TIMEOUT, self._timedOut))
        # What came within the last second is as good as an answer; nobody would repeat it anyway.
        self._heard([])
        return self._done

    def known(self) -> tuple[str, ...]:
        """
        Give the addresses that were heard before, without asking.
        """
        service = self._service(float("-inf"))
        return self._addresses(service, float("-inf")) if service is not None else ()

    def _ask(self) -> None:
        questions = [Question(self._instance, dns.SRV)]
        service = self._service(0.0)
        if service is not None:
            self._wantHost(service.target)
            questions += [Question(service.target, dns.A), Question(service.target, dns.AAAA)]
        self._browser.ask(questions)

    def _wantHost(self, host: Name) -> None:
        if host not in self._hosts and len(self._hosts) < 4:
            self._hosts.add(host)
            self._browser.want(host)

    def _heard(self, records: list[Record]) -> None:
        service = self._service(self._started - FRESH)
        if service is None or self._settling:
            return
        if service.target not in self._hosts:
            self._wantHost(service.target)
            if not self._addresses(service, self._started - FRESH):
                self._browser.ask([Question(service.target, dns.A), Question(service.target, dns.AAAA)])
        if self._addresses(service, self._started - FRESH):
            self._settling = True
            cancelAll(self._asks)
            self._calls.append(self._clock.callLater(SETTLE, self._settle))

    def _service(self, since: float) -> Service | None:
        for entry in self._browser.cache.get(self._instance, dns.SRV):
            if entry.received >= since:
                try:
                    return serviceOf(entry.record)
                except WireError:
                    continue  # an older one may be readable
        return None

    def _addresses(self, service: Service, since: float) -> tuple[str, ...]:
        found = []
        for kind in (dns.AAAA, dns.A):
            for entry in self._browser.cache.get(service.target, kind):
                if entry.received >= since:
                    try:
                        address = addressOf(entry.record)
                    except WireError:
                        continue  # of a wrong length: it is no address
                    if _isNeighbours(address, self._loopback):
                        found.append(scoped(address, self._interface))
        return tuple(found[:MAX_ADDRESSES])

    def _settle(self) -> None:
        service = self._service(self._started - FRESH)
        if service is not None:
            self._finish(
                Location(self._interface, service.port, self._addresses(service, self._started - FRESH))
            )

    def _timedOut(self) -> None:
        service = self._service(float("-inf"))
        addresses = self._addresses(service, float("-inf")) if service is not None else ()
        if service is not None and addresses:
            self._finish(Location(self._interface, service.port, addresses))
            return
        self._finish(
            NotReachable(
                f"nobody on {self._interface} tells where {self._name} can be reached: the person may "
                "have gone without a goodbye; try again later"
            )
        )

    def _finish(self, outcome: Location | Exception | None = None) -> None:
        self._browser.unwatch(self._heard)
        for name in (self._instance, *self._hosts):
            self._browser.unwant(name)
        cancelAll([*self._asks, *self._calls])
        if isinstance(outcome, Location):
            self._done.callback(outcome)
        elif outcome is not None:
            self._done.errback(outcome)
