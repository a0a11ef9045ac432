"""
What the negotiations of one client share: L{requester<xmppbytes.s5b.requester>} and L{target
<xmppbytes.s5b.target>} are the lives of one each.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.words.xish.domish import Element

from xmppbytes.interfaces import IBytestreamSurroundings
from xmppbytes.s5b.candidates import CandidateConnector
from xmppbytes.s5b.discovery import ProxyFinder
from xmppbytes.s5b.streamhost import LocalStreamHost


@dataclass(frozen=True, slots=True)
class Means:
    """
    What the negotiations of one client share.

    @ivar reactor: connects, listens, tells the time.
    @ivar surroundings: what kind of XMPP stream there is.
    @ivar streamHost: takes direct connections.
    @ivar finder: finds proxies.
    @ivar ask: sends requests: see L{xmppbytes.stanza.RequestHandler.ask}.
    """

    reactor: Any
    surroundings: IBytestreamSurroundings
    streamHost: LocalStreamHost
    finder: ProxyFinder
    ask: Callable[..., Deferred[Element]]

    def connector(self, peer: str) -> CandidateConnector:
        """
        Make what connects to candidates that have to do with a peer.
        """
        return CandidateConnector(self.reactor, self.surroundings.policyFor(peer))
