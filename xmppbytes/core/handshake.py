"""
The life of a connection from its first byte until its handshake is over.

S5B server and client, DTCP server and client and the DTCP relay are L{HandshakeProtocol} with another
parser. It has one timeout, which no trickle puts off, and one limit of bytes; then it lets another
protocol have the transport, and every byte that came glued behind the handshake.
"""

from typing import Any
from typing import Protocol as TypingProtocol

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IProtocol,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from xmppbytes.core.acceptedtransport import HANDSHAKE_READ_SIZE, AcceptedTransport
from xmppbytes.core.deadlines import Deadlines
from xmppbytes.core.halfclose import tellReadLost, tellWriteLost
from xmppbytes.core.origin import plainPeer
from xmppbytes.errors import BytestreamError, LimitReached, NegotiationError, WireError
from xmppbytes.interfaces import IStreamHost

RELAY_READ_SIZE = 65536


class IncrementalParser(TypingProtocol):
    """
    What the parsers in L{xmppbytes.wire} have in common.
    """

    def feed(self, data: bytes) -> list[Any]:
        """
        Parse what has arrived; return the messages that are complete now.
        """

    def rest(self) -> bytes:
        """
        Take what was not parsed.
        """


class HandshakeTimeout(NegotiationError):
    """
    The peer did not complete its handshake in time.
    """


@implementer(IHalfCloseableProtocol)
class HandshakeProtocol(Protocol):
    """
    A connection in its handshake. Subclasses override L{handshakeStarted}, L{messageReceived} and
    L{handshakeFailed}, and call L{complete} once they know enough.

    @cvar maximum: how many bytes an unfinished handshake may take.
    @ivar early: after L{complete}: the bytes that came behind the handshake.
    @ivar address: the peer's IP address as text (or another name of where it is).
    """

    log = Logger()
    transport: Any
    maximum = 1024
    early = b""
    address = ""

    def __init__(self, parser: IncrementalParser, deadlines: "Deadlines[HandshakeProtocol]") -> None:
        """
        @param parser: reads what the peer sends.
        @param deadlines: the queue that limits the handshake's time; see L{handshakeDeadlines}.
        """
        self._parser: IncrementalParser | None = parser
        self._deadlines = deadlines
        self._received = 0
        self._completed = False
        self._successor: IProtocol | None = None
        self._lost: Failure | None = None

    @property
    def inHandshake(self) -> bool:
        """
        Whether the handshake is neither complete nor failed.
        """
        return self._parser is not None

    def connectionMade(self) -> None:
        """
        Begin: the peer's time runs from now on.
        """
        if self._completed:
            # The same connection in another transport: see handOver.
            self.transport.pauseProducing()
            return
        self.address = peerAddress(self.transport)
        prepareConnection(self.transport)
        self._deadlines.add(self)
        self.handshakeStarted()

    def dataReceived(self, data: bytes) -> None:
        """
        Feed the parser, or whoever has the connection now.
        """
        if self._successor is not None:
            self._successor.dataReceived(data)
            return
        if self._completed:
            # A transport may still deliver what it had read before it was paused.
            self.early += data
            return
        if self._parser is None:
            # Failed, and closing: TLS delivers until the peer agrees to close, which it may never do.
            return
        self._received += len(data)
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        assert self._parser is not None
        try:
            messages = self._parser.feed(data)
        except WireError as e:
            self.fail(e)
            return
        for message in messages:
            if self._parser is None:
                return
            self.messageReceived(message)
        if self._parser is not None and self._received > self.maximum:
            self.fail(WireError(f"the handshake is longer than {self.maximum} bytes"))

    def handshakeStarted(self) -> None:
        """
        The connection is there. A client sends its opening.
        """

    def admitTo(self, host: IStreamHost) -> None:
        """
        Be counted as an accepted connection; one too many is closed at once.

        @param host: counts.
        """
        accepted = getattr(self.factory, "accepted", None)
        if accepted is not None:
            accepted(self.transport)
        try:
            host.admit(self)
        except LimitReached as e:
            self.fail(e)

    def messageReceived(self, message: Any) -> None:
        """
        The parser has completed a message.
        """

    def handshakeFailed(self, error: BytestreamError) -> None:
        """
        The peer broke the protocol, was too slow, or left. The connection is being closed.
        """

    def sendNow(self, data: bytes) -> None:
        """
        Send a message of the handshake at once and by itself.

        Twisted would join what is written within one turn of the reactor into one segment; peers
        that read once for each message would lose the second. Written directly where the transport
        can, which spares the turn as well.
        """
        # TLS lends us this method of the connection below: what it writes would not be encrypted.
        plain = ITCPTransport.providedBy(self.transport) and not ISSLTransport.providedBy(self.transport)
        write = getattr(self.transport, "writeSomeData", None) if plain else None
        sent = write(data) if write is not None else 0
        if isinstance(sent, int) and sent < len(data):
            self.transport.write(data[sent:])

    def complete(self) -> None:
        """
        End the handshake: stop reading, stop the clock, keep what came behind it in L{early}.
        """
        assert self._parser is not None
        self._deadlines.discard(self)
        self.early = self._parser.rest()
        self._parser = None
        self._completed = True
        self.transport.pauseProducing()

    def abandon(self) -> None:
        """
        Stop to care: whoever closes the connection has told why, and what still comes is nobody's.
        """
        self._limitClosing()
        self._parser = None
        self._completed = False
        self.early = b""

    def fail(self, error: BytestreamError) -> None:
        """
        End the handshake without success: close the connection after what was written.
        """
        if self._parser is None:
            return
        self._limitClosing()
        self._parser = None
        self.handshakeFailed(error)
        self.transport.loseConnection()

    def _limitClosing(self) -> None:
        # To close takes a moment, but TLS waits for the peer to agree: not longer than for a handshake.
        self._deadlines.discard(self)
        if self._lost is None:
            self._deadlines.add(self)

    def timedOut(self) -> None:
        """
        The time for the handshake, or for closing the connection, is over.
        """
        if self._parser is None:
            self.transport.abortConnection()
            return
        self.fail(HandshakeTimeout(f"no complete handshake within {self._deadlines.seconds:g} s"))

    def handOver(self, protocol: IProtocol) -> None:
        """
        Let another protocol have the connection, see L{xmppbytes.interfaces.ILeg}.
        """
        if isinstance(self.transport, AcceptedTransport):
            self.transport.joinReactor()
        if hasattr(self.transport, "bufferSize"):
            self.transport.bufferSize = RELAY_READ_SIZE
        self._successor = protocol
        protocol.makeConnection(self.transport)
        if self._lost is not None:
            # It was lost between the handshake and now, when there was nobody to tell.
            protocol.connectionLost(self._lost)

    def readConnectionLost(self) -> None:
        """
        The peer sends nothing any more: see L{IHalfCloseableProtocol}.
        """
        if self._successor is not None:
            tellReadLost(self._successor, self.transport)
        elif self._parser is not None:
            self.fail(NegotiationError("the peer closed the connection in the middle of the handshake"))

    def writeConnectionLost(self) -> None:
        """
        See L{IHalfCloseableProtocol}.
        """
        tellWriteLost(self._successor)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The connection is gone.
        """
        self._deadlines.discard(self)
        self._lost = reason
        if self._successor is not None:
            self._successor.connectionLost(reason)
        elif self._parser is not None:
            self._parser = None
            self.handshakeFailed(
                NegotiationError(f"the connection was lost in the handshake: {lossText(reason)}")
            )


def handshakeDeadlines(clock: Any, seconds: float) -> Deadlines[HandshakeProtocol]:
    """
    Make the queue that limits the time of many handshakes.

    @param clock: an C{IReactorTime}.
    @param seconds: from connection to completion.
    """
    return Deadlines(clock, seconds, lambda connection: connection.timedOut())


def peerAddress(transport: Any) -> str:
    """
    Tell the IP address of the other end of a connection, as people write it.
    """
    if isinstance(transport, AcceptedTransport):
        return plainPeer(transport.host)
    return plainPeer(str(getattr(transport.getPeer(), "host", "?")))


def prepareConnection(transport: Any) -> None:
    """
    Set what every connection of ours wants: no Nagle delay, keepalive, and small reads for now.
    """
    if ITCPTransport.providedBy(transport):
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
    if hasattr(transport, "bufferSize"):
        transport.bufferSize = HANDSHAKE_READ_SIZE


def lossText(reason: Failure) -> str:
    """
    Say in a few words how a connection was lost.
    """
    if reason.check(ConnectionDone):
        return "the peer closed it"
    if reason.check(ConnectionLost):
        return "it broke"
    return reason.getErrorMessage()
