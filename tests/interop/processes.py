"""
Child processes of the interop tests: real servers and real clients in the foreground, each with a
temporary folder and a log of its own, ended by its process id.

Set XMPPBYTES_KEEP=1 to find the folders (configuration, data, log) still there after the run.
"""

import errno
import os
import random
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, connectProtocol
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol, Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

ROOT = Path(__file__).parents[2]
LEASH = Path(__file__).with_name("leash.py")
LOG_TAIL = 3000  # characters of a child's log that go into an error text
POLL = 0.05  # seconds between two looks at something that reports nothing by itself

# Of its own: suites that run at once are not to choose alike, whatever seed they were given.
_chance = random.SystemRandom()


class ChildFailed(Exception):
    """
    A child process did not do what was expected of it; the text ends with the tail of its log.
    """


def freePort(host: str = "127.0.0.1") -> int:
    """
    Find a port that nobody uses at present, for TCP nor UDP, and that nobody is given by chance before
    its user has started: neither another suite's server that leaves the choice to the kernel, nor the
    near end of some connection.
    """
    family, anywhere = (socket.AF_INET6, "::") if ":" in host else (socket.AF_INET, "0.0.0.0")
    low, high = _givenByChance()
    candidates = [*range(10000, low), *range(high + 1, 65536)] or list(range(10000, 65536))
    while True:
        port = _chance.choice(candidates)
        with socket.socket(family) as stream, socket.socket(family, socket.SOCK_DGRAM) as datagrams:
            try:
                stream.bind((anywhere, port))
                datagrams.bind((anywhere, port))
            except OSError as e:
                if e.errno != errno.EADDRINUSE:
                    raise
            else:
                return port


def _givenByChance() -> tuple[int, int]:
    """
    The first and last of the ports that the kernel gives to those who do not ask for one.
    """
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    except OSError:
        return 32768, 65535
    return int(low), int(high)


def environment(**extra: str) -> dict[str, str]:
    """
    The environment of a child: this process's own, with the checkout first on Python's path.
    """
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **extra}


class Child(ProcessProtocol):
    """
    One child process. What it prints goes into L{logPath}; no pipe of it hangs on the reactor.

    @ivar folder: its temporary folder, which is also its current folder.
    @ivar ports: (host, port) pairs that answer once it is ready.
    """

    grace = 30.0  # seconds between the request to end and SIGKILL
    startTimeout = 90.0

    def __init__(self, reactor: Any, name: str) -> None:
        self.reactor = reactor
        self.name = name
        self.folder = Path(tempfile.mkdtemp(prefix=f"xmppbytes-{name}-"))
        self.logPath = self.folder / f"{name}.log"
        self.ports: list[tuple[str, int]] = []
        self.process: Any = None
        self.exitCode: int | None = None
        self._waiting: list[Deferred[int]] = []

    # What a subclass says about its program.

    def command(self) -> list[str]:
        """
        The command line; called at each start, after L{prepare}.
        """
        raise NotImplementedError(self.name)

    def environment(self) -> dict[str, str]:
        return environment()

    def prepare(self) -> None:
        """
        Write the configuration into the folder. Called at each start.
        """

    async def untilReady(self) -> None:
        """
        Wait until the program serves.
        """
        for host, port in self.ports:
            await self.untilPortAnswers(host, port)

    # Its life.

    @property
    def running(self) -> bool:
        return self.process is not None

    @property
    def pid(self) -> int:
        """
        Its process id (the leash executes the command, so it is the command's own).
        """
        return int(self.process.pid)

    async def start(self) -> None:
        """
        Start it and wait until it is ready.

        @raise ChildFailed: when it ends instead, or is not ready in time.
        """
        if self.running:
            raise ChildFailed(f"{self.name} runs already")
        self.prepare()
        self.exitCode = None
        argv = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *self.command()]
        with self.logPath.open("ab") as log, Path(os.devnull).open("rb") as nothing:
            self.process = self.reactor.spawnProcess(
                self,
                argv[0],
                argv,
                env=self.environment(),
                path=str(self.folder),
                childFDs=self.descriptors(nothing.fileno(), log.fileno()),
            )
        ready = Deferred.fromCoroutine(self.untilReady())
        ready.addTimeout(self.startTimeout, self.reactor)
        try:
            await ready
        except TimeoutError:
            raise self.failed(f"was not ready after {self.startTimeout:g} s") from None

    def descriptors(self, nothing: int, log: int) -> dict[int, Any]:
        """
        Say what its standard input, output and error are: descriptors, or C{"r"}/C{"w"} for pipes.
        """
        return {0: nothing, 1: log, 2: log}

    def processEnded(self, reason: Failure) -> None:
        """
        It has ended, and its pipes are closed.
        """
        status = reason.value
        self.process = None
        self.exitCode = -status.signal if status.signal is not None else status.exitCode
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(self.exitCode)

    def whenEnded(self) -> Deferred[int]:
        """
        Wait for the end.

        @return: fires with the exit code, or with minus the signal that ended it.
        """
        deferred: Deferred[int] = Deferred(self._forget)
        if self.running:
            self._waiting.append(deferred)
        else:
            deferred.callback(self.exitCode if self.exitCode is not None else 0)
        return deferred

    def _forget(self, deferred: Deferred[int]) -> None:
        if deferred in self._waiting:
            self._waiting.remove(deferred)

    def signal(self, name: str) -> None:
        """
        Send it a signal, named without its SIG.
        """
        if self.running:
            try:
                self.process.signalProcess(name)
            except ProcessExitedAlready:  # its pipes are not closed yet, that is all
                pass

    async def stop(self, name: str = "TERM") -> int:
        """
        End it, the hard way when it takes longer than L{grace}.

        @param name: the signal to begin with.
        @return: its exit code, or minus the signal that ended it.
        """
        self.signal(name)
        ended = self.whenEnded()
        ended.addTimeout(self.grace, self.reactor)
        try:
            return await ended
        except TimeoutError:
            self.signal("KILL")
            return await self.whenEnded()

    async def restart(self, name: str = "TERM") -> None:
        """
        End it and start it again with the same folder and ports.
        """
        await self.stop(name)
        await self.start()

    async def cleanUp(self) -> None:
        """
        End it and remove its folder.
        """
        await self.stop()
        if not os.environ.get("XMPPBYTES_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    # Looking at it.

    def log(self) -> str:
        """
        All that it has printed so far.
        """
        return self.logPath.read_text("utf-8", "replace") if self.logPath.exists() else ""

    def failed(self, what: str) -> ChildFailed:
        """
        Make the exception that tells what went wrong and what the child itself said.
        """
        return ChildFailed(f"{self.name} {what}; the end of its log:\n{self.log()[-LOG_TAIL:]}")

    async def pause(self) -> None:
        """
        Let a moment pass while waiting for the child.

        @raise ChildFailed: when it has ended.
        """
        if not self.running:
            raise self.failed(f"ended with {self.exitCode}")
        await deferLater(self.reactor, POLL)

    async def untilLogged(self, text: str, timeout: float = 60.0, after: int = 0) -> str:
        """
        Wait until a text is in the log.

        @param after: the number of characters of the log to pass over.
        @return: the line with the text.
        """
        end = self.reactor.seconds() + timeout
        while text not in self.log()[after:]:
            if self.reactor.seconds() > end:
                raise self.failed(f"did not log {text!r} within {timeout:g} s")
            await self.pause()
        return next(line for line in self.log()[after:].splitlines() if text in line)

    async def untilPortAnswers(self, host: str, port: int) -> None:
        """
        Wait until something accepts connections at a port; the child's end ends the wait.
        """
        endpoint = (TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint)(self.reactor, host, port, 5)
        while True:
            try:
                hello = await connectProtocol(endpoint, _Hello())
            except Exception:  # refused, most likely: it is still starting
                await self.pause()
            else:
                hello.transport.loseConnection()
                await hello.closed
                return


class _Hello(Protocol):
    """
    A connection that is only made to see that it can be.
    """

    def __init__(self) -> None:
        self.closed: Deferred[None] = Deferred()

    def connectionLost(self, reason: Any = None) -> None:
        self.closed.callback(None)
