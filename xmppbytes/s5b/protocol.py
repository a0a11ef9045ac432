"""
The SOCKS5 connections of XEP-0065, both ends of them (sections 5.3.2, 6.3.2, 6.3.4, 10.2).

L{StreamHostProtocol} is the accepting side, of the proxy and of a Requester alike: what differs is the
L{xmppbytes.interfaces.IStreamHost} that it joins.
"""

from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from xmppbytes.core.acceptingfactory import AcceptingFactory
from xmppbytes.core.damper import Undamped
from xmppbytes.core.deadlines import Deadlines
from xmppbytes.core.handshake import HandshakeProtocol
from xmppbytes.core.leg import LegKind
from xmppbytes.core.origin import originOf
from xmppbytes.errors import BytestreamError, KeyTaken, NegotiationError, Refused
from xmppbytes.interfaces import ILeg, IStreamHost
from xmppbytes.s5b.address import isDestinationAddress
from xmppbytes.wire.socks5 import (
    MAX_GREETING,
    MAX_REPLY,
    MAX_REQUEST,
    AddressType,
    ClientEvent,
    ClientParser,
    Command,
    Greeting,
    Method,
    MethodChoice,
    Reply,
    ReplyCode,
    Request,
    ServerEvent,
    ServerParser,
)

_UNDAMPED = Undamped()
# What old clients CONNECT to in order to see whether a proxy lives: answered, and closed.
PROBE_ADDRESS = b"http://jabber.org/protocol/bytestreams"


@implementer(ILeg)
class StreamHostProtocol(HandshakeProtocol):
    """
    A connection that was accepted by a StreamHost; once its request is granted, a leg.
    """

    log = Logger()
    maximum = MAX_GREETING + MAX_REQUEST
    kind = LegKind.STREAM
    ready = True

    def __init__(self, streamHost: IStreamHost, deadlines: Deadlines[HandshakeProtocol]) -> None:
        """
        @param streamHost: where the connection joins the bytestream that it names.
        @param deadlines: limits the time of the handshake.
        """
        super().__init__(ServerParser(), deadlines)
        self._streamHost = streamHost

    def handshakeStarted(self) -> None:
        """
        Be counted; one connection too many is closed at once.
        """
        self.admitTo(self._streamHost)

    def messageReceived(self, message: ServerEvent) -> None:
        """
        See L{HandshakeProtocol}.
        """
        if isinstance(message, Greeting):
            self._greeted(message)
        else:
            self._requested(message)

    def _greeted(self, greeting: Greeting) -> None:
        if Method.NONE in greeting.methods:
            self.sendNow(MethodChoice(Method.NONE).toBytes())
            return
        self.sendNow(MethodChoice(Method.NO_ACCEPTABLE).toBytes())
        self.fail(
            Refused(f"it offers only the authentication methods {greeting.methods.hex(' ') or '(none)'}")
        )

    def _requested(self, request: Request) -> None:
        if request.addressType != AddressType.DOMAIN:
            self._refuse(
                request, ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED, "its DST.ADDR is not of the domain type"
            )
        elif not self.commandSupported(request.command):
            self._refuse(request, ReplyCode.COMMAND_NOT_SUPPORTED, f"it sent command {request.command}")
        elif request.address == PROBE_ADDRESS:
            self._grant(request)
            self.close("it only looked whether we are there")
        elif not isDestinationAddress(request.address):
            self._refuse(request, ReplyCode.NOT_ALLOWED, "its DST.ADDR is not the hash of a bytestream")
        else:
            self._join(request)

    def commandSupported(self, command: int) -> bool:
        """
        Tell whether this StreamHost grants a SOCKS5 command.
        """
        return command == Command.CONNECT

    def _join(self, request: Request) -> None:
        try:
            self._streamHost.join(request.address.lower(), self)
        except KeyTaken as e:
            self._refuse(request, ReplyCode.NOT_ALLOWED, str(e))
        else:
            self._grant(request)

    def _grant(self, request: Request) -> None:
        # Peers compare the reply with what they sent, byte by byte: repeat it as it was received.
        reply = Reply(ReplyCode.SUCCEEDED, request.address, request.port, request.addressType)
        self.sendNow(reply.toBytes())
        self.complete()

    def _refuse(self, request: Request, code: ReplyCode, reason: str) -> None:
        self.sendNow(Reply(code, request.address, request.port, request.addressType).toBytes())
        self.fail(Refused(reason))

    def handshakeFailed(self, error: BytestreamError) -> None:
        """
        See L{HandshakeProtocol}.
        """
        self._streamHost.leave(self)
        self._tell("Refused {address}: {reason}", error)

    def _tell(self, format: str, reason: object) -> None:
        """
        Log why the connection is closed.
        """
        damper: Undamped = getattr(self.factory, "damper", _UNDAMPED)
        damper.info(self.log, originOf(self.address), format, address=self.address, reason=reason)

    def speaksFor(self, parties: Any) -> bool:
        """
        See L{ILeg}: over TCP the hash says it all.
        """
        return True

    def close(self, reason: str) -> None:
        """
        See L{ILeg}.
        """
        self.abandon()
        self._streamHost.leave(self)
        self._tell("Closed {address}, which was waiting: {reason}", reason)
        self.transport.loseConnection()

    def connectionLost(self, reason: Any) -> None:  # type: ignore[override]
        """
        See L{HandshakeProtocol}.
        """
        self._streamHost.leave(self)
        super().connectionLost(reason)


class StreamHostFactory(AcceptingFactory):
    """
    Makes the connections of a StreamHost, which join an L{IStreamHost}.
    """

    protocol = StreamHostProtocol


class SOCKS5ClientProtocol(HandshakeProtocol):
    """
    A connection to a StreamHost. Each message is written by itself and answered before the next:
    Prosody and ejabberd take each segment for a whole message.

    Subclasses, or whoever sets C{granted} and C{refused}, learn how it went.
    """

    maximum = MAX_REPLY + 2

    def __init__(
        self,
        address: str,
        granted: Any,
        refused: Any,
        deadlines: Deadlines[HandshakeProtocol],
        command: Command = Command.CONNECT,
    ) -> None:
        """
        @param address: DST.ADDR.
        @param granted: called with this protocol when the StreamHost has accepted. Reading is paused;
            C{handOver} the connection and deliver C{early}.
        @param refused: called with a L{BytestreamError} when it has not; the connection is closing.
        @param deadlines: limits the time of the handshake.
        @param command: CONNECT, or UDP ASSOCIATE.
        """
        super().__init__(ClientParser(), deadlines)
        self.destination = address
        self._request = Request(command, address.encode("ascii"))
        self._granted = granted
        self._refused = refused

    def handshakeStarted(self) -> None:
        """
        See L{HandshakeProtocol}.
        """
        self.sendNow(Greeting(bytes((Method.NONE,))).toBytes())

    def messageReceived(self, message: ClientEvent) -> None:
        """
        See L{HandshakeProtocol}.
        """
        if isinstance(message, MethodChoice):
            self._methodChosen(message)
        elif message.code != ReplyCode.SUCCEEDED:
            self.fail(NegotiationError(f"the streamhost refuses the bytestream ({_codeName(message.code)})"))
        else:
            # BND.ADDR should repeat our hash; libpurple, Miranda and others send something else.
            self.complete()
            self._granted(self)

    def _methodChosen(self, choice: MethodChoice) -> None:
        if choice.method != Method.NONE:
            self.fail(NegotiationError("the streamhost wants an authentication that we cannot give"))
            return
        self.sendNow(self._request.toBytes())

    def handshakeFailed(self, error: BytestreamError) -> None:
        """
        See L{HandshakeProtocol}.
        """
        self._refused(error)


def _codeName(code: int) -> str:
    try:
        return ReplyCode(code).name.lower().replace("_", " ")
    except ValueError:
        return f"SOCKS5 reply {code:#04x}"
