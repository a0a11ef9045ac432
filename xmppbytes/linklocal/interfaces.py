"""
Which network interfaces there are, and when they come and go.

The list is read every few seconds. On Linux a netlink socket tells at once when it
has changed, and /proc tells which IPv6 addresses are not usable yet (duplicate address detection).
"""

import ipaddress
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from xmppbytes.connecting.addresses import localAddresses
from xmppbytes.linklocal.ilink import NetworkInterface

POLL_INTERVAL = 3.0
# A change comes in several netlink messages.
_SETTLE = 0.05

_IFF_LOOPBACK, _IFF_RUNNING = 0x8, 0x40
_IFF_MULTICAST = 0x1000 if sys.platform.startswith("linux") else 0x8000
_RTMGRP = 0x1 | 0x10 | 0x100  # links, IPv4 addresses, IPv6 addresses
_IPV6_UNUSABLE = 0x40 | 0x08  # tentative, or found to be a duplicate
_PROC_IF_INET6 = "/proc/net/if_inet6"


def _unusable() -> set[tuple[str, str]]:
    """
    Give interface and address of every IPv6 address that cannot be used yet, or at all.
    """
    try:
        with open(_PROC_IF_INET6) as table:
            rows = [line.split() for line in table]
    except OSError:
        return set()
    return {
        (row[5], str(ipaddress.IPv6Address(int(row[0], 16))))
        for row in rows
        if int(row[4], 16) & _IPV6_UNUSABLE
    }


def listInterfaces(wanted: Iterable[str] = ()) -> list[NetworkInterface]:
    """
    List the interfaces on which link-local messaging is possible: up, with a carrier and an address.

    @param wanted: names of interfaces; only these are listed then. Without them every interface that
        can multicast, and not the loopback.
    """
    names = set(wanted)
    unusable = _unusable()
    flags: dict[str, int] = {}
    addresses: dict[str, list[str]] = {}
    for one in localAddresses():
        if (one.interface, str(one.ip)) not in unusable:
            flags[one.interface] = one.flags
            addresses.setdefault(one.interface, []).append(str(one.ip))
    found = []
    for name, flag in flags.items():
        loopback = bool(flag & _IFF_LOOPBACK)
        chosen = (name in names) if names else (flag & _IFF_MULTICAST and not loopback)
        if chosen and flag & _IFF_RUNNING:
            found.append(NetworkInterface(name, _index(name), tuple(sorted(addresses[name])), loopback))
    return [interface for interface in found if interface.index]


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0  # it went away in between


@implementer(IReadDescriptor)
class _ChangeNotifier:
    """
    Reads, and throws away, what the kernel tells about links and addresses.
    """

    def __init__(self, notify: Callable[[], None]) -> None:
        self._notify = notify
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        self._socket.bind((0, _RTMGRP))

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "netlink"

    def doRead(self) -> None:
        try:
            while self._socket.recv(65536):
                pass
        except BlockingIOError:
            pass
        except OSError:
            pass  # ENOBUFS: messages were lost, but that there were some is all that matters
        self._notify()

    def connectionLost(self, reason: Failure) -> None:
        self._socket.close()


class InterfaceMonitor:
    """
    Tells which interfaces there are whenever that changes (an L{IInterfaceSource}).
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        wanted: Iterable[str] = (),
        listing: Callable[[Iterable[str]], list[NetworkInterface]] = listInterfaces,
    ) -> None:
        """
        @param reactor: the reactor.
        @param wanted: names of interfaces, or none for all that can multicast.
        @param listing: lists them.
        """
        self._reactor = reactor
        self._wanted = tuple(wanted)
        self._listing = listing
        self._loop = LoopingCall(self._look)
        self._loop.clock = reactor
        self._notifier: _ChangeNotifier | None = None
        self._last: list[NetworkInterface] | None = None
        self._soon: Any = None

    def start(self, changed: Callable[[Sequence[NetworkInterface]], None]) -> None:
        """
        Call C{changed} with all interfaces, now and whenever one of them has changed.
        """
        self._changed = changed
        if hasattr(socket, "AF_NETLINK") and IReactorFDSet.providedBy(self._reactor):
            try:
                self._notifier = _ChangeNotifier(self._lookSoon)
            except OSError as error:
                self.log.info("no netlink ({error}): interfaces are polled only", error=error)
            else:
                self._reactor.addReader(self._notifier)
        self._loop.start(POLL_INTERVAL).addErrback(
            lambda failure: self.log.failure("interfaces are not watched any more", failure)
        )

    def stop(self) -> None:
        """
        Tell nothing any more.
        """
        if self._loop.running:
            self._loop.stop()
        if self._soon is not None and self._soon.active():
            self._soon.cancel()
        if self._notifier is not None:
            self._reactor.removeReader(self._notifier)
            self._notifier.connectionLost(Failure(ConnectionAbortedError("not watched any more")))
            self._notifier = None

    def _lookSoon(self) -> None:
        if self._soon is None or not self._soon.active():
            self._soon = self._reactor.callLater(_SETTLE, self._look)

    def _look(self) -> None:
        try:
            interfaces = self._listing(self._wanted)
        except OSError as error:
            self.log.warn("cannot list the network interfaces: {error}", error=error)
            return
        if interfaces != self._last:
            self._last = interfaces
            self._changed(interfaces)
