"""
The splice engine on every reactor that Linux has: its epoll is a descriptor like any other.
"""

import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

ROOT = Path(__file__).parents[2]
# Both ways of accepting.
TESTS = [f"tests.loopback.test_relay_engines.{kind}SpliceRelayTests" for kind in ("", "Accepted")]


class ReactorTests(TestCase):
    """
    One bytestream each.
    """

    timeout = 300

    async def movesOn(self, name: str) -> None:
        arguments = ["-m", "tools.trial", "--temp-directory", os.path.abspath(self.mktemp())]
        arguments += ["--reactor", name]
        arguments += [f"{test}.{what}" for test in TESTS for what in ("test_isInUse", "test_rateLimit")]
        done: Any = await getProcessOutputAndValue(
            sys.executable,
            arguments,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            path=str(ROOT),
            reactor=reactor,
        )
        self.assertIn(b"4 passed, 0 failed", done[0], done[1])

    async def test_poll(self) -> None:
        """
        On poll(2).
        """
        await self.movesOn("poll")

    async def test_select(self) -> None:
        """
        On select(2).
        """
        await self.movesOn("select")

    async def test_asyncio(self) -> None:
        """
        On asyncio's loop.
        """
        await self.movesOn("asyncio")
