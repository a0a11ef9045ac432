"""
Tests for L{xmppbytes.core.usage}.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace

from twisted.logger import capturedLogs
from twisted.python.filepath import FilePath
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.fakes import lines
from xmppbytes.core.usage import NoUsage, UsageLog, UsageRecord
from xmppbytes.interfaces import IUsage

RECORD = UsageRecord(
    started=1_000_000_000.5,
    seconds=12.34567,
    requester="romeo@example.org/orchard",
    target="julia@example.org/bälcony",
    addresses=("192.0.2.1", "2001:db8::1"),
    kind="TCP",
    byteCounts=(2**33, 5),
    outcome="finished",
)

# In a process of its own: what limits this file limits all of a process.
RECORD_WITHOUT_ROOM = """
import os, resource, sys
from twisted.logger import globalLogBeginner, textFileLogObserver
from tests.core.test_usage import RECORD
from xmppbytes.core.usage import UsageLog
resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(sys.argv[1]) + 10,) * 2)
globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)], redirectStandardIO=False)
UsageLog(sys.argv[1]).record(RECORD)
"""


class UsageLogTests(SynchronousTestCase):
    """
    JSON lines.
    """

    def setUp(self) -> None:
        self.path = FilePath(self.mktemp())

    def read(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.path.getContent().decode("utf-8").splitlines()]

    def test_whole(self) -> None:
        """
        A line tells when, who, how much each way (4 GiB and more), how long and how it ended.
        """
        log = UsageLog(self.path.path)
        verifyObject(IUsage, log)
        log.record(RECORD)
        self.assertEqual(
            self.read(),
            [
                {
                    "when": "2001-09-09T01:46:40+00:00",
                    "kind": "TCP",
                    "bytes": [2**33, 5],
                    "seconds": 12.346,
                    "outcome": "finished",
                    "requester": "romeo@example.org/orchard",
                    "target": "julia@example.org/bälcony",
                    "addresses": ["192.0.2.1", "2001:db8::1"],
                }
            ],
        )

    def test_blurred(self) -> None:
        """
        Blurred lines name nobody, and the hour only.
        """
        UsageLog(self.path.path, blur=True).record(RECORD)
        text = self.path.getContent().decode("utf-8")
        for secret in ("romeo", "julia", "192.0.2.1", "2001:db8"):
            self.assertNotIn(secret, text)
        self.assertEqual(self.read()[0]["when"], "2001-09-09T01:00:00+00:00")

    def test_datagrams(self) -> None:
        """
        A UDP bytestream tells its datagrams as well.
        """
        UsageLog(self.path.path).record(replace(RECORD, kind="UDP", datagramCounts=(3, 4)))
        self.assertEqual(self.read()[0]["datagrams"], [3, 4])

    def test_rotated(self) -> None:
        """
        A file that was moved away is begun anew.
        """
        log = UsageLog(self.path.path)
        log.record(RECORD)
        self.path.moveTo(self.path.siblingExtension(".1"))
        log.record(RECORD)
        self.assertEqual(len(self.read()), 1)

    def test_cannotBeWritten(self) -> None:
        """
        A log that cannot be written costs the record and one line, not the transfer.
        """
        with capturedLogs() as events:
            UsageLog(self.path.child("no such folder").child("log").path).record(RECORD)
        (line,) = lines(events)
        self.assertIn("A usage record is lost", line)

    def test_diskFull(self) -> None:
        """
        Of a record that fits in part nothing is left, so that the next one is whole.
        """
        log = UsageLog(self.path.path)
        log.record(RECORD)
        result = subprocess.run(
            [sys.executable, "-c", RECORD_WITHOUT_ROOM, self.path.path],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertIn("A usage record is lost", result.stdout)
        log.record(RECORD)
        self.assertEqual(len(self.read()), 2)

    def test_triedOut(self) -> None:
        """
        That it cannot be written is said when it is tried out, before any record is lost; a log that can
        be written is left as it was.
        """
        with capturedLogs() as events:
            UsageLog(self.path.child("no such folder").child("log").path).tryOut()
            self.path.setContent(b"{}\n")
            UsageLog(self.path.path).tryOut()
        (line,) = lines(events)
        self.assertIn("Usage records will be lost", line)
        self.assertEqual(self.read(), [{}])

    def test_off(self) -> None:
        """
        Without a log nothing is kept.
        """
        off = NoUsage()
        verifyObject(IUsage, off)
        off.record(RECORD)
        self.assertFalse(self.path.exists())
