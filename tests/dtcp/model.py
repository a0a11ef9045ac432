"""
A model of two DTCP sessions and the network between them, in which everything may happen in any order
that a network allows: stanzas in one direction, and bytes in one direction of a connection, keep their
order; nothing else does.
"""

from dataclasses import dataclass, field
from typing import Any

from xmppbytes.dtcp.session import (
    Acknowledge,
    Close,
    Establish,
    Fail,
    Refuse,
    Role,
    SendKey,
    Session,
    State,
    Tell,
)
from xmppbytes.errors import BytestreamError

CLOSED = "closed"
Move = tuple[Any, ...]


@dataclass
class Link:
    """
    A TCP connection, or an attempt at one.
    """

    name: str
    maker: Role
    connected: bool = False
    queues: dict[Role, list[Any]] = field(default_factory=lambda: {Role.REQUESTER: [], Role.TARGET: []})
    openAt: dict[Role, bool] = field(default_factory=lambda: {Role.REQUESTER: True, Role.TARGET: True})
    decided: bool = False
    broken: bool = False


class Side:
    """
    One party: its session, and what a driver would do with the session's actions.
    """

    def __init__(self, world: "World", role: Role, key: bytes, offered: int) -> None:
        self.world = world
        self.role = role
        self.session = Session(role, key, offered)
        self.untried = 0
        self.trying: list[str] = []
        self.toldExhausted = False
        self.chosen: list[str] = []
        self.failures: list[BytestreamError] = []

    @property
    def peer(self) -> Role:
        return Role.TARGET if self.role is Role.REQUESTER else Role.REQUESTER

    @property
    def over(self) -> bool:
        return bool(self.chosen or self.failures)

    def begin(self, key: bytes, places: int) -> None:
        self.untried = places if not self.over else 0
        self.do(self.session.peerKnown(key, places))

    def do(self, actions: list[Any]) -> None:
        for action in actions:
            self.perform(action)
        if (
            not self.over
            and self.session.state is State.RACING
            and not self.untried
            and not self.trying
            and not self.toldExhausted
        ):
            self.toldExhausted = True
            self.do(self.session.triesFailed("all refused"))

    def perform(self, action: Any) -> None:
        world = self.world
        if isinstance(action, SendKey):
            world.send(action.connection, self.peer, ("ok", action.key))
            world.links[action.connection].decided |= action.final
        elif isinstance(action, Refuse):
            world.send(action.connection, self.peer, ("error",))
        elif isinstance(action, Acknowledge):
            world.send(action.connection, self.peer, ("ack",))
            world.links[action.connection].decided = True
        elif isinstance(action, Close):
            world.close(action.connection, self.role)
        elif isinstance(action, Establish):
            self.chosen.append(action.connection)
            self.stopTrying(action.connection)
        elif isinstance(action, Tell):
            world.stanzas[self.peer].append(("told", action.code))
        elif isinstance(action, Fail):
            self.failures.append(action.error)
            self.stopTrying(None)

    def stopTrying(self, but: str | None) -> None:
        self.untried = 0
        for name in list(self.trying):
            if name != but:
                self.world.close(name, self.role)

    def lost(self, name: str) -> None:
        if name in self.trying:
            self.trying.remove(name)
        self.session.servedLost(name)
        self.do([])

    def heard(self, name: str, message: Any) -> None:
        if message == CLOSED:
            self.world.links[name].openAt[self.role] = False
            self.lost(name)
        elif message[0] == "key":
            assert message[1] == self.session.key
            self.do(self.session.keyPresented(name))
        elif message[0] == "ok":
            self.do(self.session.keyReturned(name, message[1]))
        elif message[0] == "ack":
            self.do(self.session.ackReceived(name))
        elif message[0] == "error":
            self.world.close(name, self.role)

    def stanza(self, stanza: Any) -> None:
        if stanza[0] == "told" and stanza[1] == 503:
            self.do(self.session.peerGaveUp("nobody was reached"))
        elif stanza[0] == "told":
            self.do(self.session.ended(BytestreamError("told so")))
        elif stanza[0] == "set":
            self.world.stanzas[self.peer].append(("result",))
            self.begin(self.world.keys[self.peer], self.world.places[self.peer])
        elif stanza[0] == "result":
            self.begin(self.world.keys[self.peer], self.world.places[self.peer])


class World:
    """
    Both parties. L{moves} tells what may happen next, L{make} makes it happen.
    """

    keys = {Role.REQUESTER: b"c7b5ea3f", Role.TARGET: b"a1b2c3d4"}

    def __init__(self, placesOfRequester: int, placesOfTarget: int, faults: bool = True) -> None:
        """
        @param faults: attempts may fail, and connections break before they are chosen.
        """
        self.faults = faults
        self.timedOut = False
        self.places = {Role.REQUESTER: placesOfRequester, Role.TARGET: placesOfTarget}
        self.links: dict[str, Link] = {}
        self.stanzas: dict[Role, list[Any]] = {Role.REQUESTER: [], Role.TARGET: [("set",)]}
        self.sides = {role: Side(self, role, self.keys[role], self.places[role]) for role in Role}

    def moves(self) -> list[Move]:
        """
        What may happen next.
        """
        moves: list[Move] = [("stanza", role) for role in Role if self.stanzas[role]]
        moves += [("try", role) for role in Role if self.sides[role].untried]
        for link in self.links.values():
            if not link.connected:
                if link.name in self.sides[link.maker].trying:
                    moves.append(("connect", link.name))
                    moves += [("fail", link.name)] * self.faults
                continue
            moves += [("deliver", link.name, role) for role in Role if link.queues[role]]
            if self.faults and not (link.decided or link.broken) and all(link.openAt.values()):
                moves.append(("break", link.name))
        if not moves:
            moves = [("timeOut", role) for role in Role if not self.sides[role].over]
        return moves

    def make(self, move: Move) -> None:
        """
        Let something happen.
        """
        getattr(self, f"_{move[0]}")(*move[1:])
        self.check()

    def check(self) -> None:
        """
        What is true at any moment.
        """
        chosen = {name for side in self.sides.values() for name in side.chosen}
        assert len(chosen) <= 1, f"two connections were chosen: {chosen}"
        assert sum(link.decided for link in self.links.values()) <= 1
        for side in self.sides.values():
            assert len(side.chosen) + len(side.failures) <= 1, "it ended twice"

    def finished(self) -> None:
        """
        What is true when nothing can happen any more.
        """
        requester, target = self.sides[Role.REQUESTER], self.sides[Role.TARGET]
        assert requester.over and target.over, "somebody waits for ever"
        if any(link.broken and link.decided for link in self.links.values()):
            # The requester has chosen a connection before it could know that it had just broken: then
            # the target cannot agree, whatever they do.
            assert target.failures, "the target has another connection"
            return
        assert not self.timedOut, "somebody waited in vain"
        assert requester.chosen == target.chosen, "they disagree"
        for link in self.links.values():
            if link.connected and link.name not in requester.chosen:
                assert not any(link.openAt.values()), f"{link.name} was left open"
        if requester.chosen:
            assert all(self.links[requester.chosen[0]].openAt.values()), "the chosen one was closed"

    def state(self) -> str:
        """
        Everything that decides what can happen from here on.
        """
        parts: list[Any] = [self.stanzas[role] for role in Role]
        for side in self.sides.values():
            session = side.session
            private = [session._peerGaveUp, session._gaveUp, list(session._serving)]
            parts.append([session.state, private, side.untried, side.trying, side.chosen, len(side.failures)])
        parts += [
            [link.name, link.connected, link.queues, link.openAt, link.decided, link.broken]
            for link in self.links.values()
        ]
        return repr(parts)

    def send(self, name: str, to: Role, message: Any) -> None:
        link = self.links[name]
        if link.broken:
            return
        if all(link.openAt[role] for role in Role if role is not to):
            link.queues[to].append(message)

    def close(self, name: str, role: Role) -> None:
        link = self.links[name]
        side = self.sides[role]
        if link.openAt[role]:
            link.openAt[role] = False
            link.queues[role].clear()
            if link.connected and not link.broken:
                link.queues[side.peer].append(CLOSED)
            side.lost(name)

    def _stanza(self, role: Role) -> None:
        self.sides[role].stanza(self.stanzas[role].pop(0))

    def _try(self, role: Role) -> None:
        side = self.sides[role]
        side.untried -= 1
        name = f"{role.value} {side.untried}"
        self.links[name] = Link(name, role)
        side.trying.append(name)

    def _connect(self, name: str) -> None:
        link = self.links[name]
        link.connected = True
        side = self.sides[link.maker]
        self.send(name, side.peer, ("key", side.session.peerKey))

    def _fail(self, name: str) -> None:
        self.close(name, self.links[name].maker)

    def _deliver(self, name: str, role: Role) -> None:
        link = self.links[name]
        message = link.queues[role].pop(0)
        if link.openAt[role]:
            self.sides[role].heard(name, message)

    def _break(self, name: str) -> None:
        link = self.links[name]
        link.broken = True
        for role in Role:
            link.queues[role] = [CLOSED]

    def _timeOut(self, role: Role) -> None:
        self.timedOut = True
        side = self.sides[role]
        side.do(side.session.ended(BytestreamError("out of time"), 503, "out of time"))
