"""
This machine's own network addresses, and what kind of address one is.
"""

import ctypes
import socket
import sys
from collections.abc import Iterator
from ctypes.util import find_library
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

from xmppbytes.errors import ConfigurationError

_IFF_UP = 0x1
# BSD puts a length byte in front of the family byte; Linux has a family of two bytes.
_FAMILY_IS_A_BYTE = not sys.platform.startswith("linux")
# Where the address lies in a sockaddr_in and a sockaddr_in6, and how long it is.
_LAYOUT = {socket.AF_INET: (4, 4), socket.AF_INET6: (8, 16)}


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """
    One address of one of this machine's network interfaces that are up.

    @ivar interface: the interface's name.
    @ivar ip: the address, without a scope.
    @ivar flags: C{IFF_...} of the interface, see netdevice(7).
    """

    interface: str
    ip: IPv4Address | IPv6Address
    flags: int = field(default=0, compare=False)

    def __str__(self) -> str:
        """
        The address as text, with its scope when it means nothing without.
        """
        if isinstance(self.ip, IPv6Address) and self.ip.is_link_local:
            return f"{self.ip}%{self.interface}"
        return str(self.ip)


class _Entry(ctypes.Structure):
    """
    C{struct ifaddrs}, as far as it is the same everywhere.
    """


_Entry._fields_ = [
    ("next", ctypes.POINTER(_Entry)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
]


def localAddresses() -> list[LocalAddress]:
    """
    List the addresses of this machine, in the order in which the system tells them.

    @raise OSError: when the system cannot tell.
    """
    library = ctypes.CDLL(find_library("c"), use_errno=True)
    head = ctypes.POINTER(_Entry)()
    if library.getifaddrs(ctypes.byref(head)) != 0:
        raise OSError(ctypes.get_errno(), "this machine's network addresses cannot be listed")
    try:
        return list(_read(head))
    finally:
        library.freeifaddrs(head)


def _read(entry: "ctypes._Pointer[_Entry]") -> Iterator[LocalAddress]:
    while entry:
        found = entry.contents
        if found.address and found.flags & _IFF_UP:
            ip = _addressAt(found.address)
            if ip is not None:
                yield LocalAddress(found.name.decode("utf-8", "surrogateescape"), ip, found.flags)
        entry = found.next


def _addressAt(location: int) -> IPv4Address | IPv6Address | None:
    start = ctypes.string_at(location, 2)
    family = start[1] if _FAMILY_IS_A_BYTE else int.from_bytes(start, sys.byteorder)
    if family not in _LAYOUT:
        return None
    offset, length = _LAYOUT[socket.AddressFamily(family)]
    return ip_address(ctypes.string_at(location + offset, length))


def parseAddress(text: str) -> IPv4Address | IPv6Address | None:
    """
    Read an IP address: an IPv4 address in the form of IPv6 is taken for what it is.

    @param text: may be in brackets and have a scope.
    @return: the address, with its scope; C{None} when the text is none.
    """
    try:
        ip = ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    return ip


def plainAddress(text: str) -> str:
    """
    Write an address as people know it: C{::ffff:192.0.2.1} is C{192.0.2.1}.

    @param text: an address, or anything else, which is returned as it is.
    """
    ip = parseAddress(text)
    return text if ip is None else str(ip)


def parseAdvertised(text: str, port: int) -> tuple[str, int]:
    """
    Read C{HOST} or C{HOST:PORT}; an IPv6 address with a port is in brackets.

    @param text: what to advertise.
    @param port: what is meant without a port.
    @raise ConfigurationError: when it is neither.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        number = rest.removeprefix(":") if rest else str(port)
        valid = bool(bracket) and (not rest or rest.startswith(":"))
    elif text.count(":") == 1:
        host, _, number = text.partition(":")
        valid = True
    else:
        host, number, valid = text, str(port), True
    if not valid or not host or not number.isascii() or not number.isdigit() or int(number[:6]) > 65535:
        raise ConfigurationError(
            f"{text!r} cannot be advertised: write HOST, HOST:PORT, or [IPv6]:PORT with a port up to 65535"
        )
    return host, int(number)
