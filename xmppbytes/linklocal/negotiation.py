"""
How a connection becomes a stream: headers, features, TLS.
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
from xmppbytes.tls import PinnedClient, PinnedServer, peerFingerprint

NS_TLS = "urn:ietf:params:xml:ns:xmpp-tls"

# Seconds until stanzas can be exchanged; for features that may never come.
NEGOTIATION_TIMEOUT = 20.0
FEATURES_TIMEOUT = 2.0


@implementer(IHandshakeListener)
class Negotiation(XmlConnection):
    """
    A connection on which it is settled who speaks, and how safely.

    @ivar peer: the presence name of the other side; C{""} until it is known.
    @ivar initiator: whether we have opened it.
    @ivar tls: whether it is encrypted.
    @ivar pin: what is known of the peer's key.
    @ivar code: what two people compare to be sure that nobody is between them; empty without TLS.
    """

    def __init__(
        self, clock: IReactorTime, owner: IStreamOwner, peer: str, bucket: TokenBucket | None
    ) -> None:
        """
        @param clock: the reactor, or a L{twisted.internet.task.Clock}.
        @param owner: decides.
        @param peer: whom we have called; empty: we were called.
        @param bucket: what may be read, for all connections from there together.
        """
        super().__init__(clock, bucket)
        self._owner = owner
        self.peer = peer
        self.initiator = bool(peer)
        self.tls = False
        self.pin = Pin.NONE
        self.code = ""
        self._peerHasVersion = False
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

    def _stopPatience(self) -> None:
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
        self._patience = None

    def _stopNegotiating(self) -> None:
        """
        Wait for nothing any more.
        """
        self._stopPatience()
        if self._identifying is not None:
            self._identifying.cancel()

    @property
    def _who(self) -> str:
        return self.peer or self.address

    def _becomeReady(self) -> None:
        """
        Everything is settled.
        """
        raise NotImplementedError

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
