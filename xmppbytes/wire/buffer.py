"""
A receive buffer for incremental parsers.
"""

from xmppbytes.errors import WireError


class ReceiveBuffer:
    """
    Holds what has arrived and was not parsed yet. A parser takes whole pieces or nothing.

    Parsers check their own maximum by what they ask for; what lies behind the last message of a
    handshake is not theirs and is taken with L{rest}.

    @ivar data: what is there. To look at, not to change.
    """

    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data = b""

    def append(self, data: bytes) -> None:
        """
        Add what has arrived.
        """
        self.data += data

    def take(self, count: int) -> bytes | None:
        """
        Take exactly C{count} bytes, or C{None} while there are fewer.
        """
        if len(self.data) < count:
            return None
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def takeUntil(self, delimiter: bytes, maximum: int) -> bytes | None:
        """
        Take what stands before the next delimiter, and the delimiter away with it.

        @param delimiter: one or more bytes.
        @param maximum: how long the piece may be, in bytes, without the delimiter.
        @return: the piece without the delimiter, or C{None} while there is no delimiter yet.
        @raise WireError: when the piece is, or must become, longer than C{maximum}.
        """
        end = self.data.find(delimiter, 0, maximum + len(delimiter))
        if end < 0:
            if len(self.data) >= maximum + len(delimiter):
                raise WireError(f"more than {maximum} bytes without the {delimiter!r} that ends a piece")
            return None
        taken, self.data = self.data[:end], self.data[end + len(delimiter) :]
        return taken

    def rest(self) -> bytes:
        """
        Take everything.
        """
        taken, self.data = self.data, b""
        return taken
