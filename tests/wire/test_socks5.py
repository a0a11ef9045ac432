"""
Tests for L{xmppbytes.wire.socks5}.
"""

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from xmppbytes.errors import WireError
from xmppbytes.wire.socks5 import (
    MAX_GREETING,
    MAX_REPLY,
    MAX_REQUEST,
    AddressType,
    ClientParser,
    Greeting,
    MethodChoice,
    Reply,
    ReplyCode,
    Request,
    ServerParser,
)

HASH = b"972b7bf47291ca609517f67f86b5081086052dad"
CONNECT = b"\5\1\0\3\x28" + HASH + b"\0\0"
GRANTED = b"\5\0\0\3\x28" + HASH + b"\0\0"

greetings = st.builds(Greeting, st.binary(max_size=255))
_addresses = st.one_of(
    st.tuples(st.just(AddressType.DOMAIN), st.binary(max_size=255)),
    st.tuples(st.just(AddressType.IPV4), st.binary(min_size=4, max_size=4)),
    st.tuples(st.just(AddressType.IPV6), st.binary(min_size=16, max_size=16)),
    st.tuples(st.just(AddressType.NONE), st.just(b"")),
)
_ports = st.integers(0, 65535)
requests = st.builds(
    lambda command, address, port: Request(command, address[1], port, address[0]),
    st.integers(0, 255),
    _addresses,
    _ports,
)
choices = st.builds(MethodChoice, st.integers(0, 255))
replies = st.builds(lambda address, port: Reply(0, address[1], port, address[0]), _addresses, _ports)
trailing = st.binary(max_size=30)
noise = st.builds(
    bytes.__add__,
    st.sampled_from((b"", b"\5", b"\5\0", b"\5\1\0", b"\5\1\0\5\1\0", b"\5\0\5\0\0\3")),
    st.binary(max_size=700),
)
cuts = st.lists(st.integers(0, 600), max_size=6)


def splitAt(data: bytes, places: list[int]) -> list[bytes]:
    """
    Cut bytes into pieces.
    """
    edges = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def feedAll(parser: Any, pieces: list[bytes]) -> tuple[list[Any], bytes]:
    """
    Feed pieces; return all messages, and what is left.
    """
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events, parser.rest()


class ServerParserTests(SynchronousTestCase):
    """
    What SOCKS5 clients send.
    """

    @given(greetings, requests, trailing, cuts)
    def test_anySplit(self, greeting: Greeting, request: Request, behind: bytes, places: list[int]) -> None:
        """
        However the bytes are cut, the same messages come out, and what follows them is kept.
        """
        data = greeting.toBytes() + request.toBytes() + behind
        self.assertEqual(feedAll(ServerParser(), splitAt(data, places)), ([greeting, request], behind))

    @given(greetings, requests, trailing)
    def test_byteByByte(self, greeting: Greeting, request: Request, behind: bytes) -> None:
        """
        Single bytes are enough.
        """
        data = greeting.toBytes() + request.toBytes() + behind
        pieces = [data[n : n + 1] for n in range(len(data))]
        self.assertEqual(feedAll(ServerParser(), pieces), ([greeting, request], behind))

    def test_everyTruncation(self) -> None:
        """
        What is cut short is neither an error nor a message.
        """
        greeting = b"\5\2\0\2"
        for request in (CONNECT, b"\5\1\0\1abcd\0\0", b"\5\1\0\4" + b"x" * 16 + b"\0\0", b"\5\1\0\0\0\0"):
            data = greeting + request
            for length in range(len(data)):
                events = ServerParser().feed(data[:length])
                expected = [Greeting(b"\0\2")] if length >= len(greeting) else []
                self.assertEqual(events, expected)

    @given(noise, cuts)
    def test_noise(self, data: bytes, places: list[int]) -> None:
        """
        Whatever is no SOCKS5 is a WireError or waits for more, within the stated maximum.
        """
        parser = ServerParser()
        try:
            events = [event for piece in splitAt(data, places) for event in parser.feed(piece)]
        except WireError:
            return
        self.assertTrue(len(events) == 2 or len(data) < MAX_GREETING + MAX_REQUEST)

    def test_longest(self) -> None:
        """
        The longest greeting and request are of the stated lengths, and understood.
        """
        greeting, request = Greeting(bytes(255)), Request(1, b"a" * 255, 65535)
        self.assertEqual((len(greeting.toBytes()), len(request.toBytes())), (MAX_GREETING, MAX_REQUEST))
        self.assertEqual(
            feedAll(ServerParser(), [greeting.toBytes() + request.toBytes()]), ([greeting, request], b"")
        )

    def test_otherProtocols(self) -> None:
        """
        SOCKS4, HTTP and TLS are told by their first byte.
        """
        for first in (b"\4", b"GET / HTTP/1.1\r\n", b"\x16\3\1"):
            error = self.assertRaises(WireError, ServerParser().feed, first)
            self.assertIn(f"{first[0]:#04x}", str(error))

    def test_otherVersionInRequest(self) -> None:
        """
        The request is of version 5 as well.
        """
        self.assertRaises(WireError, ServerParser().feed, b"\5\1\0\4")

    def test_unknownAddressType(self) -> None:
        """
        An address of unknown form has an unknown length: nothing can be done.
        """
        error = self.assertRaises(WireError, ServerParser().feed, b"\5\1\0\5\1\0\2")
        self.assertIn("0x02", str(error))

    def test_requestAsListing14Has(self) -> None:
        """
        XEP-0065 listings 14, 19 and 22: CMD 1, ATYP 3, the hash, port 0.
        """
        self.assertEqual(Request(1, HASH).toBytes(), CONNECT)
        self.assertEqual(len(CONNECT), 47)

    def test_associateAsListing31Has(self) -> None:
        """
        XEP-0065 listing 31: CMD 3.
        """
        events, _ = feedAll(ServerParser(), [b"\5\1\0\5\3\0\3\x28" + HASH + b"\0\0"])
        self.assertEqual(events[1], Request(3, HASH))

    def test_reservedByteIsIgnored(self) -> None:
        """
        What stands in RSV does not matter.
        """
        events, _ = feedAll(ServerParser(), [b"\5\1\0\5\1\x77\3\x28" + HASH + b"\0\0"])
        self.assertEqual(events[1], Request(1, HASH))


class ClientParserTests(SynchronousTestCase):
    """
    What SOCKS5 servers answer.
    """

    @given(choices, replies, trailing, cuts)
    def test_anySplit(self, choice: MethodChoice, reply: Reply, behind: bytes, places: list[int]) -> None:
        """
        However the bytes are cut, the same messages come out, and what follows them is kept.
        """
        data = choice.toBytes() + reply.toBytes() + behind
        self.assertEqual(feedAll(ClientParser(), splitAt(data, places)), ([choice, reply], behind))

    @given(choices, replies, trailing)
    def test_byteByByte(self, choice: MethodChoice, reply: Reply, behind: bytes) -> None:
        """
        Single bytes are enough.
        """
        data = choice.toBytes() + reply.toBytes() + behind
        pieces = [data[n : n + 1] for n in range(len(data))]
        self.assertEqual(feedAll(ClientParser(), pieces), ([choice, reply], behind))

    def test_everyTruncation(self) -> None:
        """
        What is cut short is neither an error nor a message.
        """
        data = b"\5\0" + GRANTED
        for length in range(len(data)):
            events = ClientParser().feed(data[:length])
            self.assertEqual(events, [MethodChoice(0)] if length >= 2 else [])

    @given(noise, cuts)
    def test_noise(self, data: bytes, places: list[int]) -> None:
        """
        Whatever is no SOCKS5 is a WireError or waits for more, within the stated maximum.
        """
        parser = ClientParser()
        try:
            events = [event for piece in splitAt(data, places) for event in parser.feed(piece)]
        except WireError:
            return
        self.assertTrue(len(events) == 2 or len(data) < MAX_REPLY + 2)

    def test_replyForms(self) -> None:
        """
        Every form in which a peer is known to say yes is understood, and bytes behind it are kept.
        """
        forms = {
            "as sent": (GRANTED, AddressType.DOMAIN, HASH),
            "Miranda": (b"\5\0\0\1\0\0\0\0\0\0", AddressType.IPV4, b"\0\0\0\0"),
            "libpurple": (b"\5\0\0\3\x0b192.168.4.1\x13\xde", AddressType.DOMAIN, b"192.168.4.1"),
            "ejabberd before 2.0.2": (b"\5\0\0\0\0\0", AddressType.NONE, b""),
            "IPv6": (b"\5\0\0\4" + b"\1" * 16 + b"\0\0", AddressType.IPV6, b"\1" * 16),
        }
        for peer, (data, kind, address) in forms.items():
            events, rest = feedAll(ClientParser(), [b"\5\0" + data + b"file"])
            reply = events[1]
            self.assertEqual((reply.code, reply.addressType, reply.address), (0, kind, address), peer)
            self.assertEqual(rest, b"file", peer)

    def test_refusalForms(self) -> None:
        """
        Two bytes are enough to know that the answer is no: Dino and old gabble send no more, Prosody
        an address without length.
        """
        for data in (b"\5\1", b"\5\1\0\3\0\0\0", b"\5\1\0\3\x28" + HASH + b"\0\0"):
            events = ClientParser().feed(b"\5\0" + data)
            self.assertEqual([events[0], events[1].code], [MethodChoice(0), ReplyCode.GENERAL_FAILURE])

    def test_otherVersions(self) -> None:
        """
        Both answers are of version 5.
        """
        self.assertRaises(WireError, ClientParser().feed, b"HTTP/1.1 400 Bad Request\r\n")
        self.assertRaises(WireError, ClientParser().feed, b"\5\0\4\0")

    def test_unknownAddressType(self) -> None:
        """
        An address of unknown form has an unknown length.
        """
        self.assertRaises(WireError, ClientParser().feed, b"\5\0\5\0\0\x7f")
