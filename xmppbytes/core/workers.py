"""
Relaying in processes of their own: activated pairs are handed to workers, by descriptor passing.

The parent keeps the handshakes, the limits and the records; L{xmppbytes.core.worker} moves the bytes. A
worker that dies takes its sessions with it (their connections are reset), is logged and replaced.
"""

import mmap
import os
import socket
import sys
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor, IWriteDescriptor
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

import xmppbytes
from xmppbytes.core.outcome import Outcome
from xmppbytes.core.splice import closeSocket
from xmppbytes.core.takeover import PairTakeover, acceptable
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
from xmppbytes.interfaces import ILeg, IRelayedSession, IRelayEngine

# How long to wait before a worker that died is replaced, in seconds: one that cannot even start is not
# to keep the machine busy.
RESTART_DELAY = 1.0

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


@implementer(IRelayEngine)
class WorkerEngine:
    """
    Relays in worker processes; each new session goes to the one that has the fewest.
    """

    name = "splice in workers"

    def __init__(self, reactor: Any, number: int) -> None:
        """
        @param reactor: provides C{IReactorProcess}, C{IReactorFDSet} and C{IReactorTime}.
        @param number: how many workers there are to be.
        """
        self._reactor = reactor
        self._number = number
        self._restarts: list[IDelayedCall] = []
        self._closing: dict[WorkerProcess, Deferred[None]] = {}
        self.workers: list[WorkerProcess] = []

    def start(self) -> None:
        """
        Start the workers.
        """
        for _ in range(self._number):
            self._startOne()

    def _startOne(self) -> None:
        worker = WorkerProcess(self._reactor, self._died)
        worker.start()
        self.workers.append(worker)
        log.info("Worker {pid} started", pid=worker.pid)

    def _died(self, worker: WorkerProcess, reason: str | None) -> None:
        self.workers.remove(worker)
        gone = self._closing.pop(worker, None)
        if gone is not None:
            gone.callback(None)
        if reason is None:
            return
        log.error("Worker {pid} died ({reason}), and its sessions with it", pid=worker.pid, reason=reason)
        self._restarts.append(self._reactor.callLater(RESTART_DELAY, self._restart))

    def _restart(self) -> None:
        # All wait equally long: the oldest is the one that has fired.
        del self._restarts[0]
        self._startOne()

    def close(self) -> Deferred[Any]:
        """
        End the workers, and the sessions that they still have.

        @return: fires when all processes have ended.
        """
        for restart in self._restarts:
            restart.cancel()
        self._restarts.clear()
        self._closing = {worker: Deferred() for worker in self.workers}
        for worker in self.workers:
            worker.close()
        return DeferredList(list(self._closing.values()))

    def accepts(self, first: ILeg, second: ILeg) -> bool:
        """
        See L{IRelayEngine}.
        """
        return any(worker.hasRoom for worker in self.workers) and acceptable(first, second)

    def link(
        self, first: ILeg, second: ILeg, rate: int | None, ended: Callable[[Outcome], None]
    ) -> IRelayedSession:
        """
        See L{IRelayEngine}.
        """
        able = [worker for worker in self.workers if worker.hasRoom]
        worker = min(able, key=lambda worker: len(worker.sessions))
        session = worker.open(ended)
        early = (first.early, second.early)
        PairTakeover(partial(self._taken, worker, session, rate, early)).begin(first, second)
        return session

    def _taken(
        self,
        worker: WorkerProcess,
        session: WorkedSession,
        rate: int | None,
        early: tuple[bytes, bytes],
        first: int,
        second: int,
    ) -> None:
        descriptors = (first, second)
        if not session.isOver and session.outcome is None and min(descriptors) >= 0:
            worker.send(encode(Kind.LINK, session.slot, rate, early), descriptors)
            return
        for descriptor in descriptors:
            if descriptor >= 0:
                closeSocket(descriptor, finish=False)
        if not session.isOver:
            worker.finish(session, Outcome.BROKEN)


def _importPath() -> str:
    """
    Where a worker finds this package.
    """
    return str(Path(xmppbytes.__file__).parent.parent)
