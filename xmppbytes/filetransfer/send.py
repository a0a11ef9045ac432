"""
Sending a file, from the offer to the last byte.
"""

import os
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.words.protocols.jabber.jid import JID

from xmppbytes.errors import BytestreamError, NegotiationError, Refused, TransferError
from xmppbytes.filetransfer.digests import Digests, hashFile
from xmppbytes.filetransfer.offer import FileOffer
from xmppbytes.filetransfer.report import TransferReport
from xmppbytes.filetransfer.sender import FileSender, Unreadable
from xmppbytes.filetransfer.si import ANSWER_TIMEOUT, StreamInitiationHandler

# Seconds that a transfer, broken off by the other side, waits for its reason to come over XMPP.
REASON_TIMEOUT = 1.0


def sendFile(
    clock: IReactorTime,
    initiation: StreamInitiationHandler,
    target: str | JID,
    path: Path,
    *,
    hashed: bool = True,
    description: str = "",
    answerTimeout: float = ANSWER_TIMEOUT,
    progress: Callable[[int, int], None] | None = None,
) -> "Deferred[TransferReport]":
    """
    Offer a file to somebody, and send it.

    @param clock: an C{IReactorTime}.
    @param initiation: negotiates, on the stream manager of the account.
    @param target: the full JID of the other side, or its room JID.
    @param path: a regular file.
    @param hashed: offer the file's MD5, for which it is read once before: without it the other side
        can neither verify the content nor continue a broken transfer.
    @param description: a word to the other side about the file.
    @param answerTimeout: seconds until an unanswered offer is withdrawn.
    @param progress: called with the bytes that are done and those of the whole file.
    @return: fires when the other side has taken everything. Fails with L{Refused}, L{NotReachable},
        L{TransferError} or C{OSError}. Cancelling it tells the other side.
    """
    peer = target.full() if isinstance(target, JID) else target
    transfer = _Outgoing(clock, initiation, peer, path, progress or (lambda done, size: None))
    return transfer.start(hashed, description, answerTimeout)


class _Outgoing:
    """
    One file on its way out.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        initiation: StreamInitiationHandler,
        peer: str,
        path: Path,
        progress: Callable[[int, int], None],
    ) -> None:
        self._clock = clock
        self._initiation = initiation
        self._peer = peer
        self._path = path
        self._progress = progress
        self._sid = secrets.token_hex(8)
        self._reason = ""
        self._done = 0
        self._job: Deferred[TransferReport] | None = None

    def start(self, hashed: bool, description: str, answerTimeout: float) -> "Deferred[TransferReport]":
        """
        Begin.
        """
        self._job = Deferred.fromCoroutine(self._run(hashed, description, answerTimeout))
        return self._job

    async def _run(self, hashed: bool, description: str, answerTimeout: float) -> TransferReport:
        with self._path.open("rb") as file:
            offer = await self._describe(file, hashed, description)
            self._initiation.watch(self._peer, self._sid, self._aborted)
            try:
                return await self._transfer(file, offer, answerTimeout)
            except CancelledError:
                if self._reason:
                    raise Refused(f"{self._peer} ended the transfer: {self._reason}") from None
                self._initiation.tell(self._peer, self._sid, "undefined-condition", "cancelled by the sender")
                raise
            except Unreadable:
                self._initiation.tell(
                    self._peer, self._sid, "undefined-condition", "the sender cannot read its file"
                )
                raise
            finally:
                self._initiation.unwatch(self._peer, self._sid)

    async def _describe(self, file: BinaryIO, hashed: bool, description: str) -> FileOffer:
        status = os.fstat(file.fileno())
        digests = Digests(md5=True)
        if hashed:
            await self._hash(file, status.st_size, digests)
        return FileOffer(
            name=self._path.name,
            size=status.st_size,
            md5=digests.md5 if hashed else None,
            date=_dateOf(status),
            description=description,
            ranged=True,
        )

    async def _hash(self, file: BinaryIO, length: int, digests: Digests) -> None:
        try:
            await hashFile(self._clock, file, length, digests)
        except EOFError as e:
            raise Unreadable(f"{self._path} has become shorter while it was read; send it again") from e
        except OSError as e:
            raise Unreadable(f"{self._path} cannot be read ({e.strerror}); check the disk") from e

    async def _transfer(self, file: BinaryIO, offer: FileOffer, answerTimeout: float) -> TransferReport:
        self.log.info(
            "Offering {name!r} ({size} bytes) to {peer}", name=offer.name, size=offer.size, peer=self._peer
        )
        acceptance = await self._initiation.offer(self._peer, self._sid, offer, answerTimeout)
        digests = Digests(md5=False)
        try:
            offset, length = await self._wind(file, offer, acceptance.range, digests)
            sender = FileSender(
                self._clock, file, length, digests, lambda count: self._moved(count, offer.size)
            )
            self._done = offset
            await self._initiation.methods.open(acceptance.method, self._peer, self._sid, sender)
        except Unreadable:
            raise
        except BytestreamError:
            # It has agreed, and would wait for the stream.
            self._initiation.tell(
                self._peer, self._sid, "remote-server-timeout", "the sender found no way to send it"
            )
            raise
        begun = self._clock.seconds()
        try:
            await sender.done
        except Unreadable:
            raise
        except TransferError:
            await self._waitForReason()
            raise
        return TransferReport(
            peer=self._peer,
            path=self._path,
            size=offer.size,
            sha256=digests.sha256,
            transferred=sender.sent,
            seconds=self._clock.seconds() - begun,
            route=sender.route,
            verified=offer.md5 is not None,
        )

    async def _wind(self, file: BinaryIO, offer: FileOffer, wanted: Any, digests: Digests) -> tuple[int, int]:
        """
        Go to where the receiver wants to begin; what lies before belongs to the SHA-256 as well.
        """
        file.seek(0)
        if wanted is None:
            return 0, offer.size
        try:
            part = wanted.within(offer.size)
        except ValueError as e:
            raise NegotiationError(f"{self._peer} asks for what is not there: {e}") from e
        await self._hash(file, part.offset, digests)
        return part.offset, part.length

    def _moved(self, count: int, size: int) -> None:
        self._done += count
        self._progress(self._done, size)

    def _aborted(self, reason: str) -> None:
        self._reason = reason or "no reason was given"
        if self._job is not None:
            self._job.cancel()

    async def _waitForReason(self) -> None:
        # The connection is quicker than the message that says why it broke.
        await deferLater(self._clock, REASON_TIMEOUT, lambda: None)


def _dateOf(status: os.stat_result) -> datetime | None:
    try:
        return datetime.fromtimestamp(status.st_mtime, UTC)
    except (ValueError, OverflowError):
        # File systems know years that the calendar does not.
        return None
