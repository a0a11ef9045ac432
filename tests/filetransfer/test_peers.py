"""
What the clients that people use do when they send and receive files by stream initiation, each seen in the
one that it is named for.
"""

import hashlib
from typing import Any

from twisted.internet.protocol import Factory, Protocol
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish.domish import Element

from tests.filetransfer.test_stanzas import S5B, SUBMIT, file, si
from tests.filetransfer.world import JULIET, FileTestCase
from xmppbytes.errors import Refused
from xmppbytes.filetransfer.blocks import NS_IBB
from xmppbytes.filetransfer.offer import FileOffer
from xmppbytes.filetransfer.stanzas import NS_FILE, Acceptance, Initiation


class Writer(Protocol):
    """
    Writes a file and does no more: it never closes.
    """

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(FileTestCase.content)


class SendingPeerTests(FileTestCase):
    """
    They send to us.
    """

    def offer(self, *methods: str) -> str:
        """
        Offer a file as they do.

        @return: the stream method that we chose.
        """
        md5 = hashlib.md5(self.content, usedforsecurity=False).hexdigest()
        offered = Initiation("sid", NS_FILE, methods, FileOffer(name="a", size=len(self.content), md5=md5))
        answer = self.romeo.asker.ask(JULIET, "set", offered.toElement())
        self.pump(0.5)
        return Acceptance.fromElement(self.successResultOf(answer).firstChildElement()).method

    def assertArrived(self) -> None:
        """
        The file is there.
        """
        self.pump()
        self.assertEqual(self.received(), {"a": self.content})

    def test_libpurpleOpensInBand(self) -> None:
        """
        libpurple without an address or a proxy opens an in-band bytestream although SOCKS5 was agreed upon.
        """
        self.assertEqual(self.offer(S5B, NS_IBB), S5B)
        self.romeo.inBand.requestBytestream(JULIET, Factory.forProtocol(Writer), "sid")
        self.assertArrived()

    def test_libpurpleNeverCloses(self) -> None:
        """
        libpurple does not close the connection over which it has sent: the size says that it is all.
        """
        self.offer(S5B)
        self.romeo.s5b.requestBytestream(JULIET, Factory.forProtocol(Writer), "sid")
        self.assertArrived()
        self.assertNothingLeft()

    def test_qxmppListsInBandFirst(self) -> None:
        """
        QXmpp lists in-band first and would rather not.
        """
        self.assertEqual(self.offer(NS_IBB, S5B), S5B)


class ReceivingPeerTests(FileTestCase):
    """
    We send to them.
    """

    def answered(self, content: str, **attributes: str) -> Acceptance:
        """
        Read an answer.
        """
        element: Element = si(content, "")
        element.attributes.update(attributes)
        return Acceptance.fromElement(element)

    def test_qxmppNamesTheProfile(self) -> None:
        """
        QXmpp repeats the profile in its answer, and has no file in it.
        """
        self.assertEqual(self.answered(SUBMIT, profile=NS_FILE), Acceptance(S5B))

    def test_liberviaAnswersWithAnEmptyFile(self) -> None:
        """
        Libervia has an empty file in its answer, and perhaps a range beside it.
        """
        self.assertEqual(self.answered(file("") + SUBMIT), Acceptance(S5B))
        self.assertEqual(self.answered(file("") + "<range/>" + SUBMIT), Acceptance(S5B))

    def test_libpurpleDeclines(self) -> None:
        """
        libpurple says C{forbidden}, in its own words.
        """

        def refuse(*_: Any) -> Any:
            raise StanzaError("forbidden", type="cancel", text="Offer Declined")

        self.juliet.initiation.decide = refuse
        done = self.send()
        self.pump()
        self.assertIn("declined the file: Offer Declined", str(self.failureResultOf(done, Refused).value))
        self.assertNothingLeft()

    def test_libpurpleDoesNotAnswerClose(self) -> None:
        """
        libpurple does not answer the closing of an in-band bytestream: that costs a moment.
        """
        self.internet.silent.add("192.0.2.1")
        seen: list[str] = []

        def lose(stanza: Element) -> Element | None:
            child = stanza.firstChildElement()
            if child is not None and child.name == "close":
                seen.append(stanza["from"])
                return None
            return stanza

        self.server.intercept = lose
        done = self.send()
        self.pump(60)
        self.assertEqual(self.successResultOf(done).size, len(self.content))
        self.assertTrue(seen)
