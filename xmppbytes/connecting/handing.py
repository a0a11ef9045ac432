"""
Giving a connection whose handshake is over to whom it is for: an application's protocol, or another
connection.
"""

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import NoProtocol
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IProtocolFactory
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from xmppbytes.core.bytestream import BytestreamAddress
from xmppbytes.core.halfclose import tellReadLost, tellWriteLost
from xmppbytes.core.leg import LegKind
from xmppbytes.core.outcome import Outcome
from xmppbytes.errors import BytestreamError
from xmppbytes.interfaces import ILeg, IRelayEngine


def handOverTo(leg: ILeg, protocol: IProtocol) -> None:
    """
    Let a protocol live on a leg's connection, as if it had been connected directly.

    @param leg: a connection after its handshake, not being read.
    @param protocol: gets C{connectionMade}, what came early, and whatever follows.
    """
    transport, early = leg.transport, leg.early
    # Reading begins in a later turn of the reactor. A protocol that pauses the transport in its
    # connectionMade is to find it paused afterwards.
    transport.resumeProducing()
    leg.handOver(protocol)
    over = getattr(transport, "disconnecting", False) or not getattr(transport, "connected", True)
    if early and not over:
        protocol.dataReceived(early)


def giveTo(leg: ILeg, protocolFactory: IProtocolFactory, address: BytestreamAddress) -> IProtocol:
    """
    Build the application's protocol and let it have a connection.

    @raise NoProtocol: when the factory makes none; the connection is closed.
    """
    try:
        protocol = protocolFactory.buildProtocol(address)
    except BaseException:
        leg.transport.abortConnection()
        raise
    if protocol is None:
        leg.transport.abortConnection()
        raise NoProtocol()
    handOverTo(leg, protocol)
    return protocol


def bridge(engines: Sequence[IRelayEngine], first: ILeg, second: ILeg) -> "Deferred[Outcome]":
    """
    Connect a bytestream with another connection, without the application seeing the bytes.

    @param engines: those that can relay, the best first.
    @param first: one connection.
    @param second: the other: for a socket of the application a L{SocketLeg}.
    @return: fires when both are closed. Cancelling it resets both.
    @raise BytestreamError: when no engine can relay these two.
    """
    engine = next((engine for engine in engines if engine.accepts(first, second)), None)
    if engine is None:
        raise BytestreamError("no relay engine can connect these two; give a CopyEngine as the last one")
    ended: Deferred[Outcome] = Deferred(lambda _: session.abort(Outcome.SHUTDOWN))

    def hasEnded(outcome: Outcome) -> None:
        if not ended.called:
            ended.callback(outcome)

    session = engine.link(first, second, None, hasEnded)
    return ended


@implementer(ILeg, IHalfCloseableProtocol)
class SocketLeg(Protocol):
    """
    Any connection as one side of a L{bridge}. It is not read before.
    """

    transport: Any
    kind = LegKind.STREAM
    ready = True
    early = b""
    address = ""

    def __init__(self) -> None:
        self._successor: IProtocol | None = None

    def connectionMade(self) -> None:
        """
        Wait for the other side.
        """
        self.address = str(getattr(self.transport.getPeer(), "host", "?"))
        self.transport.pauseProducing()

    def speaksFor(self, parties: Any) -> bool:
        """
        See L{ILeg}.
        """
        return True

    def handOver(self, protocol: IProtocol) -> None:
        """
        See L{ILeg}.
        """
        self._successor = protocol
        protocol.makeConnection(self.transport)

    def close(self, reason: str) -> None:
        """
        See L{ILeg}.
        """
        self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """
        Pass on, or keep what a transport delivers although it is paused.
        """
        if self._successor is None:
            self.early += data
        else:
            self._successor.dataReceived(data)

    def readConnectionLost(self) -> None:
        """
        See L{IHalfCloseableProtocol}.
        """
        if self._successor is not None:
            tellReadLost(self._successor, self.transport)
        else:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """
        See L{IHalfCloseableProtocol}.
        """
        tellWriteLost(self._successor)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Pass on.
        """
        if self._successor is not None:
            self._successor.connectionLost(reason)
