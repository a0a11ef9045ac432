"""
Tests for xmppbytes.wire.s5budp.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from xmppbytes.errors import WireError
from xmppbytes.wire.s5budp import (
    HEADER_LENGTH,
    INIT_PORT,
    PAYLOAD_PORT,
    Datagram,
    Payload,
    header,
    initPacket,
)

HASH = b"972b7bf47291ca609517f67f86b5081086052dad"


class DatagramTests(TestCase):
    """
    The SOCKS5 UDP header.
    """

    def test_initializationPacket(self) -> None:
        """
        An initialization packet is listing 33 of XEP-0065, byte by byte.
        """
        packet = initPacket(HASH, "target@example.org/bar")
        self.assertEqual(packet, b"\0\0\0\x03\x28" + HASH + b"\0\1" + b"target@example.org/bar")

    def test_initializationPacketIsRead(self) -> None:
        """
        What was written is read again, JIDs in UTF-8.
        """
        datagram = Datagram.fromBytes(initPacket(HASH, "jürgen@example.org/ü"))
        self.assertEqual(datagram, Datagram(HASH, INIT_PORT, "jürgen@example.org/ü".encode()))

    def test_payloadPacket(self) -> None:
        """
        A packet with a payload is listing 35 of XEP-0065: DST.PORT is 0.
        """
        packet = Datagram(HASH, PAYLOAD_PORT, b"\x00\x07\x00\x09hello").toBytes()
        self.assertEqual(packet, b"\0\0\0\x03\x28" + HASH + b"\0\0" + b"\x00\x07\x00\x09hello")

    def test_headerLength(self) -> None:
        """
        Every header of this profile has the same length.
        """
        self.assertEqual(len(header(HASH)), HEADER_LENGTH)

    def test_upperCaseHashIsKept(self) -> None:
        """
        DST.ADDR is told as it was received.
        """
        self.assertEqual(Datagram.fromBytes(header(HASH.upper()) + b"x").address, HASH.upper())

    def test_emptyData(self) -> None:
        """
        A header with nothing behind it is a datagram.
        """
        self.assertEqual(Datagram.fromBytes(header(HASH)).data, b"")

    def test_truncatedAtEveryByte(self) -> None:
        """
        Whatever is shorter than the header is refused.
        """
        whole = header(HASH)
        for length in range(HEADER_LENGTH):
            with self.assertRaises(WireError):
                Datagram.fromBytes(whole[:length])

    def test_everyByteOfTheHeaderCounts(self) -> None:
        """
        A header with one wrong byte is refused, and the text says which field is wrong.
        """
        fields = {0: "reserved", 1: "reserved", 2: "fragment", 3: "DST.ADDR", 4: "DST.ADDR", 20: "DST.ADDR"}
        fields |= {45: "DST.PORT", 46: "DST.PORT"}
        for index, field in fields.items():
            broken = bytearray(header(HASH) + b"data")
            broken[index] ^= 0xF2
            with self.assertRaisesRegex(WireError, field):
                Datagram.fromBytes(bytes(broken))

    @given(st.binary(max_size=120))
    def test_anythingIsReadOrRefused(self, data: bytes) -> None:
        """
        Any bytes are either a datagram that is written the same way, or a WireError.
        """
        try:
            datagram = Datagram.fromBytes(data)
        except WireError:
            return
        self.assertEqual(datagram.toBytes(), data)

    @given(st.binary(max_size=60), st.sampled_from([PAYLOAD_PORT, INIT_PORT]))
    def test_roundTrip(self, data: bytes, port: int) -> None:
        """
        What is written is read again.
        """
        datagram = Datagram(HASH, port, data)
        self.assertEqual(Datagram.fromBytes(datagram.toBytes()), datagram)


class PayloadTests(TestCase):
    """
    The virtual ports.
    """

    def test_written(self) -> None:
        """
        Source port, destination port, both in network byte order, then the data.
        """
        self.assertEqual(Payload(0x0102, 0x0304, b"data").toBytes(), b"\x01\x02\x03\x04data")

    def test_tooShort(self) -> None:
        """
        Less than four bytes have no virtual ports.
        """
        for length in range(4):
            with self.assertRaises(WireError):
                Payload.fromBytes(b"\0" * length)

    def test_portsOutOfRange(self) -> None:
        """
        A port that has no place in 16 bits is a mistake of ours.
        """
        for source, destination in ((-1, 0), (0, -1), (65536, 0), (0, 65536)):
            with self.assertRaises(ValueError):
                Payload(source, destination, b"").toBytes()

    @given(st.integers(0, 65535), st.integers(0, 65535), st.binary(max_size=60))
    def test_roundTrip(self, source: int, destination: int, data: bytes) -> None:
        """
        What is written is read again.
        """
        payload = Payload(source, destination, data)
        self.assertEqual(Payload.fromBytes(payload.toBytes()), payload)
