"""
One DTCP negotiation with its connections: does what L{xmppbytes.dtcp.session} decides.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import NoProtocol
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.jid import InvalidFormat

from xmppbytes.connecting.addresses import plainAddress
from xmppbytes.connecting.handing import giveTo
from xmppbytes.core.bytestream import BytestreamAddress, Route
from xmppbytes.dtcp.connecting import ConnectingProtocol
from xmppbytes.dtcp.means import Means, Parties
from xmppbytes.dtcp.protocol import DTCPFactory, DTCPProtocol
from xmppbytes.dtcp.serving import ServingProtocol, WaitingProtocol
from xmppbytes.dtcp.session import (
    GAVE_UP,
    REJECTED,
    Acknowledge,
    Action,
    Close,
    Establish,
    Fail,
    Refuse,
    Role,
    SendKey,
    Session,
    State,
    Tell,
)
from xmppbytes.dtcp.stanzas import Host, Query, Relay, Trouble, newKey
from xmppbytes.errors import BytestreamError, NegotiationError, NotReachable, Refused
from xmppbytes.jids import prepareJID
from xmppbytes.wire.dtcprelay import Request, Verb


class Negotiation:
    """
    From the exchange of keys to one established connection, or none.

    @ivar done: fires with the application's protocol; fails with a L{BytestreamError}. Cancelling it
        closes everything and tells the other side.
    """

    log = Logger()

    def __init__(
        self,
        parties: Parties,
        means: Means,
        factory: IProtocolFactory,
        hosts: Sequence[Host] = (),
        waiting: Mapping[WaitingProtocol, Relay] | None = None,
    ) -> None:
        """
        @param factory: makes the application's protocol.
        @param hosts: where we can be reached.
        @param waiting: our connections to relays, which belong to the negotiation from now on.
        """
        self.parties = parties
        self.tls = means.tls
        self.peer = parties.peer
        self.peerKey = b""
        self.peerFingerprint: str | None = None
        self.key = newKey()
        self.done: Deferred[IProtocol] = Deferred(lambda _: self._cancelled())
        self._means = means
        self._factory = factory
        self._hosts = tuple(hosts)
        self._waiting = dict(waiting or {})
        offered = len(self._hosts) + len(self._waiting)
        self._session = Session(parties.role, self.key.encode("ascii"), offered)
        self._peerIsKnown = False
        self._cancelling = False
        self._parked: list[ServingProtocol] = []
        self._places: dict[DTCPProtocol, Host | Relay] = {}
        for connection, relay in self._waiting.items():
            self._places[connection] = relay
        self._trying: Deferred[Any] | None = None
        self._timer: IDelayedCall | None = None

    @property
    def over(self) -> bool:
        """
        Whether it was established, or has failed.
        """
        return self._session.state in (State.CONNECTED, State.FAILED)

    def query(self) -> Query:
        """
        What the other side is told.
        """
        sid = self.parties.sid if self.parties.role is Role.REQUESTER else ""
        relays = tuple(self._waiting.values())
        return Query(self.key, self._hosts, relays, self.tls.fingerprint, sid or None)

    def matches(self, request: Request) -> bool:
        """
        Tell whether a CONNECT that came to us directly names the parties of this negotiation.
        """
        try:
            named = prepareJID(request.initiator).full(), prepareJID(request.target).full()
        except InvalidFormat:
            return False
        return named == (self.parties.requester, self.parties.target)

    def peerKnown(self, query: Query, direct: bool = True) -> None:
        """
        The other side's query is here: connect.

        @param direct: whether its hosts may be connected to.
        """
        self.peerKey = query.key.encode("utf-8")
        self.peerFingerprint = query.fingerprint
        self._peerIsKnown = True
        objection = self.tls.objectionToPeer(query.fingerprint)
        places: list[Host | Relay] = [*(query.hosts if direct else ()), *query.relays]
        if not self.over:
            self._timer = self._means.clock.callLater(self._means.timeout, self._tookTooLong)
            self._refuseParked()
        self._perform(self._session.peerKnown(self.peerKey, len(places)))
        if objection is not None:
            self.end(NegotiationError(objection), REJECTED, objection)
        if not self.over and places:
            self._try(places)

    def _refuseParked(self) -> None:
        """
        Those who gave our key before we knew whom to expect: look at their certificates now.
        """
        parked, self._parked = self._parked, []
        for connection in parked:
            reason = connection.objection(self.peerFingerprint)
            if reason is not None:
                self._session.servedLost(connection)
                connection.refuse(reason)

    def _try(self, places: list[Host | Relay]) -> None:
        trying = self._means.connector.connect(places, self._attempt, lambda late: late.dismiss("too late"))
        self._trying = trying
        trying.addErrback(self._triesFailed)

    def _attempt(
        self, place: Host | Relay, endpoint: IStreamClientEndpoint
    ) -> "Deferred[ConnectingProtocol]":
        request = None
        if isinstance(place, Relay):
            parties = self.parties
            request = Request(Verb.CONNECT, place.key.encode("utf-8"), parties.requester, parties.target)

        def build() -> ConnectingProtocol:
            connection = ConnectingProtocol(self, self._means.deadlines, request)
            self._places[connection] = place
            return connection

        connecting: Deferred[Any] = endpoint.connect(DTCPFactory(build))
        return connecting.addCallback(lambda connection: connection.whenEstablished)

    def _triesFailed(self, failure: Failure) -> None:
        if failure.check(BytestreamError):
            self._perform(self._session.triesFailed(failure.getErrorMessage()))
        elif not failure.check(CancelledError):
            self.log.failure("Connecting to {peer} failed", failure=failure, peer=self.peer)
            self.end(NegotiationError("connecting has failed here; the log says more"), 500, "failed")

    def keyPresented(self, connection: ServingProtocol) -> None:
        """
        The other side has given our key on a connection that we serve.
        """
        if not self._peerIsKnown:
            self._parked.append(connection)
        else:
            reason = connection.objection(self.peerFingerprint)
            if reason is not None:
                connection.refuse(reason)
                return
        self._perform(self._session.keyPresented(connection))

    def ackReceived(self, connection: ServingProtocol) -> None:
        """
        The requester has said its last word on a connection that we serve.
        """
        self._perform(self._session.ackReceived(connection))

    def keyReturned(self, connection: ConnectingProtocol, key: bytes) -> None:
        """
        Our attempt was answered with a key.
        """
        self._perform(self._session.keyReturned(connection, key))

    def servedLost(self, connection: ServingProtocol) -> None:
        """
        A connection that we serve is gone.
        """
        if connection in self._parked:
            self._parked.remove(connection)
        self._session.servedLost(connection)

    def troubleReceived(self, trouble: Trouble) -> None:
        """
        The other side has sent an iq-error with our key.
        """
        if trouble.code == GAVE_UP:
            self._perform(self._session.peerGaveUp(str(trouble)))
        else:
            self.end(Refused(str(trouble)))

    def end(self, error: BytestreamError, tell: int | None = None, text: str = "") -> None:
        """
        There will be no connection.

        @param tell: the code to tell the other side, if it does not know.
        """
        self._perform(self._session.ended(error, tell, text))

    def cancel(self) -> None:
        """
        It is not wanted any more. Unlike the cancellation of C{done}, this is an error as others.
        """
        self.end(Refused("cancelled here"), REJECTED, "The connection is not wanted any more.")

    def _cancelled(self) -> None:
        self._cancelling = True
        self.cancel()

    def _tookTooLong(self) -> None:
        text = f"no connection was established within {self._means.timeout:g} s"
        self.end(NotReachable(text), GAVE_UP, text)

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case SendKey(connection=ServingProtocol() as connection, key=key, final=final):
                    connection.grant(key, final)
                case Refuse(connection=ServingProtocol() as connection, reason=reason):
                    connection.refuse(reason)
                case Acknowledge(connection=ConnectingProtocol() as connection):
                    connection.acknowledge()
                case Close(connection=DTCPProtocol() as connection, reason=reason):
                    connection.dismiss(reason)
                case Tell(code=code, text=text):
                    self._means.tell(Trouble(self.peerKey.decode("utf-8"), code, text))
                case Establish(connection=DTCPProtocol() as connection):
                    self._establish(connection)
                case Fail(error=error):
                    self._stop(None)
                    self.log.info("No connection {parties}: {error}", parties=self.parties, error=error)
                    if not self._cancelling:
                        self.done.errback(error)

    def _stop(self, chosen: DTCPProtocol | None) -> None:
        """
        Try nothing more, and close what is not chosen.
        """
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._trying is not None:
            self._trying.cancel()
        for connection in self._waiting:
            if connection is not chosen:
                connection.dismiss("another connection was chosen, or none")

    def _establish(self, connection: DTCPProtocol) -> None:
        if isinstance(connection, ConnectingProtocol):
            # Makes it the winner of the race, before the race is stopped.
            connection.established()
        route = self._routeOf(connection)
        self._stop(connection)
        address = BytestreamAddress(self.peer, self.parties.sid, route)
        self.log.info("Connected {parties}: {route}", parties=self.parties, route=route)
        try:
            protocol = giveTo(connection, self._factory, address)
        except NoProtocol:
            self.done.errback(NegotiationError("the application has no protocol for the connection"))
        except Exception:
            # Its own errors are the application's to hear, as from an endpoint.
            self.done.errback()
        else:
            self.done.callback(protocol)

    def _routeOf(self, connection: DTCPProtocol) -> Route:
        place = self._places.get(connection)
        port = int(getattr(connection.transport.getPeer(), "port", 0))
        relay = place.jid if isinstance(place, Relay) else None
        return Route(plainAddress(connection.address), port, relay, connection.secured)
