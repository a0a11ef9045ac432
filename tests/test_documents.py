"""
docs/operating.md tells of everything that an operator meets.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import TestCase

from xmppbytes.proxytap import SETTINGS

ROOT = Path(__file__).parent.parent
MANUAL = ROOT / "docs" / "operating.md"
LEVELS = ("info", "warn", "error", "failure", "critical")
# Of these the proxy uses parts that log nothing.
LIST = (
    "import sys, xmppbytes.proxytap; print(*(m.__file__ for n, m in sys.modules.items() if n[:10] == {!r}))"
)


def logFormats(source: str) -> Iterator[str]:
    """
    Find the formats of all log lines that a module may write.
    """
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr in LEVELS and ast.unparse(node.func.value).split(".")[-1] in ("log", "_log"):
            if node.args and isinstance(node.args[0], ast.Constant):
                yield node.args[0].value


def mark(template: str) -> str:
    """
    What a line is known by: the first words of its format that are always the same.
    """
    pieces = [piece.strip() for piece in re.split(r"\{[^}]*\}|[:;(,]", template)]
    return next((piece for piece in pieces if len(piece) > 4), template)


class ManualTests(TestCase):
    """
    The manual is whole.
    """

    def test_logLines(self) -> None:
        """
        Each line that the proxy's modules may log is in the table.
        """
        manual = MANUAL.read_text(encoding="utf-8")
        modules = subprocess.run(
            [sys.executable, "-c", LIST.format("xmppbytes.")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        self.assertGreater(len(modules), 20)
        missing = [
            f"{Path(module).relative_to(ROOT)}: {template}"
            for module in modules
            for template in logFormats(Path(module).read_text(encoding="utf-8"))
            if mark(template) not in manual
        ]
        self.assertEqual(missing, [])

    def test_options(self) -> None:
        """
        Each option is in the table.
        """
        manual = MANUAL.read_text(encoding="utf-8")
        self.assertEqual([s.name for s in SETTINGS if not re.search(rf"`--{s.name}[ `]", manual)], [])
