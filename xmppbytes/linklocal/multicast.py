"""
The sockets of one link: a UDP socket for each address family, in the group of multicast DNS.
RFC 6762 sections 5 and 11.

Each socket is bound to the group's address, so that it gets multicasts only and never takes the unicast
answers of another responder (avahi) on this host, with which it shares port 5353.

On Linux sockets must hear only the interface they joined on (IP_MULTICAST_ALL off), and must not set
SO_REUSEPORT: with both, the kernel spreads the datagrams over all of our sockets by hash, whatever the
interface.
"""

import ipaddress
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.error import MessageLengthError
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from xmppbytes.linklocal.ilink import PORT, NetworkInterface, Source

GROUP = {socket.AF_INET: "224.0.0.251", socket.AF_INET6: "ff02::fb"}
# Many hosts answer at once, and an avatar is a datagram of up to 64 KiB.
_RECEIVE_BUFFER = 1 << 20
_MAX_DATAGRAM = 65536

_LINUX = sys.platform.startswith("linux")
# Missing in Python's socket module: linux/in.h and linux/in6.h.
_IP_MULTICAST_ALL = 49
_IPV6_MULTICAST_ALL = 29


class _Receiver(DatagramProtocol):
    noisy = False

    def __init__(self, family: int, scope: str, received: Callable[[bytes, Source], None]) -> None:
        self._isIPv6 = family == socket.AF_INET6
        self._scope = scope
        self._received = received
        self.stopped = False

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        host = addr[0].partition("%")[0]
        if self._isIPv6 and ipaddress.ip_address(host).is_link_local:
            host = f"{host}%{self._scope}"
        self._received(datagram, (host, addr[1]))

    def stopProtocol(self) -> None:
        self.stopped = True


class MulticastLink:
    """
    The multicast group on one interface (an L{ILinkPort}).
    """

    log = Logger()

    def __init__(
        self, reactor: Any, interface: NetworkInterface, received: Callable[[bytes, Source], None]
    ) -> None:
        """
        @param reactor: an IReactorSocket.
        @param received: called with each datagram, and where it came from.
        """
        self.name = interface.name
        self._reactor = reactor
        self._received = received
        # For each family: the address that we send from, the port, its protocol.
        self._ports: dict[int, tuple[str, Any, _Receiver]] = {}
        self._complained: set[str] = set()
        self.update(interface)

    def update(self, interface: NetworkInterface) -> None:
        """
        Open and close sockets as the addresses of the interface demand.
        """
        wanted: dict[int, str] = {}
        for address in interface.addresses:
            wanted.setdefault(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
        for family, (address, _, receiver) in list(self._ports.items()):
            # Sending from an IPv4 address that the interface has no more fails; IPv6 chooses anew itself.
            lost = family == socket.AF_INET and address not in interface.addresses
            if family not in wanted or lost or receiver.stopped:
                self._close(family)
        for family, address in wanted.items():
            if family not in self._ports:
                self._open(family, address, interface)

    def _open(self, family: int, address: str, interface: NetworkInterface) -> None:
        try:
            sock = openSocket(family, address, interface.index)
        except OSError as error:
            self._complain(f"cannot join {GROUP[socket.AddressFamily(family)]} on {self.name}: {error}")
            return
        receiver = _Receiver(family, self.name, self._received)
        with sock:
            port = self._reactor.adoptDatagramPort(sock.fileno(), family, receiver, _MAX_DATAGRAM)
        self._ports[family] = (address, port, receiver)

    def _close(self, family: int) -> None:
        _, port, receiver = self._ports.pop(family)
        if not receiver.stopped:
            port.stopListening()

    def send(self, datagram: bytes, destination: Source | None = None) -> None:
        """
        Send to the group in every address family, or to one address. What cannot be sent is lost, as a
        datagram may be at any time; the log tells once.
        """
        for family, (_, port, receiver) in list(self._ports.items()):
            target = destination or (GROUP[socket.AddressFamily(family)], PORT)
            if receiver.stopped or (":" in target[0]) != (family == socket.AF_INET6):
                continue
            try:
                port.write(datagram, target)
            except (OSError, MessageLengthError) as error:
                self._complain(f"cannot send {len(datagram)} bytes to {target[0]} on {self.name}: {error}")

    def _complain(self, text: str) -> None:
        if text not in self._complained and len(self._complained) < 16:
            self._complained.add(text)
            self.log.warn("{text}", text=text)

    def close(self) -> None:
        """
        Leave the group.
        """
        for family in list(self._ports):
            self._close(family)


def openSocket(family: int, address: str, index: int) -> socket.socket:
    """
    Open the socket of one family on one interface.

    @param address: an address of the interface; with 0.0.0.0 instead some responders ignore us.
    @param index: the number of the interface.
    """
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not _LINUX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        if family == socket.AF_INET:
            _joinIPv4(sock, address, index)
        else:
            _joinIPv6(sock, index)
    except OSError:
        sock.close()
        raise
    return sock


def _joinIPv4(sock: socket.socket, address: str, index: int) -> None:
    group = socket.inet_aton(GROUP[socket.AF_INET])
    local = socket.inet_aton(address)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
    if _LINUX:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        sock.setsockopt(
            socket.IPPROTO_IP, socket.IP_MULTICAST_IF, bytes(4) + local + struct.pack("@i", index)
        )
        request = group + local + struct.pack("@i", index)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, local)
        request = group + local
    sock.bind((GROUP[socket.AF_INET], PORT))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)


def _joinIPv6(sock: socket.socket, index: int) -> None:
    group = socket.inet_pton(socket.AF_INET6, GROUP[socket.AF_INET6])
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    if _LINUX:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
    sock.bind((GROUP[socket.AF_INET6], PORT, 0, index))
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group + struct.pack("@I", index))
