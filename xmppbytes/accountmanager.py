"""
The stream manager of an account: tells when its stream can be used, and why one has failed or ended.
"""

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from twisted.words.protocols.jabber import xmlstream
from twisted.words.protocols.jabber.jid import JID

from xmppbytes.stream import StreamManager


class ClientManager(StreamManager):
    """
    The stream manager of an account.

    @ivar jid: the full JID that the server gave us; C{None} before the first connection.
    @ivar trouble: why the last stream failed or ended, if it is known.
    """

    jid: JID | None = None
    trouble: Any = None

    @property
    def replaced(self) -> bool:
        """
        Whether the last stream, which was of use, has ended since another client has our address now.
        """
        return self._usable and getattr(self.trouble, "condition", None) == "conflict"

    def __init__(self, factory: Any, reactor: Any) -> None:
        """
        @param factory: makes the streams.
        @param reactor: an C{IReactorTime}.
        """
        super().__init__(factory, reactor=reactor)
        self._awaiting: list[Deferred[JID]] = []
        self._usable = False

    def whenReady(self) -> "Deferred[JID]":
        """
        Wait for the stream that is being set up.

        @return: fires with our full JID; fails with what went wrong. May be cancelled.
        """
        if self.connected and self.jid is not None:
            return succeed(self.jid)
        ready: Deferred[JID] = Deferred(self._awaiting.remove)
        self._awaiting.append(ready)
        return ready

    def _connected(self, xs: Any) -> None:
        self.trouble = None
        self._usable = False
        xs.addObserver(xmlstream.STREAM_ERROR_EVENT, self._failed)
        super()._connected(xs)

    def _authd(self, xs: Any) -> None:
        self._usable = True
        jid = self.jid = xs.thisEntity = xs.authenticator.jid
        super()._authd(xs)
        awaiting, self._awaiting = self._awaiting, []
        for ready in awaiting:
            ready.callback(jid)

    def initializationFailed(self, reason: Failure) -> None:
        """
        See L{StreamManager}: such a stream is of no use.
        """
        self._failed(reason)
        if self.xmlstream is not None:
            self.xmlstream.sendFooter()
            self.xmlstream.transport.loseConnection()

    def _disconnected(self, reason: Any) -> None:
        self._failed(reason)
        super()._disconnected(reason)
        awaiting, self._awaiting = self._awaiting, []
        for ready in awaiting:
            ready.errback(self.trouble)

    def _failed(self, reason: Any) -> None:
        if self.trouble is None:
            self.trouble = getattr(reason, "value", reason)
