"""
The drivers of the real file-transfer clients: two of them, neither ours, send a file to each other.

What is proven here is the harness: later tests put our side in the place of one of the two.
"""

from pathlib import Path
from typing import Any

from tests.interop import stream
from tests.interop.case import (
    LAB_ADDRESS,
    LAB_NETWORK,
    LIBERVIA,
    PROSODY,
    PURPLE,
    QXMPP,
    SLIXMPP,
    InteropTestCase,
)
from tests.interop.clients import Libervia, Purple, Qxmpp, SlixmppSi
from tests.interop.servers import DOMAIN, Prosody

SIZE = 300_000
PROXY = f"proxy.{DOMAIN}"


class ClientPairTests(InteropTestCase):
    """
    Two real clients at Prosody, whose own proxy listens at an address that is not loopback.
    """

    needs = (PROSODY, LAB_NETWORK)

    async def pair(self, sender: Any, receiver: Any, *senderOptions: str) -> tuple[Any, Any]:
        """
        Log a sender and a receiver in.
        """
        server = await self.launch(Prosody(self.reactor, proxy65=PROXY, proxy65Address=LAB_ADDRESS))
        juliet = await self.launch(receiver(self.reactor, server, "juliet"))
        romeo = await self.launch(sender(self.reactor, server, "romeo", *senderOptions))
        await romeo.untilSees(juliet)
        self.server = server
        return romeo, juliet

    async def send(self, romeo: Any, juliet: Any) -> None:
        """
        Let romeo send a file, and see that juliet gets it whole.
        """
        path = Path(self.mktemp())
        digest = stream.write(str(path), self.id(), SIZE)
        romeo.offer(juliet.jid, path)
        saved = await juliet.untilSaved()
        self.assertEqual(
            (saved["event"], saved["size"], saved.get("sha256")), ("file-saved", SIZE, digest), saved
        )
        self.assertEqual((await romeo.untilSent())["event"], "file-send-complete")

    def relayed(self) -> bool:
        """
        Tell whether the server's proxy has connected two parties.
        """
        return f"{PROXY}:proxy65" in self.server.log() and "Transfer activated" in self.server.log()


class PurpleSlixmppTests(ClientPairTests):
    needs = (PROSODY, LAB_NETWORK, PURPLE, SLIXMPP)

    async def test_directConnection(self) -> None:
        """
        libpurple sends directly to slixmpp.
        """
        await self.send(*await self.pair(Purple, SlixmppSi))
        self.assertFalse(self.relayed())

    async def test_proxy(self) -> None:
        """
        slixmpp sends to libpurple through the proxy, the only way that it knows.
        """
        await self.send(*await self.pair(SlixmppSi, Purple, "--methods", "s5b"))
        self.assertTrue(self.relayed())


class QxmppTests(ClientPairTests):
    needs = (PROSODY, LAB_NETWORK, PURPLE, QXMPP)

    async def test_proxy(self) -> None:
        """
        QXmpp sends to libpurple through the proxy when it may use nothing else.
        """
        await self.send(*await self.pair(Qxmpp, Purple, "accept", PROXY, "proxyonly"))
        self.assertTrue(self.relayed())


class LiberviaTests(ClientPairTests):
    needs = (PROSODY, LAB_NETWORK, PURPLE, LIBERVIA)

    async def test_directConnection(self) -> None:
        """
        Libervia sends directly to libpurple.
        """
        await self.send(*await self.pair(Libervia, Purple))
        self.assertFalse(self.relayed())

    async def test_receiving(self) -> None:
        """
        Libervia receives from libpurple.
        """
        await self.send(*await self.pair(Purple, Libervia))
