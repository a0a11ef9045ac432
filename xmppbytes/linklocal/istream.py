"""
What an XML stream asks of the mesh that it belongs to.
"""

from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred
from twisted.words.xish.domish import Element

from xmppbytes.linklocal.safety import Security

if TYPE_CHECKING:
    from xmppbytes.linklocal.stream import PeerStream


class IStreamOwner(Protocol):
    """
    Whom a stream belongs to.
    """

    security: Security

    def ownName(self) -> str:
        """
        Our presence name.
        """

    def features(self) -> list[Element]:
        """
        What is told about us in the stream features, TLS apart.
        """

    def identify(self, address: str, ownAddress: str, claimed: str | None) -> "Deferred[str]":
        """
        Find out who is at the other end of a connection that was accepted.

        @param address: where it comes from, with scope.
        @param ownAddress: which address of ours it has reached.
        @param claimed: the presence name that the other side gives itself, if it does.
        @return: fires with the presence name as it is published; fails with a L{BytestreamError}.
        """

    def streamReady(self, stream: "PeerStream") -> None:
        """
        Stanzas can be exchanged.
        """

    def stanzaReceived(self, stream: "PeerStream", stanza: Element) -> None:
        """
        The peer has sent a stanza.
        """

    def streamEnded(self, stream: "PeerStream", reason: str, clean: bool) -> None:
        """
        The connection is gone.

        @param reason: why, for a person.
        @param clean: whether it was ended by the closing tag.
        """
