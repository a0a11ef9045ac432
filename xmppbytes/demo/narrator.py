"""
Telling what happens, step by step, with the time that it took.
"""

import time
from typing import TextIO

from twisted.words.xish.domish import Element

from xmppbytes.dtcp.stanzas import NS_DTCP
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS


class Narrator:
    """
    Prints numbered steps.
    """

    def __init__(self, out: TextIO) -> None:
        """
        @param out: where to print.
        """
        self.out = out
        self._last = time.monotonic()
        self._number = 0

    def title(self, text: str) -> None:
        """
        Begin a part.
        """
        self._number = 0
        print(f"\n{text}\n{'-' * len(text)}", file=self.out, flush=True)

    def step(self, text: str) -> None:
        """
        Tell one step, and the time since the one before.
        """
        now = time.monotonic()
        self._number += 1
        print(f"{self._number:3}. [{(now - self._last) * 1000:7.1f} ms] {text}", file=self.out, flush=True)
        self._last = time.monotonic()

    def remark(self, text: str) -> None:
        """
        Tell something beside the steps.
        """
        print(f"     {text}", file=self.out, flush=True)
        self._last = time.monotonic()

    def sawStanza(self, stanza: Element) -> None:
        """
        Tell of a stanza, when it is a step of XEP-0065.
        """
        child = stanza.firstChildElement()
        if stanza.getAttribute("type") == "error":
            self.step(f"{stanza['from']} answers with an error: {stanza.toXml()}")
        elif child is None:
            return
        elif child.name == "udpsuccess":
            self.step(f"initialized: {stanza['from']} has the UDP packet of {stanza['to']}")
        elif child.uri == NS_BYTESTREAMS:
            self._sawBytestreams(stanza, child)
        elif child.uri == NS_DTCP:
            self._sawDTCP(stanza, child)

    def _sawBytestreams(self, iq: Element, query: Element) -> None:
        who, whom = iq["from"], iq["to"]
        children = list(query.elements())
        hosts = ", ".join(f"{c['host']} port {c['port']}" for c in children if c.name == "streamhost")
        if iq["type"] == "get":
            self.step(f"address query: {who} asks {whom} where it accepts bytestreams")
        elif iq["type"] == "result" and hosts:
            self.step(f"{who} answers: {hosts}")
        elif hosts:
            self.step(f"offer: {who} proposes bytestream {query['sid']} to {whom}, over {hosts}")
        elif children and children[0].name == "streamhost-used":
            self.step(f"connect: {who} has reached {children[0]['jid']} by SOCKS5, and says so")
        elif children and children[0].name == "activate":
            self.step(f"activate: {who} is connected there as well, and asks {whom} to relay")

    def _sawDTCP(self, iq: Element, query: Element) -> None:
        hosts = ", ".join(str(child) for child in query.elements() if child.name == "host") or "no address"
        if iq["type"] == "get":
            self.step(f"ticket: {iq['from']} asks {iq['to']} for a place at its relay")
        elif iq["type"] == "set":
            self.step(f"keys: {iq['from']} gives {iq['to']} a key, and {hosts}")
        else:
            self.step(f"keys: {iq['from']} answers {iq['to']} with a key, and {hosts}")
