"""
The schema of stream initiation (XEP-0095 section 4) and of its file profile (XEP-0096 section 3).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish.domish import Element

from xmppbytes.filetransfer.names import printable, sayable
from xmppbytes.filetransfer.offer import FileOffer, Range, readDate, readMD5, readSize, writeDate

NS_SI = "http://jabber.org/protocol/si"
NS_FILE = "http://jabber.org/protocol/si/profile/file-transfer"
NS_FEATURE = "http://jabber.org/protocol/feature-neg"
NS_DATA = "jabber:x:data"
NS_STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"
STREAM_METHOD = "stream-method"
# How many stream methods of one offer are looked at.
MAX_METHODS = 32


@dataclass(frozen=True, slots=True)
class Initiation:
    """
    An C{<si/>} that offers something.

    @ivar sid: the id of the stream to be.
    @ivar profile: the namespace of what is offered.
    @ivar methods: the namespaces of the stream methods, as they were listed.
    @ivar file: the file, when that is what is offered and it has a name and a size.
    """

    sid: str
    profile: str
    methods: tuple[str, ...]
    file: FileOffer | None

    @classmethod
    def fromElement(cls, si: Element) -> "Initiation":
        """
        Read an offer. Elements and attributes that are not known are passed over.
        """
        file = _child(si, NS_FILE, "file")
        return cls(
            si.getAttribute("id", ""),
            si.getAttribute("profile", ""),
            tuple(_options(si)),
            None if file is None else _readFile(file, si),
        )

    def toElement(self) -> Element:
        """
        Write the offer of a file.
        """
        assert self.file is not None
        si = Element((NS_SI, "si"))
        si["id"] = self.sid
        si["profile"] = self.profile
        si["mime-type"] = "application/octet-stream"
        si.addChild(_writeFile(self.file))
        field = _form(si, "form")
        field["type"] = "list-single"
        for method in self.methods:
            field.addElement("option").addElement("value", content=method)
        return si


@dataclass(frozen=True, slots=True)
class Acceptance:
    """
    The answer to an L{Initiation}: yes.

    @ivar method: the namespace of the chosen stream method; empty: none was named.
    @ivar range: the part that is wanted; C{None}: all of it.
    """

    method: str
    range: Range | None = None

    @classmethod
    def fromElement(cls, si: Element | None) -> "Acceptance":
        """
        Read the C{<si/>} of a result.

        @raise ValueError: when its range cannot be understood.
        """
        if si is None:
            return cls("")
        field = _methodField(si)
        value = None if field is None else _named(field, "value")
        return cls("" if value is None else str(value).strip(), _readRange(si))

    def toElement(self) -> Element:
        """
        Write the C{<si/>} of a result.
        """
        si = Element((NS_SI, "si"))
        if self.range is not None:
            file = si.addElement((NS_FILE, "file"))
            wanted = file.addElement("range")
            wanted["offset"] = str(self.range.offset)
            if self.range.length is not None:
                wanted["length"] = str(self.range.length)
        _form(si, "submit").addElement("value", content=self.method)
        return si


def conditionElement(name: str) -> Element:
    """
    Make one of the error conditions of XEP-0095: C{no-valid-streams} or C{bad-profile}.
    """
    return Element((NS_SI, name))


def abortMessage(peer: str, sid: str, condition: str, text: str) -> Element:
    """
    Make the message that tells the other side why a stream, once agreed upon, ends early.

    No XEP has a stanza for that. An error nobody answers (RFC 6120 8.3.1), and who does not know
    this one takes the broken stream for what it is.

    @param peer: the other side.
    @param sid: the id of the stream.
    @param condition: a stanza error condition.
    @param text: why, for a person.
    """
    message = Element((None, "message"))
    message["to"] = peer
    message["type"] = "error"
    message["id"] = sid
    message.addElement((NS_SI, "si"))["id"] = sid
    error = message.addElement("error")
    error["type"] = "cancel"
    error.addElement((NS_STANZAS, condition))
    error.addElement((NS_STANZAS, "text"), content=text)
    return message


def readAbort(message: Element) -> tuple[str, str] | None:
    """
    Read an L{abortMessage}.

    @return: the sid, and the text or the condition; C{None} when it is none.
    """
    si = _child(message, NS_SI, "si")
    error = _named(message, "error")
    if si is None or error is None:
        return None
    text = _child(error, NS_STANZAS, "text")
    condition = next((e.name for e in error.elements() if e.uri == NS_STANZAS and e.name != "text"), "")
    return si.getAttribute("id", ""), (str(text).strip() if text is not None else "") or condition


def errorText(error: StanzaError) -> str:
    """
    Say what a stanza error says, fit for a terminal: its text and its condition.
    """
    text = printable(str(error.text or "")).strip()
    return f"{text} ({error.condition})" if text else str(error.condition)


def _writeFile(offer: FileOffer) -> Element:
    file = Element((NS_FILE, "file"))
    file["name"] = sayable(offer.name)
    file["size"] = str(offer.size)
    if offer.md5 is not None:
        file["hash"] = offer.md5
    if offer.date is not None:
        file["date"] = writeDate(offer.date)
    if offer.description:
        file.addElement("desc", content=sayable(offer.description))
    if offer.ranged:
        file.addElement("range")
    return file


def _readFile(file: Element, si: Element) -> FileOffer | None:
    size = readSize(file.getAttribute("size"))
    name = file.getAttribute("name", "")
    if size is None or not name:
        return None
    description = _named(file, "desc")
    return FileOffer(
        name=name,
        size=size,
        md5=readMD5(file.getAttribute("hash")),
        date=readDate(file.getAttribute("date")),
        description="" if description is None else str(description).strip(),
        ranged=_rangeElement(si) is not None,
    )


def _readRange(si: Element) -> Range | None:
    element = _rangeElement(si)
    if element is None or not (element.hasAttribute("offset") or element.hasAttribute("length")):
        return None
    offset = readSize(element.getAttribute("offset", "0"))
    length = readSize(element.getAttribute("length")) if element.hasAttribute("length") else None
    if offset is None or (length is None and element.hasAttribute("length")):
        raise ValueError(f"a range that is none: {dict(element.attributes)}")
    return Range(offset, length)


def _rangeElement(si: Element) -> Element | None:
    # Libervia puts it beside the file.
    file = _child(si, NS_FILE, "file")
    return (None if file is None else _named(file, "range")) or _named(si, "range")


def _form(si: Element, kind: str) -> Element:
    form = si.addElement((NS_FEATURE, "feature")).addElement((NS_DATA, "x"))
    form["type"] = kind
    field: Element = form.addElement("field")
    field["var"] = STREAM_METHOD
    return field


def _methodField(si: Element) -> Element | None:
    feature = _child(si, NS_FEATURE, "feature")
    form = None if feature is None else _child(feature, NS_DATA, "x")
    if form is None:
        return None
    return next(
        (e for e in form.elements() if e.name == "field" and e.getAttribute("var") == STREAM_METHOD), None
    )


def _options(si: Element) -> Iterator[str]:
    field = _methodField(si)
    if field is None:
        return
    options = [e for e in field.elements() if e.name == "option"]
    for option in options[:MAX_METHODS]:
        value = _named(option, "value")
        if value is not None and str(value).strip():
            yield str(value).strip()


def _child(parent: Element, uri: str, name: str) -> Element | None:
    return next((e for e in parent.elements() if e.name == name and e.uri == uri), None)


def _named(parent: Element, name: str) -> Element | None:
    return next((e for e in parent.elements() if e.name == name), None)
