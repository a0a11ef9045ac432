"""
The TCP connections of DTCP, both ends of them (XEP-0046 section 3.3).

    L{ServingProtocol}      answers commands: somebody has connected to us.
    L{WaitingProtocol}      the same, at a relay where we wait for the other side.
    L{ConnectingProtocol}   gives commands: we have connected to somebody, or to a relay.

What a key means is decided by the negotiation that it belongs to, see L{xmppbytes.dtcp.negotiation}.
"""

from enum import Enum
from typing import Any
from typing import Protocol as TypingProtocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from xmppbytes.core.deadlines import Deadlines
from xmppbytes.core.handshake import HandshakeProtocol
from xmppbytes.core.leg import LegKind
from xmppbytes.dtcp.channel import ChannelTLS
from xmppbytes.errors import BytestreamError, LimitReached, NegotiationError, Refused, WireError
from xmppbytes.interfaces import ILeg
from xmppbytes.tls import tlsFailureText
from xmppbytes.wire.dtcp import ERROR, KEY, MAX_LINE, OK, STARTTLS, Line, LineParser, ServerParser
from xmppbytes.wire.dtcprelay import MAX_REQUEST, Answer, AnswerParser, Request

# How many commands of one connection may be answered by "error".
MAX_ERRORS = 5
# An error's text is for a person who debugs; what is said of the peer's input is cut.
_MAX_TEXT = 200


class Negotiating(TypingProtocol):
    """
    What the connections of a negotiation ask it.
    """

    tls: ChannelTLS
    peer: str
    peerKey: bytes
    peerFingerprint: str | None

    def keyPresented(self, connection: "ServingProtocol") -> None:
        """
        The other side has given our key on a connection that we serve.
        """

    def ackReceived(self, connection: "ServingProtocol") -> None:
        """
        The requester has said its last word on a connection that we serve.
        """

    def keyReturned(self, connection: "ConnectingProtocol", key: bytes) -> None:
        """
        Our attempt was answered with a key.
        """

    def servedLost(self, connection: "ServingProtocol") -> None:
        """
        A connection that we serve, and on which our key was given, is gone.
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

    def find(self, key: bytes) -> Negotiating | None:
        """
        The negotiation that a key belongs to.
        """

    def findRequest(self, request: Request) -> bool:
        """
        Tell whether a CONNECT is for one of our negotiations.
        """


@implementer(ILeg, IHandshakeListener)
class DTCPProtocol(HandshakeProtocol):
    """
    What both ends have in common.
    """

    log = Logger()
    kind = LegKind.STREAM
    ready = True
    maximum = MAX_REQUEST + (MAX_ERRORS + 3) * (MAX_LINE + 1)

    def __init__(self, parser: Any, tls: ChannelTLS, deadlines: Deadlines[HandshakeProtocol]) -> None:
        super().__init__(parser, deadlines)
        self.secured = False
        self._tls = tls
        self._dismissed = False
        self._failed = False
        self._lost = False

    def say(self, word: bytes, argument: bytes | None = None) -> None:
        """
        Send a line. (Not L{sendNow}, which would go around TLS.)
        """
        self.transport.write(Line(word, argument).toBytes())

    def proceed(self) -> None:
        """
        The last message was dealt with: go on with what has arrived behind it.
        """
        parser: Any = self._parser
        if parser is not None:
            parser.proceed()
            self.dataReceived(b"")

    def beginTLS(self, context: Any, serving: bool) -> None:
        """
        Encrypt from here on.

        @param serving: whether we are the server of TLS.
        """
        assert self._parser is not None
        if self._parser.rest():
            self.fail(WireError("plain text follows starttls; nobody can know who sent it"))
            return
        self.secured = True
        # At a relay we serve on a connection that we have made: TLS has to be told.
        self.transport.startTLS(context, serving is not self.isConnector())

    def isConnector(self) -> bool:
        """
        Tell whether we have made this TCP connection.
        """
        return False

    def handshakeCompleted(self) -> None:
        """
        TLS is there: see L{IHandshakeListener}.
        """

    def dataReceived(self, data: bytes) -> None:
        """
        See L{HandshakeProtocol}; but what comes after a failure is not kept.
        """
        if not self._failed:
            super().dataReceived(data)

    def fail(self, error: BytestreamError) -> None:
        """
        See L{HandshakeProtocol}. TLS waits for the peer before it closes; not for ever.
        """
        if not self.inHandshake:
            return
        super().fail(error)
        self._shut()

    def _shut(self) -> None:
        self._failed = True
        if self._lost:
            return
        self._deadlines.add(self)
        self.transport.loseConnection()

    def timedOut(self) -> None:
        """
        The time for the handshake, or for closing, is over.
        """
        if self._failed:
            self.transport.abortConnection()
        else:
            super().timedOut()

    def dismiss(self, reason: str) -> None:
        """
        Close a connection that is not needed (any more). Nobody is told.
        """
        self._dismissed = True
        if self.inHandshake:
            self.fail(NegotiationError(reason))
        elif not self._failed:
            self._shut()

    def speaksFor(self, parties: Any) -> bool:
        """
        See L{ILeg}.
        """
        return True

    def close(self, reason: str) -> None:
        """
        See L{ILeg}.
        """
        self.dismiss(reason)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See L{HandshakeProtocol}; TLS has reasons of its own.
        """
        self._lost = True
        text = tlsFailureText(reason)
        if text is not None and self.inHandshake:
            self.fail(NegotiationError(text))
        super().connectionLost(reason)
        self._deadlines.discard(self)


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
        self._negotiation: Negotiating | None = None
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
        elif message.word == STARTTLS:
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
        self.say(ERROR, reason.replace("\n", " ")[:_MAX_TEXT].encode("utf-8"))
        if self._errors >= MAX_ERRORS:
            self.fail(Refused(f"{MAX_ERRORS} of its commands were wrong, the last one: {reason}"))
        else:
            self.proceed()

    def _acknowledged(self, message: Line) -> None:
        if message != Line(OK):
            self.fail(WireError("something else than ok followed our answer to its key"))
            return
        assert self._negotiation is not None
        self.complete()
        self._negotiation.ackReceived(self)

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
        See L{HandshakeProtocol}.
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


class _Asked(Enum):
    """
    What a connecting side waits for.
    """

    RELAY = "the relay's answer"
    STARTTLS = "the answer to starttls"
    HANDSHAKE = "TLS"
    KEY = "the answer to our key"


class ConnectingProtocol(DTCPProtocol):
    """
    A connection on which we give the commands.

    @ivar whenEstablished: fires with this protocol when it was chosen; fails with a L{BytestreamError}
        when it will not be. Cancelling it closes the connection.
    """

    def __init__(
        self,
        negotiation: Negotiating,
        deadlines: Deadlines[HandshakeProtocol],
        request: Request | None = None,
    ) -> None:
        """
        @param negotiation: what the connection is for.
        @param deadlines: limits the time from connection to establishment.
        @param request: the CONNECT for a relay; C{None}: it is the other side itself.
        """
        super().__init__(LineParser() if request is None else AnswerParser(), negotiation.tls, deadlines)
        self._negotiation = negotiation
        self._request = request
        self._asked = _Asked.RELAY
        self.whenEstablished: Deferred[ConnectingProtocol] = Deferred(lambda _: self.dismiss("cancelled"))

    def isConnector(self) -> bool:
        """
        See L{DTCPProtocol}.
        """
        return True

    def handshakeStarted(self) -> None:
        """
        See L{HandshakeProtocol}.
        """
        if self._request is not None:
            self.transport.write(self._request.toBytes())
        else:
            self._begin()

    def _begin(self) -> None:
        if self._tls.wanted:
            self._asked = _Asked.STARTTLS
            self.say(STARTTLS)
        else:
            self._giveKey()

    def _giveKey(self) -> None:
        reason = self._tls.objectionTo(self.transport, self.secured, self._negotiation.peerFingerprint)
        if reason is not None:
            self.fail(NegotiationError(reason))
            return
        self._asked = _Asked.KEY
        self.say(KEY, self._negotiation.peerKey)

    def messageReceived(self, message: Answer | Line) -> None:
        """
        See L{HandshakeProtocol}.
        """
        if isinstance(message, Answer):
            self._relayAnswered(message)
        elif self._asked is _Asked.STARTTLS:
            self._tlsAnswered(message)
        elif self._asked is _Asked.KEY:
            self._keyAnswered(message)
        else:
            self.fail(WireError("there is a line that answers nothing"))

    def _relayAnswered(self, answer: Answer) -> None:
        if answer is not Answer.OK:
            self.fail(NegotiationError("the relay does not know the key, or refuses us"))
            return
        assert self._parser is not None
        self._parser = LineParser(self._parser.rest())
        self._begin()
        self.dataReceived(b"")

    def _tlsAnswered(self, answer: Line) -> None:
        if answer == Line(OK):
            peer, fingerprint = self._negotiation.peer, self._negotiation.peerFingerprint
            self._asked = _Asked.HANDSHAKE
            self.beginTLS(self._tls.forConnecting(peer, fingerprint), serving=False)
            self.proceed()
        elif answer.word == ERROR:
            # Where TLS is needed, no key is sent without it.
            self._giveKey()
            self.proceed()
        else:
            self.fail(WireError("starttls was answered by neither ok nor error"))

    def handshakeCompleted(self) -> None:
        """
        TLS is there: see L{IHandshakeListener}.
        """
        if self.inHandshake:
            self._giveKey()

    def _keyAnswered(self, answer: Line) -> None:
        if answer.word == OK and answer.argument is not None:
            self._negotiation.keyReturned(self, answer.argument)
        elif answer.word == ERROR:
            text = (answer.argument or b"").decode("utf-8", "replace")[:_MAX_TEXT]
            self.fail(NegotiationError(f"our key is refused{f' ({text})' if text else ''}"))
        else:
            self.fail(WireError("our key was answered by neither ok with a key nor error"))

    def acknowledge(self) -> None:
        """
        Say the requester's last word.
        """
        self.say(OK)

    def established(self) -> None:
        """
        This is the one.
        """
        if self.inHandshake:
            self.complete()
        self.whenEstablished.callback(self)

    def handshakeFailed(self, error: BytestreamError) -> None:
        """
        See L{HandshakeProtocol}.
        """
        if not self.whenEstablished.called:
            self.whenEstablished.errback(error)
