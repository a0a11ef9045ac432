"""
The multi-user chats that a stream takes part in (XEP-0045), for limits: in a room everybody has the same
bare JID, and one occupant is not to use up what the others may have.
"""

from collections.abc import Iterable
from typing import Any

NS_MUC_USER = "http://jabber.org/protocol/muc#user"
# How many rooms are known at once.
MAX_ROOMS = 100
# A room may have as much as this many accounts.
ROOM_ACCOUNTS = 5


class Rooms:
    """
    Learns from presence which bare JIDs are rooms.

    Somebody who pretends to be one gets the share of a room, which is no more than a few more accounts
    would get.
    """

    def __init__(self) -> None:
        self._known: set[str] = set()

    def attached(self, stream: Any) -> None:
        """
        There is a new XML stream, which is in no room yet.
        """
        self._known.clear()
        stream.addObserver("/presence", self.onPresence)

    def onPresence(self, presence: Any) -> None:
        """
        Presence of an occupant says so (XEP-0045 section 7.2.3).
        """
        room, slash, _ = presence.getAttribute("from", "").partition("/")
        if not slash or not any(e.name == "x" and e.uri == NS_MUC_USER for e in presence.elements()):
            return
        if presence.getAttribute("type") is None and len(self._known) < MAX_ROOMS:
            self._known.add(room)

    def tooMany(self, address: str, others: Iterable[str], limit: int) -> bool:
        """
        Tell whether somebody has too much already.

        @param address: who wants one more.
        @param others: the addresses of all who have something, once for each.
        @param limit: how much one account, or one occupant of a room, may have.
        """
        bare = bareOf(address)
        ofBare = [other for other in others if bareOf(other) == bare]
        if bare not in self._known:
            return len(ofBare) >= limit
        return len(ofBare) >= ROOM_ACCOUNTS * limit or ofBare.count(address) >= limit


def bareOf(address: str) -> str:
    """
    The part of an address that names the account, or the room.
    """
    return address.partition("/")[0]
