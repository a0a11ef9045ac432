"""
What TCP connections of one link need beyond reading and writing.
"""

import fcntl
import socket
import struct
import termios
from typing import Any

from xmppbytes.connecting.addresses import plainAddress

# A link may go down without a word: unacknowledged data breaks the connection after this time.
DEAD_TIMEOUT = 20.0


def scopedAddress(address: Any) -> str:
    """
    Write the address of a TCP connection's end as the roster does.
    """
    text = plainAddress(str(getattr(address, "host", "")))
    scope = getattr(address, "scopeID", 0)
    if scope and "%" not in text and text.lower().startswith("fe80"):
        try:
            return f"{text}%{socket.if_indextoname(int(scope))}"
        except OSError:
            return text
    return text


def tune(transport: Any) -> None:
    """
    Make a connection notice within seconds that the other side is gone.
    """
    for method in ("setTcpNoDelay", "setTcpKeepAlive"):
        if hasattr(transport, method):
            getattr(transport, method)(True)
    handle = getattr(transport, "socket", None)
    if handle is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(DEAD_TIMEOUT * 1000))
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, int(DEAD_TIMEOUT))
        handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)


def unacknowledgedBytes(transport: Any) -> int:
    """
    How many of the bytes that were sent the peer's system has not confirmed yet; 0 where that cannot be
    told.
    """
    try:
        answer = fcntl.ioctl(transport.fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, AttributeError):
        return 0
    return int(struct.unpack("i", answer)[0])
