"""
The SOCKS5 subset of SOCKS5 bytestreams: RFC 1928 as XEP-0065 sections 5.3.2, 6.3.2 and 10.2 use it.

    client                                    server
    Greeting      05 NMETHODS METHODS...  ->
                                          <-  MethodChoice  05 METHOD
    Request       05 CMD 00 03 28 <40 hex> PORT ->
                                          <-  Reply         05 REP 00 03 28 <40 hex> PORT

Both parsers take bytes in any pieces and stop behind the last message of the handshake: what follows
belongs to the bytestream and is handed over by C{rest()}. The server's parser takes at most
L{MAX_GREETING} + L{MAX_REQUEST} bytes, the client's at most L{MAX_REPLY} + 2.

The client's parser accepts every form of reply that peers are known to send: any address type, the
six bytes C{05 00 00 00 00 00} with address type 0, and errors cut short to two bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeAlias, TypeVar

from xmppbytes.errors import WireError
from xmppbytes.wire.buffer import ReceiveBuffer

VERSION = 5
MAX_GREETING = 2 + 255
MAX_REQUEST = 4 + 1 + 255 + 2
MAX_REPLY = MAX_REQUEST


class Method(IntEnum):
    """
    Authentication methods, RFC 1928 section 3.
    """

    NONE = 0x00
    PASSWORD = 0x02
    NO_ACCEPTABLE = 0xFF


class Command(IntEnum):
    """
    What a client may ask for, RFC 1928 section 4.
    """

    CONNECT = 1
    BIND = 2
    UDP_ASSOCIATE = 3


class AddressType(IntEnum):
    """
    How an address is written, RFC 1928 section 5. C{NONE} is what ejabberd before 2.0.2 sent.
    """

    NONE = 0
    IPV4 = 1
    DOMAIN = 3
    IPV6 = 4


class ReplyCode(IntEnum):
    """
    The outcome of a request, RFC 1928 section 6.
    """

    SUCCEEDED = 0
    GENERAL_FAILURE = 1
    NOT_ALLOWED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    CONNECTION_REFUSED = 5
    TTL_EXPIRED = 6
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_TYPE_NOT_SUPPORTED = 8


_FIXED_LENGTH = {AddressType.NONE: 0, AddressType.IPV4: 4, AddressType.IPV6: 16}


@dataclass(frozen=True, slots=True)
class Greeting:
    """
    A client's opening: the authentication methods that it offers.
    """

    methods: bytes

    def toBytes(self) -> bytes:
        """
        Write it as it goes over the wire.
        """
        return bytes((VERSION, len(self.methods))) + self.methods


@dataclass(frozen=True, slots=True)
class MethodChoice:
    """
    The server's answer to a L{Greeting}.
    """

    method: int

    def toBytes(self) -> bytes:
        """
        Write it as it goes over the wire.
        """
        return bytes((VERSION, self.method))


@dataclass(frozen=True, slots=True)
class Request:
    """
    What a client asks for.

    @ivar command: a L{Command}, or another number.
    @ivar addressType: an L{AddressType}, or another number.
    @ivar address: DST.ADDR as it was received: for DOMAIN the text without its length.
    @ivar port: DST.PORT.
    """

    command: int
    address: bytes
    port: int = 0
    addressType: int = AddressType.DOMAIN

    def toBytes(self) -> bytes:
        """
        Write it as it goes over the wire.
        """
        return bytes((VERSION, self.command, 0)) + _writeAddress(self.addressType, self.address, self.port)


@dataclass(frozen=True, slots=True)
class Reply:
    """
    The server's answer to a L{Request}. BND.ADDR and BND.PORT repeat DST.ADDR and DST.PORT (XEP-0065 6.3.2).
    """

    code: int
    address: bytes = b""
    port: int = 0
    addressType: int = AddressType.DOMAIN

    def toBytes(self) -> bytes:
        """
        Write it as it goes over the wire.
        """
        return bytes((VERSION, self.code, 0)) + _writeAddress(self.addressType, self.address, self.port)


def _writeAddress(addressType: int, address: bytes, port: int) -> bytes:
    length = bytes((len(address),)) if addressType == AddressType.DOMAIN else b""
    return bytes((addressType,)) + length + address + port.to_bytes(2, "big")


ServerEvent: TypeAlias = Greeting | Request
ClientEvent: TypeAlias = MethodChoice | Reply


E = TypeVar("E")


class _Parser(Generic[E]):
    """
    Reads one message after the other, each by the method that the one before has named in C{_next}.
    """

    __slots__ = ("_buffer", "_next")

    _next: Callable[[], E | None] | None

    def __init__(self) -> None:
        self._buffer = ReceiveBuffer()

    def feed(self, data: bytes) -> list[E]:
        """
        Parse what has arrived.

        @return: the messages that are complete now, in order.
        @raise WireError: when this is not SOCKS5. Nothing must be fed any more.
        """
        self._buffer.append(data)
        events: list[E] = []
        while self._next is not None:
            event = self._next()
            if event is None:
                break
            events.append(event)
        return events

    def rest(self) -> bytes:
        """
        Take what has arrived behind the last message.
        """
        return self._buffer.rest()


class ServerParser(_Parser[ServerEvent]):
    """
    Reads what a SOCKS5 client sends.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self._next = self._greeting

    def _greeting(self) -> Greeting | None:
        data = self._buffer.data
        if data and data[0] != VERSION:
            raise WireError(f"not SOCKS5: the first byte is {data[0]:#04x}, not 0x05")
        if len(data) < 2:
            return None
        whole = self._buffer.take(2 + data[1])
        if whole is None:
            return None
        self._next = self._request
        return Greeting(whole[2:])

    def _request(self) -> Request | None:
        parsed = _takeMessage(self._buffer, "request")
        if parsed is None:
            return None
        self._next = None
        command, addressType, address, port = parsed
        return Request(command, address, port, addressType)


class ClientParser(_Parser[ClientEvent]):
    """
    Reads what a SOCKS5 server answers.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self._next = self._choice

    def _choice(self) -> MethodChoice | None:
        data = self._buffer.data
        if data and data[0] != VERSION:
            raise WireError(f"not SOCKS5: the first byte of the answer is {data[0]:#04x}, not 0x05")
        whole = self._buffer.take(2)
        if whole is None:
            return None
        self._next = self._reply
        return MethodChoice(whole[1])

    def _reply(self) -> Reply | None:
        # Dino, and gabble before 0.7.22, say no in two bytes: the code is enough to know.
        data = self._buffer.data
        if len(data) >= 2 and data[0] == VERSION and data[1] != ReplyCode.SUCCEEDED:
            self._next = None
            return Reply(data[1])
        parsed = _takeMessage(self._buffer, "reply")
        if parsed is None:
            return None
        self._next = None
        code, addressType, address, port = parsed
        return Reply(code, address, port, addressType)


def _takeMessage(buffer: ReceiveBuffer, what: str) -> tuple[int, int, bytes, int] | None:
    """
    Take a request or a reply, which have one form, out of a buffer once it is complete.

    @return: command or reply code, address type, address, port.
    """
    data = buffer.data
    if data and data[0] != VERSION:
        raise WireError(f"not SOCKS5: the {what} begins with {data[0]:#04x}, not 0x05")
    if len(data) < 4:
        return None
    code, addressType = data[1], data[3]
    head = 4
    if addressType == AddressType.DOMAIN:
        if len(data) < 5:
            return None
        head, length = 5, data[4]
    elif addressType in _FIXED_LENGTH:
        length = _FIXED_LENGTH[AddressType(addressType)]
    else:
        raise WireError(f"unknown SOCKS5 address type {addressType:#04x} in the {what}")
    whole = buffer.take(head + length + 2)
    if whole is None:
        return None
    return code, addressType, whole[head:-2], int.from_bytes(whole[-2:], "big")
