"""
Connecting to candidates.
"""

from typing import Any

from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.s5b.test_target import FakeStreamHost
from xmppbytes.connecting.policy import AddressPolicy
from xmppbytes.connecting.racing import RaceTiming
from xmppbytes.errors import NotReachable
from xmppbytes.s5b.candidates import Candidate, CandidateConnection, CandidateConnector, routeOf
from xmppbytes.testing import MemoryInternet

HASHES = ("a" * 40, "b" * 40)
HOST = "192.0.2.1"


class Choosy(FakeStreamHost):
    """
    Knows one hash only.
    """

    def __init__(self, known: str) -> None:
        super().__init__(b"")
        self.known = known.encode()

    def dataReceived(self, data: bytes) -> None:
        granted = b"\5\0\0\3\x28" + self.known + b"\0\0"
        self._reply = granted if self.known in data else b"\5\2\0\3\x28" + HASHES[0].encode() + b"\0\0"
        super().dataReceived(data)


class CandidateConnectorTests(SynchronousTestCase):
    """
    L{CandidateConnector}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.internet = MemoryInternet(self.clock)
        self.machine = self.internet.machine(HOST)
        self.made: list[Choosy] = []

    def connect(self, known: str, *destinations: str) -> Any:
        """
        Connect to a candidate that knows one hash.
        """

        def make() -> Choosy:
            self.made.append(Choosy(known))
            return self.made[-1]

        self.machine.listenTCP(80, Factory.forProtocol(make))  # type: ignore[arg-type]
        connector = CandidateConnector(self.machine, AddressPolicy(), RaceTiming(overall=8))
        connected = connector.connect([Candidate("p.example", HOST, 80, True)], destinations)
        self.clock.pump([0] * 20)
        return connected

    def connection(self, known: str = HASHES[0]) -> CandidateConnection:
        candidate, connection = self.successResultOf(self.connect(known, *HASHES))
        self.assertEqual(candidate.jid, "p.example")
        return connection

    def test_firstHash(self) -> None:
        """
        The first hash is tried first; the connection is a leg whose route is known.
        """
        connection = self.connection()
        self.assertEqual(len(self.made), 1)
        self.assertTrue(connection.speaksFor(None))
        self.assertEqual(str(routeOf(connection, None)), f"direct to {HOST}")
        self.assertEqual(routeOf(connection, "p.example").port, 80)

    def test_nextHash(self) -> None:
        """
        Where the first hash is refused, the next is tried over a new connection.
        """
        self.connection(HASHES[1])
        self.assertEqual(len(self.made), 2)
        self.clock.pump([0] * 3)
        self.assertEqual(len(self.internet.transports), 2)

    def test_allRefused(self) -> None:
        """
        Where all are refused, the text says what the streamhost has said.
        """
        error = self.failureResultOf(self.connect("c" * 40, *HASHES), NotReachable).value
        self.assertEqual(str(error), f"{HOST} port 80: the streamhost refuses the bytestream (not allowed)")
        self.clock.pump([0] * 3)
        self.assertEqual((self.internet.transports, self.clock.getDelayedCalls()), ([], []))

    def test_close(self) -> None:
        """
        A connection that is not needed can be closed.
        """
        self.connection().close("not needed")
        self.clock.pump([0] * 3)
        self.assertEqual((self.internet.transports, self.clock.getDelayedCalls()), ([], []))
