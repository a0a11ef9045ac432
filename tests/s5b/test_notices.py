"""
Tests for xmppbytes.s5b.notices.
"""

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from twisted.words.xish.domish import Element
from wokkel.test.helpers import XmlStreamStub

from xmppbytes.s5b.notices import NoticeRation, NoticeSender
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS, udpSuccessElement, udpSuccessIn

HASH = "972b7bf47291ca609517f67f86b5081086052dad"


class Manager:
    """
    Sends what a handler gives it.
    """

    def __init__(self) -> None:
        self.sent: list[Element] = []

    def send(self, element: Element) -> None:
        self.sent.append(element)


class SenderTests(TestCase):
    """
    L{NoticeSender}.
    """

    def setUp(self) -> None:
        self.sender = NoticeSender()
        self.sender.parent = self.manager = Manager()

    def connect(self) -> None:
        self.sender.makeConnection(XmlStreamStub().xmlstream)
        self.sender.connectionInitialized()

    def test_listing34(self) -> None:
        """
        The message is that of listing 34, with an id that is its own.
        """
        self.connect()
        self.assertTrue(self.sender.notify("target@example.org/bar", HASH))
        self.assertTrue(self.sender.notify("target@example.org/bar", HASH))
        message, again = self.manager.sent
        self.assertEqual((message.name, message["to"]), ("message", "target@example.org/bar"))
        self.assertNotEqual(message["id"], again["id"])
        (child,) = message.elements()
        self.assertEqual((child.uri, child.name, child["dstaddr"]), (NS_BYTESTREAMS, "udpsuccess", HASH))

    def test_withoutStream(self) -> None:
        """
        Without a stream nothing is sent, and nothing is kept for the next one.
        """
        self.assertFalse(self.sender.notify("target@example.org/bar", HASH))
        self.connect()
        self.sender.connectionLost(None)
        self.assertFalse(self.sender.notify("target@example.org/bar", HASH))
        self.assertEqual(self.manager.sent, [])


class SchemaTests(TestCase):
    """
    C{<udpsuccess/>}.
    """

    def test_read(self) -> None:
        """
        The DST.ADDR is found among whatever else a message has.
        """
        message = Element((None, "message"))
        message.addElement("body", content="hello")
        self.assertIsNone(udpSuccessIn(message))
        message.addElement(("other", "udpsuccess"))["dstaddr"] = "wrong"
        self.assertIsNone(udpSuccessIn(message))
        message.addChild(udpSuccessElement(HASH))
        self.assertEqual(udpSuccessIn(message), HASH)

    def test_withoutAddress(self) -> None:
        """
        One that names no DST.ADDR says nothing.
        """
        message = Element((None, "message"))
        message.addElement((NS_BYTESTREAMS, "udpsuccess"))
        self.assertIsNone(udpSuccessIn(message))


class RationTests(TestCase):
    """
    L{NoticeRation}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.ration = NoticeRation(self.clock, each=2, inAll=5, share=0)

    def take(self, host: str, account: str, count: int = 10) -> int:
        """
        Ask several times.

        @return: how often the answer was yes.
        """
        return sum(self.ration.take(host, account) for _ in range(count))

    def test_perAddress(self) -> None:
        """
        One IP address causes so many, whoever gets them.
        """
        accounts = iter("abcdefghij")
        self.assertEqual(sum(self.ration.take("192.0.2.1", next(accounts)) for _ in range(10)), 2)

    def test_perAccount(self) -> None:
        """
        One account gets so many, whoever causes them.
        """
        hosts = iter("abcdefghij")
        self.assertEqual(sum(self.ration.take(next(hosts), "nurse@example.org") for _ in range(10)), 2)

    def test_inAll(self) -> None:
        """
        There is a limit for all together.
        """
        self.assertEqual([self.take(f"host{n}", f"account{n}") for n in range(4)], [2, 2, 1, 0])

    def test_nextMinute(self) -> None:
        """
        After a minute everybody begins anew.
        """
        self.assertEqual(self.take("host", "account"), 2)
        self.clock.advance(59)
        self.assertEqual(self.take("host", "account"), 0)
        self.clock.advance(1)
        self.assertEqual(self.take("host", "account"), 2)

    def test_giveBack(self) -> None:
        """
        What is given back does not count, and leaves nothing that is remembered.
        """
        self.assertTrue(self.ration.take("host", "other"))
        for n in range(10):
            self.assertTrue(self.ration.take("host", f"account{n}"))
            self.ration.giveBack("host", f"account{n}")
        self.assertEqual(dict(self.ration._counts), {"host": 1, "other": 1, ("host", "other"): 1})
        self.assertEqual(self.take("host", "account"), 1)

    def test_accountCannotBeBlocked(self) -> None:
        """
        Who uses up all notifications of an account, from one address or several, does not keep others from
        having some.
        """
        self.ration = NoticeRation(self.clock, each=10, inAll=1000, share=2)
        self.assertEqual(self.take("stranger", "nurse@example.org", 50), 10)
        self.assertEqual(self.take("home", "nurse@example.org"), 2)
        self.assertEqual(sum(self.take(f"bot{n}", "nurse@example.org") for n in range(50)), 8)
        self.assertEqual(self.take("office", "nurse@example.org"), 0)

    def test_allCannotBeBlocked(self) -> None:
        """
        The same for what all have together.
        """
        self.ration = NoticeRation(self.clock, each=10, inAll=20, share=2)
        self.assertEqual([self.take(f"bot{n}", f"a{n}", 50) for n in range(3)], [10, 10, 2])
        self.assertEqual(self.take("home", "nurse@example.org"), 2)
        self.assertEqual(sum(self.take(f"more{n}", f"b{n}") for n in range(50)), 16)
        self.clock.advance(60)
        self.assertEqual(self.take("home", "nurse@example.org"), 10)
