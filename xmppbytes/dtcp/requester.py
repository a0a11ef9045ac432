"""
The life of one negotiation as requester: XEP-0046 section 3.1 from the iq-set on.

It is a coroutine from the first step to the last, so that whatever ends it early passes through the same
clean-up.
"""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.xmlstream import TimeoutError as RequestTimeout
from twisted.words.xish.domish import Element

from xmppbytes.dtcp.means import Parties
from xmppbytes.dtcp.negotiation import Negotiation
from xmppbytes.dtcp.serving import WaitingProtocol
from xmppbytes.dtcp.shared import ClientMeans
from xmppbytes.dtcp.stanzas import NS_DTCP, Query, Relay
from xmppbytes.dtcp.waiting import RelayWaiting
from xmppbytes.errors import BytestreamError, NegotiationError, NotReachable, Refused
from xmppbytes.stanza import REQUEST_FAILURES, failureText

_NOT_SUPPORTED = ("service-unavailable", "feature-not-implemented", "remote-server-not-found")


class RequesterNegotiation:
    """
    We ask a target for a connection.
    """

    log = Logger()

    def __init__(self, means: ClientMeans, relays: RelayWaiting, parties: Parties) -> None:
        """
        @param means: what it works with.
        @param relays: waits at relays for us.
        @param parties: we and the target.
        """
        self._means = means
        self._relays = relays
        self._parties = parties

    async def run(self, protocolFactory: IProtocolFactory) -> IProtocol:
        """
        Negotiate, connect, and give the connection to a protocol.

        @return: the connected protocol.
        """
        means, parties = self._means, self._parties
        hosts = await means.openDoor(parties.peer)
        try:
            waiting = await self._wait()
            negotiation = Negotiation(parties, means.forPeer(parties), protocolFactory, hosts, waiting)
            means.desk.add(negotiation)
            try:
                asked = self._ask(negotiation)
                try:
                    return await negotiation.done
                except BytestreamError:
                    # The other side knows; nothing is to be told when it answers.
                    asked.cancel()
                    raise
            finally:
                means.desk.remove(negotiation)
        finally:
            means.closeDoor(hosts)

    async def _wait(self) -> dict[WaitingProtocol, Relay]:
        means, parties = self._means, self._parties
        return await self._relays.wait(means.options.relays, parties.own, parties.peer, means.connectorFor)

    def _ask(self, negotiation: Negotiation) -> "Deferred[None]":
        """
        Send the iq-set. Its answer is heard even when the negotiation is cancelled meanwhile: the
        target is told then.
        """
        means, query = self._means, negotiation.query().toElement()
        asked: Deferred[Element] = maybeDeferred(
            means.ask, self._parties.peer, "set", query, means.options.answerTimeout
        )

        def forget(result: Any) -> Any:
            means.unanswered.discard(asked)
            return result

        means.unanswered.add(asked)
        asked.addBoth(forget)
        heard = asked.addCallback(self._answered, negotiation)
        return heard.addErrback(lambda failure: negotiation.end(self._refusal(failure)))

    def _answered(self, iq: Element, negotiation: Negotiation) -> None:
        query = next((e for e in iq.elements() if e.uri == NS_DTCP and e.name == "query"), None)
        if query is None:
            raise NegotiationError(f"the answer of {self._parties.peer} has no query: it speaks another DTCP")
        negotiation.peerKnown(Query.fromElement(query), self._means.options.direct)

    def _refusal(self, failure: Failure) -> BytestreamError:
        peer, error = self._parties.peer, failure.value
        if isinstance(error, BytestreamError):
            return error
        if isinstance(error, RequestTimeout):
            return NotReachable(f"{peer} did not answer within {self._means.options.answerTimeout:g} s")
        if isinstance(error, StanzaError):
            said = failureText(error)
            if error.condition in _NOT_SUPPORTED:
                return Refused(f"{peer} is not there, or does not support DTCP: {said}")
            return Refused(f"{peer} refuses the connection: {said}")
        if isinstance(error, REQUEST_FAILURES):
            return NegotiationError(f"the XMPP connection was lost while {peer} was asked; try again")
        if not failure.check(CancelledError):
            self.log.failure("Asking {peer} for a connection failed", failure=failure, peer=peer)
        return NegotiationError("asking for a connection has failed here; the log says more")
