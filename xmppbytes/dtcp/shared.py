"""
What all negotiations of one client share.
"""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.words.xish.domish import Element

from xmppbytes.connecting.addresses import parseAdvertised
from xmppbytes.connecting.connector import Connector
from xmppbytes.core.handshake import handshakeDeadlines
from xmppbytes.dtcp.desk import FrontDesk
from xmppbytes.dtcp.means import Means, Parties
from xmppbytes.dtcp.options import DTCPOptions
from xmppbytes.dtcp.stanzas import MAX_HOSTS, Host
from xmppbytes.errors import NotReachable


class ClientMeans:
    """
    What all negotiations of one client share.

    @ivar reactor: connects, listens, tells the time.
    @ivar options: the client's L{DTCPOptions}.
    @ivar desk: where connections arrive.
    @ivar ask: sends requests, see L{xmppbytes.stanza.RequestHandler.ask}.
    @ivar unanswered: our iq-sets whose answers are still waited for; also of what was cancelled, so
        that the target can be told when it answers.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        options: DTCPOptions,
        surroundings: Any,
        desk: FrontDesk,
        ask: Callable[..., Deferred[Element]],
        send: Callable[[Element], None],
    ) -> None:
        """
        @param surroundings: an L{IBytestreamSurroundings<xmppbytes.interfaces.IBytestreamSurroundings>}.
        @param send: sends a stanza.
        """
        self.reactor = reactor
        self.options = options
        self.desk = desk
        self.ask = ask
        self.unanswered: set[Deferred[Any]] = set()
        self._surroundings = surroundings
        self._send = send
        self._deadlines = handshakeDeadlines(reactor, options.connectTimeout)

    def connectorFor(self, peer: str) -> Connector:
        """
        Make what connects to places that have to do with a peer.
        """
        return Connector(self.reactor, self._surroundings.policyFor(peer))

    def forPeer(self, parties: Parties) -> Means:
        """
        What one negotiation works with.
        """
        return Means(
            clock=self.reactor,
            tls=self.desk.tls,
            connector=self.connectorFor(parties.peer),
            deadlines=self._deadlines,
            tell=lambda trouble: self._send(trouble.toElement(parties.peer)),
            timeout=self.options.connectTimeout,
        )

    async def openDoor(self, peer: str) -> list[Host]:
        """
        Listen, where that is wanted and possible. Each call must be followed by one L{closeDoor}.

        @return: where a peer can reach us, the best first; empty when it cannot, and nothing is open.
        """
        options = self.options
        addresses = self._surroundings.offeredAddresses(peer) if options.direct else []
        if not options.direct or not (addresses or options.advertise):
            return []
        try:
            port = await self.desk.open()
        except NotReachable as e:
            self.log.warn("{peer} cannot connect to us: {reason}", peer=peer, reason=e)
            return []
        places = [parseAdvertised(text, port) for text in options.advertise]
        places += [(address, port) for address in addresses]
        return [Host(*place) for place in dict.fromkeys(places)][:MAX_HOSTS]

    def closeDoor(self, hosts: Sequence[Host]) -> None:
        """
        Listen no more for a negotiation.

        @param hosts: what L{openDoor} gave.
        """
        if hosts:
            self.desk.close()
