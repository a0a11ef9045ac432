"""
What C{xmppbytes send} and C{xmppbytes receive} have in common: options, the account with its handlers,
and how a transfer is shown.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm
from twisted.words.protocols.jabber.jid import JID, InvalidFormat

from xmppbytes.account import Account, AccountSettings
from xmppbytes.core.access import AddressRules
from xmppbytes.dtcp.channel import TLSMode
from xmppbytes.dtcp.client import DTCPClientHandler
from xmppbytes.dtcp.stanzas import NS_DTCP
from xmppbytes.errors import ConfigurationError
from xmppbytes.filemethods import METHODS, dtcpOptionsOf, methodsOf
from xmppbytes.filetransfer.methods import StreamMethod
from xmppbytes.filetransfer.names import printable
from xmppbytes.filetransfer.offer import readSize
from xmppbytes.filetransfer.report import TransferReport
from xmppbytes.filetransfer.stack import addFileTransfer
from xmppbytes.jids import prepareJID
from xmppbytes.s5b.options import BytestreamOptions, Ways
from xmppbytes.srv import parseServer

# More seconds than this are a mistake: a year.
MAX_SECONDS = 366 * 86400.0


def jidArgument(text: str) -> JID:
    """
    Read an address.
    """
    try:
        jid = prepareJID(text)
        jid.host.encode("idna")
        return jid
    except (InvalidFormat, UnicodeError) as e:
        raise argparse.ArgumentTypeError(f"{text!r} is not a JID: {e}") from e


def accountArgument(text: str) -> JID:
    """
    Read the address of an account.
    """
    jid = jidArgument(text)
    try:
        # Twisted prepares the address again when the server has told it: it must know its characters.
        JID(text)
    except InvalidFormat as e:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be used as our own address: {e}") from e
    if not jid.user:
        raise argparse.ArgumentTypeError(f"{text!r} is not an account, such as alice@example.org/laptop")
    return jid


def serverArgument(text: str) -> str:
    """
    Read HOST:PORT.
    """
    try:
        parseServer(text)
    except ConfigurationError as e:
        raise argparse.ArgumentTypeError(str(e)) from e
    return text


def passwordArgument(text: str) -> str:
    """
    Read a password from a file: its first line.
    """
    try:
        lines = Path(text).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise argparse.ArgumentTypeError(f"the password file cannot be read: {e}") from e
    if not lines or not lines[0]:
        raise argparse.ArgumentTypeError(f"{text!r} has no password in its first line")
    return lines[0]


def fileArgument(text: str) -> Path:
    """
    Find a file.
    """
    path = Path(text)
    if not path.is_file():
        kind = "is not a regular file" if path.exists() else "does not exist"
        raise argparse.ArgumentTypeError(f"{text!r} {kind}")
    try:
        path.open("rb").close()
    except OSError as e:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be read: {e.strerror}") from e
    return path


def folderArgument(text: str) -> Path:
    """
    Find a folder.
    """
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder; make it first")
    if not os.access(path, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written to; check its permissions")
    return path


def secondsArgument(text: str) -> float:
    """
    Read a time in seconds.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


def bytesArgument(text: str) -> int:
    """
    Read a number of bytes.
    """
    size = readSize(text)
    if size is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes, in digits")
    return size


def ruleArgument(text: str) -> str:
    """
    Read a rule about addresses, see L{AddressRules}.
    """
    try:
        AddressRules([text])
    except ConfigurationError as e:
        raise argparse.ArgumentTypeError(str(e)) from e
    return text


def addArguments(parser: argparse.ArgumentParser) -> None:
    """
    Add the common options.
    """
    add = parser.add_argument
    account = {"type": accountArgument, "metavar": "JID", "required": True}
    add("--account", **account, help="our account, such as alice@example.org/laptop")  # type: ignore[arg-type]
    add(
        "--password-file",
        type=passwordArgument,
        metavar="FILE",
        required=True,
        dest="password",
        help="holds the account's password in its first line",
    )
    add("--server", type=serverArgument, metavar="HOST:PORT", help="our server (default: found by DNS)")
    add("--ca", type=fileArgument, metavar="FILE", help="trust these certificates (PEM) and no others")
    add("--no-tls", action="store_true", help="do not encrypt the connection to our server")
    proxy = {"type": jidArgument, "metavar": "JID", "action": "append", "default": []}
    add("--proxy", **proxy, help="offer this proxy, beside those of our server")  # type: ignore[arg-type]
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--direct-only", action="store_true", help="no proxy, and nothing in-band")
    ways.add_argument(
        "--proxy-only",
        action="store_true",
        help="only through proxies: open no port, tell no address of this machine",
    )
    ways.add_argument("--in-band-only", action="store_true", help="only through the XMPP servers (slow)")
    add(
        "--allow-address",
        action="append",
        default=[],
        metavar="NETWORK",
        help="connect there although it is, say, a loopback address",
    )
    add(
        "--dtcp-tls",
        choices=[mode.value for mode in TLSMode],
        default=TLSMode.OPTIONAL.value,
        help="encrypt connections by DTCP from end to end (default: %(default)s)",
    )
    add("--verbose", action="store_true", help="show what happens")


def optionsOf(options: argparse.Namespace) -> BytestreamOptions:
    """
    Make the choices about bytestreams out of the options.
    """
    ways = Ways.DIRECT_ONLY if options.direct_only else Ways.ANY
    return BytestreamOptions(
        ways=Ways.PROXY_ONLY if options.proxy_only else ways,
        proxies=tuple(jid.full() for jid in options.proxy),
        allowAddresses=tuple(options.allow_address),
    )


class FileAccount:
    """
    An account with everything that files need.

    @ivar account: the account.
    @ivar initiation: the negotiator, with the stream methods that the options permit.
    """

    def __init__(self, reactor: Any, options: argparse.Namespace, methods: Sequence[str] = METHODS) -> None:
        """
        @param methods: the kinds of bytestream that are used without C{--method}.
        @raise ConfigurationError: when the options make no sense.
        """
        settings = AccountSettings(
            jid=options.account,
            password=options.password,
            server=options.server,
            tls=not options.no_tls,
            authorities=options.ca,
        )
        self.account = Account(reactor, settings)
        permitted = methodsOf(options, methods)
        others = []
        if "dtcp" in permitted:
            dtcp = DTCPClientHandler(reactor, options=dtcpOptionsOf(options))
            dtcp.setHandlerParent(self.account.manager)
            others.append(StreamMethod(NS_DTCP, dtcp))
        self.initiation = addFileTransfer(
            reactor,
            self.account.manager,
            optionsOf(options),
            socks="s5b" in permitted,
            inBand="in-band" in permitted,
            others=others,
        )


class Display:
    """
    Shows how a file goes: a bar on a terminal, lines elsewhere.
    """

    def __init__(self, label: str, size: int, terminal: bool | None = None) -> None:
        """
        @param label: what is shown before the bar; may come from outside.
        @param size: bytes.
        @param terminal: whether standard error is a terminal; C{None}: look.
        """
        self._shown = 0
        self._bar: Any = None
        if sys.stderr.isatty() if terminal is None else terminal:
            self._bar = tqdm(
                total=size,
                desc=printable(label, 40),
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                file=sys.stderr,
                leave=False,
                dynamic_ncols=True,
            )

    def update(self, done: int) -> None:
        """
        Show progress.

        @param done: bytes.
        """
        if self._bar is not None and not self._shown:
            # What was there before a transfer was continued says nothing about the rate.
            self._bar.initial = self._bar.n = done
            self._bar.refresh()
        elif self._bar is not None:
            self._bar.update(done - self._shown)
        self._shown = done

    def close(self) -> None:
        """
        Take the bar away.
        """
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def show(text: str, output: Callable[[str], None] | None = None) -> None:
    """
    Write a line, above any bar.
    """
    (output or _line)(printable(text, 2000))


def _line(text: str) -> None:
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


def summary(report: TransferReport, action: str) -> str:
    """
    Say in one line how a transfer went.

    @param action: C{"sent"} or C{"received"}.
    """
    continued = report.size - report.transferred
    parts = [
        f"{action} {report.path.name}: {report.size} bytes",
        f"{continued} of them before" if continued else "",
        f"in {report.seconds:.2f} s ({report.rate / 1e6:.1f} MB/s)",
        report.route,
        f"SHA-256 {report.sha256}",
        "" if report.verified else "not verified (the offer had no hash)",
    ]
    return ", ".join(part for part in parts if part)
