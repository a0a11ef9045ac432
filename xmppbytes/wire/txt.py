"""
The key/value pairs of a TXT record: RFC 6763 section 6.
"""

from collections.abc import Iterable

from xmppbytes.errors import WireError

MAX_STRING = 255
# RFC 6763 section 6.2: more than 1300 bytes do not fit in one Ethernet packet.
MAX_TEXT = 1300
# What is accepted from others.
_MAX_PAIRS = 256


def encodePairs(pairs: Iterable[tuple[str, str]]) -> bytes:
    """
    Encode pairs in the given order.

    A value that makes its string longer than 255 bytes is cut at the end of a character; a pair for
    which there is no room in 1300 bytes is left out.

    @param pairs: keys of printable ASCII without C{=}, and their values.
    @return: the data of a TXT record; one zero byte when there is no pair.
    """
    data = bytearray()
    for key, value in pairs:
        string = _cut(f"{key}={value}".encode(), MAX_STRING)
        if len(data) + 1 + len(string) <= MAX_TEXT:
            data.append(len(string))
            data += string
    return bytes(data) or b"\0"


def _cut(text: bytes, length: int) -> bytes:
    return text[:length].decode("utf-8", "ignore").encode() if len(text) > length else text


def decodePairs(data: bytes) -> dict[str, str]:
    """
    Decode the data of a TXT record.

    Keys are lower-cased; of a key that comes twice the first counts; strings without a key are
    ignored (RFC 6763 section 6.4). What is not UTF-8 becomes U+FFFD.

    @raise WireError: when the strings do not fill the data exactly, or there are too many.
    """
    pairs: dict[str, str] = {}
    at = count = 0
    while at < len(data):
        end = at + 1 + data[at]
        count += 1
        if end > len(data) or count > _MAX_PAIRS:
            raise WireError("a TXT record is cut short, or holds too many strings")
        key, _, value = data[at + 1 : end].partition(b"=")
        at = end
        if key and all(0x20 <= byte < 0x7F for byte in key):
            pairs.setdefault(key.decode("ascii").lower(), value.decode("utf-8", "replace"))
    return pairs
