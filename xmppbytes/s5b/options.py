"""
What can be chosen about a client's bytestreams, as one value.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from xmppbytes.connecting.addresses import parseAdvertised


class Ways(Enum):
    """
    Which ways a bytestream may take, as Requester and as Target.

    @cvar ANY: direct connections and proxies, in this order.
    @cvar DIRECT_ONLY: no proxy.
    @cvar PROXY_ONLY: no direct connection: no port is opened, no own address is named, and no
        address of the peer is connected to.
    """

    ANY = "any"
    DIRECT_ONLY = "direct only"
    PROXY_ONLY = "proxy only"


@dataclass(frozen=True, slots=True, kw_only=True)
class BytestreamOptions:
    """
    Every choice that a client has, with its default. docs/library.md holds the same table in words.

    @ivar ways: which ways a bytestream may take.
    @ivar proxies: JIDs of proxies that are offered, beside those that are found.
    @ivar discoverProxies: look for proxies on our own server.
    @ivar addresses: our own IP addresses or names to offer; C{None}: those of this machine.
    @ivar advertise: what to offer in front of them, C{HOST} or C{HOST:PORT} (C{[IPv6]:PORT}): how
        others reach us through a NAT.
    @ivar ports: TCP ports to listen on, the first that is free is used; 0: any.
    @ivar allowAddresses: addresses or networks (C{10.0.0.0/8}) that may be connected to although the
        address policy would not.
    @ivar answerTimeout: seconds that the target has for its answer; it may try many streamhosts
        one after another.
    @ivar decisionTimeout: seconds that our acceptor has to decide about a bytestream.
    @ivar maxIncoming: bytestreams that others ask us for unexpectedly and that are not connected yet,
        in all.
    @ivar maxIncomingPerPeer: the same, of one bare JID.
    @ivar maxStreamHosts: how many streamhosts of one offer are tried.
    @ivar mayConnect: tells whether a target may connect to us from an address, where that is known;
        C{None}: from any.
    """

    ways: Ways = Ways.ANY
    proxies: Sequence[str] = ()
    discoverProxies: bool = True
    addresses: Sequence[str] | None = None
    advertise: Sequence[str] = ()
    ports: Sequence[int] = (0,)
    allowAddresses: Sequence[str] = ()
    answerTimeout: float = 120.0
    decisionTimeout: float = 120.0
    maxIncoming: int = 100
    maxIncomingPerPeer: int = 20
    maxStreamHosts: int = 16
    mayConnect: Callable[[str, str], bool] | None = None

    def __post_init__(self) -> None:
        """
        @raise ConfigurationError: when what is to be advertised cannot be.
        """
        for text in self.advertise:
            parseAdvertised(text, 1)
