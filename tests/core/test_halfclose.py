"""
Tests for L{xmppbytes.core.halfclose}.
"""

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from xmppbytes.core.halfclose import tellReadLost, tellWriteLost


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Protocol):
    """
    Notes what it is told.
    """

    def __init__(self) -> None:
        self.told: list[str] = []

    def readConnectionLost(self) -> None:
        self.told.append("read")

    def writeConnectionLost(self) -> None:
        self.told.append("write")


class HalfCloseTests(SynchronousTestCase):
    """
    Passing on.
    """

    def test_told(self) -> None:
        """
        A protocol that knows half-close is told, and the connection stays.
        """
        protocol, transport = HalfCloseable(), StringTransport()
        tellReadLost(protocol, transport)
        tellWriteLost(protocol)
        self.assertEqual((protocol.told, transport.disconnecting), (["read", "write"], False))

    def test_unable(self) -> None:
        """
        For one that does not, the connection is closed when nothing comes any more; its own end of
        writing is no news.
        """
        protocol, transport = Protocol(), StringTransport()
        tellWriteLost(protocol)
        tellWriteLost(None)
        self.assertFalse(transport.disconnecting)
        tellReadLost(protocol, transport)
        self.assertTrue(transport.disconnecting)
