"""
The services under test, run by twistd as child processes.
"""

import json
import sys
from pathlib import Path
from typing import Any

from tests.interop.clients import Slixmpp
from tests.interop.peer import CallFailed
from tests.interop.processes import Child, freePort
from tests.interop.servers import XmppServer


class TwistedService(Child):
    """
    A service of twistd, in the foreground.
    """

    plugin = ""

    def __init__(self, reactor: Any, *options: str) -> None:
        """
        @param options: the options of the plugin.
        """
        super().__init__(reactor, self.plugin)
        self.options = list(options)

    def command(self) -> list[str]:
        twistd = [sys.executable, "-m", "tests.twistd"]
        return [*twistd, "--nodaemon", "--pidfile=", self.plugin, *self.options]


class ProxyService(TwistedService):
    """
    C{twistd s5bproxy}: the proxy under test, a component of a real server.

    @ivar host: where it listens, and what it advertises.
    @ivar port: likewise.
    """

    plugin = "s5bproxy"

    def __init__(
        self,
        reactor: Any,
        server: XmppServer,
        *options: str,
        jid: str = "proxy.localhost",
        secret: str = "",
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """
        @param options: further options of s5bproxy.
        @param secret: the component secret; the default is the one that the server expects.
        @param port: 0 picks a free one.
        """
        super().__init__(reactor, *options)
        self.server = server
        self.jid = jid
        self.secret = secret or server.components[jid]
        self.host = host
        self.port = port or freePort(host)
        self.ports = [(self.host, self.port)]

    def prepare(self) -> None:
        path = self.folder / "secret"
        path.touch(0o600)
        path.write_text(f"{self.secret}\n")

    def command(self) -> list[str]:
        literal = self.host.replace(":", r"\:")
        advertised = f"[{self.host}]" if ":" in self.host else self.host
        return [
            *super().command(),
            *("--jid", self.jid, "--secret-file", str(self.folder / "secret")),
            *("--server", f"tcp:{self.server.address}:{self.server.componentPort}"),
            *("--listen", f"tcp:{self.port}:interface={literal}"),
            *("--advertise", f"{advertised}:{self.port}"),
            *("--usage-log", str(self.usagePath)),
        ]

    @property
    def usagePath(self) -> Path:
        """
        Where it writes its usage log.
        """
        return self.folder / "usage.jsonl"

    async def untilUsed(self, count: int = 1, timeout: float = 60.0) -> list[dict[str, Any]]:
        """
        Wait until bytestreams have ended.

        @return: their records of the usage log.
        """
        end = self.reactor.seconds() + timeout
        while True:
            lines = self.usagePath.read_text("utf-8").splitlines() if self.usagePath.exists() else []
            if len(lines) >= count:
                return [json.loads(line) for line in lines]
            if self.reactor.seconds() > end:
                raise self.failed(f"noted {len(lines)} of {count} bytestreams within {timeout:g} s")
            await self.pause()

    async def untilOnline(self, client: Slixmpp, timeout: float = 60.0) -> None:
        """
        Wait until the proxy answers on XMPP.

        @param client: who asks.
        """
        end = self.reactor.seconds() + timeout
        while True:
            try:
                await client.call("ping", to=self.jid)
                return
            except CallFailed as error:
                if self.reactor.seconds() > end:
                    raise self.failed(f"did not answer a ping within {timeout:g} s ({error})") from None
                await self.pause()
