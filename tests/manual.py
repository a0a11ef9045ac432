"""
The text of docs/operating.md, for tests that try what it says.
"""

import re
from pathlib import Path

PATH = Path(__file__).parent.parent / "docs" / "operating.md"
# What the manual calls what a test has under another name.
DOMAIN = "proxy.example.org"
SECRET = "the content of /etc/xmppbytes/secret"
COMPONENT_PORT = "5347"


def text() -> str:
    """
    Read the manual.
    """
    return PATH.read_text(encoding="utf-8")


def snippet(language: str, **replaced: str) -> str:
    """
    Take the only code block of a language out of the manual.

    @param language: what stands behind the three backticks.
    @param replaced: what stands for the L{DOMAIN}, the L{SECRET} and the L{COMPONENT_PORT}, named so in
        lower case.
    @raise AssertionError: when there is no such block, or it does not name what is to be replaced.
    """
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", text(), re.MULTILINE | re.DOTALL)
    for name, value in replaced.items():
        old = globals()[name.upper()]
        if old not in block:
            raise AssertionError(f"{old!r} is not in the {language} of the manual")
        block = block.replace(old, value)
    return str(block)
