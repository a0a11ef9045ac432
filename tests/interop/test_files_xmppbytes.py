"""
C{xmppbytes send} to C{xmppbytes receive}, with real servers and proxies between them.
"""

from pathlib import Path
from typing import Any

from tests.interop import stream
from tests.interop.case import LAB_ADDRESS, LAB_NETWORK, PROSODY, InteropTestCase
from tests.interop.filecommands import Receive, Send, digestIn
from tests.interop.servers import DOMAIN, Prosody

MIB = 1 << 20
SIZE = 64 * MIB
PROXY = f"proxy.{DOMAIN}"


class BetweenOurselvesTests(InteropTestCase):
    """
    Both ends are ours.
    """

    needs = (PROSODY, LAB_NETWORK)

    async def stage(self, *options: str, server: Any = None) -> None:
        """
        Start a server, and juliet's receiver.
        """
        self.server = await self.launch(
            server or Prosody(self.reactor, proxy65=PROXY, proxy65Address=LAB_ADDRESS)
        )
        self.juliet = await self.launch(Receive(self.reactor, self.server, "juliet", "--yes", *options))

    async def send(self, *options: str, size: int = SIZE, to: str = "") -> tuple[Send, str]:
        """
        Let romeo send a file.

        @return: the command, when it has ended, and the SHA-256 of the file.
        """
        path = Path(self.mktemp()).absolute()
        digest = stream.write(str(path), self.id(), size)
        romeo = await self.launch(
            Send(self.reactor, self.server, "romeo", *options, to or self.juliet.jid, str(path))
        )
        await romeo.whenEnded()
        self.path = path
        return romeo, digest

    async def assertArrived(self, romeo: Send, digest: str, route: str) -> None:
        """
        The file is there, whole, both commands say so, and which way it went.
        """
        self.assertEqual(romeo.exitCode, 0, romeo.log())
        await self.juliet.untilLogged("received ")
        self.assertEqual(digestIn(romeo.log()), [digest])
        self.assertEqual(digestIn(self.juliet.log()), [digest])
        self.assertEqual(stream.sha256(self.id(), self.path.stat().st_size), digest)
        self.assertEqual((self.juliet.received / self.path.name).read_bytes(), self.path.read_bytes())
        self.assertIn(route, romeo.log())
        self.assertIn(route, self.juliet.log())

    async def test_directConnection(self) -> None:
        """
        A file goes directly.
        """
        await self.stage()
        await self.assertArrived(*await self.send(), route="direct to ")

    async def test_prosodyProxy(self) -> None:
        """
        A file goes through Prosody's proxy.
        """
        await self.stage()
        await self.assertArrived(*await self.send("--proxy-only"), route=f"through {PROXY}")

    async def test_inBand(self) -> None:
        """
        A file goes through the XMPP server.
        """
        await self.stage()
        await self.assertArrived(*await self.send("--in-band-only", size=MIB), route="in-band")

    async def test_emptyFile(self) -> None:
        """
        A file without a byte arrives, through a proxy, too.
        """
        await self.stage()
        await self.assertArrived(*await self.send("--proxy-only", size=0), route=f"through {PROXY}")

    async def test_foundByPresence(self) -> None:
        """
        The receiver's resource is found.
        """
        await self.stage()
        await self.assertArrived(*await self.send(size=MIB, to=self.server.jid("juliet")), route="direct to ")
