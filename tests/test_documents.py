"""
docs/operating.md tells of everything that an operator meets.
"""

import re
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests import manual
from tools.loglines import logFormats
from xmppbytes.proxytap import SETTINGS
from xmppbytes.settings import readSettings

ROOT = Path(__file__).parent.parent
# Of these the proxy uses parts that log nothing.
LIST = (
    "import sys, xmppbytes.proxytap; print(*(m.__file__ for n, m in sys.modules.items() if n[:10] == {!r}))"
)


def mark(template: str) -> str:
    """
    What a line is known by: the first words of its format that are always the same. In the manual, words in
    capitals and dots stand for what is not.
    """
    pieces = [piece.strip() for piece in re.split(r"\{[^}]*\}|\.\.\.|\b[A-Z]+\b|[:;(,]", template)]
    return next((piece for piece in pieces if len(piece) > 4), template)


def documented(text: str) -> list[str]:
    """
    List the log lines in the table of the manual, as they stand there.
    """
    table = text.partition("## What the log says")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    return [line for row in rows for line in re.findall(r"`([^`]+)`", row)]


class ManualTests(TestCase):
    """
    The manual is whole.
    """

    def setUp(self) -> None:
        self.manual = manual.text()

    def modules(self) -> dict[str, str]:
        """
        Read the modules of the proxy.

        @return: path -> source.
        """
        paths = subprocess.run(
            [sys.executable, "-c", LIST.format("xmppbytes.")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        self.assertGreater(len(paths), 20)
        return {path: Path(path).read_text(encoding="utf-8") for path in paths}

    def test_logLines(self) -> None:
        """
        Each line that the proxy's modules may log is in the manual, and the table names none that they do
        not log.
        """
        modules = self.modules()
        missing = [
            f"{path}: {template}"
            for path, source in modules.items()
            for template in logFormats(source)
            if mark(template) not in self.manual
        ]
        self.assertEqual(missing, [])
        table, sources = documented(self.manual), "".join(modules.values())
        self.assertGreater(len(table), 40)
        self.assertEqual([line for line in table if mark(line) not in sources], [])

    def test_logLinesOfDTCP(self) -> None:
        """
        Each line that DTCP may log is in its own document.
        """
        document = (ROOT / "docs" / "dtcp.md").read_text(encoding="utf-8")
        modules = sorted((ROOT / "xmppbytes" / "dtcp").glob("*.py"))
        templates = [each for path in modules for each in logFormats(path.read_text(encoding="utf-8"))]
        self.assertGreater(len(templates), 10)
        self.assertEqual([each for each in templates if mark(each) not in document], [])

    def test_options(self) -> None:
        """
        Each option is in the table.
        """
        self.assertEqual([s.name for s in SETTINGS if not re.search(rf"`--{s.name}[ `]", self.manual)], [])

    def test_configuration(self) -> None:
        """
        The TOML file of the manual is one that is taken.
        """
        path = self.mktemp()
        Path(path).write_text(manual.snippet("toml"), encoding="utf-8")
        values = readSettings(path, SETTINGS)
        self.assertEqual((values["jid"], values["rate-limit"]), ("proxy.example.org", 20 << 20))
