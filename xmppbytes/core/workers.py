"""
Relaying in processes of their own: activated pairs are handed to workers, by descriptor passing.

The parent keeps the handshakes, the limits and the records; L{xmppbytes.core.worker} moves the bytes. A
worker that dies takes its sessions with it (their connections are reset), is logged and replaced.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from zope.interface import implementer

from xmppbytes.core.outcome import Outcome
from xmppbytes.core.rawsocket import closeSocket
from xmppbytes.core.takeover import PairTakeover, acceptable
from xmppbytes.core.worker import Kind, encode
from xmppbytes.core.workerprocess import WorkedSession, WorkerProcess
from xmppbytes.interfaces import ILeg, IRelayedSession, IRelayEngine

# How long to wait before a worker that died is replaced, in seconds: one that cannot even start is not
# to keep the machine busy.
RESTART_DELAY = 1.0

log = Logger()


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
        # Later: nobody is told of the end of a session before he knows it.
        taken = partial(self._reactor.callLater, 0, self._taken, worker, session, rate, early)
        PairTakeover(taken).begin(first, second)
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
