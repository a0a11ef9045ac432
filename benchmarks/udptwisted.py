"""
For the UDP benchmark: S5B datagrams relayed by Twisted's C{DatagramProtocol}, as one would begin.
"""

import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import DatagramProtocol

from xmppbytes.core.datagramport import prepareSocket
from xmppbytes.wire.s5budp import HEADER_LENGTH


class SimpleRelay(DatagramProtocol):
    """
    Pairs whatever initializes the same hash.
    """

    def __init__(self) -> None:
        self._parties: dict[bytes, list[Any]] = {}
        self._peers: dict[Any, tuple[bytes, Any]] = {}

    def startProtocol(self) -> None:
        prepareSocket(self.transport.socket)  # type: ignore[union-attr]

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        known = self._peers.get(addr)
        if known is not None and datagram.startswith(known[0]):
            self.transport.write(datagram[HEADER_LENGTH:], known[1])  # type: ignore[union-attr]
        elif len(datagram) > HEADER_LENGTH and datagram[HEADER_LENGTH - 1] == 1:
            self._initialized(datagram[: HEADER_LENGTH - 1] + b"\0", addr)

    def _initialized(self, header: bytes, addr: Any) -> None:
        parties = self._parties.setdefault(header, [])
        if addr not in parties:
            parties.append(addr)
        if len(parties) == 2:
            one, other = parties
            self._peers[one], self._peers[other] = (header, other), (header, one)


reactor.listenUDP(  # type: ignore[attr-defined]
    int(sys.argv[1]), SimpleRelay(), interface="127.0.0.1", maxPacketSize=8192
)
reactor.run()  # type: ignore[attr-defined]
