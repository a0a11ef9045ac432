"""
The factory of connections that are accepted and have a handshake.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress, ITransport
from twisted.internet.protocol import Factory

from xmppbytes.core.damper import Undamped
from xmppbytes.core.deadlines import Deadlines
from xmppbytes.core.handshake import HandshakeProtocol


class AcceptingFactory(Factory):
    """
    Makes the connections that are accepted for a host.

    @cvar protocol: makes one, of the host and the deadlines.
    """

    noisy = False
    protocol: Callable[[Any, Deadlines[HandshakeProtocol]], HandshakeProtocol]

    def __init__(
        self,
        host: Any,
        deadlines: Deadlines[HandshakeProtocol],
        accepted: Callable[[ITransport], None] | None = None,
        damper: Undamped | None = None,
    ) -> None:
        """
        @param host: what the connections join.
        @param deadlines: limits the time of their handshakes.
        @param accepted: called with each new connection's transport.
        @param damper: writes the lines about those that fail; C{None}: each of them.
        """
        self.host = host
        self.damper = damper or Undamped()
        self.deadlines = deadlines
        self.accepted = accepted

    def buildProtocol(self, addr: IAddress | None) -> HandshakeProtocol:
        """
        See L{Factory}.
        """
        connection = self.protocol(self.host, self.deadlines)
        connection.factory = self
        return connection
