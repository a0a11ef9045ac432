"""
What can be chosen about a client's DTCP connections, as one value.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from xmppbytes.connecting.addresses import parseAdvertised
from xmppbytes.dtcp.channel import TLSMode
from xmppbytes.dtcp.stanzas import MAX_RELAYS
from xmppbytes.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class DTCPOptions:
    """
    Every choice that a client has, with its default. docs/dtcp.md holds the same table in words.

    @ivar direct: connect to the other side, and let it connect to us. Otherwise only relays are used:
        no port is opened, no own address is named, no address of the other side is connected to.
    @ivar relays: JIDs of relays at which we wait when we are the requester, at most three.
    @ivar addresses: our own IP addresses or names to offer; C{None}: those of this machine.
    @ivar advertise: what to offer in front of them, C{HOST} or C{HOST:PORT} (C{[IPv6]:PORT}).
    @ivar allowAddresses: addresses or networks (C{10.0.0.0/8}) that may be connected to although the
        address policy would not.
    @ivar ports: TCP ports to listen on, the first that is free is used; 0: any.
    @ivar tls: whether channels are encrypted.
    @ivar answerTimeout: seconds that the target has for its answer: a person may be asked.
    @ivar decisionTimeout: seconds that our acceptor has to decide.
    @ivar connectTimeout: seconds from the answer until a connection is established.
    @ivar handshakeTimeout: seconds from an accepted connection to its establishment.
    @ivar maxIncoming: negotiations that others have begun unexpectedly and that are not established, in
        all.
    @ivar maxIncomingPerPeer: the same, of one bare JID.
    @ivar maxConnections: accepted connections that are not established, in all.
    @ivar maxConnectionsPerAddress: the same, of one IP address; of IPv6, of one /64.
    """

    direct: bool = True
    relays: Sequence[str] = ()
    addresses: Sequence[str] | None = None
    advertise: Sequence[str] = ()
    allowAddresses: Sequence[str] = ()
    ports: Sequence[int] = (0,)
    tls: TLSMode = TLSMode.OPTIONAL
    answerTimeout: float = 120.0
    decisionTimeout: float = 120.0
    connectTimeout: float = 60.0
    handshakeTimeout: float = 30.0
    maxIncoming: int = 100
    maxIncomingPerPeer: int = 20
    maxConnections: int = 100
    maxConnectionsPerAddress: int = 20

    def __post_init__(self) -> None:
        """
        @raise ConfigurationError: when what is to be advertised cannot be, or relays are too many.
        """
        for text in self.advertise:
            parseAdvertised(text, 1)
        if len(self.relays) > MAX_RELAYS:
            raise ConfigurationError(f"{len(self.relays)} relays are too many: name at most {MAX_RELAYS}")
