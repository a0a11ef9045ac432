"""
The life of one negotiation as target: XEP-0046 section 3.1 from the other's iq-set on.
"""

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish.domish import Element

from xmppbytes.core.bytestream import BytestreamOffer
from xmppbytes.dtcp.means import Parties
from xmppbytes.dtcp.negotiation import Negotiation
from xmppbytes.dtcp.shared import ClientMeans
from xmppbytes.dtcp.stanzas import Host, Query
from xmppbytes.errors import BytestreamError, Refused
from xmppbytes.interfaces import IBytestreamAcceptor


class TargetNegotiation:
    """
    A requester asks us for a connection.

    @ivar ended: fires when it is established or has failed, whatever came first.
    """

    log = Logger()

    def __init__(
        self, means: ClientMeans, acceptor: IBytestreamAcceptor, parties: Parties, query: Query
    ) -> None:
        """
        @param means: what it works with.
        @param acceptor: decides.
        @param parties: the requester and we.
        @param query: what the requester tells.
        """
        self.offer = BytestreamOffer(parties.peer, parties.own, parties.sid)
        self.ended: Deferred[None] = Deferred()
        self._means = means
        self._acceptor = acceptor
        self._parties = parties
        self._query = query
        self._negotiation: Negotiation | None = None

    def cancel(self) -> None:
        """
        Give it up, if it is not established.
        """
        if self._negotiation is not None:
            self._negotiation.cancel()

    async def run(self) -> Element:
        """
        Let the acceptor decide, and begin to connect.

        @return: the answer for the requester.
        @raise StanzaError: the answer, when there will be no connection.
        """
        begun = False
        try:
            self._checkTLS()
            factory = await self._decide()
            hosts = await self._means.openDoor(self._parties.peer)
            begun = True
            return self._begin(factory, hosts)
        finally:
            if not begun:
                self.ended.callback(None)

    def _checkTLS(self) -> None:
        objection = self._means.desk.tls.objectionToPeer(self._query.fingerprint)
        if objection is not None:
            self._logRefusal(objection)
            raise StanzaError("not-acceptable", text=objection)

    def _begin(self, factory: IProtocolFactory, hosts: list[Host]) -> Element:
        means = self._means
        parties = self._parties
        negotiation = self._negotiation = Negotiation(parties, means.forPeer(parties), factory, hosts)
        means.desk.add(negotiation)

        def end(result: object) -> None:
            means.desk.remove(negotiation)
            means.closeDoor(hosts)
            if isinstance(result, Failure):
                self._tellFailure(result)
            self.ended.callback(None)

        negotiation.done.addBoth(end)
        # In the next turn: nothing that we tell the requester is to overtake our answer.
        means.reactor.callLater(0, negotiation.peerKnown, self._query, means.options.direct)
        return negotiation.query().toElement()

    async def _decide(self) -> IProtocolFactory:
        decision: Deferred[IProtocolFactory] = maybeDeferred(self._acceptor.bytestreamRequested, self.offer)
        decision.addTimeout(self._means.options.decisionTimeout, self._means.reactor)
        try:
            return await decision
        except Refused as e:
            reason: object = e
        except DeferredTimeout:
            reason = f"no decision within {self._means.options.decisionTimeout:g} s"
        self._logRefusal(reason)
        raise StanzaError("forbidden", text="Rejected")

    def _logRefusal(self, reason: object) -> None:
        self.log.info("Refused the connection {parties}: {reason}", parties=self._parties, reason=reason)

    def _tellFailure(self, failure: Failure) -> None:
        if not failure.check(BytestreamError):
            self.log.failure("The application failed to take a connection", failure=failure)
            return
        try:
            self._acceptor.bytestreamFailed(self.offer, failure.value)
        except Exception:
            self.log.failure("The application failed to take note of a failed connection")
