"""
Tests for L{xmppbytes.dtcp.desk}.
"""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from xmppbytes.dtcp.channel import ChannelTLS, TLSMode
from xmppbytes.dtcp.desk import FrontDesk
from xmppbytes.dtcp.options import DTCPOptions
from xmppbytes.errors import LimitReached


class Arrived:
    """
    A connection.
    """

    def __init__(self, address: str) -> None:
        self.address = address


class AdmissionTests(SynchronousTestCase):
    """
    How many connections may be in their handshake.
    """

    def setUp(self) -> None:
        options = DTCPOptions(maxConnections=3, maxConnectionsPerAddress=2)
        self.desk = FrontDesk(Clock(), ChannelTLS(TLSMode.OFF), options)

    def admit(self, address: str) -> Any:
        connection: Any = Arrived(address)
        self.desk.admit(connection)
        return connection

    def test_network(self) -> None:
        """
        A /64 of IPv6 counts as one address, which has its place again when a connection has left.
        """
        first = self.admit("2001:db8::1")
        self.admit("2001:db8::2")
        self.assertRaises(LimitReached, self.admit, "2001:db8::3")
        self.desk.leave(first)
        self.desk.leave(first)
        self.admit("2001:db8::3")
        self.assertRaises(LimitReached, self.admit, "2001:db8::4")
        self.admit("2001:db8:0:1::4")

    def test_inAll(self) -> None:
        """
        All addresses together have a limit as well.
        """
        for n in range(3):
            self.admit(f"192.0.2.{n}")
        self.assertRaises(LimitReached, self.admit, "192.0.2.9")
