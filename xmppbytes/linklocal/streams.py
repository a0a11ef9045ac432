"""
The streams with everybody: one for each peer, opened when needed or taken when somebody calls, closed when it
is replaced or nobody is there any more.
"""

from collections import Counter
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.xish.domish import Element

from xmppbytes.core.quota import Quota
from xmppbytes.core.throttle import TokenBucket
from xmppbytes.errors import BytestreamError, NotReachable
from xmppbytes.linklocal.caller import Caller
from xmppbytes.linklocal.connection import BYTES_PER_SECOND
from xmppbytes.linklocal.discovery import Discovery
from xmppbytes.linklocal.identify import Identifier
from xmppbytes.linklocal.names import foldText
from xmppbytes.linklocal.pace import LineDamper
from xmppbytes.linklocal.safety import Security, safetyText
from xmppbytes.linklocal.stream import PeerStream

# How many connections may be open, in all and with one address.
MAX_STREAMS = 256
MAX_STREAMS_PER_ADDRESS = 8
# How many of them one address, and all, may open a minute.
MAX_NEW_PER_ADDRESS = 120
MAX_NEW = 6000


class PeerStreams(Factory):  # type: ignore[misc]
    """
    All streams of one person; the factory of those that others open. What comes in is a subclass's business.

    @ivar listener: has C{streamChanged(stream)}, called when a stream can be used, and
        C{streamClosed(stream, reason)}.
    """

    log = Logger()
    noisy = False

    def __init__(self, reactor: Any, discovery: Discovery, security: Security) -> None:
        """
        @param reactor: connects, tells the time.
        @param discovery: knows who is where.
        @param security: how streams are secured.
        """
        self._reactor = reactor
        self._discovery = discovery
        self.security = security
        security.pins.inUse = lambda name: self.stream(name) is not None
        self.listener: Any = None
        self.description: list[Element] = []
        self._identifier = Identifier(reactor, discovery)
        self._caller = Caller(reactor, discovery, self._makeOutgoing)
        self._streams: dict[str, PeerStream] = {}
        self._all: set[PeerStream] = set()
        self._perAddress: Counter[str] = Counter()
        self._buckets: dict[str, TokenBucket] = {}
        self._calls: dict[str, list[Deferred[PeerStream]]] = {}
        self._calling: dict[str, Deferred[Any]] = {}
        self._lines = LineDamper(reactor)
        self._accepting = Quota(reactor.seconds, MAX_NEW_PER_ADDRESS, MAX_NEW)
        self._stopped: list[Deferred[None]] = []

    def closeAll(self, reason: str) -> "Deferred[None]":
        """
        Close all streams.

        @return: fires when they are closed.
        """
        done: Deferred[None] = Deferred()
        self._stopped.append(done)
        for calling in list(self._calling.values()):
            calling.cancel()
        for key in list(self._calls):
            self._answer(key, Failure(NotReachable(reason)))
        for stream in list(self._all):
            stream.close(reason)
        self._checkStopped()
        return done

    def stream(self, name: str) -> PeerStream | None:
        """
        Give the stream with somebody that can be used right now.
        """
        return self._streams.get(foldText(name))

    def streamTo(self, name: str) -> "Deferred[PeerStream]":
        """
        Give the stream with somebody, opening one if there is none.

        @return: fails with a L{BytestreamError}. Cancelling it leaves the stream to others.
        """
        key = foldText(name)
        stream = self._streams.get(key)
        waiting: Deferred[PeerStream] = Deferred(lambda one: self._withdraw(key, one))
        if stream is not None and stream.isReady:
            waiting.callback(stream)
            return waiting
        if not self.isOpen:
            return fail(NotReachable("the service is not signed on at present; try again later"))
        if key == foldText(self.ownName()):
            return fail(NotReachable(f"{name} is our own name"))
        waiters = self._calls.setdefault(key, [])
        waiters.append(waiting)
        # Whoever began the call may wait no more, while it still goes on.
        if key not in self._calling:
            calling: Deferred[Any] = self._caller.call(name)
            self._calling[key] = calling
            calling.addCallbacks(lambda made: self._answer(key, made), lambda why: self._answer(key, why))
        return waiting

    def _withdraw(self, key: str, waiting: "Deferred[PeerStream]") -> None:
        if waiting in self._calls.get(key, ()):
            self._calls[key].remove(waiting)

    def _answer(self, key: str, result: Any) -> None:
        self._calling.pop(key, None)
        if isinstance(result, Failure) and result.check(CancelledError):
            return
        if isinstance(result, Failure) and not result.check(BytestreamError):
            self.log.failure("calling {name} failed by our own fault", failure=result, name=key)
            result = Failure(NotReachable("this is our own fault; the log says more"))
        # In the meantime the other side may have called us.
        existing = self._streams.get(key)
        if existing is not None and existing.isReady:
            result = existing
        for waiting in self._calls.pop(key, ()):
            waiting.callback(result)

    def _makeOutgoing(self, name: str) -> PeerStream:
        buddy = self._discovery.roster.get(name)
        stream = PeerStream(self._reactor, self, buddy.name if buddy is not None else name)
        self._all.add(stream)
        return stream

    def buildProtocol(self, addr: IAddress | None) -> PeerStream | None:
        """
        See L{Factory}: somebody calls.
        """
        address = str(getattr(addr, "host", ""))
        isFull = len(self._all) >= MAX_STREAMS or self._perAddress[address] >= MAX_STREAMS_PER_ADDRESS
        if isFull or not self._accepting.admits(address):
            if self._lines.admits(address):
                self.log.warn("{address} has too many connections, or all together: refused", address=address)
            return None
        self._perAddress[address] += 1
        if address not in self._buckets:
            self._buckets[address] = TokenBucket(BYTES_PER_SECOND, self._reactor.seconds)
        stream = PeerStream(self._reactor, self, accepted=address, bucket=self._buckets[address])
        self._all.add(stream)
        # Nobody waits for a stream that somebody else has opened.
        stream.ready.addErrback(lambda failure: failure.trap(BytestreamError) and None)
        return stream

    def dropLost(self) -> None:
        """
        Break off the streams that run over an address which is ours no more: their data goes nowhere, and
        nobody would tell for a long time.
        """
        interfaces = self._discovery.interfaces()
        own = {one for each in interfaces for one in self._discovery.ownAddresses(each.name)}
        for stream in list(self._all):
            if stream.ownAddress and stream.ownAddress not in own:
                stream.abort("the link that it ran over is down")

    def close(self, name: str, reason: str) -> bool:
        """
        Close the stream with somebody.

        @return: whether there was one.
        """
        stream = self._streams.get(foldText(name))
        if stream is not None:
            stream.close(reason)
        return stream is not None

    # What streams tell (IStreamOwner)

    def ownName(self) -> str:
        """
        Our presence name.
        """
        return self._discovery.name

    def features(self) -> list[Element]:
        """
        What is told about us in the stream features: what disco#info would tell.
        """
        return list(self.description)

    def identify(self, address: str, ownAddress: str, claimed: str | None) -> "Deferred[str]":
        """
        Find out who is at the other end.
        """
        return self._identifier.identify(address, ownAddress, claimed)

    def streamReady(self, stream: PeerStream) -> None:
        """
        A stream can be used: it replaces one that is there already.
        """
        key = foldText(stream.peer)
        old = self._streams.get(key)
        self._streams[key] = stream
        link = self._discovery.linkOf(stream.address, stream.ownAddress)
        if link is not None:
            stream.addresses = frozenset(self._discovery.knownAddresses(stream.peer, link))
        if self._lines.admits(stream.peer):
            self.log.info(
                "stream with {peer} ({address}): {safety}",
                peer=stream.peer,
                address=stream.address,
                safety=safetyText(stream),
            )
        if self.listener is not None:
            self.listener.streamChanged(stream)
        if old is not None and old is not stream:
            old.close("a newer stream replaces it")
        if not stream.initiator and key in self._calls and key < foldText(self.ownName()):
            # Both have called each other at once. Of the two streams both sides keep the one that was
            # opened by whose name sorts first.
            calling = self._calling.pop(key)
            self._answer(key, stream)
            calling.cancel()

    @property
    def isOpen(self) -> bool:
        """
        Whether streams may be opened.
        """
        raise NotImplementedError

    def stanzaReceived(self, stream: PeerStream, stanza: Element) -> None:
        """
        A stanza has come.
        """
        raise NotImplementedError

    def peerGone(self, name: str, reason: str) -> None:
        """
        Somebody will not answer any more.
        """
        raise NotImplementedError

    def streamEnded(self, stream: PeerStream, reason: str, clean: bool) -> None:
        """
        A connection is gone.
        """
        self._all.discard(stream)
        if stream.accepted:
            self._perAddress[stream.accepted] -= 1
            if not self._perAddress[stream.accepted]:
                del self._perAddress[stream.accepted], self._buckets[stream.accepted]
        key = foldText(stream.peer)
        if self._streams.get(key) is stream:
            del self._streams[key]
            if self._lines.admits(stream.peer):
                self.log.info("stream with {peer} ended: {reason}", peer=stream.peer, reason=reason)
            if not clean:
                self.peerGone(stream.peer, reason)
                self._discovery.confirm(stream.peer)
            if self.listener is not None:
                self.listener.streamClosed(stream, reason)
        elif not stream.initiator and self._lines.admits(stream.accepted):
            self.log.info("connection from {address} ended: {reason}", address=stream.address, reason=reason)
        self._checkStopped()

    def _checkStopped(self) -> None:
        if not self._all and self._stopped:
            self._lines.stop()
            stopped, self._stopped = self._stopped, []
            for done in stopped:
                done.callback(None)
