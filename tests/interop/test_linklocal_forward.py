"""
C{--forward-to}: from the link to an account on a real server, and back.
"""

from pathlib import Path

from tests.interop.authority import Authority
from tests.interop.case import LAB_NETWORK, PROSODY, SLIXMPP
from tests.interop.clients import Slixmpp
from tests.interop.linklocal_lab import HOSTS
from tests.interop.processes import ChildFailed
from tests.interop.servers import PASSWORD, Prosody
from tests.interop.test_linklocal_service import ServiceTestCase

ROMEO, JULIET = "romeo@forza", "juliet@pronto"


class ForwardTests(ServiceTestCase):
    """
    Juliet and Romeo on a cable; Romeo has an account, and his friend a client somewhere else.
    """

    needs = (HOSTS, LAB_NETWORK, PROSODY, SLIXMPP)

    async def test_forward(self):
        """
        What is said to Romeo reaches his friend, whose answers reach who has spoken; nobody else's do.
        """
        self.lab.uplink("forza")
        authority = Authority(Path(self.mktemp()).absolute())
        accounts = ("romeo", "mercutio", "tybalt")
        server = await self.launch(
            Prosody(self.reactor, accounts=accounts, address="10.66.0.1", authority=authority)
        )
        friend = await self.launch(Slixmpp(self.reactor, server, "mercutio"))
        enemy = await self.launch(Slixmpp(self.reactor, server, "tybalt"))
        password = self.lab.work / "password"
        password.write_text(PASSWORD)
        juliet = await self.lab.service("pronto", "juliet")
        romeo = await self.lab.service(
            *("forza", "romeo", "--interface=eth0", "--forward-to=mercutio@localhost"),
            *("--account=romeo@localhost/link", f"--password-file={password}"),
            *(f"--account-server=10.66.0.1:{server.c2sPort}", f"--account-ca={authority.certificate}"),
        )
        await juliet.wait("buddy-on", name=ROMEO)
        await romeo.wait("buddy-on", name=JULIET)
        await self.forwarded(juliet, friend)
        friend.tell("say", to="romeo@localhost/link", text="He jests at scars")
        await juliet.wait("im", **{"from": ROMEO}, text="He jests at scars", tls=True)
        friend.tell("say", to="romeo@localhost/link", text=f"@{JULIET}: that never felt a wound")
        await juliet.wait("im", text="that never felt a wound")
        enemy.tell("say", to="romeo@localhost/link", text="peace? I hate the word")
        friend.tell("say", to="romeo@localhost/link", text="the last word")
        await juliet.wait("im", text="the last word")
        self.assertNotIn("peace? I hate the word", [event.get("text") for event in juliet.events])

    async def forwarded(self, juliet, friend):
        """
        Say something until it is forwarded: connecting the account takes its time.
        """
        for number in range(60):
            await juliet.do("im", to=ROMEO, text=f"O Romeo ({number})")
            try:
                told = await friend.wait("message", timeout=1)
            except ChildFailed:
                continue
            self.assertIn(f"{JULIET} (key not known before): O Romeo", str(told))
            return
        self.fail("nothing was forwarded")
