"""
Whose key is whose: pins, remembered at the first contact with each presence name.
"""

import os
import re
import tempfile
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TypeAlias

from twisted.logger import Logger

from xmppbytes.core.quota import Quota
from xmppbytes.errors import ConfigurationError, Refused
from xmppbytes.linklocal.names import foldText
from xmppbytes.tls import Identity, createIdentity, sameFingerprint

# What strangers can make this file grow to.
MAX_PINS = 10_000
# How many new ones are kept a minute: flooding us with names is not to push out those that matter, nor to
# keep the disk busy.
NEW_PER_MINUTE = 30
# The name as it is published: spaces at its ends are part of it.
_LINE = re.compile("sha256:([0-9a-f]{64}) ([^\n]+)")


class Pin(Enum):
    """
    What is known of a peer's key.

    @cvar NONE: the stream is not encrypted.
    @cvar NEW: seen for the first time, and remembered from now on; the two people should compare codes.
    @cvar SAME: the one that was remembered before.
    """

    NONE = "none"
    NEW = "new"
    SAME = "same"


class PinMismatch(Refused):
    """
    Somebody shows another key than before.
    """


class PinStore:
    """
    The pins, in a text file that only its owner can read: C{sha256:HEX NAME} on each line, whoever was not
    met for longest first. The file is read again when somebody has changed it.

    @ivar inUse: tells whether there is a stream with somebody: such a pin is not forgotten.
    """

    log = Logger()

    def __init__(self, path: Path | None, now: Callable[[], float] = time.monotonic) -> None:
        """
        @param path: the file; C{None}: pins are forgotten when the program ends.
        @param now: tells the time in seconds.
        @raise ConfigurationError: when the file is there and cannot be read.
        """
        self._path = path
        self.inUse: Callable[[str], bool] = lambda name: False
        self._new = Quota(now, NEW_PER_MINUTE, NEW_PER_MINUTE)
        self._complaints = Quota(now, 1, 1)
        self._pins: dict[str, tuple[str, str]] = {}
        self._isReordered = False
        self._version: _Version = None
        self._readAgain()

    # The file

    def _readAgain(self) -> None:
        """
        Read the file if it is another one than before.

        @raise ConfigurationError: when it is there and cannot be read.
        """
        version = _versionOf(self._path)
        if version == self._version:
            return
        self._version = version
        self._pins = _read(self._path) if self._path is not None and version is not None else {}
        self._isReordered = False

    def _refresh(self) -> None:
        try:
            self._readAgain()
        except ConfigurationError as error:
            self.log.error("{error}. What was read before counts", error=error)

    def save(self) -> None:
        """
        Write down who was met last, before the program ends.
        """
        self._refresh()
        if self._isReordered:
            self._write()

    def _write(self) -> None:
        self._isReordered = False
        if self._path is None:
            return
        text = "".join(f"sha256:{pin} {known}\n" for known, pin in self._pins.values())
        try:
            writePrivate(self._path, text.encode())
            self._version = _versionOf(self._path)
        except (OSError, ConfigurationError) as error:
            self.log.error("cannot write the pins to {path}: {error}", path=self._path, error=error)

    # The pins

    def get(self, name: str) -> str | None:
        """
        Give the fingerprint that is remembered for a name.
        """
        self._refresh()
        return self._pins.get(foldText(name), ("", None))[1]

    def check(self, name: str, fingerprint: str | None) -> Pin:
        """
        Compare the key that somebody shows; remember it at the first contact.

        @param fingerprint: of the peer's key; C{None}: the peer has shown none.
        @raise PinMismatch: when it is another key than before, or none.
        """
        known = self.get(name)
        if known is not None and sameFingerprint(known, fingerprint):
            self._isReordered = True
            self._pins[foldText(name)] = self._pins.pop(foldText(name))
            return Pin.SAME
        if known is not None or fingerprint is None:
            where = f"the line of {name} in {self._path}" if self._path else "the pin, by a restart"
            raise PinMismatch(
                f"{name} shows another key than before: somebody else may be speaking. If the person "
                f"confirms that the key is new, remove {where}"
            )
        self._add(name, fingerprint)
        return Pin.NEW

    def _add(self, name: str, fingerprint: str) -> None:
        if not self._new.admits("") or not self._makeRoom():
            if self._complaints.admits(""):
                self.log.warn("too many new keys: that of {name} is not kept until the next time", name=name)
            return
        self._pins[foldText(name)] = (name, fingerprint)
        self.log.info("remembered the key of {name}: {fingerprint}", name=name, fingerprint=fingerprint)
        self._write()

    def _makeRoom(self) -> bool:
        if len(self._pins) < MAX_PINS:
            return True
        for key, (name, _) in self._pins.items():
            if not self.inUse(name):
                del self._pins[key]
                self.log.warn(
                    "{count} keys are known: that of {name}, who was not met for longest, is forgotten",
                    count=MAX_PINS,
                    name=name,
                )
                return True
        return False


# What tells one content of a file from another: when it was changed, which file it is, how long.
_Version: TypeAlias = tuple[int, int, int] | None


def _versionOf(path: Path | None) -> _Version:
    if path is None:
        return None
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigurationError(f"cannot read the pins in {path}: {error}") from error
    return status.st_mtime_ns, status.st_ino, status.st_size


def _read(path: Path) -> dict[str, tuple[str, str]]:
    """
    Read the file.

    @return: compared form of the name -> name, fingerprint.
    @raise ConfigurationError: when it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read the pins in {path}: {error}") from error
    pins = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ConfigurationError(
                f"line {number} of the pins in {path} is not 'sha256:HEX NAME': mend or remove it"
            )
        pins[foldText(match[2])] = (match[2], match[1])
    return pins


def loadIdentity(path: Path | None, name: str) -> Identity:
    """
    Read our own key and certificate; make them when there are none.

    @param path: where they are kept; C{None}: they are forgotten when the program ends.
    @param name: what to call a new certificate.
    @raise ConfigurationError: when they can be neither read nor written.
    """
    if path is None:
        return createIdentity(name)
    try:
        if path.exists():
            return Identity.fromPEM(path.read_bytes())
        identity = createIdentity(name)
        writePrivate(path, identity.toPEM())
    except OSError as error:
        raise ConfigurationError(f"cannot use the key in {path}: {error.strerror}") from error
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    return identity


def writePrivate(path: Path, data: bytes) -> None:
    """
    Replace a file by one that only its owner can read.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
