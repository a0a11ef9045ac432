"""
Presence names: C{user@machine}, and the DNS names made of them. XEP-0174 section 3.

A presence name is compared as DNS compares names (ASCII letters without case) but shown, sent and
hashed as it was published: it is not an XMPP address and is never prepared as one.
"""

import re
import unicodedata
from collections.abc import Iterator

from xmppbytes.errors import ConfigurationError
from xmppbytes.wire.mdns import MAX_LABEL, Name, fold

DOMAIN: Name = (b"local",)
SERVICE: Name = (b"_presence", b"_tcp", b"local")
SERVICE_TYPES: Name = (b"_services", b"_dns-sd", b"_udp", b"local")

# libpurple does not escape a name in the stream header that it sends: these break its XML.
_UNSAFE = re.compile('[&<"]')
_JOINERS = "\u200c\u200d"
_NOT_IN_A_HOST_LABEL = re.compile("[^A-Za-z0-9-]+")


def foldText(name: str) -> str:
    """
    Give the form of a presence name by which it is compared.
    """
    return fold((name.encode(),))[0].decode()


def instanceName(presenceName: str) -> Name:
    """
    Give the name of a person's SRV and TXT records.
    """
    return (presenceName.encode(), *SERVICE)


def presenceName(name: Name) -> str | None:
    """
    Read the presence name from the name of a service instance.

    @return: C{None} when it is another kind of name, or not fit to be shown: not UTF-8, or with
        control characters.
    """
    if len(name) != len(SERVICE) + 1 or fold(name[1:]) != SERVICE:
        return None
    try:
        text = name[0].decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text and not _hasControls(text) else None


def speaker(name: str) -> str:
    """
    Write a name so that a text can follow behind a colon: with a colon of its own it would look like
    somebody else's name and what he says.
    """
    return f'"{name}"' if ":" in name else name


def _hasControls(text: str) -> bool:
    # Format characters turn the direction of a line or cannot be seen at all: with them anybody could bear a
    # name that looks like another one. The two joiners are letters' business.
    return any(
        unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _JOINERS
        for character in text
    )


def presenceNames(user: str, machine: str, separator: str = "") -> Iterator[str]:
    """
    Give the presence name to ask for, and the next ones when it is taken: C{juliet@pronto},
    C{juliet1@pronto}, C{juliet2@pronto} (XEP-0174 version 0.9 section 3).

    @param separator: what stands before the digits: C{-} for version 2.0.1 of the specification.
    @raise ConfigurationError: when the user or machine cannot be published.
    """
    for what, text in (("user", user), ("machine", machine)):
        if not text or _hasControls(text) or _UNSAFE.search(text):
            raise ConfigurationError(
                f'the {what} name {text!r} is empty or holds one of & < " or a control character, '
                "which other clients cannot read: choose another one"
            )
    if not machine.isascii() or "@" in machine:
        raise ConfigurationError(
            f"the machine name {machine!r} must be ASCII without @ (XEP-0174 section 3): choose another one"
        )
    if len(machine) > MAX_LABEL - 16:
        raise ConfigurationError(f"the machine name {machine!r} is longer than {MAX_LABEL - 16} characters")
    return _numbered(user, machine, separator)


def _numbered(user: str, machine: str, separator: str) -> Iterator[str]:
    number = 0
    while True:
        tail = (f"{separator}{number}" if number else "") + f"@{machine}"
        room = MAX_LABEL - len(tail.encode())
        yield user.encode()[:room].decode("utf-8", "ignore") + tail
        number += 1


def hostName(machine: str, unique: str) -> Name:
    """
    Give the host name that the SRV record points to.

    It is one of our own: with an address record for the machine's own name, in which one address more
    or less stands, avahi would believe in a conflict and rename the machine.

    @param unique: a few random hex digits.
    """
    label = _NOT_IN_A_HOST_LABEL.sub("-", machine).strip("-") or "host"
    tail = f"-xb-{unique}"
    return ((label[: MAX_LABEL - len(tail)] + tail).encode(), *DOMAIN)
