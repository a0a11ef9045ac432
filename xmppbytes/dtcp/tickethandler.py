"""
The DTCP relay on XMPP: the requests for tickets, which decide who may CREATE.
"""

from collections.abc import Sequence

from twisted.logger import Logger
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish.domish import Element
from zope.interface import implementer

from xmppbytes.compat import disco, iwokkel
from xmppbytes.dtcp.relay import DTCPRelay
from xmppbytes.dtcp.stanzas import NS_DTCP, Host, Query
from xmppbytes.errors import LimitReached
from xmppbytes.stanza import RequestHandler, senderOf


@implementer(iwokkel.IDisco)
class TicketHandler(RequestHandler):
    """
    Gives out tickets to those who may use the relay.

    @ivar hosts: where the relay accepts connections, as it is told to clients.
    """

    log = Logger()
    requests = {("get", NS_DTCP, "query"): "onTicketRequest"}

    def __init__(self, relay: DTCPRelay, hosts: Sequence[Host] = ()) -> None:
        """
        @param relay: for which the tickets are good.
        """
        super().__init__()
        self.hosts = tuple(hosts)
        self._relay = relay

    def onTicketRequest(self, iq: Element) -> Element:
        """
        Somebody wants to wait for another at the relay.
        """
        sender = senderOf(iq)
        if not self._relay.access.permits(sender):
            self._tell(sender, "not allowed here")
            raise StanzaError(
                "forbidden",
                text=f"{sender.full()} may not use this relay; its operator decides who may (allow and deny)",
            )
        try:
            key = self._relay.tickets.issue(sender.full())
        except LimitReached as e:
            self._tell(sender, e)
            raise StanzaError("resource-constraint", type="wait", text=str(e)) from e
        return Query(key, self.hosts).toElement()

    def _tell(self, sender: JID, reason: object) -> None:
        self._relay.damper.info(
            self.log,
            sender.userhost(),
            "Refused {sender} a relay ticket: {reason}",
            sender=sender.full(),
            reason=reason,
        )

    def getDiscoInfo(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[object]:
        """
        See L{iwokkel.IDisco}.
        """
        return [] if nodeIdentifier else [disco.DiscoFeature(NS_DTCP)]

    def getDiscoItems(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[object]:
        """
        See L{iwokkel.IDisco}.
        """
        return []
