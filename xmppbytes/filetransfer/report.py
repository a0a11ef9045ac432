"""
How a transfer went.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferReport:
    """
    A file that was transferred, whole.

    @ivar peer: the other side's address.
    @ivar path: the file on our disk.
    @ivar size: of the file, in bytes.
    @ivar sha256: of the file.
    @ivar transferred: how many bytes were moved; fewer than C{size} when an earlier transfer was
        continued, or when only a part was asked for.
    @ivar seconds: from the connection to the end.
    @ivar route: which way the bytes went, in words.
    @ivar verified: whether the content was compared with an MD5 from the sender.
    """

    peer: str
    path: Path
    size: int
    sha256: str
    transferred: int
    seconds: float
    route: str
    verified: bool = False

    @property
    def rate(self) -> float:
        """
        Bytes a second.
        """
        return self.transferred / self.seconds if self.seconds > 0 else 0.0
