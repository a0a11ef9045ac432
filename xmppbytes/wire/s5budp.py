"""
The datagrams of SOCKS5 bytestreams in UDP mode: XEP-0065 sections 8.3.2, 8.4 and 10.2, RFC 1928 section 7.

    party -> StreamHost    00 00  FRAG  03  28 <40 hex>  DST.PORT  DATA
                           RSV          ATYP  DST.ADDR
    StreamHost -> party    DATA alone

DST.PORT is 1 in an initialization packet, whose DATA is the JID of its sender, and 0 in every other,
whose DATA is a payload: source and destination virtual port, then the data of the application.
"""

from dataclasses import dataclass

from xmppbytes.errors import WireError

# DST.ADDR is a hash of 40 hexadecimal digits: every header of this profile is equally long.
ADDRESS_LENGTH = 40
HEADER_LENGTH = 4 + 1 + ADDRESS_LENGTH + 2
PORTS_LENGTH = 4
PAYLOAD_PORT = 0
INIT_PORT = 1
# The longest JID in bytes, RFC 6120: two slashes and three parts of 1023 bytes.
MAX_JID = 3 * 1023 + 2
# What UDP over IPv4 carries at most. Whatever is larger does not exist.
MAX_DATAGRAM = 65507

_RESERVED = b"\0\0"
_FRAGMENT = 2
_TYPE_AND_LENGTH = bytes((0x03, ADDRESS_LENGTH))
_ADDRESS = slice(5, 5 + ADDRESS_LENGTH)
_PORT = slice(5 + ADDRESS_LENGTH, HEADER_LENGTH)
_HEX = frozenset(b"0123456789abcdefABCDEF")


def header(address: bytes, port: int = PAYLOAD_PORT) -> bytes:
    """
    Write the SOCKS5 header of a datagram.

    @param address: DST.ADDR, 40 hexadecimal digits.
    @param port: L{PAYLOAD_PORT} or L{INIT_PORT}.
    """
    return _RESERVED + b"\0" + _TYPE_AND_LENGTH + address + port.to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class Datagram:
    """
    What a party sends to a StreamHost.

    @ivar address: DST.ADDR as it was received: 40 hexadecimal digits.
    @ivar port: DST.PORT, L{PAYLOAD_PORT} or L{INIT_PORT}.
    @ivar data: the JID of the sender, or a payload.
    """

    address: bytes
    port: int
    data: bytes

    @classmethod
    def fromBytes(cls, datagram: bytes) -> "Datagram":
        """
        Read a datagram that came from a party.

        @raise WireError: when it is none of this profile; it is to be dropped. A fragment is one of
            them: RFC 1928 wants those dropped where reassembly is not supported.
        """
        if len(datagram) < HEADER_LENGTH:
            raise WireError(f"a datagram of {len(datagram)} bytes is shorter than its SOCKS5 header")
        if datagram[:2] != _RESERVED:
            raise WireError("the reserved field of the SOCKS5 header is not 0")
        if datagram[_FRAGMENT]:
            raise WireError("it is a fragment, and fragments are not supported")
        if datagram[3:5] != _TYPE_AND_LENGTH or not _HEX.issuperset(datagram[_ADDRESS]):
            raise WireError("its DST.ADDR is not the hash of a bytestream")
        port = int.from_bytes(datagram[_PORT], "big")
        if port not in (PAYLOAD_PORT, INIT_PORT):
            raise WireError(f"its DST.PORT is {port}, neither 0 (payload) nor 1 (initialization)")
        return cls(datagram[_ADDRESS], port, datagram[HEADER_LENGTH:])

    def toBytes(self) -> bytes:
        """
        Write it as it goes over the wire.
        """
        return header(self.address, self.port) + self.data


@dataclass(frozen=True, slots=True)
class Payload:
    """
    What one party sends to the other (section 8.4).

    @ivar source: the sender's virtual port.
    @ivar destination: the receiver's virtual port.
    @ivar data: of the application.
    """

    source: int
    destination: int
    data: bytes

    @classmethod
    def fromBytes(cls, payload: bytes) -> "Payload":
        """
        Read a payload.

        @raise WireError: when it is too short to have virtual ports; it is to be dropped.
        """
        if len(payload) < PORTS_LENGTH:
            raise WireError(f"a payload of {len(payload)} bytes is shorter than its virtual ports")
        return cls(
            int.from_bytes(payload[:2], "big"),
            int.from_bytes(payload[2:PORTS_LENGTH], "big"),
            payload[PORTS_LENGTH:],
        )

    def toBytes(self) -> bytes:
        """
        Write it as it goes over the wire.

        @raise ValueError: when a port is none.
        """
        if not (0 <= self.source < 65536 and 0 <= self.destination < 65536):
            raise ValueError(f"virtual ports are from 0 to 65535, not {self.source} and {self.destination}")
        return self.source.to_bytes(2, "big") + self.destination.to_bytes(2, "big") + self.data


def initPacket(address: bytes, jid: str) -> bytes:
    """
    Write an initialization packet (section 8.3.2).

    @param address: DST.ADDR, 40 hexadecimal digits.
    @param jid: of the sender.
    """
    return Datagram(address, INIT_PORT, jid.encode("utf-8")).toBytes()
