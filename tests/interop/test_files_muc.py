"""
Files between two occupants of a room who do not know each other's address (XEP-0065 section 5.3.2), with the
library in this process.
"""

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish.domish import Element

from tests.interop import stream
from tests.interop.case import EJABBERD, LAB_ADDRESS, LAB_NETWORK, PROSODY, InteropTestCase
from tests.interop.servers import DOMAIN, PASSWORD, ROOMS, Ejabberd, Prosody
from xmppbytes.account import Account, AccountSettings
from xmppbytes.errors import Refused
from xmppbytes.filetransfer.receiveone import receiveFile
from xmppbytes.filetransfer.send import sendFile
from xmppbytes.filetransfer.stack import addFileTransfer
from xmppbytes.s5b.options import BytestreamOptions, Ways

PROXY = f"proxy.{DOMAIN}"
ROOM = f"balcony@{ROOMS}"
SIZE = 4 << 20


class Occupant:
    """
    An account that is in the room.
    """

    def __init__(self, test: Any, name: str, options: BytestreamOptions, **methods: bool) -> None:
        self._test = test
        self._name = name
        settings = AccountSettings(
            jid=JID(test.server.jid(name, "x")),
            password=PASSWORD,
            server=f"{test.server.address}:{test.server.c2sPort}",
            tls=False,
        )
        self.account = Account(test.reactor, settings)
        self.initiation = addFileTransfer(test.reactor, self.account.manager, options, **methods)
        test.addCleanup(lambda: Deferred.fromCoroutine(self.account.disconnect()))

    async def enter(self) -> str:
        """
        Connect, and enter the room.

        @return: the address there.
        """
        await self.account.connect()
        address = f"{ROOM}/{self._name}"
        entered: Deferred[None] = Deferred()

        def seen(presence: Element) -> None:
            if presence.getAttribute("from") == address and not entered.called:
                entered.callback(None)

        self.account.manager.xmlstream.addObserver("/presence", seen)
        presence = Element((None, "presence"))
        presence["to"] = address
        presence.addElement(("http://jabber.org/protocol/muc", "x"))
        self.account.manager.send(presence)
        await entered.addTimeout(60, self._test.reactor)
        return address


class RoomTests:
    """
    Romeo and Juliet in a room.
    """

    async def transfer(self: Any, options: BytestreamOptions, **methods: bool) -> str:
        """
        Send a file from Romeo to Juliet.

        @return: which way it went.
        """
        await self.startServer()
        romeo, juliet = (Occupant(self, name, options, **methods) for name in ("romeo", "juliet"))
        there, here = await juliet.enter(), await romeo.enter()
        folder, path = Path(self.mktemp()), Path(self.mktemp())
        folder.mkdir()
        digest = stream.write(str(path), self.id(), SIZE)
        received = receiveFile(
            self.reactor, juliet.initiation, folder, lambda incoming: incoming.sender == here
        )
        sent = await sendFile(self.reactor, romeo.initiation, there, path)
        report = await received
        self.assertEqual((sent.sha256, report.sha256), (digest, digest))
        self.assertEqual(report.peer, here)
        self.assertEqual(sent.route.split()[0], report.route.split()[0])
        return sent.route

    async def test_directly(self: Any) -> None:
        """
        Directly.
        """
        self.assertIn("direct to", await self.transfer(BytestreamOptions()))

    async def test_proxy(self: Any) -> None:
        """
        Through the proxy, which knows both of them by other names than they do.
        """
        self.assertIn(f"through {PROXY}", await self.transfer(BytestreamOptions(ways=Ways.PROXY_ONLY)))

    async def test_inBand(self: Any) -> None:
        """
        In-band.
        """
        self.assertIn("in-band", await self.transfer(BytestreamOptions(), socks=False))

    async def test_refused(self: Any) -> None:
        """
        A refusal comes back; both stay in the room.
        """
        await self.startServer()
        romeo, juliet = (Occupant(self, name, BytestreamOptions()) for name in ("romeo", "juliet"))
        there = await juliet.enter()
        await romeo.enter()
        path = Path(self.mktemp())
        stream.write(str(path), self.id(), 1000)
        await self.assertFailure(sendFile(self.reactor, romeo.initiation, there, path), Refused)
        await deferLater(self.reactor, 0.2)
        await self.assertFailure(sendFile(self.reactor, romeo.initiation, there, path), Refused)


class ProsodyRoomTests(RoomTests, InteropTestCase):
    """
    A room of Prosody's.
    """

    needs = (PROSODY, LAB_NETWORK)

    async def startServer(self) -> None:
        self.server = await self.launch(Prosody(self.reactor, proxy65=PROXY, proxy65Address=LAB_ADDRESS))


class EjabberdRoomTests(RoomTests, InteropTestCase):
    """
    A room of ejabberd's.
    """

    needs = (EJABBERD, LAB_NETWORK)

    async def startServer(self) -> None:
        self.server = await self.launch(Ejabberd(self.reactor, proxy65=PROXY, proxy65Address=LAB_ADDRESS))
