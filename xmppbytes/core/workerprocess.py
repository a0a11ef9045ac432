"""
A worker process as its parent sees it: starting it, telling it, and hearing from it.

What is said is in L{xmppbytes.core.worker}.
"""

import mmap
import os
import socket
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

import xmppbytes
from xmppbytes.core.outcome import Outcome
from xmppbytes.core.worker import (
    CHANNEL_DESCRIPTOR,
    MAX_MESSAGE,
    MEMORY_DESCRIPTOR,
    MEMORY_SIZE,
    OUTCOMES,
    SLOTS,
    Kind,
    decode,
    encode,
)
from xmppbytes.interfaces import IRelayedSession

log = Logger()


@implementer(IRelayedSession)
class WorkedSession:
    """
    A bytestream that a worker relays, as the parent sees it.
    """

    __slots__ = ("_final", "_worker", "ended", "outcome", "slot")

    def __init__(self, worker: "WorkerProcess", slot: int, ended: Callable[[Outcome], None]) -> None:
        self._worker = worker
        self._final: tuple[int, int] | None = None
        self.slot = slot
        self.ended = ended
        self.outcome: Outcome | None = None

    def counts(self) -> tuple[int, int]:
        """
        See L{IRelayedSession}.
        """
        return self._worker.counts(self.slot) if self._final is None else self._final

    def setRate(self, rate: int | None) -> None:
        """
        See L{IRelayedSession}.
        """
        if self._final is None:
            self._worker.send(encode(Kind.RATE, self.slot, rate))

    def abort(self, outcome: Outcome) -> None:
        """
        See L{IRelayedSession}.
        """
        if self._final is None and self.outcome is None:
            self.outcome = outcome
            self._worker.send(encode(Kind.ABORT, self.slot))

    @property
    def isOver(self) -> bool:
        """
        Whether it has ended.
        """
        return self._final is not None

    def settle(self) -> None:
        """
        It has ended: the counts are final, and its place may be used again.
        """
        self._final = self._worker.counts(self.slot)


@implementer(IReadDescriptor, IWriteDescriptor)
class WorkerProcess(ProcessProtocol):
    """
    One worker process, and the socket to it.
    """

    def __init__(self, reactor: Any, died: Callable[["WorkerProcess", str | None], None]) -> None:
        """
        @param reactor: provides C{IReactorProcess} and C{IReactorFDSet}.
        @param died: called with this object and the reason when the process has ended; C{None}: it was
            meant to.
        """
        self._reactor = reactor
        self._died = died
        self._queue: deque[tuple[bytes, Sequence[int]]] = deque()
        self._unused = iter(range(SLOTS))
        self._free: list[int] = []
        self.sessions: dict[int, WorkedSession] = {}
        self.alive = True
        self.pid = 0

    def start(self) -> None:
        """
        Start the process.
        """
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setblocking(False)
        memory = os.memfd_create("xmppbytes-counters")
        os.ftruncate(memory, MEMORY_SIZE)
        self._counters = memoryview(mmap.mmap(memory, MEMORY_SIZE)).cast("Q")
        null = os.open(os.devnull, os.O_RDWR)
        process = self._reactor.spawnProcess(
            self,
            sys.executable,
            [sys.executable, "-m", "xmppbytes.core.worker"],
            env={**os.environ, "PYTHONPATH": _importPath()},
            childFDs={0: null, 1: null, 2: 2, CHANNEL_DESCRIPTOR: theirs.fileno(), MEMORY_DESCRIPTOR: memory},
        )
        self.pid = process.pid
        theirs.close()
        os.close(memory)
        os.close(null)
        self._reactor.addReader(self)

    @property
    def hasRoom(self) -> bool:
        """
        Whether it can take another session.
        """
        return self.alive and len(self.sessions) < SLOTS

    def counts(self, slot: int) -> tuple[int, int]:
        """
        Tell what was delivered.
        """
        return self._counters[2 * slot], self._counters[2 * slot + 1]

    def open(self, ended: Callable[[Outcome], None]) -> WorkedSession:
        """
        Make a session that has no connections yet.
        """
        slot = self._free.pop() if self._free else next(self._unused)
        self._counters[2 * slot] = self._counters[2 * slot + 1] = 0
        session = self.sessions[slot] = WorkedSession(self, slot, ended)
        return session

    def finish(self, session: WorkedSession, outcome: Outcome) -> None:
        """
        Forget a session that has ended.
        """
        del self.sessions[session.slot]
        session.settle()
        self._free.append(session.slot)
        session.ended(session.outcome or outcome)

    def send(self, message: bytes, descriptors: Sequence[int] = ()) -> None:
        """
        Send a message.

        @param descriptors: connections that go with it; they are closed here.
        """
        self._queue.append((message, descriptors))
        if len(self._queue) == 1:
            self.doWrite()

    def doWrite(self) -> None:
        """
        See L{IWriteDescriptor}.
        """
        while self._queue:
            message, descriptors = self._queue[0]
            try:
                socket.send_fds(self._channel, [message], descriptors)
            except BlockingIOError:
                self._reactor.addWriter(self)
                return
            except OSError as e:
                # Dead, as processEnded is about to tell; or too many descriptors are under way.
                self._unsent(message, str(e))
            for descriptor in descriptors:
                os.close(descriptor)
            self._queue.popleft()
        self._reactor.removeWriter(self)

    def _unsent(self, message: bytes, reason: str) -> None:
        kind, slot, _, _ = decode(message)
        session = self.sessions.get(slot)
        if kind is Kind.LINK and session is not None and self.alive:
            log.error("A worker cannot be given a session: {reason}", reason=reason)
            self._reactor.callLater(0, self._failed, session)

    def _failed(self, session: WorkedSession) -> None:
        if not session.isOver:
            self.finish(session, Outcome.FAILED)

    def doRead(self) -> None:
        """
        See L{IReadDescriptor}.
        """
        while self.alive:
            try:
                message = self._channel.recv(MAX_MESSAGE)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                # It is gone: processEnded says how.
                self._reactor.removeReader(self)
                return
            kind, slot, _, _ = decode(message)
            session = self.sessions.get(slot)
            if session is not None:
                self.finish(session, OUTCOMES[kind])

    def processEnded(self, reason: Failure) -> None:
        """
        The process is gone, and all its connections were reset by that.
        """
        expected = self._channel.fileno() < 0
        self.alive = False
        self.close()
        for session in list(self.sessions.values()):
            self.finish(session, Outcome.FAILED)
        self._died(self, None if expected else reason.getErrorMessage())

    def close(self) -> None:
        """
        Let go of the process: it ends when it notices.
        """
        if self._channel.fileno() < 0:
            return
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._channel.close()
        while self._queue:
            for descriptor in self._queue.popleft()[1]:
                os.close(descriptor)

    def fileno(self) -> int:
        """
        See L{IReadDescriptor}.
        """
        return self._channel.fileno()

    def connectionLost(self, reason: Failure) -> None:
        """
        See L{IReadDescriptor}: the reactor is done.
        """
        self.close()

    def logPrefix(self) -> str:
        """
        See L{IReadDescriptor}.
        """
        return "worker"


def _importPath() -> str:
    """
    Where a worker finds this package.
    """
    return str(Path(xmppbytes.__file__).parent.parent)
