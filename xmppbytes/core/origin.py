"""
Where a connection comes from: the address for the log, and the network that limits count.
"""

from ipaddress import IPv6Network

# Whoever has one IPv6 address usually has 2^64 of them.
_IPV6_PREFIX = 64
_MAPPED = "::ffff:"


def plainPeer(host: str) -> str:
    """
    Write the address of a peer as people know it: a dual-stack socket calls 192.0.2.1 C{::ffff:192.0.2.1}.

    @param host: as the kernel tells it.
    """
    return host.removeprefix(_MAPPED) if "." in host else host


def originOf(address: str) -> str:
    """
    Tell what counts as one origin: an IPv4 address, a /64 of IPv6, or any other name as it is.

    @param address: as L{plainPeer} writes it.
    """
    if ":" not in address:
        return address
    return str(IPv6Network((address.partition("%")[0], _IPV6_PREFIX), strict=False))
