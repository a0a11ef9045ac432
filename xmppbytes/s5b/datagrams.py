"""
What an application sees of a UDP bytestream (XEP-0065 section 8.4), whichever side the StreamHost is.
"""

import socket
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from xmppbytes.connecting.handing import handOverTo
from xmppbytes.core.bytestream import BytestreamAddress
from xmppbytes.errors import WireError
from xmppbytes.interfaces import IDatagramProtocol, IDatagramTransport, ILeg
from xmppbytes.wire.s5budp import MAX_DATAGRAM, PORTS_LENGTH, Payload

# What goes around a payload on the way: IP and UDP.
_IPV4_HEADERS = 20 + 8
_IPV6_HEADERS = 40 + 8
_LINUX_IP_MTU = 14
_LINUX_IPV6_MTU = 24
# What every IPv6 link carries, and practically every IPv4 one: where the system tells nothing.
_SAFE_MTU = 1280


@implementer(IDatagramProtocol)
class DatagramProtocol:
    """
    A base for applications' protocols.

    @ivar transport: the L{IDatagramTransport}, from C{connectionMade} on.
    """

    transport: Any = None

    def makeConnection(self, transport: Any) -> None:
        """
        See L{IDatagramProtocol}.
        """
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        """
        The bytestream is there.
        """

    def datagramReceived(self, data: bytes, sourcePort: int, destPort: int) -> None:
        """
        See L{IDatagramProtocol}.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See L{IDatagramProtocol}.
        """


class DatagramPath:
    """
    How payloads reach the other end of our connection. Subclasses know whether that is a StreamHost
    or somebody who uses ours.
    """

    @property
    def maxPayload(self) -> int:
        """
        How many bytes a payload may have.
        """
        raise NotImplementedError

    def send(self, payload: bytes) -> bool:
        """
        Send a payload.

        @return: false when it had to be dropped.
        """
        raise NotImplementedError

    def open(self, deliver: Callable[[bytes], None]) -> None:
        """
        Hand over what comes from now on.
        """
        raise NotImplementedError

    def close(self) -> None:
        """
        Send and hand over nothing any more.
        """
        raise NotImplementedError


@implementer(IDatagramTransport)
class DatagramTransport:
    """
    A UDP bytestream: a path for the datagrams, and the TCP connection that it lasts as long as.
    """

    log = Logger()

    def __init__(self, leg: ILeg, path: DatagramPath, peer: BytestreamAddress) -> None:
        """
        @param leg: the connection, after its handshake.
        @param path: the way of the datagrams; closed with the connection.
        @param peer: see L{IDatagramTransport}.
        """
        self.peer = peer
        self.dropped = 0
        self._leg = leg
        self._path = path
        self._protocol: Any = None
        self._ended = False

    def start(self, protocol: Any) -> None:
        """
        Let a protocol have the bytestream.

        @param protocol: an L{IDatagramProtocol}.
        @raise Exception: whatever it raises in C{makeConnection}; the bytestream is closed then.
        """
        self._protocol = protocol
        lost = getattr(self._leg, "lostReason", None)
        if lost is None:
            handOverTo(self._leg, LifeLine(self._lost))
        try:
            protocol.makeConnection(self)
        except BaseException:
            # Nobody else would ever close it.
            self.close()
            raise
        if lost is not None:
            self._lost(lost)
        elif not self._ended:
            self._path.open(self._deliver)

    @property
    def maxDatagramSize(self) -> int:
        """
        See L{IDatagramTransport}.
        """
        return self._path.maxPayload - PORTS_LENGTH

    def send(self, data: bytes, destPort: int, sourcePort: int = 0) -> bool:
        """
        See L{IDatagramTransport}.
        """
        largest = self.maxDatagramSize
        if len(data) > largest:
            raise ValueError(
                f"a datagram of {len(data)} bytes does not fit: at most {largest} do (maxDatagramSize)"
            )
        payload = Payload(sourcePort, destPort, data).toBytes()
        if not self._ended and self._path.send(payload):
            return True
        self.dropped += 1
        return False

    def close(self) -> None:
        """
        See L{IDatagramTransport}.
        """
        if not self._ended:
            self._leg.transport.loseConnection()

    def _deliver(self, data: bytes) -> None:
        try:
            payload = Payload.fromBytes(data)
        except WireError as e:
            self.log.debug("Dropped a datagram from {peer}: {reason}", peer=self.peer.peer, reason=e)
            return
        try:
            self._protocol.datagramReceived(payload.data, payload.source, payload.destination)
        except Exception:
            self.log.failure("The application failed to take a datagram of {peer}", peer=self.peer.peer)

    def _lost(self, reason: Failure) -> None:
        self._ended = True
        self._path.close()
        self._protocol.connectionLost(reason)


class LifeLine(Protocol):
    """
    Waits for the end of the connection that an association lasts as long as.
    """

    def __init__(self, ended: Callable[[Failure], None]) -> None:
        """
        @param ended: called with the reason.
        """
        self._ended = ended

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See L{Protocol}.
        """
        self._ended(reason)


def pathMTU(sock: socket.socket | None, host: str, port: int) -> int:
    """
    Ask the system how large a packet to an address may be.

    @param sock: a UDP socket that is connected to it; C{None}: there is none.
    @return: bytes, with all headers.
    """
    if not sys.platform.startswith("linux"):
        return _SAFE_MTU
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    level, option = (
        (socket.IPPROTO_IPV6, _LINUX_IPV6_MTU)
        if family == socket.AF_INET6
        else (socket.IPPROTO_IP, _LINUX_IP_MTU)
    )
    try:
        if sock is not None:
            return sock.getsockopt(level, option)
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            # Sends nothing: only looks the route up.
            probe.connect((host, port))
            return probe.getsockopt(level, option)
    except OSError:
        return _SAFE_MTU


def maxPayload(mtu: int, host: str, headers: int) -> int:
    """
    Tell how large a payload fits into one packet.

    @param mtu: see L{pathMTU}.
    @param host: the IP address it goes to.
    @param headers: what else stands before the payload, in bytes.
    """
    around = _IPV6_HEADERS if ":" in host else _IPV4_HEADERS
    return min(mtu - around, MAX_DATAGRAM) - headers
