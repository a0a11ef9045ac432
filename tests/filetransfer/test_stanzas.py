"""
Tests for L{xmppbytes.filetransfer.stanzas}: the listings of XEP-0095 and XEP-0096, and what clients send.
"""

from datetime import UTC, datetime
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish.domish import Element, elementStream

from xmppbytes.filetransfer.offer import FileOffer, Range
from xmppbytes.filetransfer.stanzas import (
    NS_FILE,
    Acceptance,
    Initiation,
    abortMessage,
    errorText,
    readAbort,
)

S5B = "http://jabber.org/protocol/bytestreams"
IBB = "http://jabber.org/protocol/ibb"
FORM = (
    "<feature xmlns='http://jabber.org/protocol/feature-neg'><x xmlns='jabber:x:data' type='form'>"
    "<field var='stream-method' type='list-single'>"
    "<option><value>http://jabber.org/protocol/bytestreams</value></option>"
    "<option><value>http://jabber.org/protocol/ibb</value></option>"
    "</field></x></feature>"
)
SUBMIT = (
    "<feature xmlns='http://jabber.org/protocol/feature-neg'><x xmlns='jabber:x:data' type='submit'>"
    "<field var='stream-method'><value>http://jabber.org/protocol/bytestreams</value></field>"
    "</x></feature>"
)


def parse(text: str) -> Element:
    """
    Parse one element.
    """
    found: list[Element] = []
    stream: Any = elementStream()
    stream.DocumentStartEvent = lambda root: None
    stream.DocumentEndEvent = lambda: None
    stream.ElementEvent = found.append
    stream.parse(f"<stream xmlns='jabber:client'>{text}".encode())
    return found[0]


def si(content: str, attributes: str = f"id='a0' mime-type='text/plain' profile='{NS_FILE}'") -> Element:
    """
    Parse an C{<si/>}.
    """
    return parse(f"<si xmlns='http://jabber.org/protocol/si' {attributes}>{content}</si>")


def file(attributes: str = "name='test.txt' size='1022'", content: str = "") -> str:
    """
    Write a C{<file/>}.
    """
    return f"<file xmlns='{NS_FILE}' {attributes}>{content}</file>"


class InitiationTests(SynchronousTestCase):
    """
    Offers.
    """

    def test_listing(self) -> None:
        """
        The listing of XEP-0096 with a hash, a date and a description.
        """
        read = Initiation.fromElement(
            si(
                file(
                    "name='test.txt' size='1022' hash='552da749930852c69ae5d2141d3766b1' "
                    "date='1969-07-21T02:56:15Z'",
                    "<desc>This is a test. If this were a real file...</desc>",
                )
                + FORM
            )
        )
        expected = FileOffer(
            name="test.txt",
            size=1022,
            md5="552da749930852c69ae5d2141d3766b1",
            date=datetime(1969, 7, 21, 2, 56, 15, tzinfo=UTC),
            description="This is a test. If this were a real file...",
        )
        self.assertEqual(read, Initiation("a0", NS_FILE, (S5B, IBB), expected))

    def test_roundTrip(self) -> None:
        """
        What is written is read again.
        """
        for offer in (
            FileOffer(name="a<&'\"ü.bin", size=5 << 30),
            FileOffer(
                name="b",
                size=0,
                md5="0" * 32,
                date=datetime(2026, 1, 2, tzinfo=UTC),
                description="x > y",
                ranged=True,
            ),
        ):
            written = Initiation("sid", NS_FILE, (S5B, IBB), offer)
            self.assertEqual(Initiation.fromElement(parse(written.toElement().toXml())), written)

    def test_clients(self) -> None:
        """
        What libpurple, QXmpp and Libervia send is understood: no MIME type, another order, milliseconds,
        a range beside the file.
        """
        purple = Initiation.fromElement(
            si(file("name='doc.bin' size='300000'") + FORM, f"id='p7' profile='{NS_FILE}'")
        )
        self.assertEqual(purple.file, FileOffer(name="doc.bin", size=300000))
        qxmpp = Initiation.fromElement(si(file("date='2026-11-20T09:20:57.454Z' name='d' size='3'") + FORM))
        assert qxmpp.file is not None
        self.assertEqual(qxmpp.file.date, datetime(2026, 11, 20, 9, 20, 57, 454000, UTC))
        libervia = Initiation.fromElement(si(file() + "<range/>" + FORM))
        assert libervia.file is not None
        self.assertTrue(libervia.file.ranged)

    def test_unknown(self) -> None:
        """
        Unknown elements, attributes, fields and empty options are passed over.
        """
        form = FORM.replace("<field", "<title>?</title><field var='other'/><field", 1).replace(
            "<option>", "<option label='x'/><option><value> </value></option><option>", 1
        )
        read = Initiation.fromElement(si("<extra xmlns='x'/>" + file("name='a' size='1' more='x'") + form))
        self.assertEqual(read, Initiation("a0", NS_FILE, (S5B, IBB), FileOffer(name="a", size=1)))

    def test_incomplete(self) -> None:
        """
        Without name or size there is no file; without a form there are no methods.
        """
        for attributes in ("name='a'", "size='1'", "name='' size='1'", "name='a' size='-1'"):
            self.assertIsNone(Initiation.fromElement(si(file(attributes) + FORM)).file)
        self.assertEqual(Initiation.fromElement(si(file())).methods, ())
        self.assertIsNone(Initiation.fromElement(si(FORM)).file)
        empty = "<feature xmlns='http://jabber.org/protocol/feature-neg'/>"
        self.assertEqual(Initiation.fromElement(si(file() + empty)).methods, ())

    def test_manyMethods(self) -> None:
        """
        Not more methods are read than anybody has.
        """
        form = FORM.replace("</field>", "<option><value>x</value></option>" * 1000 + "</field>")
        self.assertEqual(len(Initiation.fromElement(si(file() + form)).methods), 32)


class AcceptanceTests(SynchronousTestCase):
    """
    Answers.
    """

    def test_listings(self) -> None:
        """
        The listings of XEP-0095 and XEP-0096.
        """
        for content in (SUBMIT, file("") + SUBMIT, SUBMIT + file("")):
            self.assertEqual(Acceptance.fromElement(si(content, "")), Acceptance(S5B))

    def test_ranges(self) -> None:
        """
        The ranges of XEP-0096; one without attributes is none.
        """
        for text, wanted in (
            ("<range length='256'/>", Range(0, 256)),
            ("<range offset='128' length='256'/>", Range(128, 256)),
            ("<range offset='128'/>", Range(128)),
            ("<range/>", None),
        ):
            read = Acceptance.fromElement(si(file("", text) + SUBMIT, ""))
            self.assertEqual(read, Acceptance(S5B, wanted))

    def test_badRange(self) -> None:
        """
        A range that is none must not be taken for the whole.
        """
        for text in ("<range offset='-1'/>", "<range length='x'/>", "<range offset='1' length=''/>"):
            self.assertRaises(ValueError, Acceptance.fromElement, si(file("", text) + SUBMIT, ""))

    def test_roundTrip(self) -> None:
        """
        What is written is read again.
        """
        for written in (
            Acceptance(IBB),
            Acceptance(S5B, Range(5 << 30)),
            Acceptance(S5B, Range(1, 2)),
        ):
            self.assertEqual(Acceptance.fromElement(parse(written.toElement().toXml())), written)

    def test_nothing(self) -> None:
        """
        An answer may hold nothing at all.
        """
        self.assertEqual(Acceptance.fromElement(None), Acceptance(""))
        self.assertEqual(Acceptance.fromElement(si("", "")), Acceptance(""))
        self.assertEqual(
            Acceptance.fromElement(
                si(SUBMIT.replace("<value>", "<v>", 1).replace("</value>", "</v>", 1), "")
            ),
            Acceptance(""),
        )


class AbortTests(SynchronousTestCase):
    """
    Why a transfer ends early.
    """

    def test_roundTrip(self) -> None:
        """
        The reason arrives.
        """
        message = parse(abortMessage("juliet@example.org/x", "sid1", "resource-constraint", "full").toXml())
        self.assertEqual(message["type"], "error")
        self.assertEqual(readAbort(message), ("sid1", "full"))

    def test_noText(self) -> None:
        """
        Without a text the condition has to do.
        """
        message = parse(abortMessage("juliet@example.org/x", "sid1", "gone", "").toXml())
        self.assertEqual(readAbort(message), ("sid1", "gone"))

    def test_others(self) -> None:
        """
        Other errors are none of ours.
        """
        self.assertIsNone(readAbort(parse("<message type='error'><body>hi</body><error/></message>")))
        self.assertIsNone(
            readAbort(parse("<message type='error'><si xmlns='http://jabber.org/protocol/si'/></message>"))
        )


class ErrorTextTests(SynchronousTestCase):
    """
    What others say when they refuse.
    """

    def test_text(self) -> None:
        """
        Their text, which cannot move the cursor, and the condition.
        """
        self.assertEqual(errorText(StanzaError("forbidden", text="No\x9b!")), "No! (forbidden)")
        self.assertEqual(errorText(StanzaError("forbidden")), "forbidden")
