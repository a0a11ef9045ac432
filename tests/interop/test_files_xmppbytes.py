"""
C{xmppbytes send} and C{xmppbytes receive}, with each other and with slixmpp: directly, and through the
proxies of real servers and our own.
"""

from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater

from tests.interop import stream
from tests.interop.authority import Authority
from tests.interop.case import EJABBERD, LAB_ADDRESS, LAB_NETWORK, PROSODY, SLIXMPP, InteropTestCase
from tests.interop.clients import Slixmpp, SlixmppSi
from tests.interop.filecommands import Receive, Send, digestIn
from tests.interop.servers import DOMAIN, Ejabberd, Prosody
from tests.interop.services import ProxyService

MIB = 1 << 20
SIZE = 64 * MIB
PROXY = f"proxy.{DOMAIN}"


class FileCommandTestCase(InteropTestCase):
    """
    A server, and one or both of the commands.
    """

    async def startServer(self) -> None:
        """
        Start the server, with its proxy.
        """
        self.server = await self.launch(Prosody(self.reactor, proxy65=PROXY, proxy65Address=LAB_ADDRESS))

    async def stage(self, *options: str) -> None:
        """
        Start a server, and juliet's receiver.
        """
        await self.startServer()
        self.juliet = await self.launch(Receive(self.reactor, self.server, "juliet", "--yes", *options))

    def file(self, size: int) -> tuple[Path, str]:
        """
        Make a file.

        @return: its path and its SHA-256.
        """
        path = Path(self.mktemp()).absolute()
        return path, stream.write(str(path), self.id(), size)

    async def send(self, *options: str, size: int = SIZE, to: str = "") -> None:
        """
        Let romeo send a file, and wait until the command has ended.
        """
        self.path, self.digest = self.file(size)
        self.romeo = await self.launch(
            Send(self.reactor, self.server, "romeo", *options, to or self.juliet.jid, str(self.path))
        )
        await self.romeo.whenEnded()
        self.assertEqual(self.romeo.exitCode, 0, self.romeo.log())

    async def assertArrived(self, route: str) -> None:
        """
        The file is there, whole; both commands say so, and which way it went.
        """
        await self.juliet.untilLogged("received ")
        self.assertEqual(digestIn(self.romeo.log()), [self.digest])
        self.assertEqual(digestIn(self.juliet.log()), [self.digest])
        self.assertEqual((self.juliet.received / self.path.name).read_bytes(), self.path.read_bytes())
        self.assertIn(route, self.romeo.log())
        self.assertIn(route, self.juliet.log())


class DirectTests(FileCommandTestCase):
    """
    Without a proxy between them, and what does not depend on one.
    """

    needs = (PROSODY, LAB_NETWORK, SLIXMPP)

    async def test_directly(self) -> None:
        """
        A file goes directly.
        """
        await self.stage()
        await self.send()
        await self.assertArrived("direct to ")

    async def test_inBand(self) -> None:
        """
        A file goes through the XMPP server.
        """
        await self.stage()
        await self.send("--in-band-only", size=MIB)
        await self.assertArrived("in-band")

    async def test_foundByPresence(self) -> None:
        """
        The receiver's resource is found.
        """
        await self.stage()
        await self.send(size=MIB, to=self.server.jid("juliet"))
        await self.assertArrived("direct to ")

    async def test_incapable(self) -> None:
        """
        A client that cannot receive files is told from one that can, at once.
        """
        await self.startServer()
        juliet = await self.launch(Slixmpp(self.reactor, self.server, "juliet"))
        path, _ = self.file(1)
        romeo = await self.launch(Send(self.reactor, self.server, "romeo", juliet.jid, str(path)))
        self.assertEqual(await romeo.whenEnded(), 1)
        self.assertIn("its client lacks stream initiation (XEP-0095)", romeo.log())

    async def test_resumed(self) -> None:
        """
        A transfer that was interrupted is continued, and verified as a whole.
        """
        await self.stage()
        path, digest = self.file(4 * MIB)
        options = (self.juliet.jid, str(path))
        first = await self.launch(Send(self.reactor, self.server, "romeo", "--in-band-only", *options))
        while sum(part.stat().st_size for part in self.juliet.received.iterdir()) < 100_000:
            await deferLater(self.reactor, 0.02)
        first.signal("INT")
        self.assertEqual(await first.whenEnded(), 1)
        await self.juliet.untilLogged("cancelled by the sender; what has arrived is kept")
        second = await self.launch(Send(self.reactor, self.server, "romeo", *options))
        self.assertEqual(await second.whenEnded(), 0, second.log())
        self.assertIn(" of them before", second.log())
        self.assertEqual(digestIn(second.log()), [digest])
        self.assertEqual([part.name for part in self.juliet.received.iterdir()], [path.name])

    async def test_encrypted(self) -> None:
        """
        The connection to the server is encrypted, and its certificate checked.
        """
        authority = Authority(Path(self.mktemp()).absolute())
        self.server = await self.launch(Prosody(self.reactor, authority=authority))
        self.juliet = await self.launch(Receive(self.reactor, self.server, "juliet", "--yes"))
        await self.send(size=MIB)
        await self.assertArrived("direct to ")

    async def test_untrusted(self) -> None:
        """
        A server whose certificate nobody vouches for does not get the password.
        """
        authority = Authority(Path(self.mktemp()).absolute())
        self.server = await self.launch(Prosody(self.reactor, authority=authority))
        self.server.authority = Authority(Path(self.mktemp()).absolute(), "another authority")
        path, _ = self.file(1)
        romeo = await self.launch(
            Send(self.reactor, self.server, "romeo", self.server.jid("juliet", "x"), str(path))
        )
        self.assertEqual(await romeo.whenEnded(), 1)
        self.assertIn("is not trusted", romeo.log())


class ProxiedTests:
    """
    What goes through a proxy, whosever it is.
    """

    async def test_ours(self: Any) -> None:
        """
        A file goes from our command to our command.
        """
        await self.stage("--proxy-only")
        await self.send("--proxy-only")
        await self.assertArrived(f"through {PROXY}")
        await self.assertRelayed()

    async def test_empty(self: Any) -> None:
        """
        So does a file without a byte.
        """
        await self.stage()
        await self.send("--proxy-only", size=0)
        await self.assertArrived(f"through {PROXY}")

    async def test_toSlixmpp(self: Any) -> None:
        """
        A file goes to slixmpp.
        """
        await self.startServer()
        juliet = await self.launch(SlixmppSi(self.reactor, self.server, "juliet", "--methods", "s5b"))
        await self.send("--proxy-only", to=juliet.jid)
        saved = await juliet.untilSaved()
        self.assertEqual((saved["size"], saved.get("sha256")), (SIZE, self.digest))
        self.assertIn(f"through {PROXY}", self.romeo.log())
        await self.assertRelayed()

    async def test_fromSlixmpp(self: Any) -> None:
        """
        A file comes from slixmpp, which offers nothing but the proxy.
        """
        await self.stage("--once")
        romeo = await self.launch(SlixmppSi(self.reactor, self.server, "romeo", "--methods", "s5b"))
        path, digest = self.file(SIZE)
        romeo.offer(self.juliet.jid, path)
        self.assertEqual(await self.juliet.whenEnded(), 0, self.juliet.log())
        self.assertEqual(digestIn(self.juliet.log()), [digest])
        self.assertIn(f"through {PROXY}", self.juliet.log())
        self.assertEqual((await romeo.untilSent())["event"], "file-send-complete")
        await self.assertRelayed()


class ProsodyProxyTests(ProxiedTests, FileCommandTestCase):
    """
    Prosody's mod_proxy65.
    """

    needs = (PROSODY, LAB_NETWORK, SLIXMPP)

    async def assertRelayed(self) -> None:
        self.assertIn("Transfer activated", self.server.log())


class EjabberdProxyTests(ProxiedTests, FileCommandTestCase):
    """
    ejabberd's mod_proxy65.
    """

    needs = (EJABBERD, LAB_NETWORK, SLIXMPP)

    async def startServer(self) -> None:
        self.server = await self.launch(Ejabberd(self.reactor, proxy65=PROXY, proxy65Address=LAB_ADDRESS))

    async def assertRelayed(self) -> None:
        self.assertIn("Activated bytestream", self.server.log())


class OwnProxyTests(ProxiedTests, FileCommandTestCase):
    """
    C{twistd s5bproxy}.
    """

    needs = (PROSODY, LAB_NETWORK, SLIXMPP)

    async def startServer(self) -> None:
        self.server = await self.launch(Prosody(self.reactor, components={PROXY: "secret"}))
        self.proxy = await self.launch(ProxyService(self.reactor, self.server, host=LAB_ADDRESS))
        nurse = await self.launch(Slixmpp(self.reactor, self.server, "romeo", resource="nurse"))
        await self.proxy.untilOnline(nurse)
        await nurse.stop()

    async def assertRelayed(self) -> None:
        [record] = await self.proxy.untilUsed()
        self.assertIn(SIZE, record["bytes"])
        self.assertEqual(record["outcome"], "finished")
