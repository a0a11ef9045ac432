"""
Preparing XMPP addresses that come from outside (RFC 6122, RFC 3454).

L{twisted.words.protocols.jabber.jid.JID} alone is not enough: it knows no character that Unicode has
gained since 2002, so an emoji in a nickname would make its owner an outlaw; and for some texts it raises
what no caller expects.
"""

from functools import lru_cache

from twisted.words.protocols.jabber.jid import JID, InvalidFormat
from twisted.words.protocols.jabber.xmpp_stringprep import Profile, nodeprep, resourceprep

# The longest part of an address, in bytes of UTF-8 (RFC 6122 2.1).
_MAX_PART = 1023


def _lenient(profile: Profile) -> Profile:
    # RFC 3454 section 7: what is only compared, not stored, may have unassigned code points.
    return Profile(profile.mappings, profile.normalize, profile.prohibiteds, False, profile.do_check_bidi)


_NODE = _lenient(nodeprep)
_RESOURCE = _lenient(resourceprep)


# How many prepared addresses are remembered: to prepare one takes longer than all else that an
# activation does, and each address comes several times in the life of a bytestream.
CACHED_ADDRESSES = 4096


@lru_cache(maxsize=CACHED_ADDRESSES)
def prepareJID(text: str) -> JID:
    """
    Prepare an address. The last few thousand are remembered, so what is returned is shared and must
    not be changed.

    @param text: the address as it was received.
    @raise InvalidFormat: when it is none.
    """
    bare, slash, resource = text.partition("/")
    user, at, host = bare.rpartition("@")
    if not host or (at and not user) or (slash and not resource):
        raise InvalidFormat("a part of it is empty")
    if any(len(part.encode("utf-8", "replace")) > _MAX_PART for part in (user, host, resource)):
        raise InvalidFormat(f"a part of it is longer than {_MAX_PART} bytes")
    try:
        jid = JID(host)
        jid.user = _NODE.prepare(user) if at else None
        jid.resource = _RESOURCE.prepare(resource) if slash else None
    except (UnicodeError, IndexError) as e:
        # Twisted's stringprep looks for the first character of what may have become empty.
        raise InvalidFormat(str(e)) from e
    if not jid.host or jid.user == "" or jid.resource == "":
        raise InvalidFormat("a part of it is empty once it is prepared")
    return jid
