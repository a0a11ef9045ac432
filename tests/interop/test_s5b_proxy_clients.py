"""
File-transfer clients that know nothing of each other, nor of us, through C{twistd s5bproxy}: they find it
by themselves, and each has its own idea of who connects, sends and closes when.
"""

from typing import Any

from tests.interop.case import LAB_ADDRESS, LAB_NETWORK, LIBERVIA, PROSODY, PURPLE, QXMPP, SLIXMPP
from tests.interop.clients import Libervia, Purple, Qxmpp, SlixmppSi
from tests.interop.servers import DOMAIN, Prosody
from tests.interop.services import ProxyService
from tests.interop.transfers import FileTransferTestCase

PROXY = f"proxy.{DOMAIN}"
SIZE = (3 << 20) + 11


class ProxyClientTests(FileTransferTestCase):
    """
    One client sends a file to another; no direct connection is offered.
    """

    needs = (PROSODY, LAB_NETWORK, PURPLE, SLIXMPP, QXMPP, LIBERVIA)

    async def transfer(self, sender: Any, receiver: Any, *senderOptions: str) -> None:
        """
        Send a file, and see by the proxy's own record that it went through the proxy whole.
        """
        server = await self.launch(Prosody(self.reactor, components={PROXY: "secret"}))
        proxy = await self.launch(ProxyService(self.reactor, server, host=LAB_ADDRESS))
        await proxy.untilLogged(": connected")
        romeo, juliet = await self.pair(server, sender, receiver, *senderOptions)
        await romeo.untilFindsProxy()
        await self.send(romeo, juliet, SIZE)
        (usage,) = await proxy.untilUsed()
        self.assertEqual((usage["requester"], usage["target"]), (romeo.jid, juliet.jid))
        self.assertEqual(sorted(usage["bytes"]), [0, SIZE])

    def test_purpleSendsBeforeTheActivationIsGranted(self) -> Any:
        """
        libpurple writes its first bytes right behind its activation request, before the answer.
        """
        return self.transfer(Purple, SlixmppSi, "--no-direct")

    def test_purpleReceives(self) -> Any:
        """
        libpurple as Target.
        """
        return self.transfer(SlixmppSi, Purple)

    def test_qxmppSends(self) -> Any:
        """
        QXmpp as Requester, Libervia as Target.
        """
        return self.transfer(Qxmpp, Libervia, "accept", PROXY, "proxyonly")

    def test_liberviaSends(self) -> Any:
        """
        Libervia as Requester, QXmpp as Target.
        """
        return self.transfer(Libervia, Qxmpp, "--no-direct")
