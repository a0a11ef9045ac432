"""
The DTCP relay as a part of the proxy service: made from the settings.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import ITransport
from twisted.logger import Logger

from xmppbytes.core.acceptloop import AcceptLoop
from xmppbytes.core.damper import Undamped
from xmppbytes.core.handshake import handshakeDeadlines
from xmppbytes.core.limits import Limits
from xmppbytes.core.pairing import Rendezvous
from xmppbytes.dtcp.relay import DTCPRelay, RelayFactory
from xmppbytes.dtcp.stanzas import MAX_HOSTS, Host
from xmppbytes.dtcp.tickethandler import TicketHandler
from xmppbytes.dtcp.tickets import Tickets
from xmppbytes.errors import ConfigurationError
from xmppbytes.interfaces import IAccessPolicy
from xmppbytes.listen import CannotStart, ListenService, makeServerEndpoint


def checkRelayAlone(values: dict[str, Any]) -> None:
    """
    Look whether the settings make sense without a component connection.

    @raise ConfigurationError: when they do not.
    """
    if values["dtcp-relay"] is None:
        raise ConfigurationError("--jid is required: the component's domain, such as proxy.example.org")
    if not values["dtcp-relay-open"]:
        raise ConfigurationError(
            "--dtcp-relay needs --jid and the secret: it asks over XMPP who somebody is. With "
            "--dtcp-relay-open it believes what people say, and needs neither"
        )
    if not values["allow"]:
        raise ConfigurationError("--allow is required without --jid: say who may use the relay, * for all")


class DTCPRelayParts:
    """
    The relay, its port, and its face on XMPP.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        values: dict[str, Any],
        limits: Limits,
        rendezvous: Rendezvous,
        access: IAccessPolicy,
        accepted: Callable[[ITransport], None],
        program: str,
        loop: AcceptLoop | None = None,
        damper: Undamped | None = None,
    ) -> None:
        """
        @param values: of which dtcp-relay, dtcp-relay-open, advertise and jid are used.
        @param rendezvous: the proxy's.
        @param access: who may be an initiator.
        @param accepted: called with the transport of each new connection.
        @param program: how messages call the program.
        @param loop: accepts the connections, if it can.
        @param damper: writes the lines about who was refused; C{None}: each of them.
        @raise ConfigurationError: when the endpoint cannot be understood.
        """
        description = values["dtcp-relay"]
        self.relay = DTCPRelay(rendezvous, access, Tickets(reactor), values["dtcp-relay-open"], damper)
        self.handler = TicketHandler(self.relay)
        factory = RelayFactory(self.relay, handshakeDeadlines(reactor, limits.handshakeTimeout), accepted)
        self.listener = ListenService(
            makeServerEndpoint(reactor, description), factory, description, program, loop
        )
        self._advertised = [host for host, _ in values["advertise"] or ((values["jid"], None),)]
        self._open: bool = values["dtcp-relay-open"]

    def listening(self) -> None:
        """
        The port is open: say so to those who ask, and to the log.

        @raise CannotStart: when the endpoint has no port to tell.
        """
        port = getattr(self.listener.port.getHost(), "port", None)
        if port is None:
            raise CannotStart("--dtcp-relay needs an endpoint with a TCP port, such as tcp:7778")
        self.handler.hosts = tuple(Host(host, port) for host in self._advertised if host)[:MAX_HOSTS]
        if self._open:
            self.log.warn(
                "The DTCP relay is open: it believes who people say they are; anybody can use it who knows "
                "an allowed address. Leave --dtcp-relay-open out to have them proved over XMPP"
            )
