"""
Who negotiates, and with what.
"""

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime

from xmppbytes.connecting.connector import Connector
from xmppbytes.core.deadlines import Deadlines
from xmppbytes.core.handshake import HandshakeProtocol
from xmppbytes.dtcp.channel import ChannelTLS
from xmppbytes.dtcp.session import Role
from xmppbytes.dtcp.stanzas import Trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Parties:
    """
    Who negotiates.

    @ivar role: ours.
    @ivar own: our JID.
    @ivar peer: the other side's.
    @ivar sid: which agreed bytestream it is for; may be empty.
    """

    role: Role
    own: str
    peer: str
    sid: str = ""

    @property
    def requester(self) -> str:
        """
        The JID of the one who has sent the iq-set.
        """
        return self.own if self.role is Role.REQUESTER else self.peer

    @property
    def target(self) -> str:
        """
        The JID of the other one.
        """
        return self.peer if self.role is Role.REQUESTER else self.own

    def __str__(self) -> str:
        return f"{self.requester} -> {self.target}" + (f" (sid {self.sid})" if self.sid else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """
    What a negotiation works with.

    @ivar clock: tells and schedules the time.
    @ivar tls: the TLS of its channels.
    @ivar connector: connects to the other side's hosts and relays.
    @ivar deadlines: limits the time of the connections that we make.
    @ivar tell: sends a L{Trouble} to the other side.
    @ivar timeout: seconds from the other side's answer until a connection is established.
    """

    clock: IReactorTime
    tls: ChannelTLS
    connector: Connector
    deadlines: Deadlines[HandshakeProtocol]
    tell: Callable[[Trouble], None]
    timeout: float
