"""
Which addresses may be connected to when somebody else names them.

Without this a client could be used to scan or reach what only it can reach: services on its own
loopback, its neighbours on the link.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from zope.interface import implementer

from xmppbytes.connecting.addresses import parseAddress
from xmppbytes.errors import ConfigurationError, NotReachable
from xmppbytes.interfaces import IAddressPolicy

# "This host on this network" (connecting there reaches the loopback), reserved, and broadcast; the
# broadcast address of a subnet needs no rule: the system refuses to connect to it.
_NEVER_V4 = (IPv4Network("0.0.0.0/8"), IPv4Network("240.0.0.0/4"))
# IPv4-compatible addresses, which nobody should have.
_NEVER_V6 = (IPv6Network("::/96"),)
_NAT64 = IPv6Network("64:ff9b::/96")


@implementer(IAddressPolicy)
class AddressPolicy:
    """
    Permits what can be reached from the outside as well, and what is as near as the XMPP stream is.
    """

    def __init__(self, loopback: bool = False, link: str | None = None, allow: Iterable[str] = ()) -> None:
        """
        @param loopback: permit addresses of this machine's loopback.
        @param link: the network interface on which link-local addresses are permitted; C{None}: none.
        @param allow: addresses and networks that are permitted in any case (but never multicast,
            broadcast and unspecified ones).
        @raise ConfigurationError: when one of these is not a network.
        """
        self._loopback = loopback
        self._link = link
        self._allow = tuple(_network(text) for text in allow)

    @classmethod
    def reachedOver(cls, address: str, allow: Iterable[str] = ()) -> "AddressPolicy":
        """
        The policy for a client that has reached its XMPP server at an address.

        @param address: the server's address as text, with the scope if it has one.
        @param allow: see L{__init__}.
        """
        ip = parseAddress(address)
        link = None
        if ip is not None and ip.is_link_local:
            link = getattr(ip, "scope_id", None) or ""
        return cls(loopback=ip is not None and ip.is_loopback, link=link, allow=allow)

    def admit(self, address: str) -> str:
        """
        See L{IAddressPolicy}.
        """
        ip = parseAddress(address)
        if ip is None:
            raise NotReachable(f"{address!r} is no IP address")
        if isinstance(ip, IPv6Address):
            # A scope that somebody else names is a number or a name on their machine, not on ours.
            ip = IPv6Address(int(ip))
        for one in (ip, *_within(ip)):
            self._check(one, address)
        if isinstance(ip, IPv6Address) and ip.is_link_local and self._link:
            return f"{ip}%{self._link}"
        return str(ip)

    def _check(self, ip: IPv4Address | IPv6Address, named: str) -> None:
        if _isNever(ip):
            raise NotReachable(f"{named} is an address that nobody can be connected to")
        if any(ip in network for network in self._allow):
            return
        if ip.is_loopback and not self._loopback:
            raise NotReachable(
                f"{named} is this machine itself, which the peer has no business to name; "
                "allow the address if it does"
            )
        if ip.is_link_local and self._link is None:
            raise NotReachable(
                f"{named} belongs to one network link, and the XMPP connection runs over another; "
                "allow the address if it is meant"
            )


def _isNever(ip: IPv4Address | IPv6Address) -> bool:
    if ip.is_multicast or ip.is_unspecified:
        return True
    if isinstance(ip, IPv4Address):
        return any(ip in network for network in _NEVER_V4)
    return not ip.is_loopback and any(ip in network for network in _NEVER_V6)


def _within(ip: IPv4Address | IPv6Address) -> Iterable[IPv4Address]:
    """
    The IPv4 address to which a relay or a NAT would bring what is sent to an IPv6 address.
    """
    if isinstance(ip, IPv4Address):
        return ()
    if ip in _NAT64:
        return (IPv4Address(int(ip) & 0xFFFFFFFF),)
    return (ip.sixtofour,) if ip.sixtofour is not None else ()


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text.strip(), strict=False)
    except ValueError as e:
        raise ConfigurationError(
            f"{text!r} is neither an address nor a network ({e}); write 192.0.2.1, 10.0.0.0/8 or fd00::/8"
        ) from e
