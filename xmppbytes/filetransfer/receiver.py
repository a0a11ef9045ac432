"""
The receiving end of a file's bytestream.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from xmppbytes.errors import TransferError
from xmppbytes.filetransfer.digests import Digests
from xmppbytes.filetransfer.inband import Broken
from xmppbytes.filetransfer.offer import FileOffer
from xmppbytes.filetransfer.storage import PartFile
from xmppbytes.filetransfer.watchdog import Watchdog

# Seconds without a byte until a transfer is given up.
IDLE_TIMEOUT = 300.0
# Seconds that the sender of an empty file has to close: closing first would keep a proxy from ever
# activating the bytestream.
EMPTY_TIMEOUT = 30.0


class Damaged(TransferError):
    """
    What arrived is not what was announced. What is there of it is of no use.
    """


class BrokenOff(TransferError):
    """
    The connection ended early.
    """


class FileReceiver(Protocol):
    """
    Receives a file over one connection.

    It has everything when it has C{size} bytes: some senders do not close before the receiver does.
    The connection is closed when the file has its final name, and reset when there is no such file:
    so the sender knows.

    @ivar done: fires with the file's path; fails with L{TransferError}. Cancelling it resets the
        connection.
    """

    transport: Any

    def __init__(
        self,
        clock: IReactorTime,
        offer: FileOffer,
        part: PartFile,
        digests: Digests,
        progress: Callable[[int], None],
    ) -> None:
        """
        @param clock: an C{IReactorTime}.
        @param offer: what was announced.
        @param part: where it is written.
        @param digests: are updated with what comes; know already what was there before.
        @param progress: called with the number of bytes of each chunk.
        """
        self.done: Deferred[Path] = Deferred(lambda _: self._cancel())
        self._clock = clock
        self._offer = offer
        self._part = part
        self._digests = digests
        self._progress = progress
        self._path: Path | None = None
        self._cancelled = False
        self._error: TransferError | None = None
        self._watchdog: Watchdog | None = None

    def connectionMade(self) -> None:
        """
        Begin.
        """
        if self._missing:
            self._watchdog = Watchdog(self._clock, IDLE_TIMEOUT, self._stalled)
        else:
            self._watchdog = Watchdog(self._clock, EMPTY_TIMEOUT, self._complete)

    @property
    def _missing(self) -> int:
        return self._offer.size - self._part.size

    def dataReceived(self, data: bytes) -> None:
        """
        Write it down.
        """
        if self._path is not None or self._error is not None:
            return
        if len(data) > self._missing:
            self._fail(Damaged(f"more than the {self._offer.size} bytes that were announced came; ask again"))
            return
        try:
            self._part.write(data)
        except TransferError as e:
            self._fail(e)
            return
        self._digests.update(data)
        assert self._watchdog is not None
        self._watchdog.feed()
        self._progress(len(data))
        if not self._missing:
            self._complete()

    def _complete(self) -> None:
        expected = self._offer.md5
        if expected is not None and self._digests.md5 != expected:
            self._fail(
                Damaged(
                    f"what arrived is not what was announced (MD5 {self._digests.md5}, not {expected}); "
                    "ask for it to be sent again"
                )
            )
            return
        try:
            self._path = self._part.finish()
        except TransferError as e:
            self._fail(e)
            return
        self.transport.loseConnection()

    def _cancel(self) -> None:
        self._cancelled = True
        self.transport.abortConnection()

    def _stalled(self) -> None:
        self._fail(TransferError(f"nothing came for {IDLE_TIMEOUT:g} s; ask for it to be sent again"))

    def _fail(self, error: TransferError) -> None:
        self._error = error
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The stream has ended.
        """
        if self._watchdog is not None:
            self._watchdog.stop()
        if self.done.called or self._cancelled:
            return
        if not self._missing and self._path is None and self._error is None and reason.check(ConnectionDone):
            # An empty file, and the sender has closed.
            self._complete()
        if self._path is not None:
            self.done.callback(self._path)
            return
        if self._error is None:
            what = f"the stream broke ({reason.value})" if reason.check(Broken) else "the connection ended"
            self._error = BrokenOff(
                f"{what} when {self._missing} of {self._offer.size} bytes were missing; "
                "ask for it to be sent again"
            )
        self.done.errback(self._error)
