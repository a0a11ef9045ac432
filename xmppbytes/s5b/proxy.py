"""
The Proxy on XMPP: address queries and activation (XEP-0065 sections 4, 6.3.5 and 7).
"""

from collections.abc import Sequence

from twisted.logger import Logger
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish.domish import Element
from zope.interface import implementer

from xmppbytes.compat import disco, iwokkel
from xmppbytes.core.damper import Undamped
from xmppbytes.core.pairing import Rendezvous
from xmppbytes.core.sessions import Parties
from xmppbytes.errors import LimitReached, NobodyConnected, PartyMismatch, PartyMissing
from xmppbytes.interfaces import IAccessPolicy
from xmppbytes.s5b.address import destinationAddress, latin1Address
from xmppbytes.s5b.stanzas import MAX_SID, NS_BYTESTREAMS, StreamHost, queryElement
from xmppbytes.stanza import RequestHandler, parseJID, senderOf

# What the core says -> stanza error condition and type (XEP-0065 6.3.5; wait: it may work later).
CONDITIONS = {
    NobodyConnected: ("item-not-found", "cancel"),
    PartyMissing: ("not-allowed", "cancel"),
    PartyMismatch: ("not-authorized", "auth"),
    LimitReached: ("resource-constraint", "wait"),
}


@implementer(iwokkel.IDisco)
class ProxyHandler(RequestHandler):
    """
    Answers what requesters ask a proxy.
    """

    log = Logger()
    exclusive = True
    requests = {
        ("get", NS_BYTESTREAMS, "query"): "onAddressQuery",
        ("set", NS_BYTESTREAMS, "query"): "onActivation",
    }

    def __init__(
        self,
        streamHosts: Sequence[StreamHost],
        rendezvous: Rendezvous,
        access: IAccessPolicy,
        features: Sequence[str] = (NS_BYTESTREAMS,),
        damper: Undamped | None = None,
    ) -> None:
        """
        @param streamHosts: what is advertised, in this order. May be replaced.
        @param rendezvous: where the parties wait.
        @param access: who may use the proxy. May be replaced at any time.
        @param features: what disco names. May be replaced.
        @param damper: writes the lines about who was refused; C{None}: each of them.
        """
        super().__init__()
        self.access = access
        self.streamHosts = tuple(streamHosts)
        self._rendezvous = rendezvous
        self.features = tuple(features)
        self._damper = damper or Undamped()

    def onAddressQuery(self, iq: Element) -> Element:
        """
        Section 4: tell where this proxy accepts connections.
        """
        self._checkAccess(senderOf(iq), "ask for the address")
        if not self.streamHosts:
            # Never an empty query: it makes Dino drop the proxies of others as well.
            raise StanzaError("not-allowed", type="cancel", text="this proxy accepts no connections now")
        query = queryElement()
        for streamHost in self.streamHosts:
            query.addChild(streamHost.toElement())
        return query

    def onActivation(self, iq: Element) -> None:
        """
        Section 6.3.5: begin to relay between the two parties.
        """
        requester = senderOf(iq)
        self._checkAccess(requester, "activate a bytestream")
        sid, target = _readActivation(iq)
        parties = Parties(requester.full(), parseJID(target, "the target's address").full(), sid)
        key = self._findKey(parties, iq["from"], target)
        try:
            self._rendezvous.activate(key, parties)
        except tuple(CONDITIONS) as e:
            condition, kind = CONDITIONS[type(e)]
            self._damper.info(
                self.log,
                requester.userhost(),
                "Refused to activate {parties}: {condition}, {reason}",
                parties=parties,
                condition=condition,
                reason=e,
            )
            raise StanzaError(condition, type=kind, text=str(e)) from e

    def _findKey(self, parties: Parties, requester: str, target: str) -> bytes:
        """
        Hash the prepared addresses; where nobody waits under that hash, the addresses as received, since
        several clients do not prepare what they hash, and then as QXmpp hashes them.
        """
        prepared = destinationAddress(parties.sid, parties.requester, parties.target).encode("ascii")
        if self._rendezvous.knows(prepared):
            return prepared
        for hashed in (destinationAddress, latin1Address):
            received = hashed(parties.sid, requester, target).encode("ascii")
            if self._rendezvous.knows(received):
                return received
        return prepared

    def _checkAccess(self, sender: JID, wish: str) -> None:
        if self.access.permits(sender):
            return
        self._damper.info(
            self.log,
            sender.userhost(),
            "Refused {sender} to {wish}: not allowed here",
            sender=sender.full(),
            wish=wish,
        )
        raise StanzaError(
            "forbidden",
            type="auth",
            text=f"{sender.full()} may not use this proxy; its operator decides who may (allow and deny)",
        )

    def getDiscoInfo(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[object]:
        """
        See L{iwokkel.IDisco}.
        """
        return [] if nodeIdentifier else [disco.DiscoFeature(feature) for feature in self.features]

    def getDiscoItems(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[object]:
        """
        See L{iwokkel.IDisco}.
        """
        return []


def _readActivation(iq: Element) -> tuple[str, str]:
    """
    Take an activation request apart.

    @return: the sid and the target's address as it was received.
    @raise StanzaError: C{bad-request}.
    """
    query = iq.firstChildElement()
    sid = query.getAttribute("sid", "")
    if not sid:
        raise StanzaError("bad-request", text="the query has no sid attribute")
    if len(sid) > MAX_SID:
        raise StanzaError("bad-request", text=f"the sid is longer than {MAX_SID} characters")
    activate = next((e for e in query.elements() if e.name == "activate" and e.uri == NS_BYTESTREAMS), None)
    if activate is None:
        raise StanzaError("bad-request", text="the query has no <activate/> element")
    target = str(activate).strip()
    if not target:
        raise StanzaError("bad-request", text="the <activate/> element names no target")
    return sid, target
