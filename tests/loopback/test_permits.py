"""
Who may connect to our own streamhosts, where that is known beforehand.
"""

from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from xmppbytes.core.leg import LegKind
from xmppbytes.errors import KeyTaken
from xmppbytes.s5b.streamhost import LocalStreamHost
from xmppbytes.s5b.udphost import LocalDatagramHost

KEY = "a" * 40


class FakeLeg:
    """
    A connection from an address.
    """

    transport = None

    def __init__(self, kind: LegKind, address: str) -> None:
        self.kind = kind
        self.address = address


class PermitsTests(TestCase):
    """
    Both kinds of host.
    """

    async def refuses(self, host: Any, kind: LegKind) -> None:
        offer = await host.open([KEY], lambda address: address == "192.0.2.1")
        leg = FakeLeg(kind, "192.0.2.9")
        host.admit(leg)
        error = self.assertRaises(KeyTaken, host.join, KEY.encode(), leg)
        self.assertIn("another address", str(error))
        self.assertEqual(offer.legs, [])
        host.leave(leg)
        offer.close()

    async def test_streams(self) -> None:
        """
        A connection from another address is refused.
        """
        await self.refuses(LocalStreamHost(reactor), LegKind.STREAM)

    async def test_datagrams(self) -> None:
        """
        So is an association.
        """
        host = LocalDatagramHost(reactor, (0,), lambda jid, destination: False)
        await self.refuses(host, LegKind.DATAGRAM)
        host.release()
