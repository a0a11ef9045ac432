"""
Imports go down only, and the packages on one floor do not know each other (docs/architecture.md).
"""

import ast
from pathlib import Path

from twisted.trial.unittest import TestCase

import xmppbytes

ROOT = Path(xmppbytes.__file__).parent

# What each part may import from xmppbytes, beside itself. Parts that are not listed are floor 4.
BASE = {"errors", "interfaces", "jids", "compat"}
MAY_IMPORT = {
    "errors": set(),
    "interfaces": set(),
    "jids": set(),
    "compat": {"jids"},
    "wire": {"errors"},
    "core": {"wire", "errors", "interfaces", "jids"},
    "connecting": {"core", "errors", "interfaces", "jids"},
    "tls": {"errors", "interfaces"},
    "xmlparser": {"errors"},
    "stanza": BASE,
    "serverstream": {"xmlparser"},
    "component": BASE | {"jids", "stanza", "serverstream", "stream"},
    "stream": BASE | {"stanza", "xmlparser", "serverstream"},
    "rooms": set(),
    "bytestreamclient": BASE | {"stanza", "rooms"},
    "serviceinfo": BASE | {"stanza"},
    "s5b": BASE | {"wire", "core", "connecting", "tls", "stanza", "stream", "bytestreamclient"},
    "dtcp": BASE | {"wire", "core", "connecting", "tls", "stanza", "stream", "bytestreamclient"},
    "linklocal": BASE | {"wire", "core", "connecting", "tls", "stanza", "stream", "xmlparser"},
    "filetransfer": BASE
    | {"wire", "core", "connecting", "tls", "stanza", "stream", "rooms", "s5b", "dtcp", "linklocal"},
}


def partOf(path: Path) -> str:
    """
    Name the part of the house in which a file lies.
    """
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def importsOf(path: Path) -> set[str]:
    """
    List the parts of xmppbytes that a file imports.
    """
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "xmppbytes" else [base]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("xmppbytes.")}
    return found


class LayeringTests(TestCase):
    """
    The floors of the house.
    """

    def test_importsGoDownOnly(self) -> None:
        """
        No part imports another that is above or beside it.
        """
        wrong = []
        for path in sorted(ROOT.rglob("*.py")):
            part = partOf(path)
            if part not in MAY_IMPORT:
                continue
            for target in sorted(importsOf(path) - MAY_IMPORT[part] - {part}):
                wrong.append(f"{path.relative_to(ROOT)} imports {target}")
        self.assertEqual(wrong, [])

    def test_onlyCompatImportsWokkelModulesThatNeedIt(self) -> None:
        """
        Nothing but compat.py imports the modules of wokkel that cannot be imported as they are.
        """
        needy = {"wokkel.disco", "wokkel.ping", "wokkel.data_form", "wokkel.generic", "wokkel.iwokkel"}
        wrong = []
        for path in sorted(ROOT.rglob("*.py")):
            if partOf(path) == "compat":
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.module in needy:
                    wrong.append(f"{path.relative_to(ROOT)} imports {node.module}")
        self.assertEqual(wrong, [])

    def test_wireIsPure(self) -> None:
        """
        Codecs know no socket and no reactor.
        """
        wrong = []
        for path in sorted((ROOT / "wire").glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names: list[str] = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                for name in names:
                    if name == "socket" or (name.startswith("twisted") and name != "twisted.names.dns"):
                        wrong.append(f"{path.name} imports {name}")
        self.assertEqual(wrong, [])
