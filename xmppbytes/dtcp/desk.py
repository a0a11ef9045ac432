"""
Where connections arrive that others make to us: they are counted, and find their negotiation by its key.
"""

from collections import Counter
from hmac import compare_digest
from typing import Any

from twisted.internet.defer import Deferred

from xmppbytes.connecting.listening import SharedListener
from xmppbytes.core.handshake import handshakeDeadlines
from xmppbytes.core.origin import originOf
from xmppbytes.dtcp.channel import ChannelTLS
from xmppbytes.dtcp.negotiation import Negotiation
from xmppbytes.dtcp.options import DTCPOptions
from xmppbytes.dtcp.protocol import DTCPFactory
from xmppbytes.dtcp.serving import ServingProtocol
from xmppbytes.errors import LimitReached
from xmppbytes.wire.dtcprelay import Request


class FrontDesk:
    """
    All negotiations of a client, and the port that is open while there are any.
    """

    def __init__(self, reactor: Any, tls: ChannelTLS, options: DTCPOptions) -> None:
        """
        @param reactor: listens and tells the time.
        @param tls: the TLS of all channels.
        @param options: of which ports, handshakeTimeout, maxConnections and maxConnectionsPerAddress
            are used.
        """
        self.tls = tls
        self._options = options
        self._negotiations: list[Negotiation] = []
        self._arrived: set[ServingProtocol] = set()
        self._perOrigin: Counter[str] = Counter()
        deadlines = handshakeDeadlines(reactor, options.handshakeTimeout)
        factory = DTCPFactory(lambda: ServingProtocol(self, deadlines))
        self._listener = SharedListener(reactor, factory, options.ports)

    def open(self) -> Deferred[int]:
        """
        Need the port. Each success must be followed by one L{close}.

        @return: fires with the port number; fails with L{NotReachable<xmppbytes.errors.NotReachable>}.
        """
        return self._listener.acquire()

    def close(self) -> None:
        """
        Need the port no more.
        """
        self._listener.release()

    def add(self, negotiation: Negotiation) -> None:
        """
        Let connections find a negotiation.
        """
        self._negotiations.append(negotiation)

    def remove(self, negotiation: Negotiation) -> None:
        """
        Its key is used up.
        """
        self._negotiations.remove(negotiation)

    def admit(self, connection: ServingProtocol) -> None:
        """
        Take notice of a connection.

        @raise LimitReached: when it is one too many.
        """
        origin = originOf(connection.address)
        if len(self._arrived) >= self._options.maxConnections:
            raise LimitReached(f"{len(self._arrived)} connections are in their handshake, which is the limit")
        if self._perOrigin[origin] >= self._options.maxConnectionsPerAddress:
            raise LimitReached(
                f"{self._perOrigin[origin]} connections from {origin} are in their handshake, "
                "the limit for one address"
            )
        self._arrived.add(connection)
        self._perOrigin[origin] += 1

    def leave(self, connection: ServingProtocol) -> None:
        """
        A connection is established, or gone.
        """
        if connection not in self._arrived:
            return
        self._arrived.remove(connection)
        origin = originOf(connection.address)
        self._perOrigin[origin] -= 1
        if not self._perOrigin[origin]:
            del self._perOrigin[origin]

    def find(self, key: bytes) -> Negotiation | None:
        """
        The negotiation that a key belongs to. All are compared, each in constant time.
        """
        found = None
        for negotiation in self._negotiations:
            if compare_digest(negotiation.key.encode("ascii"), key):
                found = negotiation
        return found

    def findTold(self, key: str, peer: str) -> Negotiation | None:
        """
        The negotiation that a stanza means.

        @param peer: the prepared JID of its sender.
        """
        found = self.find(key.encode("utf-8"))
        return found if found is not None and found.peer == peer else None

    def findRequest(self, request: Request) -> bool:
        """
        Tell whether a CONNECT is for one of our negotiations.
        """
        found = self.find(request.key)
        return found is not None and found.matches(request)

    def cancelAll(self) -> None:
        """
        Give up every negotiation.
        """
        for negotiation in list(self._negotiations):
            negotiation.cancel()
