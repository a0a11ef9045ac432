"""
Presence as a TXT record tells it. XEP-0174 sections 3.1 and 14 (version 2.0.1), 3.1 (version 0.9).
"""

from dataclasses import dataclass, fields, replace

from xmppbytes.errors import WireError
from xmppbytes.wire.txt import decodePairs, encodePairs

STATUSES = ("avail", "away", "dnd")
# What tells who somebody is; never published unless given by its owner.
_PERSONAL = ("first", "last", "nick", "email", "jid", "phsh")

# The keys in the order in which they are written: first what old clients demand, last what may be left
# out when the record gets too long. C{txtvers=1} stands before them all; 2 makes iChat ignore us.
_KEYS = {
    "1st": "first",
    "last": "last",
    "status": "status",
    "port.p2pj": "port",
    "phsh": "phsh",
    "vc": "vc",
    "msg": "message",
    "nick": "nick",
    "node": "node",
    "hash": "hash",
    "ver": "ver",
    "ext": "ext",
    "email": "email",
    "jid": "jid",
}
# iChat 3 and Gaim 2 show nobody without these.
_ALWAYS = ("first", "last", "status")


@dataclass(frozen=True)
class Presence:
    """
    What a person tells about himself. All values are text as it stands in the record.

    @ivar status: one of L{STATUSES}.
    @ivar message: free text about the state.
    @ivar first: given name. C{last}: family name. C{nick}: nickname.
    @ivar email: one or more addresses, separated by spaces; C{jid} likewise.
    @ivar phsh: SHA-1 of the avatar, hex; empty without one.
    @ivar vc: audio and video flags; C{!} means not in a conference.
    @ivar port: what C{port.p2pj} says. Not for use: the port is in the SRV record.
    @ivar node: the client's identifier; C{hash}, C{ver} and C{ext} as in XEP-0115.
    """

    status: str = "avail"
    message: str = ""
    first: str = ""
    last: str = ""
    nick: str = ""
    email: str = ""
    jid: str = ""
    phsh: str = ""
    vc: str = "!"
    port: str = ""
    node: str = ""
    hash: str = ""
    ver: str = ""
    ext: str = ""

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"a status is one of {', '.join(STATUSES)}, not {self.status!r}")

    def withoutPersonal(self) -> "Presence":
        """
        Give the same presence without anything that tells who it is about (XEP-0174 section 12.4).
        """
        return replace(self, **dict.fromkeys(_PERSONAL, ""))

    def toText(self) -> bytes:
        """
        Give the data of the TXT record.
        """
        pairs = [("txtvers", "1")]
        for key, attribute in _KEYS.items():
            value = getattr(self, attribute)
            if value or attribute in _ALWAYS:
                pairs.append((key, value))
        return encodePairs(pairs)

    @classmethod
    def fromText(cls, data: bytes) -> "Presence":
        """
        Read the data of a TXT record. A record that cannot be read tells nothing: everything in it is
        optional. A status that is not known counts as C{avail}.
        """
        try:
            pairs = decodePairs(data)
        except WireError:
            return cls()
        values = {_KEYS[key]: _clean(value) for key, value in pairs.items() if key in _KEYS}
        if values.get("status") not in STATUSES:
            values["status"] = "avail"
        values["phsh"] = values.get("phsh", "").lower()
        return cls(**values)

    @property
    def displayName(self) -> str:
        """
        A name for people, from what the person claims; may be empty.
        """
        return self.nick or " ".join(part for part in (self.first, self.last) if part)


def _clean(value: str) -> str:
    # These texts end in terminals and logs.
    return "".join(character if character.isprintable() else " " for character in value).strip()


FIELDS = tuple(field.name for field in fields(Presence))
