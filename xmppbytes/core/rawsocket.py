"""
Sockets that are known by their descriptor only, as the relay's are: how they close, and whether the
platform can splice them.
"""

import os
import socket
import struct
from array import array
from fcntl import ioctl
from termios import FIONREAD

from xmppbytes.core.pipes import PAGE

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
FINISH_ON_CLOSE = struct.pack("ii", 0, 0)
_waiting = array("i", [0])


def _borrowed(descriptor: int) -> socket.SocketType:
    """
    A socket object that does not ask the kernel what it is; to be detached after use.
    """
    return socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, descriptor)


def setLinger(descriptor: int, linger: bytes) -> None:
    """
    Decide what closing a connection does.
    """
    connection = _borrowed(descriptor)
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    finally:
        connection.detach()


def shutdownWriting(descriptor: int) -> None:
    """
    Half-close a connection.

    @raise OSError: when it is not connected any more.
    """
    connection = _borrowed(descriptor)
    try:
        connection.shutdown(socket.SHUT_WR)
    finally:
        connection.detach()


def closeSocket(descriptor: int, finish: bool) -> None:
    """
    Close a connection.

    @param finish: in good order; else it is reset.
    """
    setLinger(descriptor, FINISH_ON_CLOSE if finish else RESET_ON_CLOSE)
    os.close(descriptor)


def unread(descriptor: int) -> int:
    """
    Tell how many bytes wait to be read.
    """
    ioctl(descriptor, FIONREAD, _waiting, True)
    return _waiting[0]


def spliceWorks() -> bool:
    """
    Try whether this platform moves bytes between sockets by splice.
    """
    if not hasattr(os, "splice"):
        return False
    source, sender = socket.socketpair()
    target, receiver = socket.socketpair()
    outlet, intake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        sender.send(b"?")
        moved = os.splice(source.fileno(), intake, PAGE)
        return moved == 1 and os.splice(outlet, target.fileno(), 1) == 1 and receiver.recv(1) == b"?"
    except OSError:
        return False
    finally:
        for connection in (source, sender, target, receiver):
            connection.close()
        os.close(outlet)
        os.close(intake)
