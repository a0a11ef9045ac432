"""
From host names to addresses.
"""

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from zope.interface import implementer

from xmppbytes.connecting.addresses import parseAddress
from xmppbytes.errors import NotReachable

_MAX_NAME = 255


def resolve(reactor: Any, host: str, maximum: int = 4) -> Deferred[list[str]]:
    """
    Find the addresses of a host, IPv4 and IPv6.

    @param reactor: provides C{IReactorPluggableNameResolver}.
    @param host: an address, which is its own result, or a name.
    @param maximum: how many addresses of a name are of use.
    @return: fires with one or more addresses; fails with L{NotReachable}. May be cancelled.
    """
    if parseAddress(host) is not None:
        return succeed([host.removeprefix("[").removesuffix("]")])
    try:
        name = host.encode("idna").decode("ascii")
    except UnicodeError:
        name = ""
    if not name or len(name) > _MAX_NAME:
        return fail(NotReachable(f"{host[:_MAX_NAME]!r} is neither an address nor a host name"))
    # What the resolver works at cannot be stopped; a Deferred that is cancelled just hears no more.
    answer: Deferred[list[str]] = Deferred()
    reactor.nameResolver.resolveHostName(
        _Receiver(answer, host, maximum), name, addressTypes=(IPv4Address, IPv6Address)
    )
    return answer


@implementer(IResolutionReceiver)
class _Receiver:
    """
    Collects what the resolver finds.
    """

    def __init__(self, answer: Deferred[list[str]], host: str, maximum: int) -> None:
        self._answer = answer
        self._host = host
        self._maximum = maximum
        self._found: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """
        See L{IResolutionReceiver}.
        """

    def addressResolved(self, address: IAddress) -> None:
        """
        See L{IResolutionReceiver}.
        """
        host = address.host  # type: ignore[attr-defined]
        if host not in self._found and len(self._found) < self._maximum:
            self._found.append(host)

    def resolutionComplete(self) -> None:
        """
        See L{IResolutionReceiver}.
        """
        if self._found:
            self._answer.callback(self._found)
        else:
            self._answer.errback(NotReachable(f"the name {self._host} has no address"))
