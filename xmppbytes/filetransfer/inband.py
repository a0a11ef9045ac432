"""
An in-band bytestream as a Twisted transport (XEP-0047 sections 2.2 to 4): knows no stanza.

One block is on its way at a time, the next follows when it was acknowledged; and a block that came is
acknowledged when the application has taken it. So neither side, nor a server between them, has to keep
more than one block.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IProtocol,
    IPushProducer,
    IReactorTime,
    ITransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from xmppbytes.core.bytestream import BytestreamAddress
from xmppbytes.errors import LimitReached, WireError
from xmppbytes.filetransfer.blocks import SEQUENCES, IBlockCarrier, OutOfSequence

# A push producer is paused while more than this waits to be sent, in bytes.
MAX_UNSENT = 1 << 16
# Blocks of a peer that does not wait for our acknowledgement, while we are paused, in bytes.
MAX_HELD = 1 << 20
# The same in blocks: one without content costs memory as well.
MAX_HELD_BLOCKS = 1 << 10
# How long, in seconds, who was opened to lets the opener close first.
CLOSE_PATIENCE = 5.0
# How long, in seconds, a stream whose other side has gone offline may stand still: it may just have become
# invisible.
OFFLINE_PATIENCE = 15.0


class Broken(ConnectionLost):
    """
    The stream has ended early, for a reason that the XMPP side knows.
    """

    def __str__(self) -> str:
        return str(self.args[0])


@implementer(ITransport, IConsumer, IPushProducer)
class InBandTransport:
    """
    One side of an in-band bytestream.

    @ivar blockSize: the most bytes in one block, both ways.
    """

    log = Logger()
    disconnecting = False

    def __init__(
        self,
        clock: IReactorTime,
        carrier: IBlockCarrier,
        address: BytestreamAddress,
        blockSize: int,
        opener: bool,
    ) -> None:
        """
        @param clock: limits the patience with who does not close.
        @param carrier: moves the blocks.
        @param address: the other end.
        @param blockSize: as agreed upon.
        @param opener: whether this is the side that opened the stream.
        """
        self.blockSize = blockSize
        self._clock = clock
        self._carrier = carrier
        self._address = address
        self._opener = opener
        self._protocol: Any = None
        self._producer: Any = None
        self._streaming = False
        self._unsent = bytearray()
        # Corked, until uncork().
        self._inFlight = True
        self._sendSeq = 0
        self._receiveSeq = 0
        self._held: deque[tuple[bytes, Deferred[None]]] = deque()
        self._heldBytes = 0
        self._paused = False
        self._peerClosed = False
        self._open = False
        self._timer: Any = None
        self._offline: Any = None

    def start(self, protocol: IProtocol) -> None:
        """
        Connect a protocol to the stream.
        """
        self._protocol = protocol
        self._open = True
        protocol.makeConnection(self)

    def uncork(self) -> None:
        """
        Begin to send: the other side knows that the stream is open.
        """
        self._inFlight = False
        self._sendNext()

    # What comes from the other side.

    def blockReceived(self, seq: int, data: bytes) -> "Deferred[None]":
        """
        Take a block.

        @return: fires when the application has taken it, and it may be acknowledged.
        @raise WireError: when it is too large, or L{OutOfSequence}; the stream is over.
        @raise LimitReached: when blocks come faster than they are taken; the stream is over.
        """
        try:
            self._check(seq, data)
        except (WireError, LimitReached) as e:
            self.connectionLost(Failure(e))
            raise
        self._receiveSeq = (seq + 1) % SEQUENCES
        if not self._paused and not self._held:
            self._deliver(data)
            return succeed(None)
        taken: Deferred[None] = Deferred()
        self._held.append((data, taken))
        self._heldBytes += len(data)
        return taken

    def _check(self, seq: int, data: bytes) -> None:
        if seq != self._receiveSeq:
            raise OutOfSequence(f"block {seq} came where {self._receiveSeq} was due")
        if len(data) > self.blockSize:
            raise WireError(f"a block of {len(data)} bytes, where {self.blockSize} were agreed upon")
        if self._heldBytes + len(data) > MAX_HELD or len(self._held) >= MAX_HELD_BLOCKS:
            raise LimitReached("more came than is kept until it is taken; wait for results")

    def closeReceived(self) -> None:
        """
        The other side has closed the stream.
        """
        self._peerClosed = True
        if not self._held:
            # In the next turn: the other side's answer is on its way before the application can end.
            self._clock.callLater(0, self.connectionLost, Failure(ConnectionDone()))

    def _deliver(self, data: bytes) -> None:
        try:
            self._protocol.dataReceived(data)
        except Exception:
            # As Twisted's own transports do: a protocol that fails loses its connection.
            failure = Failure()
            self.log.failure("An application failed on an in-band bytestream", failure=failure)
            self.connectionLost(failure)

    def pauseProducing(self) -> None:
        """
        See L{IPushProducer}: blocks that come are kept, and not acknowledged.
        """
        self._paused = True

    def resumeProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self._paused = False
        while self._held and not self._paused and self._open:
            data, taken = self._held.popleft()
            self._heldBytes -= len(data)
            self._deliver(data)
            taken.callback(None)
        if self._peerClosed and not self._held:
            self.connectionLost(Failure(ConnectionDone()))

    def stopProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self.loseConnection()

    def peerOffline(self) -> None:
        """
        The other side says that it is not there any more: no block would be answered.
        """
        if self._offline is None:
            self._offline = self._clock.callLater(OFFLINE_PATIENCE, self._stillThere, self._position)

    @property
    def _position(self) -> tuple[int, int, bool]:
        return self._sendSeq, self._receiveSeq, self._inFlight

    def _stillThere(self, position: tuple[int, int, bool]) -> None:
        self._offline = None
        if position == self._position and not self._paused:
            self.connectionLost(Failure(Broken("the other side has gone offline")))

    # What goes to the other side.

    def write(self, data: bytes) -> None:
        """
        See L{ITransport}.
        """
        if not self._open or self.disconnecting:
            return
        self._unsent += data
        if self._producer is not None and self._streaming and len(self._unsent) > MAX_UNSENT:
            self._producer.pauseProducing()
        self._sendNext()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """
        See L{ITransport}.
        """
        self.write(b"".join(data))

    def _sendNext(self) -> None:
        if self._inFlight or not self._open:
            return
        if not self._unsent:
            self._drained()
            return
        block = bytes(self._unsent[: self.blockSize])
        del self._unsent[: self.blockSize]
        seq = self._sendSeq
        self._sendSeq = (seq + 1) % SEQUENCES
        self._inFlight = True
        self._carrier.sendBlock(seq, block).addCallbacks(self._acknowledged, self._sendFailed)

    def _acknowledged(self, _: Any) -> None:
        self._inFlight = False
        self._sendNext()

    def _sendFailed(self, failure: Failure) -> None:
        self._inFlight = False
        self.connectionLost(failure)

    def _drained(self) -> None:
        if self.disconnecting:
            self._close()
        elif self._producer is not None:
            self._producer.resumeProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        See L{IConsumer}.
        """
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        if not self._open:
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """
        See L{IConsumer}.
        """
        self._producer = None

    # The end.

    def loseConnection(self) -> None:
        """
        See L{ITransport}: close after everything was sent.
        """
        if not self._open or self.disconnecting:
            return
        self.disconnecting = True
        self._producer = None
        if not self._inFlight and not self._unsent:
            self._close()

    def _close(self) -> None:
        if self._timer is not None:
            return
        if self._opener:
            self._closeNow()
        else:
            # Clients that have sent everything close themselves, and take it ill when they are late.
            self._timer = self._clock.callLater(CLOSE_PATIENCE, self._closeNow)

    def _closeNow(self) -> None:
        # libpurple does not answer: wait, but not for long.
        self._timer = self._clock.callLater(CLOSE_PATIENCE, self.connectionLost, Failure(ConnectionDone()))
        self._carrier.sendClose().addBoth(lambda _: self.connectionLost(Failure(ConnectionDone())))

    def abortConnection(self) -> None:
        """
        See L{ITCPTransport<twisted.internet.interfaces.ITCPTransport>}: close now.
        """
        if self._open:
            self._carrier.sendClose().addErrback(lambda _: None)
            self.connectionLost(Failure(ConnectionAborted()))

    def connectionLost(self, reason: Failure) -> None:
        """
        The stream is over, whoever ended it.
        """
        if not self._open:
            return
        self._open = False
        self.disconnecting = True
        for timer in (self._timer, self._offline):
            if timer is not None and timer.active():
                timer.cancel()
        self._unsent.clear()
        self._producer = None
        held, self._held = self._held, deque()
        self._carrier.ended()
        for _data, taken in held:
            taken.errback(reason)
        self._protocol.connectionLost(reason)

    def getPeer(self) -> IAddress:
        """
        See L{ITransport}.
        """
        return self._address

    def getHost(self) -> IAddress:
        """
        See L{ITransport}: both ends have one name, that of the stream.
        """
        return self._address
