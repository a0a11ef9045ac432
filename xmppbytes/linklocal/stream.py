"""
One XML stream with one peer: headers, features, TLS, stanzas.
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

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IHandshakeListener, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.words.xish.domish import Element
from zope.interface import implementer

from xmppbytes.core.throttle import TokenBucket
from xmppbytes.errors import NotReachable, Refused, WireError
from xmppbytes.linklocal.connection import NS_STREAMS, Phase, XmlConnection
from xmppbytes.linklocal.istream import IStreamOwner
from xmppbytes.linklocal.names import foldText
from xmppbytes.linklocal.pins import Pin, PinMismatch
from xmppbytes.linklocal.safety import PolicyViolation, TLSPolicy
from xmppbytes.linklocal.verify import verificationCode
from xmppbytes.tls import PinnedClient, PinnedServer, peerFingerprint, tlsFailureText

NS_TLS = "urn:ietf:params:xml:ns:xmpp-tls"

# Seconds until stanzas can be exchanged; for features that may never come; without a stanza until the
# stream is closed.
NEGOTIATION_TIMEOUT = 20.0
FEATURES_TIMEOUT = 2.0
IDLE_TIMEOUT = 600.0

_STANZAS = ("message", "iq", "presence")


@implementer(IHandshakeListener)
class PeerStream(XmlConnection):
    """
    One stream.

    @ivar peer: the presence name of the other side; C{""} until it is known.
    @ivar addresses: what the peer's addresses on this link were when the stream began.
    @ivar initiator: whether we have opened it.
    @ivar tls: whether it is encrypted.
    @ivar pin: what is known of the peer's key.
    @ivar code: what two people compare to be sure that nobody is between them; empty without TLS.
    @ivar accepted: the address under which the connection is counted; empty when we have opened it.
    @ivar ready: fires with the stream when stanzas can be exchanged; fails with a L{BytestreamError}.
    """

    def __init__(
        self,
        clock: IReactorTime,
        owner: IStreamOwner,
        peer: str = "",
        accepted: str = "",
        bucket: TokenBucket | None = None,
    ) -> None:
        """
        @param clock: the reactor, or a L{twisted.internet.task.Clock}.
        @param owner: decides, and gets the stanzas.
        @param peer: whom we have called; empty: we were called.
        @param accepted: from which address we were called.
        @param bucket: what may be read, for all connections from there together.
        """
        super().__init__(clock, bucket)
        self._owner = owner
        self.peer = peer
        self.addresses: frozenset[str] = frozenset()
        self.initiator = bool(peer)
        self.accepted = accepted
        self.tls = False
        self.pin = Pin.NONE
        self.code = ""
        self.ready: Deferred[PeerStream] = Deferred(lambda _: self.abort("it is needed no more"))
        self._peerHasVersion = False
        self._wasReady = False
        self._patience: IDelayedCall | None = None
        self._identifying: Deferred[str] | None = None

    def connectionMade(self) -> None:
        """
        See L{Protocol}.
        """
        super().connectionMade()
        self._setTimer(NEGOTIATION_TIMEOUT, self._tooSlow)
        if self.initiator:
            self._sendHeader()

    def _tooSlow(self) -> None:
        self.fail("connection-timeout", NotReachable(f"{self._who} has not set up the stream in time"))

    @property
    def _who(self) -> str:
        return self.peer or self.address

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See L{Protocol}.
        """
        if self._phase is Phase.HANDSHAKE and self._error is None:
            self._error = Refused(tlsFailureText(reason) or f"{self._who} has ended the TLS handshake")
        self._end()
        self._stopPatience()
        if self._identifying is not None:
            self._identifying.cancel()
        text = str(self._error or self._reason or reason.getErrorMessage())
        if not self.ready.called:
            self.ready.errback(self._error or NotReachable(f"{self._who} has closed the connection ({text})"))
        self._owner.streamEnded(self, text, self._clean)

    # Headers

    def _sendHeader(self) -> None:
        self._writeHeader(self._owner.ownName(), self.peer)

    def _sendHeaderOnce(self) -> None:
        if not self._headerSent:
            self._sendHeader()

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
        self._hold()
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
        if self._peerHasVersion:
            self._sendFeatures()
            self._patience = self._clock.callLater(FEATURES_TIMEOUT, self._withoutTLS)
        else:
            self._withoutTLS()
        self._release()

    def _unidentified(self, failure: Failure) -> None:
        self._identifying = None
        if self._phase is not Phase.HEADER:
            return
        self.fail("not-authorized", Refused(failure.getErrorMessage()))

    # Elements

    def _elementReceived(self, element: Element) -> None:
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
        if not self.tls:
            try:
                self._owner.security.permitPlain(self.peer)
            except PolicyViolation as error:
                self.fail("policy-violation", error)
                return
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

    # Stanzas

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
        self._writeElement(features)

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
        self._writeElement(stanza)

    def _restartIdleTimer(self) -> None:
        self._setTimer(IDLE_TIMEOUT, self.close, "nothing was said for ten minutes")

    def _stopPatience(self) -> None:
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
        self._patience = None
