"""
Receiving files: answers every offer, and keeps the transfers that come of it.
"""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from xmppbytes.filetransfer.acceptor import IFileAcceptor, IncomingFile
from xmppbytes.filetransfer.incoming import Incoming
from xmppbytes.filetransfer.si import StreamInitiationHandler
from xmppbytes.filetransfer.stanzas import Acceptance, Initiation

# Seconds that the application, which may have to ask a person, has to decide: less than the sender's
# patience, so that it learns that nobody is there.
DECISION_TIMEOUT = 240.0


class FileReceiving:
    """
    Answers the offers that come to a stream manager.
    """

    def __init__(
        self,
        clock: IReactorTime,
        initiation: StreamInitiationHandler,
        acceptor: IFileAcceptor,
        decisionTimeout: float = DECISION_TIMEOUT,
    ) -> None:
        """
        @param clock: an C{IReactorTime}.
        @param initiation: whose offers are answered from now on.
        @param acceptor: decides.
        @param decisionTimeout: seconds after which an offer that was not decided about is declined.
        """
        self._timeout = decisionTimeout
        self._clock = clock
        self._initiation = initiation
        self._acceptor = acceptor
        self._running: set[Incoming] = set()
        initiation.decide = self._decide

    def _decide(self, sender: str, target: str, initiation: Initiation) -> "Deferred[Acceptance]":
        transfer = Incoming(self._clock, self._initiation, self._acceptor, sender, initiation)
        self._running.add(transfer)
        transfer.ended.addBoth(lambda _: self._running.discard(transfer))
        return transfer.decide(self._timeout)

    def cancel(self, incoming: IncomingFile, reason: str) -> None:
        """
        End one transfer, telling the sender. Does nothing when it is over.

        @param reason: why, for the sender.
        """
        for transfer in list(self._running):
            if transfer.incoming is incoming:
                transfer.cancel(reason)

    def stop(self, reason: str) -> None:
        """
        End all transfers, telling the senders, and refuse all offers from now on.

        @param reason: why, for them.
        """
        self._initiation.decide = None
        for transfer in list(self._running):
            transfer.cancel(reason)
