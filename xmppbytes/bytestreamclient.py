"""
What the clients of all kinds of bytestream have in common on XMPP: who we are, what was agreed upon, and how
many strangers may wait.
"""

from collections.abc import Collection
from typing import Any, ClassVar, TypeAlias

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID, InvalidFormat
from twisted.words.xish.domish import Element
from zope.interface import implementer

from xmppbytes.compat import disco, iwokkel
from xmppbytes.interfaces import IBytestreamAcceptor
from xmppbytes.rooms import Rooms
from xmppbytes.stanza import RequestHandler

# Who the other party is, and the sid.
Key: TypeAlias = tuple[str, str]
# What L{BytestreamClient.nameOf} raises for what is no address.
NO_ADDRESS = (InvalidFormat, UnicodeError)


@implementer(iwokkel.IDisco)
class BytestreamClient(RequestHandler):
    """
    A client, Requester and Target, of one kind of bytestream.

    @cvar feature: what disco names.
    @ivar acceptor: decides about bytestreams that nobody expects; C{None}: all are refused.
    @ivar options: of which C{maxIncoming} and C{maxIncomingPerPeer} are used here.
    """

    log = Logger()
    feature: ClassVar[str]

    def __init__(self, acceptor: IBytestreamAcceptor | None, options: Any, surroundings: Any) -> None:
        """
        @param surroundings: what kind of XMPP stream this is, an L{IBytestreamSurroundings
            <xmppbytes.interfaces.IBytestreamSurroundings>}.
        """
        super().__init__()
        self.acceptor = acceptor
        self.options = options
        self._surroundings = surroundings
        self._rooms = Rooms()
        self._expected: dict[Key, IBytestreamAcceptor] = {}

    def connectionInitialized(self) -> None:
        """
        See L{RequestHandler}.
        """
        super().connectionInitialized()
        self._surroundings.attached(self.xmlstream)
        self._rooms.attached(self.xmlstream)

    def connectionLost(self, reason: Failure) -> None:
        """
        The XML stream has ended. What is connected does not depend on it.
        """
        super().connectionLost(reason)
        self._surroundings.attached(None)

    def ask(
        self,
        recipient: str | JID,
        kind: str,
        payload: Element,
        timeout: float | None = None,
        sender: str | None = None,
    ) -> "Deferred[Element]":
        """
        See L{RequestHandler}. Requests come from the address by which proxies and relays will know us.
        """
        return super().ask(recipient, kind, payload, timeout, sender or self._surroundings.ownName())

    def nameOf(self, address: str | JID) -> str:
        """
        Bring an address into the form in which it is compared.

        @raise InvalidFormat: when it is none; or one of L{NO_ADDRESS}.
        """
        text = address.full() if isinstance(address, JID) else address
        return str(self._surroundings.nameOf(text))

    def expectBytestream(self, requester: str | JID, sid: str, acceptor: IBytestreamAcceptor) -> None:
        """
        Let this acceptor decide when this requester asks for a bytestream of this sid, as agreed
        upon before (by stream initiation, say). It stays until C{forgetBytestream}.

        @raise ValueError: when the bytestream is expected already.
        @raise InvalidFormat: when the requester's address is none.
        """
        key = self.nameOf(requester), sid
        if key in self._expected:
            raise ValueError(f"a bytestream of sid {sid} from {key[0]} is expected already")
        self._expected[key] = acceptor

    def checkLimits(self, requester: str, waiting: Collection[str]) -> None:
        """
        Let no stranger, and not all of them together, fill our tables.

        @param waiting: who asked unexpectedly, and is not connected yet: once for each bytestream.
        @raise StanzaError: when it is one too many.
        """
        options = self.options
        tooMany = self._rooms.tooMany(requester, waiting, options.maxIncomingPerPeer)
        if len(waiting) < options.maxIncoming and not tooMany:
            return
        self.log.info("Refused a bytestream of {requester}: too many wait already", requester=requester)
        raise StanzaError(
            "resource-constraint", type="wait", text="too many bytestreams wait here; try again later"
        )

    def getDiscoInfo(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[object]:
        """
        See L{iwokkel.IDisco}.
        """
        return [] if nodeIdentifier else [disco.DiscoFeature(self.feature)]

    def getDiscoItems(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[object]:
        """
        See L{iwokkel.IDisco}.
        """
        return []
