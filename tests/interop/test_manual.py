"""
What docs/operating.md tells an operator to write down, tried as it stands there: the text of the document is
what configures the real programs.
"""

import subprocess
from pathlib import Path
from typing import Any

from tests import manual
from tests.interop.case import EJABBERD, PROSODY, SLIXMPP, SYSTEMD, InteropTestCase
from tests.interop.clients import Slixmpp
from tests.interop.servers import DOMAIN, Ejabberd, Prosody
from tests.interop.services import ProxyService
from xmppbytes.proxytap import Options

PROXY = f"proxy.{DOMAIN}"
SECRET = "c2VjcmV0IG9mIHRoZSBtYW51YWw="


class ManualsProsody(Prosody):
    """
    Prosody that knows the component from the manual.
    """

    def configuration(self) -> str:
        components, self.components = self.components, {}
        text = super().configuration()
        self.components = components
        snippet = manual.snippet("lua", domain=PROXY, secret=SECRET, component_port=str(self.componentPort))
        ports, component = snippet.split("\n\n", 1)
        before, host, after = text.partition("VirtualHost ")
        return f"{before}{ports}\n{host}{after}\n{component}"


class ManualsEjabberd(Ejabberd):
    """
    ejabberd that knows the component from the manual.
    """

    def configuration(self) -> str:
        port, self.componentPort = self.componentPort, 0
        components, self.components = self.components, {}
        text = super().configuration()
        self.componentPort, self.components = port, components
        snippet = manual.snippet("yaml", domain=PROXY, secret=SECRET, component_port=str(port))
        lines = [line for line in text.splitlines() if "ejabberd_service" not in line]
        lines[lines.index("listen:")] = snippet
        return "\n".join(lines) + "\n"


class ServerTests:
    """
    Whatever the server.
    """

    Server: Any

    async def test_component(self) -> None:
        """
        With the manual's snippet the server lets the proxy in, lists it, and its users find its address.
        """
        server = await self.launch(self.Server(self.reactor, components={PROXY: SECRET}))
        romeo = await self.launch(Slixmpp(self.reactor, server, "romeo"))
        proxy = await self.launch(ProxyService(self.reactor, server))
        await proxy.untilOnline(romeo)
        self.assertIn(PROXY, await romeo.call("items", to=DOMAIN))
        (found,) = await romeo.call("query", proxy=PROXY)
        self.assertEqual((found["host"], found["port"]), (proxy.host, str(proxy.port)))


class ProsodyTests(ServerTests, InteropTestCase):
    """
    The Lua snippet.
    """

    needs = (PROSODY, SLIXMPP)
    Server = ManualsProsody


class EjabberdTests(ServerTests, InteropTestCase):
    """
    The YAML snippet.
    """

    needs = (EJABBERD, SLIXMPP)
    Server = ManualsEjabberd


class UnitTests(InteropTestCase):
    """
    The systemd unit.
    """

    needs = (SYSTEMD,)

    def setUp(self) -> None:
        super().setUp()
        self.unit = manual.snippet("ini")
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def setting(self, name: str) -> str:
        (value,) = [line.partition("=")[2] for line in self.unit.splitlines() if line.startswith(f"{name}=")]
        return value

    def test_verified(self) -> None:
        """
        systemd finds nothing to say about it.
        """
        twistd = self.folder / "twistd"
        twistd.write_text("#!/bin/sh\n")
        twistd.chmod(0o755)
        installed = "/opt/xmppbytes/bin/twistd"
        self.assertIn(installed, self.unit)
        path = self.folder / "xmppbytes-proxy.service"
        path.write_text(self.unit.replace(installed, str(twistd)))
        verified = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, check=False
        )
        ours = [line for line in verified.stderr.splitlines() if "xmppbytes" in line]
        self.assertEqual((verified.returncode, ours), (0, []), verified.stderr)

    def test_command(self) -> None:
        """
        The options of its command are the service's, with the manual's own TOML file; the secret lies where
        systemd puts credentials.
        """
        secret = self.folder / "secret"
        secret.write_text(SECRET)
        secret.chmod(0o400)
        self.assertEqual(self.setting("LoadCredential"), "secret:/etc/xmppbytes/secret")
        config = self.folder / "proxy.toml"
        config.write_text(manual.snippet("toml"))
        words = self.setting("ExecStart").replace("/etc/xmppbytes/proxy.toml", str(config))
        words = words.replace("%d", str(self.folder))
        _, _, arguments = words.partition("s5bproxy ")
        options = Options()
        options.parseOptions(arguments.split())
        self.assertEqual(options.chosen["secret"], SECRET)
        self.assertEqual(self.setting("ExecReload"), "kill -HUP $MAINPID")
        self.assertGreater(float(self.setting("TimeoutStopSec")), options.chosen["drain"])
