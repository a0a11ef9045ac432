"""
The TCP connection of a UDP association: XEP-0065 section 8.3.1, RFC 1928 section 6.

The association lasts as long as the connection, over which nothing is said once it is granted.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress, ITransport
from zope.interface import implementer

from xmppbytes.core.channel import Channel
from xmppbytes.core.deadlines import Deadlines
from xmppbytes.core.handshake import HandshakeProtocol
from xmppbytes.core.leg import LegKind
from xmppbytes.core.origin import originOf
from xmppbytes.interfaces import IDatagramLeg, IStreamHost
from xmppbytes.s5b.protocol import StreamHostFactory, StreamHostProtocol
from xmppbytes.s5b.udp import Associations
from xmppbytes.wire.socks5 import Command, Request

# Bytes that a party may send over the connection although there is nothing to say.
MAX_IDLE_TALK = 4096


@implementer(IDatagramLeg)
class AssociationProtocol(StreamHostProtocol):
    """
    A connection that was accepted by a StreamHost and may ask for CONNECT or for UDP ASSOCIATE.

    @ivar isAssociation: whether it asked for UDP ASSOCIATE.
    @ivar key: the hash, in lower case, once UDP ASSOCIATE was asked for.
    @ivar initialData: what the good initialization packet said; C{b""} before.
    @ivar jid: the JID in it, prepared.
    @ivar notified: whether the party was told of the success.
    @ivar refusals: how many initialization packets named no JID.
    """

    isAssociation = False
    key = b""
    initialData = b""
    jid = ""
    notified = False
    refusals = 0
    channel: Channel | None = None

    def __init__(
        self, streamHost: IStreamHost, deadlines: Deadlines[HandshakeProtocol], associations: Associations
    ) -> None:
        """
        @param streamHost: see L{StreamHostProtocol}.
        @param deadlines: see L{StreamHostProtocol}.
        @param associations: hears the datagrams.
        """
        super().__init__(streamHost, deadlines)
        self._associations = associations
        self._talk = 0

    def commandSupported(self, command: int) -> bool:
        """
        See L{StreamHostProtocol}.
        """
        return command == Command.UDP_ASSOCIATE or super().commandSupported(command)

    def _join(self, request: Request) -> None:
        if request.command == Command.UDP_ASSOCIATE:
            self.kind, self.ready, self.isAssociation = LegKind.DATAGRAM, False, True
            self.key = request.address.lower()
        super()._join(request)

    def _grant(self, request: Request) -> None:
        if self.isAssociation:
            self._associations.add(self)
        super()._grant(request)
        if self.isAssociation:
            # Read on: the end of the connection is the end of the association.
            self.early = b""
            self.transport.resumeProducing()

    def initialized(self, channel: Channel, data: bytes, jid: str) -> None:
        """
        The party's initialization packet has come.

        @param channel: where it came from.
        @param data: what it said.
        @param jid: the JID in it, prepared.
        """
        self.channel, self.initialData, self.jid, self.ready = channel, data, jid, True

    def speaksFor(self, parties: Any) -> bool:
        """
        See L{ILeg<xmppbytes.interfaces.ILeg>}: the two initialization packets must name the two
        parties (XEP-0065 8.3.2).
        """
        if not self.isAssociation:
            return super().speaksFor(parties)
        return self._associations.jids(self.key) == {parties.requester, parties.target}

    def dataReceived(self, data: bytes) -> None:
        """
        See L{HandshakeProtocol}.
        """
        if not self.isAssociation or self.inHandshake:
            super().dataReceived(data)
            return
        self._talk += len(data)
        if self._talk > MAX_IDLE_TALK:
            self._associations.damper.info(
                self.log,
                originOf(self.address),
                "Closed {address}: it talks over the connection of its UDP association",
                address=self.address,
            )
            self.transport.abortConnection()

    def readConnectionLost(self) -> None:
        """
        See L{HandshakeProtocol}. A connection that is closed halfway ends the association as well.
        """
        if not self.isAssociation or self.inHandshake or self._successor is not None:
            super().readConnectionLost()
        else:
            self.close("it left before the activation")

    def close(self, reason: str) -> None:
        """
        See L{ILeg<xmppbytes.interfaces.ILeg>}.
        """
        self._associations.discard(self)
        super().close(reason)

    def connectionLost(self, reason: Any) -> None:  # type: ignore[override]
        """
        See L{HandshakeProtocol}.
        """
        self._associations.discard(self)
        super().connectionLost(reason)


class AssociationFactory(StreamHostFactory):
    """
    Makes the connections of a StreamHost that offers UDP mode.
    """

    def __init__(
        self,
        streamHost: IStreamHost,
        deadlines: Deadlines[HandshakeProtocol],
        associations: Associations,
        accepted: Callable[[ITransport], None] | None = None,
    ) -> None:
        """
        @param streamHost: what the connections join.
        @param deadlines: limits the time of their handshakes.
        @param associations: hears the datagrams.
        @param accepted: called with each new connection's transport.
        """
        super().__init__(streamHost, deadlines, accepted, associations.damper)
        self._associations = associations

    def buildProtocol(self, addr: IAddress | None) -> AssociationProtocol:
        """
        See L{StreamHostFactory}.
        """
        connection = AssociationProtocol(self.host, self.deadlines, self._associations)
        connection.factory = self
        return connection
