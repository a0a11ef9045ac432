"""
The requests of one in-band bytestream (XEP-0047 section 2).
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionClosed
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.xmlstream import TimeoutError as RequestTimeout

from xmppbytes.errors import NotReachable, Refused
from xmppbytes.filetransfer.blocks import closeElement, dataElement, openElement
from xmppbytes.filetransfer.inband import CLOSE_PATIENCE, Broken
from xmppbytes.filetransfer.names import printable
from xmppbytes.filetransfer.stanzas import errorText
from xmppbytes.stanza import REQUEST_FAILURES, failureText

# Smaller blocks than this, in bytes, are not worth it.
MIN_BLOCK_SIZE = 256
# Seconds for the acknowledgement of a block: servers may slow us down.
BLOCK_TIMEOUT = 120.0


class Carrier:
    """
    Asks the other side to open, to take and to close: see
    L{IBlockCarrier<xmppbytes.filetransfer.blocks.IBlockCarrier>}.
    """

    def __init__(self, ask: Callable[..., Any], peer: str, sid: str, forget: Callable[[], Any]) -> None:
        """
        @param ask: sends requests, see L{xmppbytes.stanza.RequestHandler.ask}.
        @param peer: the other side.
        @param sid: the stream ID.
        @param forget: called when the stream is over.
        """
        self._ask = ask
        self._peer = peer
        self._sid = sid
        self._forget = forget

    async def open(self, blockSize: int) -> int:
        """
        Ask the other side to open the bytestream (section 2.1).

        @param blockSize: how large the blocks should be, in bytes.
        @return: the size of the blocks that it takes.
        @raise Refused: when it says no.
        @raise NotReachable: when it says nothing.
        """
        while True:
            try:
                await self._ask(self._peer, "set", openElement(self._sid, blockSize))
                return blockSize
            except StanzaError as e:
                if e.condition != "resource-constraint" or blockSize // 2 < MIN_BLOCK_SIZE:
                    raise Refused(f"{self._peer} refuses an in-band bytestream ({errorText(e)})") from e
                blockSize //= 2
            except (RequestTimeout, ConnectionClosed) as e:
                raise NotReachable(f"{self._peer} does not answer; is it still online?") from e
            except CancelledError:
                # It may have agreed already.
                self.closeUnused()
                raise

    def sendBlock(self, seq: int, data: bytes) -> "Deferred[Any]":
        """
        See L{xmppbytes.filetransfer.blocks.IBlockCarrier}. Blocks go in requests, always: those are
        acknowledged (section 2.2 recommends it).
        """
        block = dataElement(self._sid, seq, data)
        sent: Deferred[Any] = self._ask(self._peer, "set", block, timeout=BLOCK_TIMEOUT)
        return sent.addErrback(_broken)

    def sendClose(self) -> "Deferred[Any]":
        """
        See L{xmppbytes.filetransfer.blocks.IBlockCarrier}.
        """
        closed: Deferred[Any] = self._ask(self._peer, "set", closeElement(self._sid), timeout=CLOSE_PATIENCE)
        return closed

    def closeUnused(self) -> None:
        """
        Close a stream that nobody here uses, whether it is open or not.
        """
        self.sendClose().addErrback(lambda _: None)

    def ended(self) -> None:
        """
        See L{xmppbytes.filetransfer.blocks.IBlockCarrier}.
        """
        self._forget()


def _broken(failure: Failure) -> Failure:
    error = failure.value
    if isinstance(error, REQUEST_FAILURES):
        raise Broken(f"a block was not taken: {printable(failureText(error), 200)}")
    return failure
