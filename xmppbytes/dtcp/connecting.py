"""
The connecting side of a DTCP connection: gives the commands (XEP-0046 section 3.3).
"""

from enum import Enum
from typing import Protocol as TypingProtocol

from twisted.internet.defer import Deferred

from xmppbytes.core.deadlines import Deadlines
from xmppbytes.core.handshake import HandshakeProtocol
from xmppbytes.dtcp.channel import ChannelTLS
from xmppbytes.dtcp.protocol import MAX_TEXT, DTCPProtocol
from xmppbytes.errors import BytestreamError, NegotiationError, WireError
from xmppbytes.wire.dtcp import ERROR, KEY, OK, STARTTLS, Line, LineParser
from xmppbytes.wire.dtcprelay import Answer, AnswerParser, Request


class TriedNegotiation(TypingProtocol):
    """
    What a connection knows of, and tells, the negotiation that it is made for.
    """

    tls: ChannelTLS
    peer: str
    peerKey: bytes
    peerFingerprint: str | None

    def keyReturned(self, connection: "ConnectingProtocol", key: bytes) -> None:
        """
        Our attempt was answered with a key.
        """


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
        negotiation: TriedNegotiation,
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
        if answer.says(OK):
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
            text = (answer.argument or b"").decode("utf-8", "replace")[:MAX_TEXT]
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
