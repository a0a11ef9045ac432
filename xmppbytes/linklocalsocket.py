"""
Where the control socket of C{twistd linklocal} is, and whether its folder can be trusted.
"""

import os
import stat
from pathlib import Path

from xmppbytes.errors import ConfigurationError

# The longest path that a unix socket can have is 107 bytes on Linux.
_MAX_SOCKET_PATH = 100


def xdg(variable: str, default: str) -> Path:
    """
    Give a folder of the user, as the XDG base directory specification names it.
    """
    return Path(os.environ.get(variable) or Path.home() / default) / "xmppbytes"


def defaultControl() -> str:
    """
    Give the control socket that is used when none is named: in the user's runtime folder, where nobody
    else has access.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime) / "xmppbytes" if runtime else xdg("XDG_STATE_HOME", ".local/state")
    return f"unix:{folder / 'linklocal.sock'}"


def privateControl(description: str) -> str:
    """
    Complete the endpoint of a unix socket: nobody else may use it, a dead one is replaced. Its folder is
    made if there is none.

    @param description: a Twisted server endpoint; other kinds are left as they are.
    @raise ConfigurationError: when there can be no such socket.
    """
    kind, _, rest = description.partition(":")
    if kind != "unix":
        return description
    socket, _, options = rest.partition(":")
    if len(socket.encode()) > _MAX_SOCKET_PATH:
        raise ConfigurationError(
            f"--control: the path {socket} is too long for a socket; choose a shorter one"
        )
    makeFolder(Path(socket).parent)
    mode = "" if "mode=" in options else ":mode=600"
    lock = "" if "lockfile=" in options else ":lockfile=1"
    return f"{description}{mode}{lock}"


def makeFolder(folder: Path) -> None:
    """
    Make the folder of the socket, for nobody else's eyes; look at one that is there already.

    @raise ConfigurationError: when it cannot be made, or others could put a socket of their own in the
        place of ours.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        checkFolder(folder)
    except OSError as error:
        raise ConfigurationError(f"--control: cannot make the folder {folder}: {error.strerror}") from error


def checkFolder(folder: Path) -> None:
    """
    Look whether anybody else can replace what is in a folder.

    @raise ConfigurationError: when somebody can.
    @raise OSError: when there is no such folder.
    """
    status = folder.stat()
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigurationError(
            f"--control: the folder {folder} belongs to somebody else (user {status.st_uid}), who could "
            "listen in your place: choose a folder of your own"
        )
    # In a sticky folder, such as /tmp, nobody can remove or rename what is somebody else's.
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX:
        raise ConfigurationError(
            f"--control: others may write to the folder {folder} and could listen in your place: forbid it "
            f"(chmod go-w {folder}) or choose another folder"
        )


def checkSocket(socket: Path) -> None:
    """
    Look, before we connect to it, whether a control socket can be anybody else's.

    @raise ConfigurationError: when it can.
    @raise OSError: when there is no such socket.
    """
    checkFolder(socket.parent)
    owner = socket.stat().st_uid
    if owner not in (os.geteuid(), 0):
        raise ConfigurationError(
            f"--control: the socket {socket} belongs to somebody else (user {owner}): choose one of your own"
        )
