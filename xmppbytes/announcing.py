"""
Being seen by those who want to send a file.
"""

from typing import Any

from twisted.words.xish.domish import Element

from xmppbytes.filecommand import show
from xmppbytes.stanza import RequestHandler

# How many are shown our presence in one connection.
MAX_SHOWN = 1000


class Announcer(RequestHandler):
    """
    Makes us visible: to those who see our presence anyway, and to those who show us theirs because
    they want to send something. Tells the user when nobody can see us.

    @ivar leaving: we go on purpose.
    """

    leaving = False

    def __init__(self, permits: Any) -> None:
        """
        @param permits: tells whether a sender's files would be considered, by address.
        """
        super().__init__()
        self._permits = permits
        self._shown: set[str] = set()
        self._online = self._lost = False

    def connectionInitialized(self) -> None:
        """
        See L{XMPPHandler<wokkel.subprotocols.XMPPHandler>}.
        """
        super().connectionInitialized()
        self._shown.clear()
        self.xmlstream.addObserver("/presence", self.onPresence)
        self.send(quietPresence())
        if self._lost:
            show("connected to the server again")
        self._online, self._lost = True, False

    def connectionLost(self, reason: Any) -> None:
        """
        See L{XMPPHandler<wokkel.subprotocols.XMPPHandler>}: the account will connect again.
        """
        super().connectionLost(reason)
        if self._online and not self.leaving and not getattr(self.parent, "replaced", False):
            self._lost = True
            why = getattr(self.parent, "trouble", None) or reason.value
            show(f"lost the connection to the server ({getattr(why, 'condition', why)}); trying again")
        self._online = False

    def onPresence(self, presence: Any) -> None:
        """
        Somebody is there.
        """
        sender = presence.getAttribute("from", "")
        kind = presence.getAttribute("type")
        if kind == "unavailable":
            self._shown.discard(sender)
        elif kind is None and sender not in self._shown and self._permits(sender):
            if len(self._shown) < MAX_SHOWN:
                self._shown.add(sender)
                self.send(quietPresence(sender))


def quietPresence(to: str = "") -> Element:
    """
    Be there for those who may know; but let messages go to a client where somebody reads them.

    @param to: who is told; empty: those who see our presence anyway.
    """
    presence = Element((None, "presence"))
    if to:
        presence["to"] = to
    presence.addElement("priority", content="-1")
    return presence
