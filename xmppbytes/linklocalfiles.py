"""
The files of C{twistd linklocal}: offers that a person decides about, both directions, every end told.
"""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from xmppbytes.errors import BytestreamError, ConfigurationError, LimitReached, Refused
from xmppbytes.filetransfer.acceptor import IFileAcceptor, IncomingFile
from xmppbytes.filetransfer.names import printable, safeName
from xmppbytes.filetransfer.receive import FileReceiving
from xmppbytes.filetransfer.report import TransferReport
from xmppbytes.filetransfer.send import sendFile
from xmppbytes.filetransfer.si import StreamInitiationHandler
from xmppbytes.filetransfer.storage import Inbox
from xmppbytes.linklocal.events import EventHub
from xmppbytes.linklocal.pace import LineDamper
from xmppbytes.linklocal.safety import safety

# Seconds between two tellings of one transfer's progress.
PROGRESS_INTERVAL = 0.2
# How many offers may wait for a person's word.
MAX_QUESTIONS = 100


class Transfer:
    """
    One file on its way, or about to be.
    """

    def __init__(self, identifier: str, peer: str, name: str, size: int, direction: str) -> None:
        """
        @param identifier: by which a person names it.
        @param direction: C{"in"} or C{"out"}.
        """
        self.identifier = identifier
        self.peer = peer
        self.name = name
        self.size = size
        self.direction = direction
        self.told = float("-inf")
        # How safe the stream is over which it was negotiated; it may be closed before the file is there.
        self.safety = safety(None)
        self.question: Deferred[Inbox] | None = None
        self.cancel: Callable[[], None] = lambda: None

    def describe(self) -> dict[str, Any]:
        """
        Say what it is, as every event about it does.
        """
        return {
            "id": self.identifier,
            "name": self.name,
            "size": self.size,
            "direction": self.direction,
            "to" if self.direction == "out" else "from": self.peer,
            **self.safety,
        }


@implementer(IFileAcceptor)
class Files:
    """
    All transfers.
    """

    log = Logger()

    def __init__(
        self, reactor: Any, initiation: StreamInitiationHandler, hub: EventHub, folder: Path, accept: str
    ) -> None:
        """
        @param reactor: tells the time.
        @param initiation: negotiates, on the mesh.
        @param hub: is told.
        @param folder: where files go; made when the first one comes.
        @param accept: C{"ask"}, C{"always"} or C{"never"}.
        """
        self._reactor = reactor
        self._initiation = initiation
        self._hub = hub
        self._folder = folder
        self._accept = accept
        self._numbers = itertools.count(1)
        self._transfers: dict[str, Transfer] = {}
        self._incoming: dict[IncomingFile, Transfer] = {}
        self._lines = LineDamper(reactor)
        self._receiving = FileReceiving(reactor, initiation, self)

    # Commands

    def send(self, name: str, path: str) -> str:
        """
        Offer a file to somebody.

        @return: the id of the transfer. How it ends is told by an event.
        @raise ConfigurationError: when there is no such file.
        """
        file = Path(path)
        if not file.is_file():
            raise ConfigurationError(f"{path} is not a file")
        try:
            size = file.stat().st_size
        except OSError as error:
            raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
        transfer = self._add(name, file.name, size, "out")
        sending = sendFile(
            self._reactor,
            self._initiation,
            name,
            file,
            progress=lambda done, _: self._progressed(transfer, done),
        )
        transfer.cancel = sending.cancel
        sending.addCallbacks(self._sent, self._notSent, callbackArgs=(transfer,), errbackArgs=(transfer,))
        return transfer.identifier

    def accept(self, id: str) -> None:
        """
        Take a file that was offered.

        @raise ConfigurationError: when none of this id waits for a word, or it cannot be stored.
        """
        inbox = self._inbox()
        self._take(id).callback(inbox)

    def decline(self, id: str) -> None:
        """
        Refuse a file that was offered.

        @raise ConfigurationError: when none of this id waits for a word.
        """
        self._take(id).errback(Refused("declined"))

    def cancel(self, id: str) -> None:
        """
        End a transfer.

        @raise ConfigurationError: when there is none of this id.
        """
        transfer = self._transfers.get(id)
        if transfer is None:
            raise ConfigurationError(f"there is no transfer {id!r} at present")
        if transfer.question is not None:
            self.decline(id)
        else:
            transfer.cancel()

    def stop(self, reason: str) -> None:
        """
        End all transfers.
        """
        self._receiving.stop(reason)
        for transfer in list(self._transfers.values()):
            if transfer.direction == "out":
                transfer.cancel()
        self._lines.stop()

    def peerGone(self, name: str) -> None:
        """
        End what waits for a word about a file of somebody who has left.
        """
        for transfer in list(self._transfers.values()):
            if transfer.peer == name and transfer.question is not None:
                question, transfer.question = transfer.question, None
                question.errback(Refused(f"{name} has left"))

    def _take(self, identifier: str) -> "Deferred[Inbox]":
        transfer = self._transfers.get(identifier)
        if transfer is None or transfer.question is None:
            raise ConfigurationError(f"no file with the id {identifier!r} waits for a word")
        question, transfer.question = transfer.question, None
        return question

    def _inbox(self) -> Inbox:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"cannot make {self._folder}: {error.strerror}") from error
        return Inbox(self._folder)

    # Files from others (IFileAcceptor)

    def fileOffered(self, incoming: IncomingFile) -> Any:
        """
        See L{IFileAcceptor}.
        """
        if self._accept == "never":
            raise Refused("no files are received (--accept=never)")
        waiting = sum(transfer.question is not None for transfer in self._transfers.values())
        if waiting >= MAX_QUESTIONS:
            raise LimitReached("too many files wait for a decision; try again later")
        file = incoming.file
        transfer = self._add(incoming.sender, safeName(file.name), file.size, "in")
        self._incoming[incoming] = transfer
        transfer.cancel = lambda: self._receiving.cancel(incoming, "cancelled by the receiver")
        self._hub.emit(
            "file-request",
            description=printable(file.description),
            **self._describe(transfer),
        )
        if self._accept == "always":
            return self._inbox()
        transfer.question = Deferred(lambda _: setattr(transfer, "question", None))
        return transfer.question

    def fileProgressed(self, incoming: IncomingFile, done: int) -> None:
        """
        See L{IFileAcceptor}.
        """
        self._progressed(self._incoming[incoming], done)

    def fileReceived(self, incoming: IncomingFile, report: TransferReport) -> None:
        """
        See L{IFileAcceptor}.
        """
        self._done(self._incoming.pop(incoming), report)

    def fileFailed(self, incoming: IncomingFile, error: BytestreamError, kept: bool) -> None:
        """
        See L{IFileAcceptor}.
        """
        transfer = self._incoming.pop(incoming, None)
        if transfer is not None:
            self._cancelled(transfer, str(error))

    # Both directions

    def _add(self, peer: str, name: str, size: int, direction: str) -> Transfer:
        transfer = Transfer(str(next(self._numbers)), peer, name, size, direction)
        self._transfers[transfer.identifier] = transfer
        return transfer

    def _describe(self, transfer: Transfer) -> dict[str, Any]:
        stream = self._hub.streamOf(transfer.peer)
        if stream is not None:
            transfer.safety = safety(stream)
        return transfer.describe()

    def _sent(self, report: TransferReport, transfer: Transfer) -> None:
        self._done(transfer, report)

    def _notSent(self, failure: Failure, transfer: Transfer) -> None:
        if failure.check(CancelledError):
            self._cancelled(transfer, "cancelled by the sender")
        elif failure.check(BytestreamError, OSError):
            self._cancelled(transfer, failure.getErrorMessage())
        else:
            self.log.failure("sending {name} failed by our own fault", failure=failure, name=transfer.name)
            self._cancelled(transfer, "our own fault; the log says more")

    def _progressed(self, transfer: Transfer, done: int) -> None:
        now = self._reactor.seconds()
        if now - transfer.told >= PROGRESS_INTERVAL or done == transfer.size:
            transfer.told = now
            self._hub.emit("file-progress", bytes=done, **self._describe(transfer))

    def _done(self, transfer: Transfer, report: TransferReport) -> None:
        del self._transfers[transfer.identifier]
        if self._lines.admits(transfer.peer):
            self.log.info(
                "{name!r} ({size} bytes) {way} {peer}: {path}",
                name=transfer.name,
                size=transfer.size,
                way="is with" if transfer.direction == "out" else "came from",
                peer=transfer.peer,
                path=report.path,
            )
        self._hub.emit(
            "file-done",
            path=str(report.path),
            sha256=report.sha256,
            verified=report.verified,
            route=report.route,
            **self._describe(transfer),
        )

    def _cancelled(self, transfer: Transfer, reason: str) -> None:
        del self._transfers[transfer.identifier]
        if self._lines.admits(transfer.peer):
            self.log.info(
                "{name!r} ({direction}, {peer}) did not arrive: {reason}",
                name=transfer.name,
                direction=transfer.direction,
                peer=transfer.peer,
                reason=reason,
            )
        self._hub.emit("file-cancel", reason=reason, **self._describe(transfer))
