"""
What an application implements to receive files.
"""

from dataclasses import dataclass
from typing import Any

from zope.interface import Interface

from xmppbytes.errors import BytestreamError
from xmppbytes.filetransfer.offer import FileOffer
from xmppbytes.filetransfer.report import TransferReport


@dataclass(frozen=True, slots=True)
class IncomingFile:
    """
    A file that somebody offers us.

    @ivar sender: the address of who offers it, as received. In a room it is that of the occupant.
    @ivar sid: the id of the stream to be.
    @ivar file: what is offered. Its name and description are a stranger's words: see
        L{xmppbytes.filetransfer.names}.
    """

    sender: str
    sid: str
    file: FileOffer


class IFileAcceptor(Interface):
    """
    Decides about files that are offered to us, and learns what became of them. The application
    implements it.
    """

    def fileOffered(incoming: IncomingFile) -> Any:
        """
        Accept or refuse a file.

        @return: the L{Inbox<xmppbytes.filetransfer.storage.Inbox>} that it goes to, or a Deferred of
            one, which is cancelled when the sender takes the offer back.
        @raise Refused: to say no.
        """

    def fileProgressed(incoming: IncomingFile, done: int) -> None:
        """
        Some of an accepted file is there.

        @param done: bytes, with those of an earlier transfer that is continued.
        """

    def fileReceived(incoming: IncomingFile, report: TransferReport) -> None:
        """
        A file is there, whole; verified if it could be.
        """

    def fileFailed(incoming: IncomingFile, error: BytestreamError, kept: bool) -> None:
        """
        An accepted file did not arrive, or an offer came to nothing.

        @param error: says why, for a person.
        @param kept: whether what has arrived waits for the same file to be offered again.
        """
