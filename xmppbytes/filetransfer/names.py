"""
Text from outside, made harmless: file names for the disk, anything else for the terminal; and ours for XML.
"""

import re
import unicodedata

# How much of a name is kept, in bytes of UTF-8: file systems take 255, and we append to it.
MAX_NAME = 200
# How the name of a file ends that is not whole yet.
PART = ".part"
# What may be an extension and survives when a name is shortened, in bytes.
_MAX_SUFFIX = 20
_UNNAMED = "unnamed"
# What XML cannot say (XML 1.0 section 2.2): controls, and the bytes of names that are not UTF-8.
_NO_XML = re.compile("[^\\t\\n\\r\\u0020-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
# Controls, formats (which can reverse what is read), surrogates, private use, line separators.
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


def printable(text: str, limit: int = 1000) -> str:
    """
    Make a text safe to print: no control characters, no line breaks, not endless.

    @param limit: how many characters are kept.
    """
    shown = "".join(" " if c in "\r\n\t" else c for c in text[: 4 * limit] if _visible(c) or c in "\r\n\t")
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def sayable(text: str) -> str:
    """
    Make a text of ours fit for a stanza: a server ends the stream at what XML cannot say.
    """
    return _NO_XML.sub("_", text)


def safeName(name: str) -> str:
    """
    Make a file name out of what a stranger calls a file: one component, nothing hidden, not too long.
    """
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    visible = "".join(c for c in unicodedata.normalize("NFC", last) if _visible(c)).strip()
    if visible.startswith("."):
        # No hidden file, and neither "." nor "..".
        visible = "_" + visible[1:] if visible.strip(".") else ""
    short = _shorten(visible) or _UNNAMED
    # Nobody puts a file in the place of one that is being received.
    return f"{short.removesuffix(PART)}_part" if short.endswith(PART) else short


def numbered(name: str, number: int) -> str:
    """
    Give a name a number: C{"name (2).ext"}.

    @param number: the first is 1 and gets the name itself.
    """
    if number == 1:
        return name
    stem, suffix = _split(name)
    return f"{stem} ({number}){suffix}"


def _visible(character: str) -> bool:
    return unicodedata.category(character) not in _HIDDEN


def _split(name: str) -> tuple[str, str]:
    stem, dot, suffix = name.rpartition(".")
    if not stem or not suffix or " " in suffix or len(suffix.encode()) > _MAX_SUFFIX:
        return name, ""
    if stem.endswith(".tar"):
        return stem[:-4], ".tar." + suffix
    return stem, dot + suffix


def _shorten(name: str) -> str:
    if len(name.encode()) <= MAX_NAME:
        return name
    stem, suffix = _split(name)
    room = MAX_NAME - len(suffix.encode())
    return stem.encode()[:room].decode("utf-8", "ignore").rstrip() + suffix
