"""
A listening port that is open only while somebody needs it.
"""

import socket
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger

from xmppbytes.errors import NotReachable

_ANY_V4 = "0.0.0.0"
_ANY_V6 = "::"


class SharedListener:
    """
    Listens, on the first free port of several, from the first L{acquire} to the last L{release}.
    """

    log = Logger()

    def __init__(
        self, reactor: Any, factory: IProtocolFactory, ports: Sequence[int] = (0,), interface: str = ""
    ) -> None:
        """
        @param reactor: an C{IReactorTCP}.
        @param factory: makes the protocols of what is accepted.
        @param ports: TCP ports, the first that is free is used; 0: any.
        @param interface: the address to listen on; empty: all, IPv4 and IPv6.
        """
        self._reactor = reactor
        self._factory = factory
        self._ports = tuple(ports)
        self._interface = interface
        self._users = 0
        self._listening: list[IListeningPort] = []
        self._stopping = False
        self._waiting: list[Deferred[None]] = []

    @property
    def listening(self) -> bool:
        """
        Whether a port is open at present.
        """
        return bool(self._listening)

    def acquire(self) -> Deferred[int]:
        """
        Need the port. Each success must be followed by one L{release}.

        @return: fires with the port number; fails with L{NotReachable} when no port is free. May be
            cancelled.
        """
        return Deferred.fromCoroutine(self._acquire())

    async def _acquire(self) -> int:
        while self._stopping:
            # A port that is being closed cannot be opened again yet.
            stopped: Deferred[None] = Deferred(self._waiting.remove)
            self._waiting.append(stopped)
            await stopped
        if not self._listening:
            self._listening = self._listen()
        self._users += 1
        return _portOf(self._listening[0])

    def release(self) -> None:
        """
        Need the port no more. Connections that were accepted are not touched.
        """
        self._users -= 1
        if self._users:
            return
        listening, self._listening = self._listening, []
        self._stopping = True
        stopped = DeferredList([_stop(port) for port in listening])
        stopped.addCallback(lambda _: self._hasStopped())

    def _hasStopped(self) -> None:
        self._stopping = False
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(None)

    def _listen(self) -> list[IListeningPort]:
        reason = "none is configured"
        for port in self._ports:
            try:
                return self._listenOn(port)
            except CannotListenError as e:
                reason = str(e.socketError)
        ports = ", ".join(map(str, self._ports[:3])) + (", ..." if len(self._ports) > 3 else "")
        raise NotReachable(
            f"no port to listen on is free (tried {ports}: {reason}); configure others, or use a proxy only"
        )

    def _listenOn(self, port: int) -> list[IListeningPort]:
        if self._interface:
            return [self._reactor.listenTCP(port, self._factory, interface=self._interface)]
        try:
            dual = self._reactor.listenTCP(port, self._factory, interface=_ANY_V6)
        except CannotListenError:
            # No IPv6 here; or the port is taken, which the next line finds out as well.
            return [self._reactor.listenTCP(port, self._factory, interface=_ANY_V4)]
        if not _isV6Only(dual):
            return [dual]
        try:
            return [dual, self._reactor.listenTCP(_portOf(dual), self._factory, interface=_ANY_V4)]
        except CannotListenError:
            _stop(dual)
            raise


def _portOf(port: IListeningPort) -> int:
    number: int = port.getHost().port  # type: ignore[attr-defined]
    return number


def _isV6Only(port: Any) -> bool:
    """
    Tell whether a port on C{::} leaves IPv4 to others, as it does on BSD, and on Linux when
    C{net.ipv6.bindv6only} is set.
    """
    opened = getattr(port, "socket", None)
    return opened is not None and bool(opened.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))


def _stop(port: IListeningPort) -> Deferred[Any]:
    return maybeDeferred(port.stopListening)
