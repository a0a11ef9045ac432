"""
Tests for L{xmppbytes.dtcp.session}.
"""

from copy import deepcopy
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import TestCase

from tests.dtcp.model import World
from xmppbytes.dtcp.session import (
    GAVE_UP,
    REJECTED,
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
from xmppbytes.errors import NotReachable, Refused

OURS = b"c7b5ea3f"
THEIRS = b"a1b2c3d4"


def explore(placesOfRequester: int, placesOfTarget: int, faults: bool) -> tuple[int, set[str]]:
    """
    Go through every order in which things can happen.

    @return: how many states there are, and which connections were chosen in the end.
    """
    first = World(placesOfRequester, placesOfTarget, faults)
    seen = {first.state()}
    waiting = [first]
    outcomes = set()
    while waiting:
        world = waiting.pop()
        moves = world.moves()
        if not moves:
            world.finished()
            outcomes.add(world.sides[Role.REQUESTER].chosen[0] if world.sides[Role.REQUESTER].chosen else "")
        for move in moves:
            after = deepcopy(world)
            after.make(move)
            if (state := after.state()) not in seen:
                seen.add(state)
                waiting.append(after)
    return len(seen), outcomes


class Race(RuleBasedStateMachine):
    """
    Two sessions and a network that does what it likes.
    """

    @initialize(ofRequester=st.integers(0, 3), ofTarget=st.integers(0, 3), faults=st.booleans())
    def begin(self, ofRequester: int, ofTarget: int, faults: bool) -> None:
        self.world = World(ofRequester, ofTarget, faults)

    @rule(data=st.data())
    def happen(self, data: Any) -> None:
        if moves := self.world.moves():
            self.world.make(data.draw(st.sampled_from(moves)))

    def teardown(self) -> None:
        world = getattr(self, "world", None)
        if world is None:
            return
        while moves := world.moves():
            world.make(next((move for move in moves if move[0] not in ("fail", "break")), moves[0]))
        world.finished()
        if not world.faults and any(world.places.values()):
            assert world.sides[Role.REQUESTER].chosen, "somebody could be reached, and nobody was"


class RaceTests(TestCase):
    """
    Up to three hosts each, connections that fail and break, and any order of it all.
    """

    def test_exactlyOneSurvives(self) -> None:
        """
        Exactly one connection survives, both sides agree on it, everything else is closed.
        """
        run_state_machine_as_test(
            Race,
            settings=settings(
                max_examples=150,
                stateful_step_count=60,
                deadline=None,
                suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
            ),
        )


class InterleavingTests(TestCase):
    """
    All orders of connects, keys, acks, stanzas, failures.
    """

    def test_bothReachableNoFault(self) -> None:
        """
        Both sides can be reached: one of the two connections is chosen, whatever the order, and
        either may be.
        """
        states, outcomes = explore(1, 1, faults=False)
        self.assertGreater(states, 50)
        self.assertEqual(outcomes, {"requester 0", "target 0"})

    def test_bothReachableWithFaults(self) -> None:
        """
        With attempts that fail and connections that break, they agree as well, if only on failure.
        """
        _, outcomes = explore(1, 1, faults=True)
        self.assertEqual(outcomes, {"requester 0", "target 0", ""})

    def test_onlyRequesterReachable(self) -> None:
        """
        Only the requester can be reached, at two hosts: one connection of the target is chosen.
        """
        _, outcomes = explore(2, 0, faults=False)
        self.assertEqual(outcomes, {"target 0", "target 1"})

    def test_onlyTargetReachable(self) -> None:
        """
        Only the target can be reached, at two hosts: one connection of the requester is chosen.
        """
        _, outcomes = explore(0, 2, faults=False)
        self.assertEqual(outcomes, {"requester 0", "requester 1"})

    def test_nobodyReachable(self) -> None:
        """
        Nobody can be reached: both fail.
        """
        self.assertEqual(explore(0, 0, faults=True)[1], {""})


class SessionTests(TestCase):
    """
    Single steps.
    """

    def requester(self, offered: int = 1) -> Session:
        return Session(Role.REQUESTER, OURS, offered)

    def racing(self, role: Role = Role.REQUESTER, offered: int = 1, places: int = 1) -> Session:
        session = Session(role, OURS, offered)
        session.peerKnown(THEIRS, places)
        return session

    def test_keyIsParked(self) -> None:
        """
        A key that overtakes the iq-result waits for it, and is then answered with the other's key.
        """
        session = self.requester()
        self.assertEqual(session.keyPresented("a"), [])
        self.assertEqual(session.keyPresented("b"), [])
        self.assertEqual(
            session.peerKnown(THEIRS, 0),
            [
                SendKey("a", THEIRS, True),
                Close("b", "another connection was chosen"),
                Establish("a"),
            ],
        )

    def test_parkedAndLost(self) -> None:
        """
        A parked connection that is gone before the iq-result is not chosen.
        """
        session = self.requester()
        session.keyPresented("a")
        session.servedLost("a")
        self.assertEqual(session.peerKnown(THEIRS, 1), [])
        self.assertIs(session.state, State.RACING)

    def test_requesterServes(self) -> None:
        """
        The requester's answer to a key is final; no ack is waited for.
        """
        session = self.racing()
        self.assertEqual(session.keyPresented("a"), [SendKey("a", THEIRS, True), Establish("a")])
        self.assertEqual(session.keyPresented("b"), [Refuse("b", "this key is used up")])

    def test_requesterConnects(self) -> None:
        """
        The requester acknowledges the first answer it gets, and closes a second one.
        """
        session = self.racing()
        self.assertEqual(session.keyReturned("a", OURS), [Acknowledge("a"), Establish("a")])
        self.assertEqual(session.keyReturned("b", OURS), [Close("b", "another connection was chosen")])

    def test_targetServes(self) -> None:
        """
        The target answers every right key, and takes the one that is acknowledged.
        """
        session = self.racing(Role.TARGET)
        self.assertEqual(session.keyPresented("a"), [SendKey("a", THEIRS, False)])
        self.assertEqual(session.keyPresented("b"), [SendKey("b", THEIRS, False)])
        self.assertEqual(
            session.ackReceived("b"), [Close("a", "another connection was chosen"), Establish("b")]
        )
        self.assertEqual(session.ackReceived("a"), [Close("a", "it was acknowledged too late")])

    def test_targetConnects(self) -> None:
        """
        The requester's answer is the choice: the target sends no ack.
        """
        session = self.racing(Role.TARGET)
        self.assertEqual(session.keyReturned("a", OURS), [Establish("a")])

    def test_wrongKeyReturned(self) -> None:
        """
        Whoever answers with another key than ours is not the other side.
        """
        session = self.racing()
        (close,) = session.keyReturned("a", THEIRS)
        self.assertIsInstance(close, Close)
        self.assertIs(session.state, State.RACING)

    def test_givingUp(self) -> None:
        """
        With no host left to try the other side is told so, once; we still serve.
        """
        session = self.racing()
        (tell,) = session.triesFailed("refused")
        assert isinstance(tell, Tell)
        self.assertEqual(tell.code, GAVE_UP)
        self.assertEqual(session.keyPresented("a")[0], SendKey("a", THEIRS, True))
        self.assertEqual(session.triesFailed("again"), [])

    def test_bothGaveUp(self) -> None:
        """
        When both have given up there is no hope: the error tells why, on both sides.
        """
        session = self.racing()
        session.triesFailed("192.0.2.1 refused")
        (fail,) = session.peerGaveUp("it could not connect either")
        assert isinstance(fail, Fail)
        self.assertIsInstance(fail.error, NotReachable)
        self.assertIn("192.0.2.1 refused", str(fail.error))
        self.assertIn("it could not connect either", str(fail.error))

    def test_noHostsNoPacket(self) -> None:
        """
        Who was told no host has given up, and need not say so.
        """
        session = self.racing(offered=1, places=0)
        self.assertEqual(session.triesFailed("nothing to try"), [])
        (fail,) = session.peerGaveUp("refused")
        self.assertIsInstance(fail, Fail)

    def test_offeredNothing(self) -> None:
        """
        A side to which no host was offered is taken for one that has given up.
        """
        session = self.racing(offered=0, places=1)
        actions = session.triesFailed("refused")
        self.assertEqual([type(action) for action in actions], [Tell, Fail])

    def test_peerGaveUpEarly(self) -> None:
        """
        A give-up that overtakes the iq-result is not forgotten.
        """
        session = self.requester()
        self.assertEqual(session.peerGaveUp("refused"), [])
        (fail,) = session.peerKnown(THEIRS, 0)
        self.assertIsInstance(fail, Fail)

    def test_choiceWasLost(self) -> None:
        """
        When the target gives up although we have chosen a connection that it made, the connection is
        dead and the target waits for nothing: it is told so.
        """
        session = self.racing()
        session.keyPresented("a")
        (tell,) = session.peerGaveUp("all refused")
        assert isinstance(tell, Tell)
        self.assertEqual(tell.code, REJECTED)

    def test_peerGaveUpAfterOurChoice(self) -> None:
        """
        A target that gives up connecting, while our ack is on its way to it, needs no answer.
        """
        session = self.racing()
        session.keyReturned("a", OURS)
        self.assertEqual(session.peerGaveUp("all refused"), [])

    def test_ended(self) -> None:
        """
        A negotiation that is cancelled tells the other side, closes what it serves, and fails once.
        """
        session = self.racing(Role.TARGET)
        session.keyPresented("a")
        error = Refused("enough")
        self.assertEqual(
            session.ended(error, 403, "Rejected"),
            [Tell(403, "Rejected"), Close("a", "the negotiation has failed"), Fail(error)],
        )
        self.assertEqual(session.ended(error, 403, "Rejected"), [])
        self.assertEqual(session.triesFailed("late"), [])
        self.assertEqual(session.peerGaveUp("late"), [])

    def test_cancelledBeforeTheAnswer(self) -> None:
        """
        When the iq-result comes after we have ended, its sender is told.
        """
        session = self.requester()
        self.assertEqual([type(action) for action in session.ended(Refused("x"), 403, "x")], [Fail])
        (tell,) = session.peerKnown(THEIRS, 2)
        self.assertIsInstance(tell, Tell)
