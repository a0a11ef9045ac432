"""
Where a domain's XMPP server is (RFC 6120 section 3.2): SRV records, or the domain itself.
"""

import random
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger
from twisted.names import client as names
from twisted.names import dns
from zope.interface import implementer

from xmppbytes.errors import ConfigurationError, NotReachable

CLIENT_PORT = 5222
# Seconds: for each try of the name servers, and for each address.
LOOKUP_TIMEOUTS = (1, 3)
CONNECT_TIMEOUT = 10.0
# How many servers of one domain are tried.
MAX_SERVERS = 8


def parseServer(text: str, port: int = CLIENT_PORT) -> tuple[str, int]:
    """
    Read C{HOST}, C{HOST:PORT}, C{[IPV6]:PORT} or an IPv6 address.

    @param port: when none is given.
    @raise ConfigurationError: when it is none of these.
    """
    host, colon, number = text.rpartition(":")
    if not colon or text.endswith("]") or (":" in host and not host.startswith("[")):
        host, number = text, str(port)
    plain = host.strip("[]")
    host = plain if ":" not in plain or _isAddress(plain) else ""
    if not host or not number.isascii() or not number.isdigit() or not 0 < int(number[:6]) < 65536:
        raise ConfigurationError(f"{text!r} is not HOST:PORT, such as xmpp.example.org:5222")
    return host, int(number)


@implementer(IStreamClientEndpoint)
class ClientServerEndpoint:
    """
    Connects to the server of a domain, trying one after the other.
    """

    log = Logger()

    def __init__(self, reactor: Any, domain: str, resolver: Any = None) -> None:
        """
        @param reactor: connects.
        @param domain: the domain of an account.
        @param resolver: answers C{lookupService}; C{None}: the name servers of this machine.
        """
        self._reactor = reactor
        self._domain = domain
        self._resolver = resolver

    def connect(self, protocolFactory: Any) -> "Deferred[Any]":
        """
        See L{IStreamClientEndpoint}.
        """
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, protocolFactory: Any) -> Any:
        servers = await self._find()
        for number, (host, port) in enumerate(servers, 1):
            endpoint = HostnameEndpoint(self._reactor, host, port, timeout=CONNECT_TIMEOUT)
            try:
                return await endpoint.connect(protocolFactory)
            except Exception as e:
                self.log.info("No connection to {host}:{port}: {error}", host=host, port=port, error=e)
                if number == len(servers):
                    raise
        raise NotReachable(f"{self._domain} says that it has no XMPP server for clients; check the JID")

    async def _find(self) -> Sequence[tuple[str, int]]:
        itself = [(self._domain, CLIENT_PORT)]
        if self._domain == "localhost" or _isAddress(self._domain):
            return itself
        ascii = self._domain.encode("idna").decode("ascii")
        resolver = self._resolver or names.Resolver("/etc/resolv.conf", reactor=self._reactor)
        try:
            answers, _, _ = await resolver.lookupService(f"_xmpp-client._tcp.{ascii}", LOOKUP_TIMEOUTS)
        except Exception as e:
            # No such name, no such record, no name server: then the domain itself has to do.
            self.log.info("No SRV records of {domain}: {error!r}", domain=self._domain, error=e)
            return itself
        records = [answer.payload for answer in answers if answer.type == dns.SRV]
        found = [(record.target.name.decode("ascii"), record.port) for record in _ordered(records)]
        return [(host, port) for host, port in found if host not in ("", ".")] if found else itself


def _isAddress(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _ordered(records: Sequence[Any]) -> list[Any]:
    # RFC 2782: by priority; among equals by chance, in proportion to their weights.
    def rank(record: Any) -> tuple[int, float]:
        return record.priority, -(random.random() ** (1.0 / max(record.weight, 0.01)))

    return sorted(records, key=rank)[:MAX_SERVERS]
