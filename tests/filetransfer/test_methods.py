"""
Tests for L{xmppbytes.filetransfer.methods}.
"""

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides
from zope.interface.verify import verifyObject

from xmppbytes.errors import NegotiationError, NotReachable, Refused
from xmppbytes.filetransfer.ibb import InBandHandler
from xmppbytes.filetransfer.methods import IBytestreamClient, StreamMethod, StreamMethods, standardMethods
from xmppbytes.s5b.client import BytestreamsClientHandler


class Client:
    """
    Opens what it is told to.
    """

    def __init__(self, answer: Any = "protocol") -> None:
        self.answer = answer
        self.asked: list[tuple[Any, ...]] = []
        self.expected: dict[tuple[str, str], Any] = {}

    def requestBytestream(self, target: Any, factory: Any, sid: Any = None) -> Any:
        self.asked.append((target, sid))
        return fail(self.answer) if isinstance(self.answer, Exception) else succeed(self.answer)

    def expectBytestream(self, requester: str, sid: str, acceptor: Any) -> None:
        if (requester, sid) in self.expected:
            raise ValueError("expected already")
        self.expected[requester, sid] = acceptor

    def forgetBytestream(self, requester: str, sid: str) -> None:
        self.expected.pop((requester, sid), None)


class StreamMethodsTests(SynchronousTestCase):
    """
    Three methods, of which the last is a last resort.
    """

    def setUp(self) -> None:
        self.clients = {name: Client(name) for name in ("best", "good", "last")}
        self.methods = StreamMethods(
            StreamMethod(name, client, name == "last") for name, client in self.clients.items()
        )

    def open(self, name: str) -> Any:
        return self.methods.open(name, "juliet", "sid", None)  # type: ignore[arg-type]

    def test_order(self) -> None:
        """
        They are offered, and chosen, in our own order.
        """
        self.assertEqual(self.methods.namespaces, ("best", "good", "last"))
        self.assertEqual(self.methods.pick(["other", "last", "good"]), "good")
        self.assertIsNone(self.methods.pick(["other"]))

    def test_open(self) -> None:
        """
        The method that was agreed upon is used, and no other.
        """
        self.assertEqual(self.successResultOf(self.open("good")), "good")
        self.assertEqual(self.clients["good"].asked, [("juliet", "sid")])
        self.assertEqual(self.clients["last"].asked, [])

    def test_lastResort(self) -> None:
        """
        When it does not connect the last resort is tried, with the same sid.
        """
        self.clients["good"].answer = NotReachable("no way")
        self.assertEqual(self.successResultOf(self.open("good")), "last")
        self.assertEqual(self.clients["last"].asked, [("juliet", "sid")])
        self.assertEqual(self.clients["best"].asked, [])

    def test_nothing(self) -> None:
        """
        When that fails as well the first failure is told: it says more.
        """
        self.clients["good"].answer = NotReachable("no way")
        self.clients["last"].answer = Refused("no")
        self.assertEqual(str(self.failureResultOf(self.open("good"), NotReachable).value), "no way")

    def test_lastResortItself(self) -> None:
        """
        There is nothing behind the last resort.
        """
        self.clients["last"].answer = Refused("no")
        self.failureResultOf(self.open("last"), Refused)
        self.assertEqual(len(self.clients["last"].asked), 1)

    def test_unknown(self) -> None:
        """
        A method that we do not have cannot be used.
        """
        self.failureResultOf(self.open("other"), NegotiationError)

    def test_bug(self) -> None:
        """
        A fault is not covered up by the last resort.
        """
        self.clients["good"].answer = RuntimeError("bug")
        self.failureResultOf(self.open("good"), RuntimeError)
        self.assertEqual(self.clients["last"].asked, [])

    def test_expect(self) -> None:
        """
        What was agreed upon is expected, and the last resort: clients use it unasked.
        """
        acceptor: Any = object()
        self.methods.expect("romeo", "sid", "good", acceptor)
        self.assertEqual(
            [client.expected for client in self.clients.values()],
            [{}, {("romeo", "sid"): acceptor}, {("romeo", "sid"): acceptor}],
        )
        self.methods.forget("romeo", "sid")
        self.assertEqual([client.expected for client in self.clients.values()], [{}, {}, {}])

    def test_expectedAlready(self) -> None:
        """
        A sid that is in use somewhere is not expected anywhere.
        """
        self.clients["last"].expected["romeo", "sid"] = None
        acceptor: Any = object()
        self.assertRaises(ValueError, self.methods.expect, "romeo", "sid", "good", acceptor)
        self.assertEqual(self.clients["good"].expected, {})
        self.assertEqual(self.clients["last"].expected, {("romeo", "sid"): None})

    def test_cancel(self) -> None:
        """
        Opening can be cancelled.
        """
        waiting: Deferred[Any] = Deferred()
        self.clients["good"].requestBytestream = lambda *_, **__: waiting  # type: ignore[method-assign]
        opening = self.open("good")
        opening.cancel()
        self.failureResultOf(opening)
        self.assertTrue(waiting.called)
        self.assertEqual(self.clients["last"].asked, [])


class StandardMethodsTests(SynchronousTestCase):
    """
    What XEP-0096 demands.
    """

    def test_order(self) -> None:
        """
        SOCKS5 bytestreams first, in-band ones last; either may be left out.
        """
        s5b, inBand = object(), object()
        names = [
            [method.namespace.rpartition("/")[2] for method in standardMethods(*clients)]
            for clients in ((s5b, inBand), (s5b, None), (None, inBand), (None, None))
        ]
        self.assertEqual(names, [["bytestreams", "ibb"], ["bytestreams"], ["ibb"], []])

    def test_faces(self) -> None:
        """
        Both clients have the face that the registry needs.
        """
        for client in (BytestreamsClientHandler(Clock()), InBandHandler(Clock())):
            directlyProvides(client, IBytestreamClient)
            verifyObject(IBytestreamClient, client)
