"""
DST.ADDR: the name under which the parties of a bytestream meet (XEP-0065 sections 5.3.2, 6.3.2 and 7).
"""

import re
from hashlib import sha1

from xmppbytes.jids import prepareJID

# 40 hexadecimal digits.
LENGTH = 40
_BEYOND = re.compile("[\U00010000-\U0010ffff]")
_HEX = frozenset(b"0123456789abcdefABCDEF")


def destinationAddress(sid: str, requester: str, target: str) -> str:
    """
    Hash what names a bytestream.

    @param sid: the stream ID.
    @param requester: the requester's JID as it is to be hashed: see L{preparedAddress}.
    @param target: the target's JID.
    @return: 40 lower-case hexadecimal digits.
    """
    return sha1((sid + requester + target).encode("utf-8"), usedforsecurity=False).hexdigest()


def preparedAddress(sid: str, requester: str, target: str) -> str:
    """
    L{destinationAddress} of the prepared JIDs, as XEP-0065 6.3.2 rule 4 wants it.

    @raise InvalidFormat: when one of the addresses is none.
    """
    return destinationAddress(sid, prepareJID(requester).full(), prepareJID(target).full())


def latin1Address(sid: str, requester: str, target: str) -> str:
    """
    L{destinationAddress} as QXmpp 1.4 hashes it: what Latin-1 has not, becomes question marks, one for each
    half of a character beyond the first plane of Unicode. That is never what the specification says: two
    such clients meet, but other proxies than ours do not activate their bytestream.
    """
    halved = _BEYOND.sub("??", sid + requester + target)
    return sha1(halved.encode("latin-1", "replace"), usedforsecurity=False).hexdigest()


def isDestinationAddress(text: bytes) -> bool:
    """
    Tell whether this can be the hash of a bytestream.
    """
    return len(text) == LENGTH and _HEX.issuperset(text)
