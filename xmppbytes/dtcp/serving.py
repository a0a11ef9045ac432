"""
The serving side of a DTCP connection: answers the commands of the other side (XEP-0046 section 3.3).
"""

from typing import Protocol as TypingProtocol

from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from xmppbytes.core.deadlines import Deadlines
from xmppbytes.core.handshake import HandshakeProtocol
from xmppbytes.dtcp.channel import ChannelTLS
from xmppbytes.dtcp.protocol import MAX_ERRORS, MAX_TEXT, DTCPProtocol
from xmppbytes.errors import BytestreamError, LimitReached, NegotiationError, Refused, WireError
from xmppbytes.wire.dtcp import ERROR, KEY, OK, STARTTLS, Line, LineParser, ServerParser
from xmppbytes.wire.dtcprelay import Answer, AnswerParser, Request


class ServedNegotiation(TypingProtocol):
    """
    What a connection tells the negotiation that its key belongs to.
    """

    def keyPresented(self, connection: "ServingProtocol") -> None:
        """
        The other side has given our key.
        """

    def ackReceived(self, connection: "ServingProtocol") -> None:
        """
        The requester has said its last word.
        """

    def servedLost(self, connection: "ServingProtocol") -> None:
        """
        A connection on which our key was given is gone.
        """


class Desk(TypingProtocol):
    """
    What a connection that was accepted asks before it is known whose it is.
    """

    tls: ChannelTLS

    def admit(self, connection: "ServingProtocol") -> None:
        """
        Take notice of a connection.

        @raise LimitReached: when it is one too many.
        """

    def leave(self, connection: "ServingProtocol") -> None:
        """
        Forget a connection.
        """

    def find(self, key: bytes) -> ServedNegotiation | None:
        """
        The negotiation that a key belongs to.
        """

    def findRequest(self, request: Request) -> bool:
        """
        Tell whether a CONNECT is for one of our negotiations.
        """


class ServingProtocol(DTCPProtocol):
    """
    A connection on which the other side gives the commands.
    """

    def __init__(self, desk: Desk, deadlines: Deadlines[HandshakeProtocol]) -> None:
        """
        @param desk: knows whose key is whose.
        @param deadlines: limits the time from connection to establishment.
        """
        super().__init__(ServerParser(), desk.tls, deadlines)
        self._desk = desk
        self._errors = 0
        self._negotiation: ServedNegotiation | None = None
        self._answered = False

    def handshakeStarted(self) -> None:
        """
        Be counted; one connection too many is closed at once.
        """
        try:
            self._desk.admit(self)
        except LimitReached as e:
            self.fail(e)

    def messageReceived(self, message: Line | Request) -> None:
        """
        See L{HandshakeProtocol}.
        """
        if isinstance(message, Request):
            self._connectRequested(message)
        elif self._answered:
            self._acknowledged(message)
        elif message.says(STARTTLS):
            self._startTLS()
        elif message.word == KEY:
            self._keyGiven(message.argument or b"")
        else:
            self.refuse(f"unknown command {message.word[:40].decode('ascii', 'replace')}")

    def _connectRequested(self, request: Request) -> None:
        if self._desk.findRequest(request):
            self.transport.write(Answer.OK.toBytes())
            self.proceed()
            return
        self.transport.write(Answer.ERROR.toBytes())
        self.fail(Refused("its CONNECT is for no negotiation of ours"))

    def _startTLS(self) -> None:
        if not self._tls.wanted or self.secured:
            self.refuse("TLS is on already" if self.secured else "TLS is not offered here")
            return
        assert self._parser is not None
        self.say(OK)
        self.beginTLS(self._tls.forServing(), serving=True)
        self.proceed()

    def _keyGiven(self, key: bytes) -> None:
        negotiation = self._desk.find(key)
        if negotiation is None:
            self.refuse("no such key")
            return
        self._negotiation = negotiation
        negotiation.keyPresented(self)

    def objection(self, fingerprint: str | None) -> str | None:
        """
        Tell why this connection may not be used as it is, if so.

        @param fingerprint: what the peer told over XMPP.
        """
        return self._tls.objectionTo(self.transport, self.secured, fingerprint)

    def grant(self, key: bytes, final: bool) -> None:
        """
        Answer a key with the other side's key.

        @param final: the connection is established; otherwise the ack is waited for.
        """
        self.say(OK, key)
        if final:
            self.complete()
        else:
            self._answered = True
            self.proceed()

    def refuse(self, reason: str) -> None:
        """
        Answer C{error}. The other side may try another command, a few times.
        """
        self._negotiation = None
        self._errors += 1
        self.say(ERROR, reason.replace("\n", " ")[:MAX_TEXT].encode("utf-8"))
        if self._errors >= MAX_ERRORS:
            self.fail(Refused(f"{MAX_ERRORS} of its commands were wrong, the last one: {reason}"))
        else:
            self.proceed()

    def _acknowledged(self, message: Line) -> None:
        if not message.says(OK):
            self.fail(WireError("something else than ok followed our answer to its key"))
            return
        assert self._negotiation is not None
        self.complete()
        self._negotiation.ackReceived(self)

    def handOver(self, protocol: IProtocol) -> None:
        """
        See L{ILeg}.
        """
        self._desk.leave(self)
        super().handOver(protocol)

    def handshakeFailed(self, error: BytestreamError) -> None:
        """
        See L{HandshakeProtocol}.
        """
        if self._dismissed:
            return
        self.log.info("Closed the connection with {address}: {reason}", address=self.address, reason=error)
        negotiation, self._negotiation = self._negotiation, None
        if negotiation is not None:
            negotiation.servedLost(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See L{HandshakeProtocol}.
        """
        self._desk.leave(self)
        super().connectionLost(reason)


class WaitingProtocol(ServingProtocol):
    """
    A connection to a relay, at which we wait for the other side, and then serve it.
    """

    def __init__(self, desk: Desk, request: Request, deadlines: Deadlines[HandshakeProtocol]) -> None:
        """
        @param request: the CREATE.
        @param deadlines: limits the time from connection to establishment.
        """
        super().__init__(desk, deadlines)
        self._request = request
        self._parser = AnswerParser()

    def isConnector(self) -> bool:
        """
        See L{DTCPProtocol}.
        """
        return True

    def handshakeStarted(self) -> None:
        """
        See L{HandshakeProtocol}. Nothing is said before L{create}.
        """

    def create(self) -> None:
        """
        This is the connection that we wait on. The ticket is good once: of several connections, to
        several addresses of a relay, only one may say so.
        """
        self.transport.write(self._request.toBytes())

    def messageReceived(self, message: Answer | Line | Request) -> None:
        """
        See L{HandshakeProtocol}.
        """
        if not isinstance(message, Answer):
            super().messageReceived(message)
        elif message is Answer.OK:
            assert self._parser is not None
            self._parser = LineParser(self._parser.rest())
            self.dataReceived(b"")
        else:
            self.fail(NegotiationError("the relay refuses us"))
