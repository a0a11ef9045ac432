"""
One XML stream with one peer: headers, features, TLS, stanzas, the closing handshake.
XEP-0174 sections 6 to 8 of version 2.0.1, 5 to 7 of version 0.9; RFC 6120 section 5.

    initiator                                   responder
    <stream from to version='1.0'>         ->   whose address is this?
                                           <-   <stream from to version='1.0'>
                                           <-   <features> starttls, disco#info   (to version 1.0 only)
    <starttls/>                            ->
                                           <-   <proceed/>
    TLS, pins compared, both headers and the features again; then stanzas, both ways
    </stream>                              ->
                                           <-   </stream>, and the connection is closed

Peers of version 0.9 (libpurple) send neither version nor features: stanzas follow at once.
"""

import fcntl
import socket
import struct
import termios
from collections.abc import Callable
from enum import Enum
from typing import Any
from xml.sax.saxutils import quoteattr

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IHandshakeListener, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.xish.domish import Element
from zope.interface import implementer

from xmppbytes.connecting.addresses import plainAddress
from xmppbytes.core.throttle import BURST_SECONDS, TokenBucket
from xmppbytes.errors import BytestreamError, NotReachable, Refused, WireError
from xmppbytes.linklocal.istream import IStreamOwner, TLSPolicy
from xmppbytes.linklocal.names import foldText
from xmppbytes.linklocal.pins import Pin, PinMismatch
from xmppbytes.linklocal.verify import verificationCode
from xmppbytes.linklocal.xmlparser import StreamParser
from xmppbytes.tls import PinnedClient, PinnedServer, peerFingerprint, tlsFailureText

NS_STREAMS = "http://etherx.jabber.org/streams"
NS_CLIENT = "jabber:client"
NS_TLS = "urn:ietf:params:xml:ns:xmpp-tls"
NS_STREAM_ERRORS = "urn:ietf:params:xml:ns:xmpp-streams"

# Seconds until stanzas can be exchanged; for features that may never come; for the other side's closing
# tag; without a stanza until the stream is closed.
NEGOTIATION_TIMEOUT = 20.0
FEATURES_TIMEOUT = 2.0
CLOSE_TIMEOUT = 5.0
IDLE_TIMEOUT = 600.0
# A link may go down without a word: unacknowledged data breaks the connection after this time.
DEAD_TIMEOUT = 20.0
# What one peer may send on average, bytes a second.
BYTES_PER_SECOND = 1 << 20

_STANZAS = ("message", "iq", "presence")


class Phase(Enum):
    """
    How far a stream has come.
    """

    HEADER = 1
    FEATURES = 2
    PROCEED = 3
    HANDSHAKE = 4
    READY = 5
    CLOSING = 6
    OVER = 7


class PolicyViolation(Refused):
    """
    A stream would not be as safe as we demand.
    """


@implementer(IHandshakeListener, IPushProducer)
class PeerStream(Protocol):
    """
    One connection.

    @ivar peer: the presence name of the other side; C{""} until it is known.
    @ivar initiator: whether we have opened it.
    @ivar tls: whether it is encrypted.
    @ivar pin: what is known of the peer's key.
    @ivar code: what two people compare to be sure that nobody is between them; empty without TLS.
    @ivar address: the peer's IP address, with scope.
    @ivar accepted: the address under which the connection is counted; empty when we have opened it.
    @ivar ready: fires with the stream when stanzas can be exchanged; fails with a L{BytestreamError}.
    """

    log = Logger()
    transport: Any

    def __init__(self, clock: IReactorTime, owner: IStreamOwner, peer: str = "", accepted: str = "") -> None:
        """
        @param clock: the reactor, or a L{twisted.internet.task.Clock}.
        @param owner: decides, and gets the stanzas.
        @param peer: whom we have called; empty: we were called.
        @param accepted: from which address we were called.
        """
        self._clock = clock
        self._owner = owner
        self.peer = peer
        self.initiator = bool(peer)
        self.accepted = accepted
        self.tls = False
        self.pin = Pin.NONE
        self.code = ""
        self.address = ""
        self.ownAddress = ""
        self.ready: Deferred[PeerStream] = Deferred(lambda _: self.abort("it is needed no more"))
        self._phase = Phase.HEADER
        self._reason = ""
        self._headerSent = False
        self._peerHasVersion = False
        self._clean = False
        self._wasReady = False
        self._error: BytestreamError | None = None
        self._timer: IDelayedCall | None = None
        self._patience: IDelayedCall | None = None
        self._identifying: Deferred[str] | None = None
        # What came in one piece with the header, before it is known whom it comes from.
        self._early: list[Callable[[], None]] = []
        self._bucket = TokenBucket(BYTES_PER_SECOND, clock.seconds)
        self._throttle: IDelayedCall | None = None
        self._newParser()

    def _newParser(self) -> None:
        self._parser = StreamParser(self._headerReceived, self._elementReceived, self._endReceived)

    # The connection

    def connectionMade(self) -> None:
        """
        See L{Protocol}.
        """
        self.address = _scoped(self.transport.getPeer())
        self.ownAddress = _scoped(self.transport.getHost())
        _tune(self.transport)
        self._timer = self._clock.callLater(NEGOTIATION_TIMEOUT, self._tooSlow)
        if self.initiator:
            self._sendHeader()

    def _tooSlow(self) -> None:
        self._timer = None
        self.fail("connection-timeout", NotReachable(f"{self._who} has not set up the stream in time"))

    @property
    def _who(self) -> str:
        return self.peer or self.address

    def dataReceived(self, data: bytes) -> None:
        """
        See L{Protocol}.
        """
        if self._phase is Phase.OVER:
            return
        self._bucket.spend(len(data))
        self._throttleReading()
        try:
            self._parser.feed(data)
        except WireError as error:
            self.fail("not-well-formed", error)

    def _throttleReading(self) -> None:
        if self._throttle is None and self._bucket.room() <= 0:
            self.transport.pauseProducing()
            self._throttle = self._clock.callLater(BURST_SECONDS, self._resume)

    def _resume(self) -> None:
        self._throttle = None
        self._throttleReading()
        self.resumeProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See L{Protocol}.
        """
        if self._phase is Phase.HANDSHAKE and self._error is None:
            self._error = Refused(tlsFailureText(reason) or f"{self._who} has ended the TLS handshake")
        self._phase = Phase.OVER
        self._parser.mute()
        for call in (self._timer, self._patience, self._throttle):
            if call is not None and call.active():
                call.cancel()
        if self._identifying is not None:
            self._identifying.cancel()
        text = str(self._error or self._reason or reason.getErrorMessage())
        if not self.ready.called:
            self.ready.errback(self._error or NotReachable(f"{self._who} has closed the connection ({text})"))
        self._owner.streamEnded(self, text, self._clean)

    # Back-pressure: who does not read what we answer is not read either.

    def pauseProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        if self._throttle is None and self._phase is not Phase.OVER:
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """
        See L{IPushProducer}; connectionLost does what is to be done.
        """

    # What comes in

    def _headerReceived(self, root: Element) -> None:
        if (root.uri, root.name) != (NS_STREAMS, "stream"):
            self.fail("invalid-namespace", WireError(f"{self._who} does not speak XMPP"))
            return
        version = root.getAttribute("version") or "0"
        self._peerHasVersion = version.partition(".")[0] not in ("", "0")
        # libpurple answers to='' to whom it does not know.
        claimed = root.getAttribute("from") or None
        if self.peer:
            self._knownPeerAnswered(claimed)
            return
        self.transport.pauseProducing()
        self._identifying = self._owner.identify(self.address, self.ownAddress, claimed)
        self._identifying.addCallbacks(self._identified, self._unidentified)

    def _knownPeerAnswered(self, claimed: str | None) -> None:
        if claimed is not None and foldText(claimed) != foldText(self.peer):
            self.fail("not-authorized", Refused(f"{claimed!r} answers in the place of {self.peer}"))
        elif not self.initiator:
            self._sendHeader()
            self._sendFeatures()
            self._becomeReady()
        elif self._peerHasVersion:
            self._phase = Phase.FEATURES
            self._patience = self._clock.callLater(FEATURES_TIMEOUT, self._withoutTLS)
        else:
            self._withoutTLS()

    def _identified(self, name: str) -> None:
        self._identifying = None
        if self._phase is not Phase.HEADER:
            return
        self.peer = name
        self._sendHeader()
        self._phase = Phase.FEATURES
        self.resumeProducing()
        if self._peerHasVersion:
            self._sendFeatures()
            self._patience = self._clock.callLater(FEATURES_TIMEOUT, self._withoutTLS)
        else:
            self._withoutTLS()
        early, self._early = self._early, []
        for event in early:
            event()

    def _unidentified(self, failure: Failure) -> None:
        self._identifying = None
        if self._phase is not Phase.HEADER:
            return
        self.resumeProducing()
        self.fail("not-authorized", Refused(failure.getErrorMessage()))

    def _elementReceived(self, element: Element) -> None:
        if self._identifying is not None:
            self._early.append(lambda: self._elementReceived(element))
            return
        kind = (element.uri, element.name)
        if kind == (NS_STREAMS, "error"):
            child = element.firstChildElement()
            condition = child.name if child is not None else "no condition"
            self.fail("", Refused(f"{self._who} ends the stream: {condition}"))
        elif kind == (NS_STREAMS, "features"):
            if self.initiator and self._phase is Phase.FEATURES:
                self._featuresReceived(element)
        elif element.uri == NS_TLS:
            self._tlsElementReceived(element.name)
        elif element.name in _STANZAS:
            self._stanzaReceived(element)

    def _stanzaReceived(self, stanza: Element) -> None:
        if self._phase is Phase.FEATURES:
            # A peer that sends a stanza instead of <starttls/> has decided.
            self._withoutTLS()
        if self._phase is Phase.READY:
            self._restartIdleTimer()
        # What comes after our closing tag was on its way; but not what was never allowed to come.
        if self._wasReady and self._error is None:
            self._owner.stanzaReceived(self, stanza)

    def _endReceived(self) -> None:
        if self._identifying is not None:
            self._early.append(self._endReceived)
            return
        if self._phase is Phase.CLOSING:
            self._clean = True
            self._disconnect()
            return
        if self._phase is Phase.OVER:
            return
        self._clean = self._phase is Phase.READY
        self._reason = self._reason or f"{self._who} has ended the stream"
        # The other side began to close: it is to close the connection as well.
        self._endStream()

    # TLS

    @property
    def _policy(self) -> TLSPolicy:
        return self._owner.security.policy

    def _featuresReceived(self, features: Element) -> None:
        self._stopPatience()
        offered = any(child.uri == NS_TLS for child in features.elements())
        if self.tls:
            self._becomeReady()
        elif offered and self._policy is not TLSPolicy.OFF:
            self._phase = Phase.PROCEED
            self._write(f"<starttls xmlns='{NS_TLS}'/>")
        else:
            self._withoutTLS()

    def _tlsElementReceived(self, name: str) -> None:
        security = self._owner.security
        if self.initiator and self._phase is Phase.PROCEED and name == "proceed":
            self._startTLS(PinnedClient(security.identity, None))
        elif self.initiator and self._phase is Phase.PROCEED:
            self.fail("", Refused(f"{self.peer} has offered TLS and now refuses it"))
        elif name == "starttls" and self._phase is Phase.FEATURES and not self.tls and not self.initiator:
            if self._policy is TLSPolicy.OFF:
                self._write(f"<failure xmlns='{NS_TLS}'/>")
                self.fail("", Refused(f"{self.peer} wants TLS, which is off here"))
                return
            self._stopPatience()
            self._write(f"<proceed xmlns='{NS_TLS}'/>")
            self._startTLS(PinnedServer(security.identity, clientMustHaveCertificate=True))
        else:
            self.fail("unsupported-stanza-type", WireError(f"{self._who} sends <{name}/> out of order"))

    def _startTLS(self, contextFactory: Any) -> None:
        """
        Go on encrypted. In this very turn: the other side's first bytes may be on their way, and
        whatever plain text follows is nobody's.
        """
        self._phase = Phase.HANDSHAKE
        self._headerSent = False
        self._parser.mute()
        self._newParser()
        self.transport.startTLS(contextFactory, True)

    def handshakeCompleted(self) -> None:
        """
        See L{IHandshakeListener}: look whose key it is before anything is said.
        """
        self.tls = True
        self._phase = Phase.HEADER
        try:
            self.pin = self._owner.security.pins.check(self.peer, peerFingerprint(self.transport))
        except PinMismatch as error:
            self.fail("not-authorized", error)
            return
        self.code = verificationCode(self.transport)
        if self.initiator:
            self._sendHeader()

    def _withoutTLS(self) -> None:
        """
        There will be no TLS (or it is there already, and no features came).
        """
        self._stopPatience()
        if self.tls:
            self._becomeReady()
        elif self._policy is TLSPolicy.REQUIRED:
            text = f"{self.peer} does not encrypt, and --tls=required is set: no word was sent"
            self.fail("policy-violation", PolicyViolation(text))
        elif self._policy is TLSPolicy.OPTIONAL and self._owner.security.pins.get(self.peer) is not None:
            text = (
                f"{self.peer} has encrypted before and does not now: somebody may be between you. "
                "If the person confirms that it is so, remove the pin"
            )
            self.fail("policy-violation", PolicyViolation(text))
        else:
            self._becomeReady()

    def _becomeReady(self) -> None:
        self._stopPatience()
        self._phase = Phase.READY
        self._wasReady = True
        self.transport.registerProducer(self, True)
        self._restartIdleTimer()
        self._owner.streamReady(self)
        if not self.ready.called:
            self.ready.callback(self)

    # What goes out

    def _write(self, text: str) -> None:
        self.transport.write(text.encode())

    def _sendHeader(self) -> None:
        own, peer = quoteattr(self._owner.ownName()), quoteattr(self.peer)
        self._headerSent = True
        self._write(
            f"<?xml version='1.0' encoding='UTF-8'?><stream:stream xmlns='{NS_CLIENT}' "
            f"xmlns:stream='{NS_STREAMS}' from={own} to={peer} version='1.0'>"
        )

    def _sendFeatures(self) -> None:
        if not self._peerHasVersion:
            return
        features = Element((NS_STREAMS, "features"))
        if not self.tls and self._policy is not TLSPolicy.OFF:
            starttls = features.addElement((NS_TLS, "starttls"))
            if self._policy is TLSPolicy.REQUIRED:
                starttls.addElement("required")
        for feature in self._owner.features():
            features.addChild(feature)
        self._sendElement(features)

    def _sendElement(self, element: Element) -> None:
        self._write(
            element.toXml(prefixes={NS_STREAMS: "stream"}, defaultUri=NS_CLIENT, prefixesInScope=["stream"])
        )

    @property
    def isReady(self) -> bool:
        """
        Whether stanzas can be sent.
        """
        return self._phase is Phase.READY

    @property
    def isBroken(self) -> bool:
        """
        Whether the connection is gone without a closing handshake.
        """
        return self._phase is Phase.OVER and not self._clean

    def send(self, stanza: Element) -> None:
        """
        Send a stanza.

        @raise NotReachable: when the stream cannot be used (any more).
        """
        if self._phase is not Phase.READY:
            raise NotReachable(f"the stream with {self._who} is closed")
        self._restartIdleTimer()
        self._sendElement(stanza)

    def unacknowledged(self) -> int:
        """
        How many of the bytes that were sent the peer's system has not confirmed yet; 0 where that
        cannot be told.
        """
        if self._phase is Phase.OVER:
            return 0
        try:
            answer = fcntl.ioctl(self.transport.fileno(), termios.TIOCOUTQ, bytes(4))
        except (OSError, AttributeError):
            return 0
        return int(struct.unpack("i", answer)[0])

    # The end

    def _restartIdleTimer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._clock.callLater(IDLE_TIMEOUT, self.close, "nothing was said for ten minutes")

    def close(self, reason: str) -> None:
        """
        Close the stream: say so, take what still comes, and wait for the other side's closing tag for
        five seconds.

        @param reason: why, for the log.
        """
        if self._phase in (Phase.CLOSING, Phase.OVER):
            return
        self._reason = reason
        self._endStream()

    def _endStream(self) -> None:
        self._phase = Phase.CLOSING
        self._stopPatience()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if not self._headerSent:
            self._disconnect()
            return
        self._write("</stream:stream>")
        self._timer = self._clock.callLater(CLOSE_TIMEOUT, self._giveUp)

    def _disconnect(self) -> None:
        # TLS waits for its producer, which has nothing more to say.
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _giveUp(self) -> None:
        self._disconnect()
        self._timer = self._clock.callLater(CLOSE_TIMEOUT, self.transport.abortConnection)

    def fail(self, condition: str, error: BytestreamError) -> None:
        """
        End the stream because of an error.

        @param condition: what the other side is told (RFC 6120 section 4.9.3); empty: nothing.
        @param error: why, for a person.
        """
        if self._phase is Phase.OVER or self._error is not None:
            return
        self._error = error
        self._parser.mute()
        self._stopPatience()
        if condition:
            if not self._headerSent:
                self._sendHeader()
            self._write(
                f"<stream:error><{condition} xmlns='{NS_STREAM_ERRORS}'/></stream:error></stream:stream>"
            )
        self._phase = Phase.CLOSING
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._giveUp()

    def abort(self, reason: str) -> None:
        """
        Break the connection off.
        """
        self._reason = reason
        if self.transport is not None and self._phase is not Phase.OVER:
            self.transport.abortConnection()

    def _stopPatience(self) -> None:
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
        self._patience = None


def _scoped(address: Any) -> str:
    """
    Write the address of a TCP connection's end as the roster does.
    """
    text = plainAddress(str(getattr(address, "host", "")))
    scope = getattr(address, "scopeID", 0)
    if scope and "%" not in text and text.lower().startswith("fe80"):
        try:
            return f"{text}%{socket.if_indextoname(int(scope))}"
        except OSError:
            return text
    return text


def _tune(transport: Any) -> None:
    """
    Make a connection notice within seconds that the other side is gone.
    """
    for method in ("setTcpNoDelay", "setTcpKeepAlive"):
        if hasattr(transport, method):
            getattr(transport, method)(True)
    handle = getattr(transport, "socket", None)
    if handle is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(DEAD_TIMEOUT * 1000))
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, int(DEAD_TIMEOUT))
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
