"""
C{xmppbytes receive}: receive files into a folder.
"""

import argparse
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.words.protocols.jabber.jid import JID, InvalidFormat
from zope.interface import implementer

from xmppbytes import filecommand
from xmppbytes.account import AccountError
from xmppbytes.announcing import Announcer
from xmppbytes.core.access import AddressRules
from xmppbytes.errors import BytestreamError, Refused
from xmppbytes.filecommand import Display, FileAccount, show, summary
from xmppbytes.filetransfer.acceptor import IFileAcceptor, IncomingFile
from xmppbytes.filetransfer.incoming import NotDecided
from xmppbytes.filetransfer.names import printable, safeName
from xmppbytes.filetransfer.receive import DECISION_TIMEOUT, FileReceiving
from xmppbytes.filetransfer.report import TransferReport
from xmppbytes.filetransfer.storage import Inbox
from xmppbytes.jids import prepareJID
from xmppbytes.prompt import Prompt, openPrompt
from xmppbytes.running import runCommand


def addArguments(parser: argparse.ArgumentParser) -> None:
    """
    Add the arguments of this subcommand.
    """
    filecommand.addArguments(parser)
    add = parser.add_argument
    folder = {"type": filecommand.folderArgument, "metavar": "D", "required": True}
    add("--dir", **folder, help="where files go")  # type: ignore[arg-type]
    add(
        "--from",
        dest="senders",
        type=filecommand.ruleArgument,
        action="append",
        default=[],
        metavar="JID",
        help="take files only from this JID, bare JID or domain (default: from all)",
    )
    add("--max-size", type=filecommand.bytesArgument, metavar="BYTES", help="refuse larger files")
    add(
        "--timeout",
        type=filecommand.secondsArgument,
        default=DECISION_TIMEOUT,
        metavar="SECONDS",
        help="decline an offer when nobody has answered the question about it (default: %(default)g)",
    )
    add("--once", action="store_true", help="end after the first file")
    add("--yes", action="store_true", help="accept without asking")


def run(options: argparse.Namespace) -> int:
    """
    Run this subcommand.
    """
    return runCommand(lambda reactor: receive(reactor, options), options.verbose)


async def receive(reactor: Any, options: argparse.Namespace) -> int:
    """
    Connect, and receive until it is enough.

    @return: the exit code.
    """
    files = FileAccount(reactor, options)
    acceptor = Acceptor(options, None if options.yes else openPrompt(reactor))
    receiving = FileReceiving(reactor, files.initiation, acceptor, options.timeout)
    announcer = Announcer(acceptor.permits)
    announcer.setHandlerParent(files.account.manager)
    jid = await files.account.connect()
    files.account.replaced.addCallback(lambda _: acceptor.end(_replaced(jid)))
    show(f"{jid.full()} receives files into {options.dir}")
    try:
        code = await acceptor.enough
        # It may be a refusal, of which the sender is told only when the acceptor has returned.
        await deferLater(reactor, 0)
        return code
    except CancelledError:
        if not acceptor.busy:
            # Ctrl-C is how this command ends.
            return 0
        raise
    finally:
        announcer.leaving = True
        receiving.stop("cancelled by the receiver")
        await files.account.disconnect()


def _replaced(jid: JID) -> AccountError:
    return AccountError(
        f"another client has connected as {jid.full()}, which only one can be; "
        "give --account another resource"
    )


@implementer(IFileAcceptor)
class Acceptor:
    """
    Decides by the options, or asks.

    @ivar enough: fires with the exit code, with C{--once}.
    @ivar busy: how many files are being received.
    """

    log = Logger()

    def __init__(self, options: argparse.Namespace, prompt: Prompt | None) -> None:
        """
        @param prompt: asks on a terminal; C{None}: there is none.
        """
        self.enough: Deferred[int] = Deferred()
        self.busy = 0
        self._options = options
        self._prompt = prompt
        self._inbox = Inbox(options.dir)
        self._rules = AddressRules(options.senders or ["*"])
        self._displays: dict[IncomingFile, Display] = {}
        self._accepted: set[IncomingFile] = set()
        self._ending: BytestreamError | None = None

    def permits(self, sender: str) -> bool:
        """
        Tell whether files of this sender are considered at all; and, where nobody is asked, only
        those who were named are told that we are here.
        """
        try:
            return bool(self._options.senders) and self._rules.match(prepareJID(sender))
        except (InvalidFormat, UnicodeError):
            return False

    def fileOffered(self, incoming: IncomingFile) -> Any:
        """
        See L{IFileAcceptor}.
        """
        what = _describe(incoming)
        refusal = self._refusal(incoming)
        if refusal:
            show(f"refused {what}: {refusal}")
            raise Refused(refusal)
        if self._options.yes:
            return self._accept(incoming)
        assert self._prompt is not None
        question = self._prompt.ask(f"{what}. Accept? [y/N] ")
        return question.addCallback(self._answered, incoming)

    def _refusal(self, incoming: IncomingFile) -> str:
        try:
            known = self._rules.match(prepareJID(incoming.sender))
        except (InvalidFormat, UnicodeError):
            known = False
        if not known:
            return "its sender is not among those of --from"
        if self._options.max_size is not None and incoming.file.size > self._options.max_size:
            return f"it is larger than {self._options.max_size} bytes"
        if self._options.once and self._accepted:
            return "another file is being received, and --once is for one"
        if not self._options.yes and self._prompt is None:
            return "there is no terminal to ask on; --yes accepts without asking"
        return ""

    def _answered(self, yes: bool, incoming: IncomingFile) -> Inbox:
        if not yes:
            self._finish(1)
            raise Refused("declined")
        refusal = self._refusal(incoming)
        if refusal:
            # Another question was answered meanwhile.
            show(f"refused {_describe(incoming)}: {refusal}")
            raise Refused(refusal)
        return self._accept(incoming)

    def _accept(self, incoming: IncomingFile) -> Inbox:
        self.busy += 1
        self._accepted.add(incoming)
        show(f"receiving {_describe(incoming)}")
        self._displays[incoming] = Display(safeName(incoming.file.name), incoming.file.size)
        return self._inbox

    def fileProgressed(self, incoming: IncomingFile, done: int) -> None:
        """
        See L{IFileAcceptor}.
        """
        self._displays[incoming].update(done)

    def fileReceived(self, incoming: IncomingFile, report: TransferReport) -> None:
        """
        See L{IFileAcceptor}.
        """
        self._leave(incoming)
        show(summary(report, "received"))
        self._finish(0)

    def fileFailed(self, incoming: IncomingFile, error: BytestreamError, kept: bool) -> None:
        """
        See L{IFileAcceptor}.
        """
        if isinstance(error, NotDecided):
            show(f"declined {_describe(incoming)}: {error}")
            self._finish(1)
        if incoming not in self._accepted:
            return
        self._leave(incoming)
        rest = "; what has arrived is kept, and continued when the file is sent again" if kept else ""
        show(f"failed: {safeName(incoming.file.name)}: {error}{rest}")
        self._finish(1)

    def _leave(self, incoming: IncomingFile) -> None:
        self.busy -= 1
        self._accepted.discard(incoming)
        self._displays.pop(incoming).close()

    def _finish(self, code: int) -> None:
        if self._options.once and not self.enough.called:
            self.enough.callback(code)
        self._endWhenIdle()

    def end(self, error: BytestreamError) -> None:
        """
        Nothing more can come; what is being received may still arrive.

        @param error: why.
        """
        self._ending = error
        self._endWhenIdle()

    def _endWhenIdle(self) -> None:
        if self._ending is not None and not self.busy and not self.enough.called:
            self.enough.errback(self._ending)


def _describe(incoming: IncomingFile) -> str:
    file = incoming.file
    about = f" ({printable(file.description, 200)})" if file.description else ""
    return f"{safeName(file.name)} ({file.size} bytes) from {printable(incoming.sender, 200)}{about}"
