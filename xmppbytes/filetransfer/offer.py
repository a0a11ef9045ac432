"""
What is offered: the facts about a file that both sides know before its first byte (XEP-0096 section 3).
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

# A size is kept in 64 bits everywhere; nobody has a larger file.
MAX_SIZE = 2**63 - 1
_MD5 = re.compile(r"[0-9a-f]{32}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOffer:
    """
    A file as it is offered. What came from outside is as it was received: see
    L{xmppbytes.filetransfer.names} before any of it touches a disk or a terminal.

    @ivar name: the file's name.
    @ivar size: bytes.
    @ivar md5: the MD5 of the content, 32 lower-case hexadecimal digits; C{None}: not told.
    @ivar date: when it was changed last.
    @ivar description: what the sender says about it.
    @ivar ranged: the sender can begin at any offset.
    """

    name: str
    size: int
    md5: str | None = None
    date: datetime | None = None
    description: str = ""
    ranged: bool = False

    @property
    def resumable(self) -> bool:
        """
        Whether a broken transfer can be continued: only what can be verified in the end.
        """
        return self.ranged and self.md5 is not None


@dataclass(frozen=True, slots=True)
class Range:
    """
    The part of a file that the receiver wants.

    @ivar offset: the first byte.
    @ivar length: bytes; C{None}: up to the end.
    """

    offset: int = 0
    length: int | None = None

    def within(self, size: int) -> "Range":
        """
        Fill in the length.

        @param size: of the file, in bytes.
        @raise ValueError: when the range is not within the file.
        """
        length = size - self.offset if self.length is None else self.length
        if self.offset < 0 or length < 0 or self.offset + length > size:
            raise ValueError(
                f"the range of {length} bytes from byte {self.offset} is not within {size} bytes"
            )
        return Range(self.offset, length)


def readSize(text: str | None) -> int | None:
    """
    Read a count of bytes.

    @return: C{None} when it is none.
    """
    text = (text or "").strip()
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        return None
    return int(text) if int(text) <= MAX_SIZE else None


def readMD5(text: str | None) -> str | None:
    """
    Read a C{hash} attribute.

    @return: C{None} when it is no MD5.
    """
    text = (text or "").strip().lower()
    return text if _MD5.match(text) else None


def readDate(text: str | None) -> datetime | None:
    """
    Read a date (XEP-0082), leniently: with fractions of a second, C{+00:00Z} or no zone at all.

    @return: C{None} when it cannot be understood.
    """
    text = (text or "").strip()
    if text.endswith(("Z", "z")):
        text = text[:-1]
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def writeDate(moment: datetime) -> str:
    """
    Write a date (XEP-0082), in UTC and whole seconds.
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
