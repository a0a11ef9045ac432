"""
The Requester's own StreamHost.
"""

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from xmppbytes.errors import NotReachable
from xmppbytes.interfaces import IHangupWatch
from xmppbytes.s5b.streamhost import MAX_LEGS, MAX_WAITING, LocalOffer, LocalStreamHost
from xmppbytes.testing import MemoryInternet, dribble

HASH, OTHER = "a" * 40, "b" * 40
FIRST, SECOND = "192.0.2.1", "192.0.2.2"


class Party(Protocol):
    """
    A target that connects.
    """

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True


@implementer(IHangupWatch)
class ManualWatch:
    """
    The test says who has gone.
    """

    def __init__(self) -> None:
        self.watched: dict[Any, Any] = {}

    def watch(self, transport: Any, gone: Any) -> None:
        self.watched[transport] = gone

    def unwatch(self, transport: Any) -> None:
        self.watched.pop(transport, None)


class LocalStreamHostTests(SynchronousTestCase):
    """
    L{LocalStreamHost}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.internet = MemoryInternet(self.clock)
        self.machine = self.internet.machine(FIRST, SECOND)
        self.far = self.internet.machine("192.0.2.77")
        self.watch = ManualWatch()
        self.host = LocalStreamHost(self.machine, [5000], lambda reactor: self.watch)

    def open(self, *destinations: str) -> LocalOffer:
        """
        Open an offer.
        """
        return self.successResultOf(self.host.open(destinations or [HASH]))

    def connect(self, destination: str = HASH, address: str = FIRST) -> Party:
        """
        Connect a target and ask for a bytestream.
        """
        party = Party()
        connectProtocol(TCP4ClientEndpoint(self.far, address, 5000), party)
        self.clock.advance(0)
        dribble(party.transport.write, b"\5\1\0" + b"\5\1\0\3\x28" + destination.encode() + b"\0\0")
        self.clock.advance(0)
        return party

    def granted(self, party: Party) -> bool:
        """
        Tell whether a target was let in.
        """
        return party.received[2:4] == b"\5\0"

    def test_granted(self) -> None:
        """
        A target that asks for what is offered is let in, and told so byte by byte as it asked.
        """
        offer = self.open()
        party = self.connect(HASH.upper())
        self.assertEqual(party.received, b"\5\0" + b"\5\0\0\3\x28" + HASH.upper().encode() + b"\0\0")
        self.assertEqual(len(offer.legs), 1)

    def test_notOffered(self) -> None:
        """
        A hash that is not offered is refused.
        """
        self.open()
        party = self.connect(OTHER)
        self.assertEqual(party.received[2:4], b"\5\2")
        self.assertTrue(party.lost)
        self.assertEqual(self.host.waiting, 0)

    def test_eachHash(self) -> None:
        """
        An offer may have several hashes.
        """
        offer = self.open(HASH, OTHER)
        self.connect(HASH)
        self.connect(OTHER)
        self.assertEqual(len(offer.legs), 2)

    def test_onlyWhileOpen(self) -> None:
        """
        The port is open while an offer is, and what connected for it is closed with it.
        """
        offer = self.open()
        self.assertTrue(self.host.listening)
        party = self.connect()
        offer.close()
        offer.close()
        self.clock.advance(0)
        self.assertFalse(self.host.listening)
        self.assertEqual(self.machine.ports, [])
        self.clock.advance(0)
        self.assertTrue(party.lost)
        self.assertEqual((self.host.waiting, self.internet.transports), (0, []))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_silentConnection(self) -> None:
        """
        A connection that says nothing has ten seconds.
        """
        self.open()
        party = Party()
        connectProtocol(TCP4ClientEndpoint(self.far, FIRST, 5000), party)
        self.clock.advance(0)
        self.clock.advance(9.9)
        self.assertEqual(self.host.waiting, 1)
        self.clock.pump([0.2, 0, 0])
        self.assertTrue(party.lost)
        self.assertEqual(self.host.waiting, 0)

    def test_tooManyOfOneOffer(self) -> None:
        """
        A target cannot have any number of connections.
        """
        offer = self.open()
        parties = [self.connect() for _ in range(MAX_LEGS + 1)]
        self.assertEqual(len(offer.legs), MAX_LEGS)
        self.assertEqual([self.granted(party) for party in parties], [True] * MAX_LEGS + [False])

    def test_tooManyInAll(self) -> None:
        """
        Neither can all strangers together.
        """
        self.open()
        for _ in range(MAX_WAITING + 1):
            connectProtocol(TCP4ClientEndpoint(self.far, FIRST, 5000), Party())
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual(self.host.waiting, MAX_WAITING)

    def test_theOnlyOne(self) -> None:
        """
        The only connection is taken at once, and can be used after the offer was closed.
        """
        offer = self.open()
        party = self.connect()
        leg = self.successResultOf(offer.choose([FIRST]))
        offer.close()
        leg.transport.write(b"hello")
        self.clock.advance(0)
        self.assertTrue(party.received.endswith(b"hello"))
        self.assertEqual(self.watch.watched, {})

    def test_nobody(self) -> None:
        """
        Without a connection there is nothing to take.
        """
        self.failureResultOf(self.open().choose([FIRST]), NotReachable)

    def test_closedOnesAreNotMeant(self) -> None:
        """
        Of several connections those that the target closes are not meant.
        """
        offer = self.open()
        self.connect()
        second = self.connect()
        chosen = offer.choose([FIRST])
        self.assertNoResult(chosen)
        first = next(iter(self.watch.watched.values()))
        first()
        self.clock.advance(0.2)
        leg = self.successResultOf(chosen)
        leg.transport.write(b"hello")
        self.clock.advance(0)
        self.assertTrue(second.received.endswith(b"hello"))

    def test_orderOfAddresses(self) -> None:
        """
        Of several that stay open, the one to the address that was offered first is meant: slixmpp
        opens all, and takes the first of the list that works.
        """
        offer = self.open()
        self.connect(address=FIRST)
        meant = self.connect(address=SECOND)
        self.connect(address=SECOND)
        chosen = offer.choose([SECOND, FIRST])
        self.clock.advance(0.2)
        self.successResultOf(chosen).transport.write(b"hello")
        self.clock.advance(0)
        self.assertTrue(meant.received.endswith(b"hello"))

    def test_losersStay(self) -> None:
        """
        The connections that were not chosen stay open until the chosen one ends.
        """
        offer = self.open()
        parties = [self.connect(), self.connect()]
        chosen = offer.choose([FIRST])
        self.clock.advance(0.2)
        leg = self.successResultOf(chosen)
        offer.close()
        self.clock.advance(100)
        self.assertEqual([party.lost for party in parties], [False, False])
        leg.close("done")
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual([party.lost for party in parties], [True, True])
        self.assertEqual((self.host.waiting, self.internet.transports), (0, []))

    def test_cancelChoice(self) -> None:
        """
        A choice that is cancelled leaves the connections to the offer.
        """
        offer = self.open()
        self.connect()
        self.connect()
        chosen = offer.choose([FIRST])
        chosen.cancel()
        self.failureResultOf(chosen, CancelledError)
        offer.close()
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual(self.internet.transports, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
