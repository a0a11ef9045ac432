"""
The TCP connections of DTCP: what both ends have in common (XEP-0046 section 3.3).

    L{xmppbytes.dtcp.serving}      answers commands: somebody has connected to us.
    L{xmppbytes.dtcp.connecting}   gives commands: we have connected to somebody, or to a relay.

What a key means is decided by the negotiation that it belongs to, see L{xmppbytes.dtcp.negotiation}.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress, IHandshakeListener
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from xmppbytes.core.deadlines import Deadlines
from xmppbytes.core.handshake import HandshakeProtocol
from xmppbytes.core.leg import LegKind
from xmppbytes.dtcp.channel import ChannelTLS
from xmppbytes.errors import NegotiationError, WireError
from xmppbytes.interfaces import ILeg
from xmppbytes.tls import tlsFailureText
from xmppbytes.wire.dtcp import MAX_LINE, Line
from xmppbytes.wire.dtcprelay import MAX_REQUEST

# How many commands of one connection may be answered by "error".
MAX_ERRORS = 5
# An error's text is for a person who debugs; what is said of the peer's input is cut.
MAX_TEXT = 200


@implementer(ILeg, IHandshakeListener)
class DTCPProtocol(HandshakeProtocol):
    """
    What both ends have in common.
    """

    log = Logger()
    kind = LegKind.STREAM
    ready = True
    maximum = MAX_REQUEST + (MAX_ERRORS + 3) * (MAX_LINE + 1)

    def __init__(self, parser: Any, tls: ChannelTLS, deadlines: Deadlines[HandshakeProtocol]) -> None:
        super().__init__(parser, deadlines)
        self.secured = False
        self._tls = tls
        self._dismissed = False

    def say(self, word: bytes, argument: bytes | None = None) -> None:
        """
        Send a line; in one segment with what follows, where that is possible.
        """
        self.transport.write(Line(word, argument).toBytes())

    def proceed(self) -> None:
        """
        The last message was dealt with: go on with what has arrived behind it.
        """
        parser: Any = self._parser
        if parser is not None:
            parser.proceed()
            self.dataReceived(b"")

    def beginTLS(self, context: Any, serving: bool) -> None:
        """
        Encrypt from here on.

        @param serving: whether we are the server of TLS.
        """
        assert self._parser is not None
        if self._parser.rest():
            self.fail(WireError("plain text follows starttls; nobody can know who sent it"))
            return
        self.secured = True
        # At a relay we serve on a connection that we have made: TLS has to be told.
        self.transport.startTLS(context, serving is not self.isConnector())

    def isConnector(self) -> bool:
        """
        Tell whether we have made this TCP connection.
        """
        return False

    def handshakeCompleted(self) -> None:
        """
        TLS is there: see L{IHandshakeListener}.
        """

    def dismiss(self, reason: str) -> None:
        """
        Close a connection that is not needed (any more). Nobody is told.
        """
        self._dismissed = True
        if self.inHandshake:
            self.fail(NegotiationError(reason))
        else:
            self.abandon()
            self.transport.loseConnection()

    def speaksFor(self, parties: Any) -> bool:
        """
        See L{ILeg}.
        """
        return True

    def close(self, reason: str) -> None:
        """
        See L{ILeg}.
        """
        self.dismiss(reason)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See L{HandshakeProtocol}; TLS has reasons of its own.
        """
        text = tlsFailureText(reason)
        if text is not None and self.inHandshake:
            self.fail(NegotiationError(text))
        super().connectionLost(reason)


class DTCPFactory(Factory):
    """
    Makes connections, of the accepting or the connecting kind.
    """

    noisy = False

    def __init__(self, build: Callable[[], DTCPProtocol]) -> None:
        """
        @param build: makes one.
        """
        self._build = build

    def buildProtocol(self, addr: IAddress | None) -> DTCPProtocol:
        """
        See L{Factory}.
        """
        return self._build()
