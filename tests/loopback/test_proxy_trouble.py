"""
A real proxy and an XMPP server that breaks the rules, or passes on what strangers send too much of.
"""

import re
from typing import Any

from twisted.words.protocols.jabber.error import StreamError

from tests.loopback.lab import FOREIGNERS, PROXY, REQUESTER, ProxyTestCase
from xmppbytes.core.damper import PER_ORIGIN
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS
from xmppbytes.xmlparser import MAX_SERVER_STANZA

MIB = 1 << 20
QUERY = f"<query xmlns='{NS_BYTESTREAMS}'/>"


class BrokenServerTests(ProxyTestCase):
    """
    The stream of the server.
    """

    async def untilClosedFor(self, *pieces: bytes) -> tuple[str, str]:
        """
        Let the server send something that is no stanza, and wait until the proxy has left it and has come
        back.

        @return: the line about it, and what the server was told.
        """
        before = len(self.proxy.log())
        transport = self.server._streams[-1].transport
        for piece in pieces:
            transport.write(piece)
        line = await self.proxy.untilLogged("the stream was closed", after=before)
        await self.proxy.untilLogged(": connected", after=before)
        self.assertEqual((await self.server.request("get", QUERY))["type"], "result")
        # Of the router: it had no use for a stanza to nobody, and tells what we told it.
        (error,) = self.flushLoggedErrors(StreamError)
        self.flushLoggedErrors(KeyError)
        return line, error.value.condition

    async def test_endless(self) -> None:
        """
        An attribute that does not end costs a bounded amount of memory and one line; then
        the stream is made anew, and what runs has noticed nothing.
        """
        await self.startProxy()
        requester, target = await self.pair("lasting")
        memory = self.proxy.residentBytes()
        pieces = [b"x" * MIB] * (MAX_SERVER_STANZA // MIB + 1)
        line, told = await self.untilClosedFor(b"<message a='", *pieces)
        self.assertIn("a stanza is larger than 4096 KiB", line)
        self.assertEqual(told, "policy-violation")
        self.assertLess(self.proxy.residentBytes() - memory, 64 * MIB)
        requester.sendall(b"still here")
        self.assertEqual(target.recv(10), b"still here")
        self.assertNotIn("Traceback", self.proxy.log())

    async def test_restricted(self) -> None:
        """
        So it is with what XMPP forbids.
        """
        await self.startProxy()
        line, told = await self.untilClosedFor(b"<!-- a comment -->")
        self.assertIn("not allowed in a stream", line)
        self.assertEqual(told, "restricted-xml")


class StrangersTests(ProxyTestCase):
    """
    What servers let through.
    """

    async def test_damped(self) -> None:
        """
        Who is refused again and again is answered each time, fills a bounded part of the log, and is counted
        exactly when the service ends.
        """
        await self.startProxy()
        sender = f"mallory@{FOREIGNERS}/x"
        for _ in range(PER_ORIGIN + 50):
            self.assertEqual((await self.server.request("get", QUERY, sender))["type"], "error")
        self.assertEqual((await self.server.request("get", QUERY, f"tybalt@{FOREIGNERS}"))["type"], "error")
        await self.proxy.stop()
        refused = [
            line for line in self.proxy.log().splitlines() if "ask for the address: not allowed" in line
        ]
        # A period may end in between on a slow machine: nothing is lost all the same.
        left = [int(n) for n in re.findall(r"Left out (\d+) more lines", self.proxy.log())]
        self.assertEqual(len(refused) + sum(left), PER_ORIGIN + 51)
        self.assertIn(f"of mallory@{FOREIGNERS}", self.proxy.log())
        self.assertTrue(any("tybalt" in line for line in refused))

    async def test_largest(self) -> None:
        """
        The largest stanzas that servers take of strangers, whatever they are made of, do not end the stream.
        """
        await self.startProxy()
        size = MIB // 2
        contents: dict[str, Any] = {
            "quotes": "&quot;" * size,
            "elements": "<a/>" * (size // 4),
            "depth": "<a>" * (size // 7) + "</a>" * (size // 7),
            "lines": "\n" * size,
        }
        transport = self.server._streams[-1].transport
        for content in contents.values():
            # No request: the answer would repeat it all, and the router here is slow with it.
            stanza = f"<iq type='result' from='mallory@{FOREIGNERS}' to='{PROXY}'><q>{content}</q></iq>"
            transport.write(stanza.encode())
        self.assertEqual((await self.server.request("get", QUERY, REQUESTER))["type"], "result")
        self.assertEqual(self.proxy.log().count(f"Component {PROXY} at"), 1)
        self.assertNotIn("Traceback", self.proxy.log())
