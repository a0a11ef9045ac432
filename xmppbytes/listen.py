"""
Listening: endpoint descriptions with the defaults of a relay, ports that wait while descriptors are
scarce, and what is advertised to others.
"""

import ipaddress
import os
import resource
import socket
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP6ServerEndpoint, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from xmppbytes.core.acceptloop import AcceptLoop
from xmppbytes.errors import ConfigurationError

# A burst of transfers is not to meet one-second SYN retries.
BACKLOG = 1024
# Descriptors that are kept back for the XMPP connection, logs and relay pipes; also more than
# Twisted accepts in one turn before it looks whether it should stop.
RESERVED_DESCRIPTORS = 128
# Seconds between looks whether accepting can go on.
_LOOK_AGAIN = 0.5
# Seconds between two warnings of the same shortage.
_QUIET = 60.0


def makeServerEndpoint(reactor: Any, description: str) -> IStreamServerEndpoint:
    """
    Make an endpoint from a Twisted server endpoint description.

    C{tcp:PORT} without an interface listens on IPv4 and IPv6 at once; TCP endpoints get a long backlog.

    @raise ConfigurationError: when the description cannot be understood.
    """
    kind, _, rest = description.partition(":")
    if kind == "tcp" and rest.isdigit() and _hasIPv6():
        # Linux and BSD give a socket bound to :: the IPv4 connections as well.
        return TCP6ServerEndpoint(reactor, int(rest), backlog=BACKLOG, interface="::")
    patient = f":backlog={BACKLOG}" if kind in ("tcp", "tcp6") and "backlog=" not in rest else ""
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, description + patient)
    except Exception as e:  # Endpoint parsers raise whatever they please.
        advice = "give a Twisted server endpoint such as tcp:7777"
        if kind == "systemd" and isinstance(e, LookupError):
            e, advice = LookupError("systemd passes no such socket"), "start it by a .socket unit"
        raise ConfigurationError(f"cannot listen on {description!r} ({e}); {advice}") from e
    return endpoint


def _hasIPv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


class AcceptGate:
    """
    Pauses accepting while the process is short of descriptors, instead of spinning on EMFILE.

    The kernel gives each socket the lowest free number, so the number of a new socket tells how many
    descriptors are in use: no counting, no system call.
    """

    log = Logger()

    def __init__(self, clock: Any, limit: int) -> None:
        """
        @param clock: an C{IReactorTime}.
        @param limit: how many descriptors the process may have.
        """
        self._clock = clock
        self._limit = limit
        self._ceiling = max(limit // 2, limit - RESERVED_DESCRIPTORS)
        self._ports: list[Any] = []
        self._timer: Any = None
        self._quietUntil = 0.0
        self._warned = False

    def guard(self, port: Any) -> None:
        """
        Pause this port when descriptors are scarce.
        """
        self._ports.append(port)

    def accepted(self, transport: Any) -> None:
        """
        Look at a connection that was just accepted.
        """
        if self._timer is None and transport.fileno() >= self._ceiling:
            self._pause()

    def exhausted(self) -> None:
        """
        A connection could not be accepted, since no descriptor is left.
        """
        if self._timer is None:
            self._pause()

    def stop(self) -> None:
        """
        Forget the ports: they are being closed.
        """
        self._ports.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pause(self) -> None:
        # Those who were waiting in the backlog may fill it again: one line a minute says it all.
        if self._clock.seconds() >= self._quietUntil:
            self._quietUntil = self._clock.seconds() + _QUIET
            self._warned = True
            self._warn()
        for port in self._ports:
            port.pauseProducing()
        self._timer = self._clock.callLater(_LOOK_AGAIN, self._look)

    def _warn(self) -> None:
        self.log.warn(
            "Short of descriptors (the limit is {limit}): no connections are accepted until some are free; "
            "raise LimitNOFILE or ulimit -n",
            limit=self._limit,
        )

    def _look(self) -> None:
        if not self._isRoomy():
            self._timer = self._clock.callLater(_LOOK_AGAIN, self._look)
            return
        self._timer = None
        if self._warned:
            self._warned = False
            self.log.info("Descriptors are free again: accepting connections")
        for port in self._ports:
            port.resumeProducing()

    def _isRoomy(self) -> bool:
        try:
            lowestFree = os.open(os.devnull, os.O_RDONLY)
        except OSError:
            return False
        os.close(lowestFree)
        return lowestFree < self._ceiling


def raiseDescriptorLimit() -> int:
    """
    Let this process have as many descriptors as it may.

    @return: the limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            return hard
        except (OSError, ValueError):
            return soft
    return soft


class CannotStart(SystemExit, Exception):
    """
    Ends the program with one line and exit code 1, after it was started.

    It is an L{Exception} as well, since for anything else the parent of a daemon waits for ever: twistd
    tells it of those only.
    """


class ListenService(Service):
    """
    Listens on one endpoint while it runs; a port that cannot be had ends the program with one line.
    """

    log = Logger()

    def __init__(
        self,
        endpoint: IStreamServerEndpoint,
        factory: Any,
        description: str,
        program: str,
        loop: AcceptLoop | None = None,
    ) -> None:
        """
        @param endpoint: where to listen.
        @param factory: makes the protocols.
        @param description: the endpoint, in words for the log.
        @param program: how messages call the program.
        @param loop: accepts the connections, if it can.
        """
        self._loop = loop
        self._endpoint = endpoint
        self._factory = factory
        self._description = description
        self._program = program
        self._listening: Deferred[IListeningPort] | None = None
        self.port: Any = None

    def privilegedStartService(self) -> None:
        """
        Listen, while the process may still use low ports.

        @raise CannotStart: when that is not possible.
        """
        if self._listening is not None:
            return
        failures: list[Failure] = []
        self._listening = self._endpoint.listen(self._factory)
        self._listening.addCallback(self._started).addErrback(failures.append)
        if failures:
            error = failures[0].value
            reason = error.socketError if isinstance(error, CannotListenError) else error
            raise CannotStart(f"{self._program}: cannot listen on {self._description}: {reason}")

    def startService(self) -> None:
        """
        See L{Service}.
        """
        super().startService()
        self.privilegedStartService()

    def _started(self, port: IListeningPort) -> None:
        try:
            self.port = port if self._loop is None else self._loop.take(port, self._factory)
        except OSError:
            # No descriptor is left.
            port.stopListening()
            raise
        self.log.info(
            "Listening on {description} ({host})", description=self._description, host=port.getHost()
        )

    def stopService(self) -> Any:
        """
        Accept nothing any more.
        """
        super().stopService()
        self._listening = None
        port, self.port = self.port, None
        return port.stopListening() if port is not None else None


def parseAdvertised(text: str) -> tuple[str, int | None]:
    """
    Read HOST or HOST:PORT. IPv6 with a port stands in brackets, as in C{[2001:db8::1]:7777}.

    @return: the host, IPv6 in the form of RFC 5952, and the port if there is one.
    @raise ValueError: when it is neither.
    """
    host, port = text, ""
    if text.startswith("["):
        host, closed, port = text[1:].partition("]")
        if not closed or (port and not port.startswith(":")):
            raise ValueError("IPv6 with a port is written as [ADDRESS]:PORT")
        port = port[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        if not port:
            raise ValueError("give HOST or HOST:PORT")
    if not host or any(c.isspace() or c in "<>\"'&/" for c in host):
        raise ValueError("give HOST or HOST:PORT")
    if port and (not port.isdigit() or not 0 < int(port) < 65536):
        raise ValueError("a port is a number from 1 to 65535")
    if ":" in host:
        host = str(ipaddress.IPv6Address(host))
    return host, int(port) if port else None
