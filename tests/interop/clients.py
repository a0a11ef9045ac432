"""
The real clients that the tests drive.
"""

import atexit
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.interop.case import SYSTEM_PYTHON
from tests.interop.peer import Peer
from tests.interop.servers import PASSWORD, XmppServer

PEERS = Path(__file__).with_name("peers")


class Slixmpp(Peer):
    """
    A slixmpp client that is logged in; its commands are in slixpeer.py.
    """

    def __init__(
        self, reactor: Any, server: XmppServer, account: str, *options: str, resource: str = "slix"
    ) -> None:
        """
        @param options: further options of slixpeer.py.
        """
        super().__init__(reactor, f"slixmpp-{account}")
        self.server = server
        self.jid = server.jid(account, resource)
        self.options = options

    def command(self) -> list[str]:
        authority = self.server.authority
        return [
            *(sys.executable, "-m", "tests.interop.slixpeer"),
            *("--jid", self.jid, "--password", PASSWORD),
            *("--server", self.server.address, "--port", str(self.server.c2sPort)),
            *(("--authority", str(authority.certificate)) if authority else ()),
            *self.options,
        ]


class FileClient(Peer):
    """
    A client that sends and receives files by SI (XEP-0095/0096), or by what else it knows.

    Its events are the same for all: C{file-recv-request} (file, size, who), C{file-saved} (local, size,
    sha256), C{file-recv-cancel}, C{file-send-complete} and C{file-send-cancel}. It accepts what it is
    offered unless told otherwise by an option.
    """

    client = ""  # how it is called in jids and logs
    script = ""  # its driver in the folder peers

    def __init__(self, reactor: Any, server: XmppServer, account: str, *options: str) -> None:
        """
        @param options: further options of the driver.
        """
        super().__init__(reactor, f"{self.client}-{account}")
        self.server = server
        self.jid = server.jid(account, self.client)
        self.options = options

    def python(self) -> str:
        """
        The Python that runs the driver.
        """
        return sys.executable

    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return {**inherited, "PYTHONUNBUFFERED": "1"}

    def command(self) -> list[str]:
        return [
            *(self.python(), str(PEERS / self.script), "--jid", self.jid, "--password", PASSWORD),
            *("--server", self.server.address, "--port", str(self.server.c2sPort)),
            *("--home", str(self.folder), *self.options),
        ]

    async def untilSees(self, other: Peer) -> None:
        """
        Wait until it knows that another client is online; not all of them can offer a file before that.
        """

    async def untilFindsProxy(self) -> None:
        """
        Wait until it has found a proxy; not all of them wait for that themselves before they offer a file.
        """

    def offer(self, to: str, path: Path | str) -> None:
        """
        Offer a file.

        @param to: a full JID.
        """
        self.tell("file", to=to, path=str(Path(path).absolute()), method="si")

    def untilSent(self, timeout: float = 90.0) -> Deferred[dict[str, Any]]:
        """
        Wait until it has finished sending, or given up.

        @return: fires with C{file-send-complete} or C{file-send-cancel}.
        """
        return self.wait("file-send-complete", "file-send-cancel", timeout=timeout)

    def untilSaved(self, timeout: float = 90.0) -> Deferred[dict[str, Any]]:
        """
        Wait until it has received a file, or given up.

        @return: fires with C{file-saved} or C{file-recv-cancel}.
        """
        return self.wait("file-saved", "file-recv-cancel", timeout=timeout)


class Purple(FileClient):
    """
    libpurple 2.14: direct connections and proxies, falls back to in-band bytestreams.
    """

    client = "purple"
    script = "purple.py"

    async def untilSees(self, other: Any) -> None:
        await self.wait("buddy-on", name=other.jid.partition("/")[0])

    async def untilFindsProxy(self) -> None:
        await self.wait("proxy-found")


class SlixmppSi(FileClient):
    """
    slixmpp 1.17 with its SI mended: it offers proxies only. Left alone it prefers in-band bytestreams, so
    it is kept from them unless options are given.
    """

    client = "slix-si"
    script = "slix_si.py"

    def __init__(self, reactor: Any, server: XmppServer, account: str, *options: str) -> None:
        super().__init__(reactor, server, account, *(options or ("--methods", "s5b")))


class Libervia(FileClient):
    """
    Libervia 0.9: direct connections and proxies; SI, and Jingle by C{tell("file", method="jingle", ...)}.
    """

    client = "libervia"
    script = "libervia.py"

    def python(self) -> str:
        return SYSTEM_PYTHON

    async def untilSees(self, other: Any) -> None:
        await self.wait("presence", sender=other.jid)


class Qxmpp(FileClient):
    """
    QXmpp 1.4: direct connections, and the one proxy that it is told.

    @ivar options: accept or decline, then the proxy's JID or "-", then C{proxyonly}.
    """

    client = "qxmpp"

    async def start(self) -> None:
        self.binary = await deferToThread(builtQxmpp)
        await super().start()

    def command(self) -> list[str]:
        server = (self.server.address, str(self.server.c2sPort))
        return [self.binary, self.jid, PASSWORD, *server, str(self.folder), *self.options]


@cache
def builtQxmpp() -> str:
    """
    Build the QXmpp peer, once in a test run; takes some seconds.

    @return: the program.
    """
    folder = tempfile.mkdtemp(prefix="xmppbytes-build-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    libraries = ["pkg-config", "--cflags", "--libs", "qxmpp", "Qt5Core", "Qt5Network", "Qt5Xml"]
    flags = shlex.split(subprocess.run(libraries, check=True, capture_output=True, text=True).stdout)
    program = f"{folder}/qxmpp"
    compiler = ["g++", "-O1", "-fPIC", "-std=c++17", str(PEERS / "qxmpp.cpp"), "-o", program, *flags]
    built = subprocess.run(compiler, check=False, capture_output=True, text=True)
    if built.returncode:
        raise RuntimeError(f"the QXmpp peer cannot be built:\n{built.stderr}")
    return program
