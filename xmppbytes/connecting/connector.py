"""
Connecting to the first of several hosts that answers.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint

from xmppbytes.connecting.addresses import parseAddress
from xmppbytes.connecting.racing import Attempt, RaceTiming, race
from xmppbytes.connecting.resolving import resolve
from xmppbytes.errors import NotReachable
from xmppbytes.interfaces import IAddressPolicy

T = TypeVar("T")


class Host(Protocol):
    """
    Somewhere to connect to.
    """

    @property
    def host(self) -> str:
        """
        An address or a name.
        """

    @property
    def port(self) -> int:
        """
        A TCP port.
        """

    @property
    def relayed(self) -> bool:
        """
        Whether a third party is there that only relays: tried a little later.
        """


H = TypeVar("H", bound=Host)


class Connector:
    """
    Connects to hosts that somebody else has named.
    """

    def __init__(
        self,
        reactor: Any,
        policy: IAddressPolicy,
        timing: RaceTiming | None = None,
        bindAddress: str | None = None,
    ) -> None:
        """
        @param reactor: connects, resolves names, tells the time.
        @param policy: which addresses may be connected to. It is asked about the addresses of names.
        @param timing: see L{RaceTiming}.
        @param bindAddress: our address to connect from.
        """
        self._reactor = reactor
        self._policy = policy
        self._timing = timing or RaceTiming()
        self._bindAddress = (bindAddress, 0) if bindAddress else None

    def connect(
        self,
        hosts: Sequence[H],
        attempt: Callable[[H, IStreamClientEndpoint], Deferred[T]],
        discard: Callable[[T], None],
    ) -> Deferred[tuple[H, T]]:
        """
        Try to connect to several hosts.

        @param hosts: in the order of preference.
        @param attempt: connects an endpoint and does its handshake. It may be called several times
            for one host, and its Deferred cancelled.
        @param discard: closes a connection that was made, and came too late.
        @return: fires with the host and the result of its attempt. Fails with L{NotReachable}. May be
            cancelled.
        """
        byAttempt: dict[int, H] = {}
        attempts = []
        for host in hosts:
            one: Attempt[T] = Attempt(
                f"{host.host} port {host.port}",
                lambda host=host: self._try(host, attempt, discard),  # type: ignore[misc]
                self._timing.relayLag if host.relayed else 0.0,
            )
            byAttempt[id(one)] = host
            attempts.append(one)
        won = race(self._reactor, attempts, discard, self._timing)
        return won.addCallback(lambda result: (byAttempt[id(result[0])], result[1]))

    def _try(
        self,
        host: H,
        attempt: Callable[[H, IStreamClientEndpoint], Deferred[T]],
        discard: Callable[[T], None],
    ) -> Deferred[T]:
        """
        Connect to one host, whatever addresses it has.
        """

        async def tryHost() -> T:
            addresses = self._admitted(await resolve(self._reactor, host.host))
            if len(addresses) == 1:
                return await attempt(host, self._endpoint(addresses[0], host.port))
            attempts = [
                Attempt(address, lambda address=address: attempt(host, self._endpoint(address, host.port)))  # type: ignore[misc]
                for address in addresses
            ]
            return (await race(self._reactor, attempts, discard, self._timing))[1]

        return Deferred.fromCoroutine(tryHost())

    def _admitted(self, addresses: Sequence[str]) -> list[str]:
        """
        Those of a host's addresses to which we may connect.

        @raise NotReachable: when there is none.
        """
        admitted, reasons = [], []
        for address in addresses:
            try:
                admitted.append(self._policy.admit(address))
            except NotReachable as e:
                reasons.append(str(e))
        if not admitted:
            raise NotReachable("; ".join(reasons))
        return admitted

    def _endpoint(self, address: str, port: int) -> IStreamClientEndpoint:
        ip = parseAddress(address)
        kind = TCP4ClientEndpoint if ip is not None and ip.version == 4 else TCP6ClientEndpoint
        endpoint: IStreamClientEndpoint = kind(
            self._reactor, address, port, timeout=self._timing.attempt, bindAddress=self._bindAddress
        )
        return endpoint
