"""
The sending end of a file's bytestream: a producer that reads as fast as the connection takes.
"""

from collections.abc import Callable
from typing import Any, BinaryIO

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    IProtocolFactory,
    IPullProducer,
    IReactorTime,
    ISSLTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from xmppbytes.errors import TransferError
from xmppbytes.filetransfer.digests import Digests
from xmppbytes.filetransfer.inband import Broken
from xmppbytes.filetransfer.watchdog import Watchdog

# How much is read from the disk at once, in bytes.
CHUNK = 1 << 16
# Seconds without a byte leaving until a transfer is given up.
IDLE_TIMEOUT = 300.0
# Seconds that the receiver has, after everything was handed over, to take it and to close.
CLOSE_TIMEOUT = 120.0


class Unreadable(TransferError):
    """
    Our own file cannot be read to its end.
    """


@implementer(IHalfCloseableProtocol, IPullProducer, IProtocolFactory)
class FileSender(Protocol):
    """
    Sends a part of a file over one connection.

    The end is announced by closing our direction; the receiver closes in its turn when it has and
    has verified everything, and resets the connection when it has not.

    @ivar done: fires with C{None} when the receiver has closed after the last byte; fails with
        L{TransferError}. Cancelling it resets the connection.
    @ivar sent: how many bytes were handed to the connection.
    @ivar route: which way they go, in words; known once there is a connection.
    """

    transport: Any

    def __init__(
        self,
        clock: IReactorTime,
        file: BinaryIO,
        length: int,
        digests: Digests,
        progress: Callable[[int], None],
    ) -> None:
        """
        @param clock: an C{IReactorTime}.
        @param file: is read from where it stands.
        @param length: how many bytes are sent.
        @param digests: are updated with what is sent.
        @param progress: called with the number of bytes of each chunk.
        """
        self.done: Deferred[None] = Deferred(lambda _: self._cancel())
        self.sent = 0
        self.route = ""
        self._clock = clock
        self._file = file
        self._length = length
        self._digests = digests
        self._progress = progress
        self._watchdog: Watchdog | None = None
        self._finished = False
        self._cancelled = False
        self._error: TransferError | None = None

    def buildProtocol(self, addr: Any) -> "FileSender":
        """
        Be one's own factory: see L{IProtocolFactory}.
        """
        self.route = str(addr.route)
        return self

    def doStart(self) -> None:
        """
        See L{IProtocolFactory}.
        """

    def doStop(self) -> None:
        """
        See L{IProtocolFactory}.
        """

    def connectionMade(self) -> None:
        """
        Begin.
        """
        self._watchdog = Watchdog(self._clock, IDLE_TIMEOUT, self._stalled)
        self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """
        The connection has room: see L{IPullProducer}.
        """
        if self._finished or self._error is not None:
            return
        left = self._length - self.sent
        if not left:
            self._finish()
            return
        try:
            data = self._file.read(min(CHUNK, left))
        except OSError as e:
            self.fail(Unreadable(f"the file cannot be read any further ({e.strerror}); check the disk"))
            return
        if not data:
            self.fail(
                Unreadable(f"the file has become shorter by {left} bytes while it was sent; send it again")
            )
            return
        self._digests.update(data)
        self.sent += len(data)
        assert self._watchdog is not None
        self._watchdog.feed()
        self.transport.write(data)
        self._progress(len(data))

    def stopProducing(self) -> None:
        """
        See L{IPullProducer}; connectionLost does what is to be done.
        """

    def _finish(self) -> None:
        self._finished = True
        assert self._watchdog is not None
        self._watchdog.stop()
        self._watchdog = Watchdog(self._clock, CLOSE_TIMEOUT, self._unconfirmed)
        transport = self.transport
        transport.unregisterProducer()
        # TLS in Twisted knows no half-close, although its transports say so.
        if IHalfCloseableDescriptor.providedBy(transport) and not ISSLTransport.providedBy(transport):
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()

    def fail(self, error: TransferError) -> None:
        """
        End the transfer, resetting the connection so that nobody takes a part for the whole.

        @param error: why.
        """
        if self._error is None:
            self._error = error
        self._abort()

    def _cancel(self) -> None:
        self._cancelled = True
        self.fail(TransferError("cancelled"))

    def _unconfirmed(self) -> None:
        self.fail(
            TransferError(
                f"the other side did not confirm within {CLOSE_TIMEOUT:g} s that it has everything; "
                "ask there, or send it again"
            )
        )

    def _stalled(self) -> None:
        self.fail(TransferError(f"the other side took nothing for {IDLE_TIMEOUT:g} s; try again"))

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """
        The receiver has nothing to say: what it sends is ignored.
        """

    def readConnectionLost(self) -> None:
        """
        The receiver has closed: see L{IHalfCloseableProtocol}.
        """
        if self._finished:
            self.transport.loseConnection()
        else:
            self.fail(self._early("the other side ended the connection"))

    def writeConnectionLost(self) -> None:
        """
        See L{IHalfCloseableProtocol}.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The connection is gone.
        """
        if self._watchdog is not None:
            self._watchdog.stop()
        if self.done.called or self._cancelled:
            return
        if self._error is not None:
            self.done.errback(self._error)
        elif self._finished and reason.check(ConnectionDone):
            self.done.callback(None)
        elif self._finished:
            self.done.errback(TransferError("the other side broke the connection off at the end; try again"))
        elif reason.check(Broken):
            self.done.errback(self._early(f"the stream broke ({reason.value})"))
        else:
            self.done.errback(self._early("the other side ended the connection"))

    def _early(self, what: str) -> TransferError:
        return TransferError(f"{what} when {self.sent} of {self._length} bytes were sent; try again")
