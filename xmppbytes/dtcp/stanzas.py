"""
The schema of C{http://jabber.org/protocol/dtcp} (XEP-0046 sections 3.1 and 3.2), and what we add to it.

    <query xmlns='http://jabber.org/protocol/dtcp' sid='...'>
      <key>c7b5ea3f</key>
      <host>192.168.0.32:8000</host>
      <tls xmlns='urn:xmppbytes:dtcp:0' fingerprint='...'/>
      <relay xmlns='urn:xmppbytes:dtcp:0' jid='...' host='...' port='...' key='...'/>
    </query>

Attribute C{sid} and the elements of our own namespace are ignored by other implementations.
"""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from twisted.words.xish.domish import Element

from xmppbytes.errors import NegotiationError
from xmppbytes.wire.dtcp import KEY, MAX_LINE
from xmppbytes.wire.dtcprelay import MAX_KEY

NS_DTCP = "http://jabber.org/protocol/dtcp"
NS_EXTRAS = "urn:xmppbytes:dtcp:0"

# Section 3.1: nobody can be expected to act on more than three hosts.
MAX_HOSTS = 3
MAX_RELAYS = 3
# What fits into the longest line behind "key:", and is not out of proportion.
MAX_KEY_LENGTH = min(256, MAX_LINE - len(KEY) - 1)

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_KEY_BYTES = 16


def newKey() -> str:
    """
    Make a key: 128 random bits.
    """
    return secrets.token_hex(_KEY_BYTES)


@dataclass(frozen=True, slots=True)
class Host:
    """
    Where an entity can be reached.

    @ivar host: an IP address or a name; IPv6 without brackets.
    @ivar port: a TCP port.
    """

    host: str
    port: int
    relayed = False

    @classmethod
    def fromText(cls, text: str) -> "Host | None":
        """
        Read C{host:port}; an IPv6 address is in brackets.

        @return: C{None} when it is something else.
        """
        host, colon, port = text.strip().rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            return None
        number = _port(port)
        if not colon or not host or number is None or any(c.isspace() for c in host):
            return None
        return cls(host, number)

    def toText(self) -> str:
        """
        Write C{host:port}.
        """
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Relay:
    """
    A relay at which an entity waits.

    @ivar jid: whose relay it is.
    @ivar host: an IP address or a name; IPv6 without brackets.
    @ivar port: a TCP port.
    @ivar key: what to CONNECT with.
    """

    jid: str
    host: str
    port: int
    key: str = field(repr=False)
    relayed = True

    @classmethod
    def fromElement(cls, element: Element) -> "Relay | None":
        """
        Read a C{<relay/>}.

        @return: C{None} when something in it is missing or impossible.
        """
        host, key = element.getAttribute("host", "").strip(), element.getAttribute("key", "")
        port = _port(element.getAttribute("port", ""))
        if not host or port is None or not 0 < len(key.encode("utf-8")) <= MAX_KEY:
            return None
        return cls(element.getAttribute("jid", ""), host, port, key)

    def toElement(self) -> Element:
        """
        Write a C{<relay/>}.
        """
        element = Element((NS_EXTRAS, "relay"))
        element["jid"] = self.jid
        element["host"] = self.host
        element["port"] = str(self.port)
        element["key"] = self.key
        return element


@dataclass(frozen=True, slots=True)
class Query:
    """
    What one side tells of itself.

    @ivar key: by which the other side refers to this negotiation.
    @ivar hosts: where it can be reached, at most L{MAX_HOSTS}.
    @ivar relays: where it waits at relays, at most L{MAX_RELAYS}.
    @ivar fingerprint: of the certificate that it shows in TLS; C{None}: it told none.
    @ivar sid: which agreed bytestream this is for; C{None}: not said.
    """

    key: str = field(repr=False)
    hosts: Sequence[Host] = ()
    relays: Sequence[Relay] = ()
    fingerprint: str | None = None
    sid: str | None = None

    @classmethod
    def fromElement(cls, query: Element) -> "Query":
        """
        Read a C{<query/>}. Hosts and relays that cannot be understood, and those beyond the third,
        are left out.

        @raise NegotiationError: when it has no possible key.
        """
        key = ""
        hosts: list[Host] = []
        relays: list[Relay] = []
        fingerprint = None
        for child in query.elements():
            if child.uri == NS_DTCP and child.name == "key":
                key = key or str(child).strip()
            elif child.uri == NS_DTCP and child.name == "host":
                host = Host.fromText(str(child))
                hosts += [host] if host is not None else []
            elif child.uri == NS_EXTRAS and child.name == "relay":
                relay = Relay.fromElement(child)
                relays += [relay] if relay is not None else []
            elif child.uri == NS_EXTRAS and child.name == "tls":
                fingerprint = child.getAttribute("fingerprint", "").lower()
        if not key or "\n" in key or len(key.encode("utf-8")) > MAX_KEY_LENGTH:
            raise NegotiationError(f"the query has no <key/> of 1 to {MAX_KEY_LENGTH} bytes")
        if fingerprint is not None and not _FINGERPRINT.fullmatch(fingerprint):
            raise NegotiationError("the fingerprint in the query is not 64 hexadecimal digits")
        return cls(key, hosts[:MAX_HOSTS], relays[:MAX_RELAYS], fingerprint, query.getAttribute("sid"))

    def toElement(self) -> Element:
        """
        Write a C{<query/>}.
        """
        query = Element((NS_DTCP, "query"))
        if self.sid is not None:
            query["sid"] = self.sid
        query.addElement((NS_DTCP, "key"), content=self.key)
        for host in self.hosts:
            query.addElement((NS_DTCP, "host"), content=host.toText())
        if self.fingerprint is not None:
            query.addElement((NS_EXTRAS, "tls"))["fingerprint"] = self.fingerprint
        for relay in self.relays:
            query.addChild(relay.toElement())
        return query


# code -> condition and type, for the errors of section 3 and of libpsi of 2002.
_CONDITIONS = {
    403: ("forbidden", "auth"),
    500: ("internal-server-error", "wait"),
    501: ("feature-not-implemented", "cancel"),
    502: ("remote-server-timeout", "wait"),
    503: ("service-unavailable", "cancel"),
}
_MEANINGS = {
    403: "the other side rejects the connection",
    500: "the other side failed",
    501: "the other side does not support DTCP",
    502: "the other side could not begin",
    503: "the other side could not connect to any of our hosts",
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """
    An iq-error that comes after the negotiation has begun (section 3.2).

    @ivar key: the key of the one who gets it.
    @ivar code: 503 when its sender has given up connecting, another when all is over.
    @ivar text: words for a person.
    """

    key: str = field(repr=False)
    code: int
    text: str = ""

    @classmethod
    def fromElement(cls, iq: Element) -> "Trouble | None":
        """
        Read an C{iq} of type C{error}.

        @return: C{None} when it is not about DTCP.
        """
        key, error = "", None
        for child in iq.elements():
            if child.uri == NS_DTCP and child.name == "query":
                key = next((str(e).strip() for e in child.elements() if e.name == "key"), "")
            elif child.name == "error":
                error = child
        if not key:
            return None
        return cls(key, _codeOf(error), _textOf(error))

    def toElement(self, recipient: str) -> Element:
        """
        Write the C{iq}. It has an id, without which ejabberd does not carry it.
        """
        iq = Element((None, "iq"))
        iq["type"] = "error"
        iq["to"] = recipient
        iq["id"] = f"dtcp-{secrets.token_hex(8)}"
        query = iq.addElement((NS_DTCP, "query"))
        query.addElement("key", content=self.key)
        condition, kind = _CONDITIONS[self.code]
        error = iq.addElement("error", content=self.text)
        error["code"] = str(self.code)
        error["type"] = kind
        error.addElement(("urn:ietf:params:xml:ns:xmpp-stanzas", condition))
        return iq

    def __str__(self) -> str:
        meaning = _MEANINGS.get(self.code, f"the other side says error {self.code}")
        return f"{meaning} ({self.text})" if self.text else meaning


def _codeOf(error: Element | None) -> int:
    code = "" if error is None else error.getAttribute("code", "")
    if code.isascii() and code.isdigit():
        return int(code[:4])
    conditions = {e.name for e in error.elements()} if error is not None else set()
    return next((code for code, (name, _) in _CONDITIONS.items() if name in conditions), 500)


def _textOf(error: Element | None) -> str:
    if error is None:
        return ""
    text = next((str(e) for e in error.elements() if e.name == "text"), "") or str(error)
    return text.strip()[:200]


def _port(text: str) -> int | None:
    text = text.strip()
    # Not longer than a port is: int() of a stranger's digits would cost what he likes.
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not 0 < int(text) < 65536:
        return None
    return int(text)
