"""
C{xmppbytes chat}: find the service, or start one, and talk.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from xmppbytes.chat.connection import ControlClient
from xmppbytes.chat.screen import Screen
from xmppbytes.errors import ConfigurationError
from xmppbytes.linklocalsocket import checkSocket, defaultControl, makeFolder

# Seconds that a service which was just started has to open its socket, and to end.
START_TIMEOUT = 10.0
STOP_TIMEOUT = 10.0


def addArguments(parser: argparse.ArgumentParser) -> None:
    """
    Add the arguments of this subcommand.
    """
    parser.add_argument(
        "--control",
        default=None,
        metavar="unix:PATH",
        help="the control socket of the service (default: in the runtime folder)",
    )
    parser.add_argument(
        "service",
        nargs="*",
        metavar="-- OPTION",
        help="options for 'twistd linklocal', when none runs and one is started, such as -- --nick=JuliC",
    )


def run(options: argparse.Namespace) -> int:
    """
    Run this subcommand.
    """
    try:
        path = socketPath(options.control or defaultControl())
        asyncio.run(chat(path, options.service))
    except (ConfigurationError, OSError) as error:
        print(f"xmppbytes: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
    return 0


def socketPath(description: str) -> Path:
    """
    Read the path of a unix endpoint.

    @raise ConfigurationError: when it is another kind of endpoint.
    """
    kind, _, rest = description.partition(":")
    if kind != "unix" or not rest:
        raise ConfigurationError(f"--control is unix:PATH, not {description!r}")
    return Path(rest.partition(":")[0])


async def chat(path: Path, serviceOptions: list[str]) -> None:
    """
    Talk by way of the service at a socket; start one when there is none, and end that one afterwards.

    @raise ConfigurationError: when none can be started.
    """
    screen = Screen()
    try:
        # Whoever could put a socket of his own there would hear everything.
        checkSocket(path)
        client = await ControlClient.connect(path, screen.told)
    except OSError:
        async with ownService(path, serviceOptions) as process:
            client = await _connect(path, screen, process)
            await screen.run(client)
        return
    if serviceOptions:
        print("a service runs already: the options for it are not used", file=sys.stderr)
    await screen.run(client)


async def _connect(path: Path, screen: Screen, process: asyncio.subprocess.Process) -> ControlClient:
    deadline = asyncio.get_running_loop().time() + START_TIMEOUT
    while True:
        try:
            return await ControlClient.connect(path, screen.told)
        except OSError as error:
            if process.returncode is not None or asyncio.get_running_loop().time() > deadline:
                log = path.with_suffix(".log")
                raise ConfigurationError(f"the service could not be started; its log is {log}") from error
        await asyncio.sleep(0.1)


@asynccontextmanager
async def ownService(path: Path, options: list[str]) -> "AsyncIterator[asyncio.subprocess.Process]":
    """
    Run a service of our own; its log is beside the socket.
    """
    makeFolder(path.parent)
    command = [sys.executable, "-m", "twisted", "--log-format=text", "linklocal", f"--control=unix:{path}"]
    # Its own session: Ctrl-C at this terminal is not for the service. In a folder such as /tmp somebody else
    # may have made a link of that name.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    handle = os.open(path.with_suffix(".log"), flags, 0o600)
    with os.fdopen(handle, "wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            *options,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT)
        except TimeoutError:
            process.kill()
            await process.wait()
