"""
The life of one file on its way in.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from xmppbytes.errors import BytestreamError, NotReachable, Refused, TransferError
from xmppbytes.filetransfer.acceptor import IFileAcceptor, IncomingFile
from xmppbytes.filetransfer.digests import Digests, hashFile
from xmppbytes.filetransfer.offer import Range
from xmppbytes.filetransfer.receiver import BrokenOff, Damaged, FileReceiver
from xmppbytes.filetransfer.report import TransferReport
from xmppbytes.filetransfer.si import StreamInitiationHandler
from xmppbytes.filetransfer.stanzas import Acceptance, Initiation
from xmppbytes.filetransfer.storage import DiskFull, Inbox, PartFile
from xmppbytes.interfaces import IBytestreamAcceptor

# Seconds from our yes until a bytestream must be there: time for several streamhosts, or proxies.
CONNECT_TIMEOUT = 180.0
_BROKEN_OFF = "the transfer was broken off; what has arrived is kept, so send the file again to go on"
# Seconds that a transfer, broken off by the sender, waits for its reason to come over XMPP.
REASON_TIMEOUT = 1.0
# Seconds that a sender has for another try, or another method, after one has not connected.
RETRY_TIMEOUT = 45.0


class NotDecided(Refused):
    """
    Nobody has said yes or no in time.
    """


@implementer(IBytestreamAcceptor)
class Incoming(Factory):
    """
    One file on its way in; makes the protocol of its bytestream.

    @ivar ended: fires when everything is over.
    """

    log = Logger()
    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        initiation: StreamInitiationHandler,
        acceptor: IFileAcceptor,
        sender: str,
        offered: Initiation,
    ) -> None:
        """
        @param clock: an C{IReactorTime}.
        @param initiation: negotiates.
        @param acceptor: decides.
        @param sender: who offers it.
        @param offered: what is offered: a file.
        """
        assert offered.file is not None
        self.incoming = IncomingFile(sender, offered.sid, offered.file)
        self.ended: Deferred[None] = Deferred()
        self._clock = clock
        self._initiation = initiation
        self._acceptor = acceptor
        self._offered = offered
        self._decision: Deferred[Any] | None = None
        self._part: PartFile | None = None
        self._digests = Digests(md5=offered.file.md5 is not None)
        self._receiver: FileReceiver | None = None
        self._timer: Any = None
        self._trouble = ""
        self._begun = 0.0
        self._route = ""
        self._accepted = False
        self._over = False

    # The decision.

    def decide(self, timeout: float) -> "Deferred[Acceptance]":
        """
        Ask the application, and make everything ready.

        @param timeout: seconds until no answer is a no.
        """
        incoming = self.incoming
        self.log.info(
            "{sender} offers {name!r} ({size} bytes, sid {sid!r})",
            sender=incoming.sender,
            name=incoming.file.name,
            size=incoming.file.size,
            sid=incoming.sid,
        )
        self._initiation.watch(incoming.sender, incoming.sid, self._aborted)
        self._decision = maybeDeferred(self._acceptor.fileOffered, incoming)
        self._decision.addTimeout(timeout, self._clock)
        self._decision.addErrback(_late, timeout)
        self._decision.addCallback(lambda inbox: Deferred.fromCoroutine(self._prepare(inbox)))
        return self._decision.addErrback(self._notAccepted)

    async def _prepare(self, inbox: Inbox) -> Acceptance:
        incoming, offered = self.incoming, self._offered
        part = self._part = inbox.open(incoming.file)
        if part.offset:
            part.file.seek(0)
            await hashFile(self._clock, part.file, part.offset, self._digests)
        methods = self._initiation.methods
        method = methods.pick(offered.methods)
        assert method is not None
        try:
            methods.expect(incoming.sender, incoming.sid, method, self)
        except ValueError as e:
            raise Refused(str(e)) from e
        self._accepted = True
        self._wait(CONNECT_TIMEOUT, self._neverConnected)
        return Acceptance(method, Range(part.offset) if part.offset else None)

    def _notAccepted(self, failure: Failure) -> Failure:
        error = failure.value
        if failure.check(CancelledError):
            error = Refused("the offer was taken back")
        elif failure.check(OSError, EOFError):
            error = TransferError(
                f"what is there of the file cannot be read ({error}); remove the .part file"
            )
            failure = Failure(error)
        elif not isinstance(error, BytestreamError):
            error = TransferError(f"our own fault, the log says more: {failure.getErrorMessage()}")
        self._fail(error)
        return failure

    # The bytestream.

    def bytestreamRequested(self, offer: Any) -> "Incoming":
        """
        See L{IBytestreamAcceptor}.
        """
        if self._receiver is not None or self._over:
            raise Refused("the file has a stream already")
        return self

    def bytestreamFailed(self, offer: Any, error: BytestreamError) -> None:
        """
        See L{IBytestreamAcceptor}: the sender may try another way.
        """
        if self._receiver is None and not self._over:
            self._trouble = str(error)
            self._wait(RETRY_TIMEOUT, self._neverConnected)

    def buildProtocol(self, addr: Any) -> FileReceiver | None:
        """
        There is a connection.
        """
        if self._receiver is not None or self._over:
            return None
        assert self._part is not None
        self._stopWaiting()
        self._begun = self._clock.seconds()
        self._route = str(addr.route)
        self._receiver = FileReceiver(
            self._clock, self.incoming.file, self._part, self._digests, self._progressed
        )
        self._receiver.done.addCallbacks(self._received, self._broken)
        return self._receiver

    def _progressed(self, count: int) -> None:
        assert self._part is not None
        self._acceptor.fileProgressed(self.incoming, self._part.size)

    def _received(self, path: Path) -> None:
        assert self._part is not None
        report = TransferReport(
            peer=self.incoming.sender,
            path=path,
            size=self.incoming.file.size,
            sha256=self._digests.sha256,
            transferred=self.incoming.file.size - self._part.offset,
            seconds=self._clock.seconds() - self._begun,
            route=self._route,
            verified=self.incoming.file.md5 is not None,
        )
        self._end()
        self._acceptor.fileReceived(self.incoming, report)

    def _broken(self, failure: Failure) -> None:
        if self._over:
            return
        error: Any = failure.value
        if isinstance(error, DiskFull):
            self._fail(error, "resource-constraint", "there is no room left for the file")
        elif isinstance(error, Damaged):
            self._fail(error, "not-acceptable", str(error), resumable=False)
        elif isinstance(error, BrokenOff):
            # The connection is quicker than the message in which the sender says why it broke.
            self._wait(REASON_TIMEOUT, lambda: self._brokenOff(error))
        else:
            self._brokenOff(error)

    def _brokenOff(self, error: BytestreamError) -> None:
        self._fail(error, "undefined-condition", _BROKEN_OFF)

    # The end.

    def cancel(self, reason: str) -> None:
        """
        End it, and tell the sender why.
        """
        if self._accepted:
            self._fail(TransferError(reason), "undefined-condition", reason)
        elif self._decision is not None:
            self._decision.cancel()

    def _aborted(self, reason: str) -> None:
        if self._accepted:
            tried = f" ({self._trouble})" if self._trouble and self._receiver is None else ""
            self._fail(Refused(f"{self.incoming.sender} ended the transfer: {reason}{tried}"))
        elif self._decision is not None:
            self._decision.cancel()

    def _wait(self, seconds: float, late: Callable[[], None]) -> None:
        self._stopWaiting()
        self._timer = self._clock.callLater(seconds, late)

    def _stopWaiting(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _neverConnected(self) -> None:
        why = self._trouble or "the sender never opened the stream"
        error = NotReachable(f"no bytestream came about: {why}; ask for it to be sent again")
        self._fail(error, "remote-server-timeout", "no bytestream came about")

    def _fail(
        self, error: BytestreamError, condition: str = "", tell: str = "", resumable: bool = True
    ) -> None:
        """
        @param condition: the condition that the sender is told; empty: it knows.
        @param tell: the text that the sender is told: nothing about our disk.
        """
        if self._over:
            return
        incoming = self.incoming
        self.log.info(
            "No {name!r} from {sender}: {reason}",
            name=incoming.file.name,
            sender=incoming.sender,
            reason=error,
        )
        kept = self._part is not None and self._part.abandon(resumable)
        self._end()
        if condition:
            self._initiation.tell(incoming.sender, incoming.sid, condition, tell)
        if self._receiver is not None and not self._receiver.done.called:
            self._receiver.done.cancel()
        self._acceptor.fileFailed(incoming, error, kept)

    def _end(self) -> None:
        self._over = True
        self._stopWaiting()
        self._initiation.methods.forget(self.incoming.sender, self.incoming.sid)
        self._initiation.unwatch(self.incoming.sender, self.incoming.sid)
        self.ended.callback(None)


def _late(failure: Failure, timeout: float) -> Failure:
    if failure.check(DeferredTimeout):
        raise NotDecided(f"nobody decided about it within {timeout:g} s")
    return failure
