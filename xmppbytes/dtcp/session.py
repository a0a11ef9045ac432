"""
The life of one DTCP negotiation: XEP-0046 sections 3.1 to 3.3, without sockets, clocks and stanzas.

What happens goes in as method calls, what is to be done comes out as actions, in order. Both sides
connect to each other, maybe over several connections at once; exactly one of them must survive. The
rule that makes both agree is that only the requester decides:

    - the target answers every right key, and waits for what the requester makes of it: an C{ok:KEY}
      on a connection that the target made, an ack on one that the requester made;
    - the requester gives either of them on one connection only, once.

So the first C{ok:KEY} or ack that the target gets tells it the choice, and there is no second.

A C{key} may reach the requester before the iq-result does: it is parked until the target's own key,
which belongs in the answer, is known.

A side has given up when none of the hosts that it was told is left to try; it still serves. The
negotiation has failed when both have.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from hmac import compare_digest
from typing import TypeAlias

from xmppbytes.errors import BytestreamError, NotReachable

Connection: TypeAlias = Hashable

# What an iq-error that follows the negotiation's beginning can say (section 3.2, and libpsi of 2002).
REJECTED = 403
GAVE_UP = 503


class Role(Enum):
    """
    Who sent the iq-set.
    """

    REQUESTER = "requester"
    TARGET = "target"


class State(Enum):
    """
    How far a negotiation is.
    """

    ASKED = "the other side has not answered yet"
    RACING = "both sides connect"
    CONNECTED = "a connection was chosen"
    FAILED = "there will be none"


@dataclass(frozen=True, slots=True)
class SendKey:
    """
    Answer C{ok:} with the other side's key on a connection that we serve.

    @ivar final: the connection is established by this; otherwise wait for the ack.
    """

    connection: Connection
    key: bytes
    final: bool


@dataclass(frozen=True, slots=True)
class Refuse:
    """
    Answer C{error} to a key.
    """

    connection: Connection
    reason: str


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """
    Send the requester's last word, C{ok}.
    """

    connection: Connection


@dataclass(frozen=True, slots=True)
class Close:
    """
    Close a connection: it is not the one.
    """

    connection: Connection
    reason: str


@dataclass(frozen=True, slots=True)
class Establish:
    """
    This connection is the bytestream. Everything else is to be closed, nothing more to be tried.
    """

    connection: Connection


@dataclass(frozen=True, slots=True)
class Tell:
    """
    Send the iq-error with the other side's key.
    """

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Fail:
    """
    There will be no connection. Everything is to be closed, nothing more to be tried.
    """

    error: BytestreamError


Action: TypeAlias = SendKey | Refuse | Acknowledge | Close | Establish | Tell | Fail


class Session:
    """
    One negotiation, seen from one side.

    @ivar key: ours, by which the other side refers to this negotiation.
    @ivar peerKey: the other side's; empty while unknown.
    """

    def __init__(self, role: Role, key: bytes, offered: int) -> None:
        """
        @param key: a new random key.
        @param offered: how many places (hosts and relays) the other side gets to know from us.
        """
        self.role = role
        self.key = key
        self.peerKey = b""
        self.state = State.ASKED
        # Who has nowhere to connect to has given up, and does not say so (section 3.2).
        self._peerGaveUp = offered == 0
        self._peerWhy = "it had no host of ours to connect to"
        self._gaveUp = False
        self._why = ""
        self._mayTry = False
        self._choseTheirs = False
        self._serving: dict[Connection, None] = {}

    def peerKnown(self, key: bytes, places: int) -> list[Action]:
        """
        The other side's key and places are known now: from its iq-result, or from its iq-set.

        @param places: how many of its hosts and relays we shall try.
        """
        self.peerKey = key
        self._mayTry = places > 0
        if self.state is State.FAILED:
            # We were cancelled before the answer came, and the other side waits.
            return [Tell(REJECTED, "The requester does not want the connection any more.")]
        self.state = State.RACING
        if not places:
            self._gaveUp, self._why = True, "the other side cannot be reached directly"
        actions: list[Action] = []
        for connection in list(self._serving):
            if self.state is State.RACING:
                actions += self._grant(connection)
        return actions or self._checkHope()

    def keyPresented(self, connection: Connection) -> list[Action]:
        """
        The other side has connected to us, and knows our key.
        """
        if self.state is State.ASKED:
            self._serving[connection] = None
            return []
        if self.state is not State.RACING:
            return [Refuse(connection, "this key is used up")]
        self._serving[connection] = None
        return self._grant(connection)

    def _grant(self, connection: Connection) -> list[Action]:
        if self.role is Role.TARGET:
            return [SendKey(connection, self.peerKey, final=False)]
        self._choseTheirs = True
        return [SendKey(connection, self.peerKey, final=True), *self._choose(connection)]

    def ackReceived(self, connection: Connection) -> list[Action]:
        """
        On a connection that we serve and have answered came the requester's last word.
        """
        if self.state is not State.RACING or connection not in self._serving:
            return [Close(connection, "it was acknowledged too late")]
        return self._choose(connection)

    def keyReturned(self, connection: Connection, key: bytes) -> list[Action]:
        """
        Our own attempt got C{ok:} with a key that should be ours.
        """
        if not compare_digest(key, self.key):
            return [Close(connection, "whoever is there does not know our key")]
        if self.state is not State.RACING:
            return [Close(connection, "another connection was chosen")]
        if self.role is Role.TARGET:
            return self._choose(connection)
        return [Acknowledge(connection), *self._choose(connection)]

    def _choose(self, chosen: Connection) -> list[Action]:
        self.state = State.CONNECTED
        return [*self._closeServing("another connection was chosen", chosen), Establish(chosen)]

    def servedLost(self, connection: Connection) -> None:
        """
        A connection that we serve is gone.
        """
        self._serving.pop(connection, None)

    def triesFailed(self, why: str) -> list[Action]:
        """
        None of the other side's places is left to try.
        """
        if self.state is not State.RACING:
            return []
        self._gaveUp, self._why = True, why
        actions: list[Action] = []
        if self._mayTry:
            actions.append(Tell(GAVE_UP, "Could not connect to any of the hosts."))
        return actions + self._checkHope()

    def peerGaveUp(self, why: str) -> list[Action]:
        """
        The other side says that it has no place of ours left to try.
        """
        self._peerGaveUp, self._peerWhy = True, why
        if self._choseTheirs:
            # A target gives up when its connections are gone: so is the one that we chose.
            return [Tell(REJECTED, "The connection that was chosen is lost.")]
        return self._checkHope() if self.state is State.RACING else []

    def _checkHope(self) -> list[Action]:
        if not (self._gaveUp and self._peerGaveUp):
            return []
        return self._fail(
            NotReachable(
                f"neither side could connect to the other: here {self._why}; there {self._peerWhy}. "
                "A relay, or a port that is forwarded, would help"
            )
        )

    def ended(self, error: BytestreamError, tell: int | None = None, text: str = "") -> list[Action]:
        """
        The negotiation is over: refused, cancelled, or out of time.

        @param error: why.
        @param tell: the code to tell the other side, if it does not know.
        @param text: the words that go with the code.
        """
        if self.state in (State.CONNECTED, State.FAILED):
            return []
        actions: list[Action] = []
        if tell is not None and self.peerKey:
            actions.append(Tell(tell, text))
        return actions + self._fail(error)

    def _fail(self, error: BytestreamError) -> list[Action]:
        self.state = State.FAILED
        return [*self._closeServing("the negotiation has failed"), Fail(error)]

    def _closeServing(self, reason: str, but: Connection = None) -> list[Action]:
        others = [connection for connection in self._serving if connection != but]
        self._serving.clear()
        return [Close(connection, reason) for connection in others]
