"""
A party's UDP socket: datagrams by way of a StreamHost (XEP-0065 sections 8.3.2 and 8.4).
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.error import MessageLengthError
from twisted.internet.protocol import DatagramProtocol

from xmppbytes.core.datagramport import prepareSocket
from xmppbytes.s5b.datagrams import DatagramPath, maxPayload, pathMTU
from xmppbytes.wire.s5budp import HEADER_LENGTH, header, initPacket

_READ_SIZE = 65536


class _PartySocket(DatagramProtocol):
    """
    A party's UDP socket, connected to the StreamHost: it hears nobody else.
    """

    transport: Any

    def __init__(self) -> None:
        self.deliver: Callable[[bytes], None] | None = None

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """
        Hand over; what comes before anybody takes it is dropped.
        """
        if self.deliver is not None:
            self.deliver(datagram)

    def connectionRefused(self) -> None:
        """
        The StreamHost has no UDP port at present. That may pass: the TCP connection decides.
        """


class AssociatedPath(DatagramPath):
    """
    Datagrams by way of a StreamHost's UDP port.
    """

    def __init__(self, reactor: Any, host: str, port: int, destination: str) -> None:
        """
        @param reactor: an C{IReactorUDP}.
        @param host: the IP address of the StreamHost.
        @param port: its TCP port, which is its UDP port as well.
        @param destination: DST.ADDR.
        """
        self._host = host
        self._port = port
        self._destination = destination.encode("ascii")
        self._header = header(self._destination)
        self._socket = _PartySocket()
        self._listening: Any = reactor.listenUDP(
            0, self._socket, interface="::" if ":" in host else "", maxPacketSize=_READ_SIZE
        )
        try:
            prepareSocket(self._listening.socket)
            self._socket.transport.connect(host, port)
        except BaseException:
            self.close()
            raise

    @property
    def maxPayload(self) -> int:
        """
        See L{DatagramPath}.
        """
        mtu = pathMTU(self._listening and self._listening.socket, self._host, self._port)
        return maxPayload(mtu, self._host, HEADER_LENGTH)

    def initialize(self, jid: str) -> None:
        """
        Send the initialization packet.
        """
        self._write(initPacket(self._destination, jid))

    def send(self, payload: bytes) -> bool:
        """
        See L{DatagramPath}.
        """
        return self._write(self._header + payload)

    def _write(self, datagram: bytes) -> bool:
        if self._listening is None:
            return False
        try:
            self._socket.transport.write(datagram)
        except (OSError, MessageLengthError):
            # No room at present, or no way to go.
            return False
        return True

    def open(self, deliver: Callable[[bytes], None]) -> None:
        """
        See L{DatagramPath}.
        """
        self._socket.deliver = deliver

    def close(self) -> None:
        """
        See L{DatagramPath}.
        """
        listening, self._listening = self._listening, None
        self._socket.deliver = None
        if listening is not None:
            listening.stopListening()
