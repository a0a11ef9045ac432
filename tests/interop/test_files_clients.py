"""
C{xmppbytes send} and C{xmppbytes receive} with the clients that people use: libpurple, QXmpp, Libervia and
slixmpp, in both directions; directly, through a proxy, in-band, and refused.
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
from tests.interop.filecommands import Receive, Send, digestIn
from tests.interop.servers import DOMAIN, Prosody

SIZE = 3_000_001
SMALL = 100_001
PROXY = f"proxy.{DOMAIN}"


class WithClientTests(InteropTestCase):
    """
    Prosody, whose proxy listens at an address that is not loopback; a client, and one of our commands.
    """

    needs = (PROSODY, LAB_NETWORK)

    async def stage(self) -> None:
        """
        Start the server.
        """
        self.server = await self.launch(Prosody(self.reactor, proxy65=PROXY, proxy65Address=LAB_ADDRESS))

    def file(self, size: int) -> tuple[Path, str]:
        """
        Make a file to send.

        @return: its path and its SHA-256.
        """
        path = Path(self.mktemp()).absolute()
        return path, stream.write(str(path), self.id(), size)

    async def sendTo(self, client: Any, *options: str, size: int = SIZE) -> tuple[Send, str]:
        """
        Send a file to a client.

        @return: the command, when it has ended, and the file's SHA-256.
        """
        path, digest = self.file(size)
        command = await self.launch(Send(self.reactor, self.server, "romeo", *options, client.jid, str(path)))
        await command.whenEnded()
        return command, digest

    async def assertSent(self, client: Any, *options: str, route: str, size: int = SIZE) -> None:
        """
        Send a file to a client, which gets it whole, by a certain way.
        """
        command, digest = await self.sendTo(client, *options, size=size)
        self.assertEqual(command.exitCode, 0, command.log())
        saved = await client.untilSaved()
        self.assertEqual((saved["size"], saved.get("sha256")), (size, digest))
        self.assertEqual(digestIn(command.log()), [digest])
        self.assertIn(route, command.log())

    async def assertReceived(
        self, client: Any, *options: str, route: str, size: int = SIZE, verified: bool = False
    ) -> None:
        """
        Let a client send a file, which arrives whole, by a certain way.
        """
        command = await self.launch(Receive(self.reactor, self.server, "juliet", "--yes", "--once", *options))
        path, digest = self.file(size)
        await client.untilSees(command)
        client.offer(command.jid, path)
        self.assertEqual(await command.whenEnded(), 0, command.log())
        self.assertEqual((command.received / path.name).read_bytes(), path.read_bytes())
        self.assertEqual(digestIn(command.log()), [digest])
        self.assertIn(route, command.log())
        self.assertEqual("not verified" not in command.log(), verified)
        self.assertEqual((await client.untilSent())["event"], "file-send-complete")

    async def assertDeclined(self, client: Any) -> None:
        """
        The client says no, and the command says so.
        """
        command, _ = await self.sendTo(client)
        self.assertEqual(command.exitCode, 1, command.log())
        self.assertIn("declined the file", command.log())


class PurpleTests(WithClientTests):
    """
    libpurple, the library of Pidgin.
    """

    needs = (PROSODY, LAB_NETWORK, PURPLE)

    async def client(self, account: str, *options: str) -> Any:
        await self.stage()
        return await self.launch(Purple(self.reactor, self.server, account, *options))

    async def test_sendDirectly(self) -> None:
        """
        We send directly.
        """
        await self.assertSent(await self.client("juliet"), route="direct to ")

    async def test_sendThroughProxy(self) -> None:
        """
        We send through the proxy.
        """
        await self.assertSent(await self.client("juliet"), "--proxy-only", route=f"through {PROXY}")

    async def test_sendInBand(self) -> None:
        """
        We send in-band; it does not answer our closing, which costs nothing but a moment.
        """
        await self.assertSent(await self.client("juliet"), "--in-band-only", route="in-band", size=SMALL)

    async def test_declined(self) -> None:
        """
        It declines.
        """
        await self.assertDeclined(await self.client("juliet", "--files", "decline"))

    async def test_receiveDirectly(self) -> None:
        """
        It sends directly, and does not close: the size tells when it is done.
        """
        await self.assertReceived(await self.client("romeo"), route="direct to ")

    async def test_receiveThroughProxy(self) -> None:
        """
        It sends through the proxy, beginning before the proxy has agreed.
        """
        await self.assertReceived(await self.client("romeo", "--no-direct"), route=f"through {PROXY}")

    async def test_receiveInBand(self) -> None:
        """
        With nothing to offer it opens an in-band bytestream, though another was agreed upon.
        """
        self.server = await self.launch(Prosody(self.reactor))
        client = await self.launch(Purple(self.reactor, self.server, "romeo", "--no-direct"))
        await self.assertReceived(client, route="in-band", size=SMALL)

    async def test_refused(self) -> None:
        """
        We decline what it offers.
        """
        client = await self.client("romeo")
        command = await self.launch(
            Receive(self.reactor, self.server, "juliet", "--yes", "--from", f"nurse@{DOMAIN}")
        )
        path, _ = self.file(SMALL)
        await client.untilSees(command)
        client.offer(command.jid, path)
        self.assertEqual((await client.untilSent())["event"], "file-send-cancel")
        self.assertEqual(list(command.received.iterdir()), [])


class QxmppTests(WithClientTests):
    """
    QXmpp, which offers the file's MD5.
    """

    needs = (PROSODY, LAB_NETWORK, QXMPP)

    async def client(self, account: str, *options: str) -> Any:
        await self.stage()
        return await self.launch(Qxmpp(self.reactor, self.server, account, *options))

    async def test_sendDirectly(self) -> None:
        """
        We send directly.
        """
        await self.assertSent(await self.client("juliet"), route="direct to ")

    async def test_sendThroughProxy(self) -> None:
        """
        We send through the proxy.
        """
        await self.assertSent(await self.client("juliet"), "--proxy-only", route=f"through {PROXY}")

    async def test_sendInBand(self) -> None:
        """
        We send in-band.
        """
        await self.assertSent(await self.client("juliet"), "--in-band-only", route="in-band", size=SMALL)

    async def test_declined(self) -> None:
        """
        It declines.
        """
        await self.assertDeclined(await self.client("juliet", "decline"))

    async def test_receiveDirectly(self) -> None:
        """
        It sends directly; its MD5 is compared.
        """
        await self.assertReceived(await self.client("romeo"), route="direct to ", verified=True)

    async def test_receiveThroughProxy(self) -> None:
        """
        It sends through the one proxy that it was told.
        """
        client = await self.client("romeo", "accept", PROXY, "proxyonly")
        await self.assertReceived(client, route=f"through {PROXY}", verified=True)

    async def inTheKitchen(self, account: str) -> Any:
        """
        Start a client whose address is not ASCII: it hashes such addresses in Latin-1.
        """
        await self.stage()
        client = Qxmpp(self.reactor, self.server, account)
        client.jid = self.server.jid(account, "K\xfcche")
        return await self.launch(client)

    async def test_sendToNonASCII(self) -> None:
        """
        We send directly to an address that is not ASCII.
        """
        await self.assertSent(await self.inTheKitchen("juliet"), "--direct-only", route="direct to ")

    async def test_receiveFromNonASCII(self) -> None:
        """
        It sends directly from an address that is not ASCII.
        """
        client = await self.inTheKitchen("romeo")
        await self.assertReceived(client, "--direct-only", route="direct to ", verified=True)


class LiberviaTests(WithClientTests):
    """
    Libervia, by stream initiation.
    """

    needs = (PROSODY, LAB_NETWORK, LIBERVIA)

    async def client(self, account: str, *options: str) -> Any:
        await self.stage()
        return await self.launch(Libervia(self.reactor, self.server, account, *options))

    async def test_sendDirectly(self) -> None:
        """
        We send directly.
        """
        await self.assertSent(await self.client("juliet"), route="direct to ")

    async def test_sendThroughProxy(self) -> None:
        """
        We send through the proxy.
        """
        await self.assertSent(await self.client("juliet"), "--proxy-only", route=f"through {PROXY}")

    async def test_declined(self) -> None:
        """
        It declines.
        """
        await self.assertDeclined(await self.client("juliet", "--files", "decline"))

    async def test_receiveDirectly(self) -> None:
        """
        It sends directly.
        """
        await self.assertReceived(await self.client("romeo"), route="direct to ")

    async def test_receiveThroughProxy(self) -> None:
        """
        It sends through the proxy.
        """
        await self.assertReceived(await self.client("romeo", "--no-direct"), route=f"through {PROXY}")


class SlixmppTests(WithClientTests):
    """
    slixmpp, which offers no direct connection.
    """

    needs = (PROSODY, LAB_NETWORK, SLIXMPP)

    async def client(self, account: str, *options: str) -> Any:
        await self.stage()
        return await self.launch(SlixmppSi(self.reactor, self.server, account, *options))

    async def test_sendDirectly(self) -> None:
        """
        We send directly.
        """
        client = await self.client("juliet", "--methods", "s5b")
        await self.assertSent(client, "--direct-only", route="direct to ")

    async def test_sendThroughProxy(self) -> None:
        """
        We send through the proxy.
        """
        client = await self.client("juliet", "--methods", "s5b")
        await self.assertSent(client, "--proxy-only", route=f"through {PROXY}")

    async def test_sendInBand(self) -> None:
        """
        It takes in-band bytestreams only, of the two that we offer.
        """
        client = await self.client("juliet", "--methods", "ibb")
        await self.assertSent(client, route="in-band", size=SMALL)

    async def test_fallback(self) -> None:
        """
        It agrees to SOCKS5 bytestreams and then refuses them: we go on in-band, on the same sid.
        """
        client = await self.client("juliet", "--refuse-s5b", "--methods", "s5b")
        await self.assertSent(client, route="in-band", size=SMALL)

    async def test_declined(self) -> None:
        """
        It declines.
        """
        await self.assertDeclined(await self.client("juliet", "--files", "decline"))

    async def test_receiveThroughProxy(self) -> None:
        """
        It sends through the proxy.
        """
        client = await self.client("romeo", "--methods", "s5b")
        await self.assertReceived(client, route=f"through {PROXY}")

    async def test_receiveInBand(self) -> None:
        """
        It sends in-band.
        """
        client = await self.client("romeo", "--methods", "ibb")
        await self.assertReceived(client, route="in-band", size=SMALL)
