"""
The ends of the demo's transfer: a file that is read, and a digest at the far end.
"""

import hashlib
import os
import tempfile
from typing import BinaryIO

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

CHUNK = 262144


def makeFile(size: int) -> BinaryIO:
    """
    Make a temporary file of random bytes.

    @param size: in bytes.
    """
    file = tempfile.TemporaryFile(prefix="xmppbytes-demo-")  # noqa: SIM115, it is handed on
    block = os.urandom(1 << 20)
    left = size
    while left > 0:
        file.write(block[:left])
        left -= len(block)
    file.seek(0)
    return file


@implementer(IPullProducer)
class FileSender(Protocol):
    """
    Sends a file, as fast as the other side takes it, then half-closes.

    @ivar sha256: of what was sent so far.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.finished: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """
        See L{Protocol}.
        """
        assert self.transport is not None
        self.transport.registerProducer(self, False)  # type: ignore[attr-defined]

    def resumeProducing(self) -> None:
        """
        See L{IPullProducer}.
        """
        assert self.transport is not None
        data = self._file.read(CHUNK)
        if data:
            self.sha256.update(data)
            self.transport.write(data)
            return
        self.transport.unregisterProducer()  # type: ignore[attr-defined]
        self.transport.loseConnection()

    def stopProducing(self) -> None:
        """
        See L{IPullProducer}. Whatever made it stop shows in connectionLost.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See L{Protocol}.
        """
        self.finished.callback(None)


class DigestReceiver(Protocol):
    """
    Takes everything, and keeps its digest only.

    @ivar received: bytes so far.
    @ivar sha256: of what was received so far.
    """

    def __init__(self) -> None:
        self.received = 0
        self.sha256 = hashlib.sha256()
        self.finished: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """
        See L{Protocol}.
        """
        self.received += len(data)
        self.sha256.update(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See L{Protocol}.
        """
        self.finished.callback(None)
