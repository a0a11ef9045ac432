"""
What can be chosen about a client's DTCP connections, as one value.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DTCPOptions:
    """
    Every choice that a client has, with its default. docs/dtcp.md holds the same table in words.

    @ivar direct: connect to the other side, and let it connect to us. Otherwise only relays are used:
        no port is opened, no own address is named, no address of the other side is connected to.
    @ivar relays: JIDs of relays at which we wait when we are the requester, at most three.
    @ivar addresses: our own IP addresses or names to offer; C{None}: those of this machine.
    @ivar advertise: what to offer in front of them, C{HOST} or C{HOST:PORT} (C{[IPv6]:PORT}).
    @ivar ports: TCP ports to listen on, the first that is free is used; 0: any.
    @ivar answerTimeout: seconds that the target has for its answer: a person may be asked.
    @ivar connectTimeout: seconds from the answer until a connection is established.
    @ivar handshakeTimeout: seconds from an accepted connection to its establishment.
    @ivar maxIncoming: negotiations that others have begun and that are not established, in all.
    @ivar maxConnections: accepted connections that are not established, in all.
    @ivar maxConnectionsPerAddress: the same, of one IP address.
    """

    direct: bool = True
    relays: Sequence[str] = ()
    addresses: Sequence[str] | None = None
    advertise: Sequence[str] = ()
    ports: Sequence[int] = (0,)
    answerTimeout: float = 120.0
    connectTimeout: float = 60.0
    handshakeTimeout: float = 30.0
    maxIncoming: int = 100
    maxConnections: int = 100
    maxConnectionsPerAddress: int = 20
