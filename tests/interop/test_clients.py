"""
The drivers of the real file-transfer clients: two of them, neither ours, send a file to each other.

What is proven here is the harness: later tests put our side in the place of one of the two.
"""

from typing import Any

from tests.interop.case import (
    LAB_ADDRESS,
    LAB_NETWORK,
    LIBERVIA,
    PROSODY,
    PURPLE,
    QXMPP,
    SLIXMPP,
)
from tests.interop.clients import Libervia, Purple, Qxmpp, SlixmppSi
from tests.interop.servers import DOMAIN, Prosody
from tests.interop.transfers import FileTransferTestCase

SIZE = 300_000
PROXY = f"proxy.{DOMAIN}"


class ClientPairTests(FileTransferTestCase):
    """
    Two real clients at Prosody, whose own proxy listens at an address that is not loopback.
    """

    needs = (PROSODY, LAB_NETWORK)

    async def transfer(self, sender: Any, receiver: Any, *senderOptions: str) -> None:
        """
        Start the server and both clients, and let romeo send a file to juliet.
        """
        self.server = await self.launch(Prosody(self.reactor, proxy65=PROXY, proxy65Address=LAB_ADDRESS))
        await self.send(*await self.pair(self.server, sender, receiver, *senderOptions), SIZE)

    def path(self) -> str:
        """
        Tell from the server's log which way the file has taken.
        """
        log = self.server.log()
        if "<data " in log:
            return "in-band"
        return "proxy" if "Transfer activated" in log else "direct"


class PurpleSlixmppTests(ClientPairTests):
    needs = (PROSODY, LAB_NETWORK, PURPLE, SLIXMPP)

    async def test_directConnection(self) -> None:
        """
        libpurple sends directly to slixmpp.
        """
        await self.transfer(Purple, SlixmppSi)
        self.assertEqual(self.path(), "direct")

    async def test_proxy(self) -> None:
        """
        slixmpp sends to libpurple through the proxy, the only way that it knows.
        """
        await self.transfer(SlixmppSi, Purple)
        self.assertEqual(self.path(), "proxy")

    async def test_inBand(self) -> None:
        """
        Where slixmpp may choose it takes an in-band bytestream.
        """
        await self.transfer(Purple, lambda *a: SlixmppSi(*a, "--methods", "s5b,ibb"))
        self.assertEqual(self.path(), "in-band")


class QxmppTests(ClientPairTests):
    needs = (PROSODY, LAB_NETWORK, PURPLE, QXMPP)

    async def test_proxy(self) -> None:
        """
        QXmpp sends to libpurple through the proxy when it may use nothing else.
        """
        await self.transfer(Qxmpp, Purple, "accept", PROXY, "proxyonly")
        self.assertEqual(self.path(), "proxy")


class LiberviaTests(ClientPairTests):
    needs = (PROSODY, LAB_NETWORK, PURPLE, LIBERVIA)

    async def test_directConnection(self) -> None:
        """
        Libervia sends directly to libpurple.
        """
        await self.transfer(Libervia, Purple)
        self.assertEqual(self.path(), "direct")

    async def test_receiving(self) -> None:
        """
        Libervia receives from libpurple.
        """
        await self.transfer(Purple, Libervia)
        self.assertEqual(self.path(), "direct")
