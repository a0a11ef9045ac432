"""
Tests for L{xmppbytes.rooms}.
"""

from twisted.trial.unittest import SynchronousTestCase
from twisted.words.xish.domish import Element
from twisted.words.xish.utility import EventDispatcher

from xmppbytes import rooms
from xmppbytes.rooms import NS_MUC_USER, Rooms

ROOM = "cauldron@chat.shakespeare.example"


def presence(sender: str, kind: str | None = None, namespace: str = NS_MUC_USER) -> Element:
    """
    Make a presence as a room sends it.
    """
    element = Element((None, "presence"))
    element["from"] = sender
    if kind is not None:
        element["type"] = kind
    element.addElement((namespace, "x"))
    return element


class RoomsTests(SynchronousTestCase):
    """
    Who is counted with whom.
    """

    def setUp(self) -> None:
        self.rooms = Rooms()
        self.stream = EventDispatcher()
        self.rooms.attached(self.stream)

    def test_account(self) -> None:
        """
        All resources of an account have one share.
        """
        others = ["hecate@shakespeare.example/a", "hecate@shakespeare.example/b", "crone@x/a"]
        self.assertTrue(self.rooms.tooMany("hecate@shakespeare.example/c", others, 2))
        self.assertFalse(self.rooms.tooMany("hecate@shakespeare.example/c", others, 3))
        self.assertFalse(self.rooms.tooMany("crone@x/b", others, 2))

    def test_occupants(self) -> None:
        """
        Each occupant of a room has a share.
        """
        self.stream.dispatch(presence(f"{ROOM}/firstwitch"))
        others = [f"{ROOM}/firstwitch"] * 2
        self.assertTrue(self.rooms.tooMany(f"{ROOM}/firstwitch", others, 2))
        self.assertFalse(self.rooms.tooMany(f"{ROOM}/secondwitch", others, 2))

    def test_room(self) -> None:
        """
        All occupants together, who may be one person, have that of a few accounts.
        """
        self.stream.dispatch(presence(f"{ROOM}/firstwitch"))
        others = [f"{ROOM}/{n}" for n in range(rooms.ROOM_ACCOUNTS * 2)]
        self.assertTrue(self.rooms.tooMany(f"{ROOM}/another", others, 2))
        self.assertFalse(self.rooms.tooMany(f"{ROOM}/another", others[1:], 2))

    def test_noRoom(self) -> None:
        """
        Other presence, that of the room itself, or one that fails, makes no room.
        """
        others = [f"{ROOM}/firstwitch"]
        for one in (
            presence(f"{ROOM}/firstwitch", namespace="vcard-temp:x:update"),
            presence(f"{ROOM}/firstwitch", "error"),
            presence(ROOM),
        ):
            self.stream.dispatch(one)
            self.assertTrue(self.rooms.tooMany(f"{ROOM}/secondwitch", others, 1))

    def test_newStream(self) -> None:
        """
        A new stream is in no room.
        """
        self.stream.dispatch(presence(f"{ROOM}/firstwitch"))
        self.rooms.attached(EventDispatcher())
        self.assertTrue(self.rooms.tooMany(f"{ROOM}/secondwitch", [f"{ROOM}/firstwitch"], 1))

    def test_bounded(self) -> None:
        """
        Nobody makes us keep more rooms than make sense.
        """
        self.patch(rooms, "MAX_ROOMS", 2)
        for n in range(3):
            self.stream.dispatch(presence(f"room{n}@x/nick"))
        tooMany = [self.rooms.tooMany(f"room{n}@x/other", [f"room{n}@x/nick"], 1) for n in range(3)]
        self.assertEqual(tooMany, [False, False, True])
