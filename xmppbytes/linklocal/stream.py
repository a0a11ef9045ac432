"""
One XML stream with one peer, from the first stanza to the last.
XEP-0174 sections 6 to 8 of version 2.0.1, 5 to 7 of version 0.9; RFC 6120 section 5.
"""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.words.xish.domish import Element

from xmppbytes.core.throttle import TokenBucket
from xmppbytes.errors import NotReachable, Refused
from xmppbytes.linklocal.connection import NS_STREAMS, Phase
from xmppbytes.linklocal.istream import IStreamOwner
from xmppbytes.linklocal.negotiation import NS_TLS, Negotiation
from xmppbytes.tls import tlsFailureText

# Seconds without a stanza until the stream is closed.
IDLE_TIMEOUT = 600.0

_STANZAS = ("message", "iq", "presence")


class PeerStream(Negotiation):
    """
    One stream.

    @ivar addresses: what the peer's addresses on this link were when the stream began.
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
        super().__init__(clock, owner, peer, bucket)
        self.addresses: frozenset[str] = frozenset()
        self.accepted = accepted
        self.ready: Deferred[PeerStream] = Deferred(lambda _: self.abort("it is needed no more"))
        self._wasReady = False

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See L{Protocol}.
        """
        if self._phase is Phase.HANDSHAKE and self._error is None:
            self._error = Refused(tlsFailureText(reason) or f"{self._who} has ended the TLS handshake")
        self._end()
        self._stopNegotiating()
        text = str(self._error or self._reason or reason.getErrorMessage())
        if not self.ready.called:
            self.ready.errback(self._error or NotReachable(f"{self._who} has closed the connection ({text})"))
        self._owner.streamEnded(self, text, self._clean)

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
