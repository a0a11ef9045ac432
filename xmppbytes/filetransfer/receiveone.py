"""
Receiving a single file.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from xmppbytes.errors import BytestreamError, Refused
from xmppbytes.filetransfer.acceptor import IFileAcceptor, IncomingFile
from xmppbytes.filetransfer.receive import FileReceiving
from xmppbytes.filetransfer.report import TransferReport
from xmppbytes.filetransfer.si import StreamInitiationHandler
from xmppbytes.filetransfer.storage import Inbox


def receiveFile(
    clock: IReactorTime,
    initiation: StreamInitiationHandler,
    folder: Path,
    permits: Callable[[IncomingFile], bool],
    progress: Callable[[int, int], None] | None = None,
) -> "Deferred[TransferReport]":
    """
    Receive the next file that is permitted; refuse all others.

    @param clock: an C{IReactorTime}.
    @param initiation: whose offers are answered until then.
    @param folder: where it goes.
    @param permits: decides about an offer, by its sender, name and size.
    @param progress: called with the bytes that are there and those of the whole file.
    @return: fires when the file is there. Fails when it was accepted and did not arrive. Cancelling it
        tells the sender.
    """
    single = _Single(folder, permits, progress or (lambda done, size: None))
    receiving = FileReceiving(clock, initiation, single)
    done: Deferred[TransferReport] = Deferred(lambda _: receiving.stop("cancelled by the receiver"))
    single.done = done

    def ended(result: Any) -> Any:
        receiving.stop("no more files are received")
        if isinstance(result, Failure) and result.check(CancelledError):
            return result
        # In the next turn: the sender's answer is on its way before the application can disconnect.
        return deferLater(clock, 0, lambda: result)

    return done.addBoth(ended)


@implementer(IFileAcceptor)
class _Single:
    """
    Accepts one file.
    """

    done: "Deferred[TransferReport]"

    def __init__(
        self, folder: Path, permits: Callable[[IncomingFile], bool], progress: Callable[[int, int], None]
    ) -> None:
        self._folder = folder
        self._permits = permits
        self._progress = progress
        self._accepted: IncomingFile | None = None

    def fileOffered(self, incoming: IncomingFile) -> Inbox:
        """
        See L{IFileAcceptor}.
        """
        if self._accepted is not None or not self._permits(incoming):
            raise Refused("not this file")
        self._accepted = incoming
        return Inbox(self._folder)

    def fileProgressed(self, incoming: IncomingFile, done: int) -> None:
        """
        See L{IFileAcceptor}.
        """
        self._progress(done, incoming.file.size)

    def fileReceived(self, incoming: IncomingFile, report: TransferReport) -> None:
        """
        See L{IFileAcceptor}.
        """
        self.done.callback(report)

    def fileFailed(self, incoming: IncomingFile, error: BytestreamError, kept: bool) -> None:
        """
        See L{IFileAcceptor}.
        """
        if incoming is self._accepted and not self.done.called:
            self.done.errback(error)
