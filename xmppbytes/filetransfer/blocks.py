"""
In-Band Bytestreams: the schema of C{http://jabber.org/protocol/ibb} (XEP-0047 section 10), and what its XMPP
side and its transport know of each other.
"""

import base64
import binascii
import re
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionClosed
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish.domish import Element

from xmppbytes.errors import LimitReached, Refused, WireError

NS_IBB = "http://jabber.org/protocol/ibb"
# The counter of blocks begins anew after this many.
SEQUENCES = 1 << 16

_SPACE = re.compile(r"[ \t\r\n]+")


class OutOfSequence(WireError):
    """
    A block was lost, or came twice.
    """


class InBandRoute:
    """
    The way of the bytes of an in-band bytestream: see L{xmppbytes.core.bytestream.Route}.
    """

    address = ""
    port = 0
    proxy = None

    def __str__(self) -> str:
        return "in-band, through the XMPP servers"


class IBlockCarrier(Protocol):
    """
    What an in-band bytestream needs of the XMPP side.
    """

    def sendBlock(self, seq: int, data: bytes) -> "Deferred[Any]":
        """
        Send a block; fires when it was acknowledged.
        """

    def sendClose(self) -> "Deferred[Any]":
        """
        Tell the other side that the stream is closed; fires when it knows.
        """

    def ended(self) -> None:
        """
        The stream is over.
        """


def openElement(sid: str, blockSize: int) -> Element:
    """
    Make an C{<open/>} (XEP-0047 section 2.1).
    """
    element = Element((NS_IBB, "open"))
    element["sid"] = sid
    element["block-size"] = str(blockSize)
    element["stanza"] = "iq"
    return element


def readNumber(text: str | None, maximum: int) -> int | None:
    """
    Read an attribute that is a number.

    @return: C{None} when it is none, or larger than C{maximum}.
    """
    text = (text or "").strip()
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) > maximum:
        return None
    return int(text)


def dataElement(sid: str, seq: int, data: bytes) -> Element:
    """
    Make a C{<data/>} (XEP-0047 section 2.2).
    """
    element = Element((NS_IBB, "data"))
    element["sid"] = sid
    element["seq"] = str(seq)
    element.addContent(base64.b64encode(data).decode("ascii"))
    return element


def closeElement(sid: str) -> Element:
    """
    Make a C{<close/>} (XEP-0047 section 2.3).
    """
    element = Element((NS_IBB, "close"))
    element["sid"] = sid
    return element


def decodeBlock(text: str) -> bytes:
    """
    Read the content of a block (XEP-0047 sections 2.2 and 7).

    @raise WireError: when it is not Base64.
    """
    # The examples of XEP-0047 break their lines; nothing else outside the alphabet is let through.
    try:
        return binascii.a2b_base64(_SPACE.sub("", text), strict_mode=True)
    except ValueError as e:
        raise WireError(f"a block that is not Base64 ({e})") from e


# What went wrong -> stanza error condition and type (sections 2.1 and 2.2).
CONDITIONS: tuple[tuple[type[Exception], str, str], ...] = (
    (OutOfSequence, "unexpected-request", "cancel"),
    (WireError, "bad-request", "cancel"),
    (LimitReached, "resource-constraint", "wait"),
    (Refused, "not-acceptable", "cancel"),
    (CancelledError, "not-acceptable", "cancel"),
    (ConnectionClosed, "item-not-found", "cancel"),
)


def refuse(failure: Failure) -> Failure:
    """
    Turn what went wrong into a stanza error, as an errback.
    """
    for kind, condition, errorType in CONDITIONS:
        if failure.check(kind):
            raise StanzaError(condition, type=errorType, text=str(failure.value)) from failure.value
    return failure
