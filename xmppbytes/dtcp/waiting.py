"""
Waiting at relays for the target: tickets, CREATE, and what the target is told
(the DTCP relay proposal of 2002-12-12).
"""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, FirstError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger
from twisted.words.xish.domish import Element

from xmppbytes.connecting.connector import Connector
from xmppbytes.core.deadlines import Deadlines
from xmppbytes.core.handshake import HandshakeProtocol
from xmppbytes.dtcp.protocol import DTCPFactory
from xmppbytes.dtcp.serving import Desk, WaitingProtocol
from xmppbytes.dtcp.stanzas import NS_DTCP, Host, Query, Relay
from xmppbytes.errors import BytestreamError, NegotiationError
from xmppbytes.stanza import REQUEST_FAILURES, failureText
from xmppbytes.wire.dtcprelay import Request, Verb

# Seconds that a relay has to give a ticket.
TICKET_TIMEOUT = 5.0


class RelayWaiting:
    """
    Goes to relays.
    """

    log = Logger()

    def __init__(
        self, desk: Desk, ask: Callable[..., Deferred[Element]], deadlines: Deadlines[HandshakeProtocol]
    ) -> None:
        """
        @param desk: knows whose key is whose, when the target has come.
        @param ask: sends requests, see L{xmppbytes.stanza.RequestHandler.ask}.
        @param deadlines: limits the time that we wait there.
        """
        self._desk = desk
        self._ask = ask
        self._deadlines = deadlines

    async def wait(
        self, relays: Sequence[str], own: str, target: str, connectorFor: Callable[[str], Connector]
    ) -> dict[WaitingProtocol, Relay]:
        """
        Wait at all of several relays. One that cannot be used is left out, with a line in the log.

        @param relays: their JIDs.
        @param own: our JID, as the relay knows it.
        @param target: the JID of whom we wait for.
        @param connectorFor: makes what connects to a relay of this JID.
        @return: our connections, and what the target is to be told of each.
        """
        found: dict[WaitingProtocol, Relay] = {}

        async def waitAt(jid: str) -> None:
            try:
                ticket = await self._ticket(jid)
                connection, host = await self._create(ticket, own, target, connectorFor(jid))
                found[connection] = Relay(jid, host.host, host.port, ticket.key)
            except BytestreamError as e:
                self.log.warn("The relay {relay} is left out: {reason}", relay=jid, reason=e)

        waiting = [Deferred.fromCoroutine(waitAt(jid)) for jid in relays]
        try:
            await DeferredList(waiting, fireOnOneErrback=True, consumeErrors=True)
        except FirstError as e:
            for one in waiting:
                one.cancel()
            for connection in found:
                connection.dismiss("cancelled")
            e.subFailure.raiseException()
        return found

    async def _ticket(self, jid: str) -> Query:
        try:
            answer = await self._ask(jid, "get", Element((NS_DTCP, "query")), TICKET_TIMEOUT)
        except REQUEST_FAILURES as e:
            raise NegotiationError(f"it gives no ticket: {failureText(e)}") from e
        query = next((e for e in answer.elements() if e.uri == NS_DTCP and e.name == "query"), None)
        ticket = Query.fromElement(query) if query is not None else None
        if ticket is None or not ticket.hosts:
            raise NegotiationError("its answer names no host")
        return ticket

    async def _create(
        self, ticket: Query, own: str, target: str, connector: Connector
    ) -> tuple[WaitingProtocol, Host]:
        request = Request(Verb.CREATE, ticket.key.encode("utf-8"), own, target)

        def attempt(_: Host, endpoint: IStreamClientEndpoint) -> "Deferred[Any]":
            return endpoint.connect(
                DTCPFactory(lambda: WaitingProtocol(self._desk, request, self._deadlines))
            )

        connection: WaitingProtocol
        host, connection = await connector.connect(
            ticket.hosts, attempt, lambda late: late.dismiss("too late")
        )
        connection.create()
        return connection, host
