"""
The limits on what strangers and users can make grow, as one value.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    Every limit of a stream host, with its default. docs/operating.md holds the same table in words.

    @ivar handshakeTimeout: seconds from TCP accept to an accepted request.
    @ivar pendingTimeout: seconds from TCP accept to activation.
    @ivar idleTimeout: seconds without a byte in either direction of an active bytestream; 0: no limit.
    @ivar maxPending: connections that are not activated, in all.
    @ivar maxPendingPerAddress: connections that are not activated, of one IP address; of IPv6, of one /64.
    @ivar maxSessions: activated bytestreams, in all.
    @ivar maxSessionsPerJid: activated bytestreams of one bare JID as the requester.
    @ivar noticesPerMinute: notifications of UDP success a minute that one IP address causes (of IPv6:
        one /64), and the same that one account gets. Beyond the latter, and the next, each address has
        a small share.
    @ivar maxNoticesPerMinute: the same in all.
    @ivar rateLimit: bytes a second of one bytestream, both directions together; C{None}: no limit.
    """

    handshakeTimeout: float = 10.0
    pendingTimeout: float = 300.0
    idleTimeout: float = 900.0
    maxPending: int = 5000
    maxPendingPerAddress: int = 100
    maxSessions: int = 10000
    maxSessionsPerJid: int = 100
    noticesPerMinute: int = 300
    maxNoticesPerMinute: int = 6000
    rateLimit: int | None = None
