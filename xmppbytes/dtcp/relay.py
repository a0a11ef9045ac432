"""
The DTCP relay, after the proposal of Dave Smith to standards-jig, 12 December 2002: TCP connections that
say CREATE and CONNECT.

It shares the rendezvous, the sessions and the limits of the SOCKS5 proxy. There is no activation: as soon
as both parties are there they hear OK, and their bytes pass uninterpreted.
"""

from dataclasses import dataclass
from hashlib import sha256

from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.jid import InvalidFormat
from zope.interface import implementer

from xmppbytes.core.acceptingfactory import AcceptingFactory
from xmppbytes.core.damper import Undamped
from xmppbytes.core.deadlines import Deadlines
from xmppbytes.core.handshake import HandshakeProtocol
from xmppbytes.core.leg import LegKind
from xmppbytes.core.origin import originOf
from xmppbytes.core.pairing import Rendezvous
from xmppbytes.core.sessions import Parties
from xmppbytes.dtcp.tickets import Tickets
from xmppbytes.errors import BytestreamError, KeyTaken, LimitReached, Refused
from xmppbytes.interfaces import IAccessPolicy, ILeg
from xmppbytes.jids import prepareJID
from xmppbytes.wire.dtcprelay import MAX_REQUEST, Answer, Request, RequestParser, Verb

_PARTIES = 2


@dataclass(frozen=True, slots=True)
class ClaimedParties(Parties):
    """
    Parties of an open relay. Anybody may name anybody as the initiator, so it is not the initiator whose
    limit counts.

    @ivar origin: where the connection of the initiator comes from.
    """

    origin: str

    @property
    def account(self) -> str:
        """
        See L{Parties}.
        """
        return self.origin


class DTCPRelay:
    """
    Pairs a CREATE with the CONNECT of the same key and JIDs.
    """

    def __init__(
        self,
        rendezvous: Rendezvous,
        access: IAccessPolicy,
        tickets: Tickets,
        open: bool = False,
        damper: Undamped | None = None,
    ) -> None:
        """
        @param rendezvous: where the parties wait; shared with the SOCKS5 proxy.
        @param access: who may be an initiator. May be replaced at any time.
        @param tickets: what was given out over XMPP.
        @param open: accept a CREATE without a ticket: anybody may say to be anybody.
        @param damper: writes the lines about who was refused; C{None}: each of them.
        """
        self.damper = damper or Undamped()
        self.access = access
        self.rendezvous = rendezvous
        self.tickets = tickets
        self._open = open

    def join(self, leg: "RelayProtocol", request: Request) -> None:
        """
        Give a connection its place; begin to relay when the other one is there.

        @raise BytestreamError: when it has none.
        """
        parties = _partiesOf(request)
        key = _keyOf(parties)
        waiting = self.rendezvous.legs(key)
        if request.verb is Verb.CREATE:
            leg.proved = self._checkCreate(request.key, parties)
        elif not waiting and not self.tickets.isOutstanding(request.key):
            raise Refused("nobody has created a connection of this key and these JIDs")
        if any(isinstance(other, RelayProtocol) and other.verb is request.verb for other in waiting):
            raise KeyTaken(f"there is a {request.verb.name} of this key already")
        leg.verb, leg.parties = request.verb, parties
        self.rendezvous.join(key, leg)
        if len(waiting) + 1 == _PARTIES:
            self._begin(key, parties)

    def _checkCreate(self, key: bytes, parties: Parties) -> bool:
        """
        @return: whether the initiator has proved to be who it says.
        """
        if not self.access.permits(prepareJID(parties.requester)):
            raise Refused(f"{parties.requester} may not use this relay")
        proved = self.tickets.redeem(key, parties.requester)
        if not proved and not self._open:
            raise Refused(f"{parties.requester} has no ticket for this CREATE (any more)")
        return proved

    def _begin(self, key: bytes, parties: Parties) -> None:
        legs = self.rendezvous.legs(key)
        sessions = self.rendezvous.sessions
        for leg in legs:
            assert isinstance(leg, RelayProtocol)
            if leg.verb is Verb.CREATE and not leg.proved:
                parties = ClaimedParties(
                    parties.requester, parties.target, parties.sid, originOf(leg.address)
                )
        try:
            if sessions.findRequest(parties.requester, parties.sid) is not None:
                # Of SOCKS5, whose sids are free text: the activation would be taken for a repetition.
                raise KeyTaken(f"{parties.requester} runs a bytestream of this name already")
            sessions.check(parties)
        except (KeyTaken, LimitReached) as e:
            for leg in legs:
                leg.close(str(e))
            return
        for leg in legs:
            assert isinstance(leg, RelayProtocol)
            leg.sendNow(Answer.OK.toBytes())
        self.rendezvous.activate(key, parties)


def _partiesOf(request: Request) -> Parties:
    """
    Prepare the JIDs of a request. The key is a secret: the log gets a part of a hash instead.
    """
    try:
        initiator, target = prepareJID(request.initiator).full(), prepareJID(request.target).full()
    except InvalidFormat as e:
        raise Refused(f"one of its JIDs is none: {e}") from e
    named = b"\0".join((request.key, initiator.encode("utf-8"), target.encode("utf-8")))
    return Parties(initiator, target, f"dtcp {sha256(named).hexdigest()}")


def _keyOf(parties: Parties) -> bytes:
    """
    Name a connection in the rendezvous, where SOCKS5 has its names of 40 hexadecimal digits.
    """
    return parties.sid.encode("ascii")


@implementer(ILeg)
class RelayProtocol(HandshakeProtocol):
    """
    A connection to the relay; once its request is granted, a leg.

    @ivar verb: what it asked for.
    @ivar parties: the parties that it has named.
    @ivar proved: whether it had a ticket.
    """

    log = Logger()
    maximum = MAX_REQUEST
    kind = LegKind.STREAM
    ready = True
    verb: Verb | None = None
    parties: Parties | None = None
    proved = False

    def __init__(self, relay: DTCPRelay, deadlines: Deadlines[HandshakeProtocol]) -> None:
        """
        @param relay: where it wants a place.
        @param deadlines: limits the time until its request is complete.
        """
        super().__init__(RequestParser(), deadlines)
        self._relay = relay

    def handshakeStarted(self) -> None:
        """
        Be counted; one connection too many is closed at once.
        """
        self.admitTo(self._relay.rendezvous)

    def messageReceived(self, message: Request) -> None:
        """
        See L{HandshakeProtocol}.
        """
        self.complete()
        try:
            self._relay.join(self, message)
        except BytestreamError as e:
            self._refuse(e)
            self.abandon()
            self.transport.loseConnection()

    def handshakeFailed(self, error: BytestreamError) -> None:
        """
        See L{HandshakeProtocol}.
        """
        self._refuse(error)

    def _refuse(self, reason: BytestreamError) -> None:
        self._relay.rendezvous.leave(self)
        self._relay.damper.info(
            self.log,
            originOf(self.address),
            "The relay refused {address}: {reason}",
            address=self.address,
            reason=reason,
        )
        self.transport.write(Answer.ERROR.toBytes())

    def speaksFor(self, parties: Parties) -> bool:
        """
        See L{ILeg}.
        """
        # The sid is a hash of all that was named.
        return self.parties is not None and self.parties.sid == parties.sid

    def close(self, reason: str) -> None:
        """
        See L{ILeg}.
        """
        self._relay.rendezvous.leave(self)
        self.abandon()
        self._relay.damper.info(
            self.log,
            originOf(self.address),
            "Closed {address}, which was waiting: {reason}",
            address=self.address,
            reason=reason,
        )
        self.transport.write(Answer.ERROR.toBytes())
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See L{HandshakeProtocol}.
        """
        self._relay.rendezvous.leave(self)
        super().connectionLost(reason)


class RelayFactory(AcceptingFactory):
    """
    Makes the connections of a relay, which join a L{DTCPRelay}.
    """

    protocol = RelayProtocol
