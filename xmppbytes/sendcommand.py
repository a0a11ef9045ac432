"""
C{xmppbytes send}: send files to somebody.
"""

import argparse
from pathlib import Path
from typing import Any

from xmppbytes import filecommand
from xmppbytes.announcing import quietPresence
from xmppbytes.errors import BytestreamError
from xmppbytes.filecommand import Display, FileAccount, show, summary
from xmppbytes.filemethods import METHODS
from xmppbytes.filetransfer.finding import ReceiverFinder
from xmppbytes.filetransfer.send import sendFile
from xmppbytes.filetransfer.si import ANSWER_TIMEOUT
from xmppbytes.running import runCommand


def addArguments(parser: argparse.ArgumentParser) -> None:
    """
    Add the arguments of this subcommand.
    """
    filecommand.addArguments(parser)
    add = parser.add_argument
    add("--no-hash", action="store_true", help="do not read the files beforehand: nothing can be resumed")
    add("--description", default="", metavar="TEXT", help="a word about the files")
    add(
        "--timeout",
        type=filecommand.secondsArgument,
        default=ANSWER_TIMEOUT,
        metavar="SECONDS",
        help="withdraw an offer that is not answered (default: %(default)g)",
    )
    add(
        "--method",
        choices=METHODS,
        help="offer this kind of bytestream only (default: s5b, and in-band as the last resort)",
    )
    relay = {"type": filecommand.jidArgument, "metavar": "JID", "action": "append", "default": []}
    add("--relay", **relay, help="with --method dtcp: also wait at this relay")  # type: ignore[arg-type]
    add("to", type=filecommand.jidArgument, metavar="TO", help="to whom, such as bob@example.org")
    add("files", type=filecommand.fileArgument, metavar="FILE", nargs="+", help="what")


def run(options: argparse.Namespace) -> int:
    """
    Run this subcommand.
    """
    return runCommand(lambda reactor: send(reactor, options), options.verbose)


async def send(reactor: Any, options: argparse.Namespace) -> int:
    """
    Connect, find the receiver, and send one file after the other.

    @return: the exit code.
    """
    files = FileAccount(reactor, options, ("s5b", "in-band"))
    finder = ReceiverFinder(reactor)
    finder.setHandlerParent(files.account.manager)
    await files.account.connect()
    try:
        files.account.manager.send(quietPresence())
        target = await finder.find(options.to, files.initiation.methods.namespaces)
        failures = 0
        for path in options.files:
            failures += not await _sendOne(reactor, files, target, path, options)
        return 1 if failures else 0
    finally:
        await files.account.disconnect()


async def _sendOne(
    reactor: Any, files: FileAccount, target: str, path: Path, options: argparse.Namespace
) -> bool:
    show(f"sending {path.name} ({path.stat().st_size} bytes) to {target}")
    display = Display(path.name, path.stat().st_size)
    try:
        report = await sendFile(
            reactor,
            files.initiation,
            target,
            path,
            hashed=not options.no_hash,
            description=options.description,
            answerTimeout=options.timeout,
            progress=lambda done, size: display.update(done),
        )
    except (BytestreamError, OSError) as e:
        display.close()
        show(f"failed: {path.name}: {e}")
        return False
    finally:
        display.close()
    show(summary(report, "sent"))
    return True
