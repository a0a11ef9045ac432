"""
C{xmppbytes send} and C{xmppbytes receive} as child processes, as a person would call them.
"""

import re
import sys
from pathlib import Path
from typing import Any

from tests.interop.processes import Child
from tests.interop.servers import PASSWORD, XmppServer


class FileCommand(Child):
    """
    One of the two commands, for an account of a server.

    @ivar address: the full JID of the account.
    """

    subcommand = ""
    resource = "xb"

    def __init__(self, reactor: Any, server: XmppServer, account: str, *options: str) -> None:
        """
        @param options: further options and arguments.
        """
        super().__init__(reactor, f"{self.subcommand}-{account}")
        self.server = server
        self.jid = server.jid(account, self.resource)
        self.options = options

    def prepare(self) -> None:
        (self.folder / "password").write_text(f"{PASSWORD}\n")
        (self.folder / "files").mkdir(exist_ok=True)

    def command(self) -> list[str]:
        authority = self.server.authority
        return [
            *(sys.executable, "-m", "xmppbytes.cli", self.subcommand),
            *("--account", self.jid, "--password-file", str(self.folder / "password")),
            *("--server", f"{self.server.address}:{self.server.c2sPort}"),
            *(("--ca", str(authority.certificate)) if authority else ("--no-tls",)),
            *self.options,
        ]


class Send(FileCommand):
    """
    C{xmppbytes send}. Options end with the receiver and the files.
    """

    subcommand = "send"
    resource = "sender"


class Receive(FileCommand):
    """
    C{xmppbytes receive}, into its own folder.

    @ivar received: that folder.
    """

    subcommand = "receive"
    resource = "receiver"

    @property
    def received(self) -> Path:
        return self.folder / "files"

    def command(self) -> list[str]:
        return [*super().command(), "--dir", str(self.received)]

    async def untilReady(self) -> None:
        await self.untilLogged("receives files into")


def digestIn(log: str) -> list[str]:
    """
    The SHA-256 of the files that a command reports, in order.
    """
    return re.findall(r"SHA-256 ([0-9a-f]{64})", log)
