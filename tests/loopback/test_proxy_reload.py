"""
SIGHUP to a real proxy: each way in which a new configuration can be refused, and what a good one changes.
"""

from pathlib import Path

from tests.loopback.lab import FOREIGNERS, SECRET, ProxyTestCase
from tests.loopback.test_proxy import condition
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS

GOOD = 'allow = ["*"]\n'
# What is written into the file -> what the line says.
REFUSED = {
    "": "cannot read the configuration file",
    "allow = [\n": "not valid TOML",
    "\udcff = 1": "not valid TOML",
    "pending = 3": "unknown key 'pending'",
    'allow = ["*"]\n[more]\n': "unknown key 'more'",
    "max-sessions = 0": "max-sessions in",
    'max-sessions = "many"': "give a whole number",
    "max-sessions = [5]": "is a text or a number",
    'rate-limit = "fast"': "give a number of bytes",
    "no-udp = 1": "is true or false",
    'allow = ["a@b@c"]': "is no address rule",
    'deny = ["*example.org"]': "is no address rule",
    'secret-file = "/nonexistent/secret"': "cannot read the secret file",
}


class ReloadTests(ProxyTestCase):
    """
    A proxy with a configuration file.
    """

    async def start(self, content: str = GOOD) -> None:
        self.config = Path(self.mktemp()).absolute()
        self.config.write_text(content)
        await self.startProxy("--config", str(self.config))

    async def reload(self, content: str) -> list[str]:
        """
        Write another file (none, when it is empty), and send the signal.

        @return: the lines that were logged for it.
        """
        self.config.unlink(missing_ok=True)
        if content:
            self.config.write_bytes(content.encode("utf-8", "surrogateescape"))
        return await self.signalled()

    async def signalled(self) -> list[str]:
        before = len(self.proxy.log())
        self.proxy.signal("HUP")
        await self.proxy.untilLogged("onfiguration", after=before)
        return [line.partition("] ")[2] for line in self.proxy.log()[before:].splitlines()]

    async def serves(self, sender: str) -> bool:
        """
        Tell whether somebody may use the proxy.
        """
        answer = await self.server.request("get", f"<query xmlns='{NS_BYTESTREAMS}'/>", sender)
        if answer["type"] == "error":
            self.assertEqual(condition(answer), ("auth", "forbidden"))
        return str(answer["type"]) == "result"

    async def test_refused(self) -> None:
        """
        Whatever is wrong with the file, one line says it, and everything stays as it was; a good file is used
        afterwards.
        """
        await self.start()
        for number, (content, words) in enumerate(REFUSED.items()):
            (line,) = await self.reload(content)
            self.assertIn("The new configuration is not used: ", line)
            self.assertIn(words, line)
            self.assertTrue(await self.serves(f"romeo@{FOREIGNERS}/x"), line)
            if number % 5 == 0:
                self.assertEqual(
                    await self.reload(f'{GOOD}deny = ["{FOREIGNERS}"]\n'), ["Configuration read again"]
                )
                self.assertFalse(await self.serves(f"romeo@{FOREIGNERS}/x"))
                self.assertEqual(await self.reload(GOOD), ["Configuration read again"])
        self.assertEqual(await self.reload(f'deny = ["{FOREIGNERS}"]'), ["Configuration read again"])
        self.assertFalse(await self.serves(f"romeo@{FOREIGNERS}/x"))

    async def test_notAFile(self) -> None:
        """
        Something in the place of the file that cannot be read is refused like a file that is gone.
        """
        await self.start()
        self.config.unlink()
        self.config.mkdir()
        (line,) = await self.signalled()
        self.assertIn("is not used: cannot read the configuration file", line)
        self.assertTrue(await self.serves(f"romeo@{FOREIGNERS}/x"))
        self.config.rmdir()
        self.assertEqual(await self.reload(GOOD), ["Configuration read again"])

    async def test_secret(self) -> None:
        """
        Another secret needs a restart, which the line says without telling it; a secret file that is gone
        does not keep the rest from being used.
        """
        secret = Path(self.mktemp()).absolute()
        secret.touch(0o600)
        secret.write_text(SECRET)
        named = f'secret-file = "{secret}"\n'
        await self.start(GOOD + named)
        secret.write_text("let me in")
        (line,) = await self.reload(f'{named}deny = ["{FOREIGNERS}"]')
        self.assertEqual(line, "Configuration read again; changed, but used only after a restart: secret")
        self.assertFalse(await self.serves(f"romeo@{FOREIGNERS}/x"))
        secret.unlink()
        self.assertEqual(await self.reload(GOOD + named), ["Configuration read again"])
        self.assertTrue(await self.serves(f"romeo@{FOREIGNERS}/x"))
        self.assertNotIn("let me in", self.proxy.log())

    async def test_restartNeeded(self) -> None:
        """
        What is changed but cannot be used now is named, and the rest is used.
        """
        await self.start()
        (line,) = await self.reload(
            'jid = "other.example"\ndrain = 5\nallow = ["nobody.example"]\nno-udp = true'
        )
        # What stands on the command line wins: the file cannot change it.
        self.assertEqual(
            line, "Configuration read again; changed, but used only after a restart: drain, no-udp"
        )
        self.assertFalse(await self.serves(f"romeo@{FOREIGNERS}/x"))
        self.assertEqual(await self.reload(GOOD), ["Configuration read again"])
