"""
A record of each bytestream that has ended, as JSON lines.
"""

import errno
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime

from twisted.logger import Logger
from twisted.python.filepath import FilePath
from zope.interface import implementer

from xmppbytes.interfaces import IUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRecord:
    """
    One ended bytestream.

    @ivar started: when it was activated, in seconds since the epoch.
    @ivar seconds: how long it was active.
    @ivar requester: the requester's JID.
    @ivar target: the target's JID.
    @ivar addresses: the IP addresses of both, in the order in which they connected.
    @ivar kind: C{"TCP"} or C{"UDP"}.
    @ivar byteCounts: bytes delivered from the party that connected first to the other, and back.
    @ivar datagramCounts: the same in datagrams, for UDP.
    @ivar outcome: how it ended: the name of an L{xmppbytes.core.outcome.Outcome}.
    """

    started: float
    seconds: float
    requester: str
    target: str
    addresses: tuple[str, str]
    kind: str
    byteCounts: tuple[int, int]
    outcome: str
    datagramCounts: tuple[int, int] | None = None

    def toDict(self, blur: bool) -> dict[str, object]:
        """
        Make a dict that JSON can carry.

        @param blur: leave out who took part, and round the time down to the hour.
        """
        when = self.started - self.started % 3600 if blur else self.started
        record: dict[str, object] = {
            "when": datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds"),
            "kind": self.kind,
            "bytes": list(self.byteCounts),
            "seconds": round(self.seconds, 3),
            "outcome": self.outcome,
        }
        if self.datagramCounts is not None:
            record["datagrams"] = list(self.datagramCounts)
        if not blur:
            record |= {"requester": self.requester, "target": self.target, "addresses": list(self.addresses)}
        return record


@implementer(IUsage)
class NoUsage:
    """
    Keeps no records.
    """

    def record(self, usage: UsageRecord) -> None:
        """
        See L{IUsage}.
        """


@implementer(IUsage)
class UsageLog:
    """
    Appends a JSON line for each record to a file. The file is opened for each, so it can be rotated
    at any time; a disk that is full costs the record and one log line, never a transfer.
    """

    _log = Logger()

    def __init__(self, path: str, blur: bool = False) -> None:
        """
        @param path: the file.
        @param blur: leave JIDs and addresses out.
        """
        self._path = FilePath(path)
        self._blur = blur

    def record(self, usage: UsageRecord) -> None:
        """
        See L{IUsage}.
        """
        line = json.dumps(usage.toDict(self._blur), ensure_ascii=False) + "\n"
        self._append(line.encode("utf-8"), "A usage record is lost")

    def tryOut(self) -> None:
        """
        Say at once, not when the first record is lost, if the file cannot be written.
        """
        self._append(b"", "Usage records will be lost")

    def _append(self, line: bytes, consequence: str) -> None:
        try:
            with open(self._path.path, "ab", buffering=0) as log:
                written = log.write(line)
                if written < len(line):
                    # Half a record would spoil the next one as well.
                    log.truncate(log.tell() - written)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as e:
            self._log.error(
                "{consequence}: {path} cannot be written ({error}); make room or mend permissions",
                consequence=consequence,
                path=self._path.path,
                error=e,
            )
