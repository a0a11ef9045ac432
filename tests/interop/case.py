"""
The base of every interop test, and what it needs from the machine.

An interop test is skipped when XMPPBYTES_INTEROP is not set, or when one of its peers is not installed.
With CI=true a missing peer fails the test instead: there everything has to be there.
"""

import ctypes
import importlib.util
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import FailTest, SkipTest, TestCase

LAB_ADDRESS = "10.65.0.1"  # labns.sh gives it, and 10.65.0.2
SYSTEM_PYTHON = "/usr/bin/python3"  # the Python that has the modules of Debian's packages


@dataclass(frozen=True)
class Need:
    """
    Something that a test cannot do without.

    @ivar name: what it is called.
    @ivar present: tells whether it is there.
    @ivar remedy: how to get it.
    """

    name: str
    present: Callable[[], bool]
    remedy: str


def program(name: str) -> str | None:
    """
    Find a program, also where only root's PATH leads.
    """
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")


def _library(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _labNetwork() -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((LAB_ADDRESS, 0))
        except OSError:
            return False
    return True


def _quiet(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _debian(name: str, present: Callable[[], bool], packages: str = "") -> Need:
    return Need(name, present, f"apt-get install --no-install-recommends {packages or name}")


PROSODY = _debian("prosody", lambda: program("prosody") is not None)
EJABBERD = _debian("ejabberd", lambda: program("ejabberdctl") is not None and program("erl") is not None)
SLIXMPP = Need("slixmpp", lambda: importlib.util.find_spec("slixmpp") is not None, "pip install slixmpp")
PURPLE = _debian("libpurple", lambda: _library("libpurple.so.0"), "libpurple0")
LIBERVIA = _debian(
    "Libervia",
    lambda: Path("/usr/share/libervia").is_dir() and _quiet(SYSTEM_PYTHON, "-c", "import netifaces"),
    "libervia-backend python3-netifaces",
)
QXMPP = _debian(
    "QXmpp",
    lambda: program("g++") is not None and _quiet("pkg-config", "--exists", "qxmpp", "Qt5Network", "Qt5Xml"),
    "libqxmpp-dev qtbase5-dev g++ pkg-config",
)
SYSTEMD = _debian("systemd-analyze", lambda: program("systemd-analyze") is not None, "systemd")
LAB_NETWORK = Need(
    f"a network with {LAB_ADDRESS}", _labNetwork, "run the tests by make interop or tests/interop/labns.sh"
)


def requirePeers(*needs: Need) -> None:
    """
    Skip, or with CI=true fail, the running test when something that it needs is missing.
    """
    if not os.environ.get("XMPPBYTES_INTEROP"):
        raise SkipTest("a test against real peers: run make interop")
    for need in needs:
        if need.present():
            continue
        reason = f"{need.name} is missing: {need.remedy}"
        raise (FailTest if os.environ.get("CI") == "true" else SkipTest)(reason)


class InteropTestCase(TestCase):
    """
    A test against real peers.

    @cvar needs: what it cannot do without.
    """

    needs: tuple[Need, ...] = ()
    timeout = 300

    def setUp(self) -> Any:
        requirePeers(*self.needs)
        self.reactor: Any = reactor

    async def launch(self, child: Any) -> Any:
        """
        Start a child process that ends with the test.

        @param child: a L{tests.interop.processes.Child}.
        @return: the child.
        """
        self.addCleanup(lambda: child.cleanUp())
        await child.start()
        return child
