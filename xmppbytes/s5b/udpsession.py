"""
The lives of one negotiation in UDP mode, as Requester and as Target (XEP-0065 sections 8.1 to 8.3). What
differs from TCP mode is how a connection is made, and what the application gets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.words.xish.domish import Element

from xmppbytes.compat import disco
from xmppbytes.core.bytestream import BytestreamAddress, BytestreamOffer, Route
from xmppbytes.errors import BytestreamError, NegotiationError, NotReachable, Refused
from xmppbytes.interfaces import IDatagramAcceptor, IDatagramProtocol
from xmppbytes.s5b.associate import Association, Associator
from xmppbytes.s5b.candidates import Candidate, CandidateConnection, routeOf
from xmppbytes.s5b.datagrams import DatagramTransport
from xmppbytes.s5b.discovery import REQUEST_SECONDS
from xmppbytes.s5b.options import Ways
from xmppbytes.s5b.request import activationElement
from xmppbytes.s5b.requester import ACTIVATION_TIMEOUT, RequesterSession
from xmppbytes.s5b.session import Means
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS_UDP, StreamHost
from xmppbytes.s5b.target import TargetSession
from xmppbytes.s5b.udphost import DatagramOffer
from xmppbytes.stanza import REQUEST_FAILURES, failureText


@dataclass(frozen=True, slots=True)
class DatagramMeans(Means):
    """
    What the negotiations of one client share in UDP mode.

    @ivar associator: asks StreamHosts for associations.
    """

    associator: Associator

    async def supportsDatagrams(self, jid: str) -> bool:
        """
        Section 8.1: ask an entity whether it knows UDP mode.

        @raise StanzaError: and the other L{REQUEST_FAILURES}, when it does not answer.
        """
        answer = await self.ask(jid, "get", Element((disco.NS_DISCO_INFO, "query")), REQUEST_SECONDS)
        return any(
            feature.getAttribute("var") == NS_BYTESTREAMS_UDP
            for query in answer.elements(disco.NS_DISCO_INFO, "query")
            for feature in query.elements(disco.NS_DISCO_INFO, "feature")
        )


class DatagramRequester(RequesterSession):
    """
    We ask a target for a UDP bytestream.
    """

    mode = "udp"
    _means: DatagramMeans

    async def connect(self, protocol: IDatagramProtocol) -> IDatagramProtocol:
        """
        Negotiate, connect, and let a protocol have the bytestream.

        @raise NegotiationError: see L{DatagramsClientHandler.requestDatagrams
            <xmppbytes.s5b.udpclient.DatagramsClientHandler.requestDatagrams>}.
        """
        await self._checkTarget()
        if self._options.ways is not Ways.DIRECT_ONLY:
            self._proxies = await self._findProxies()
        offer: Any = await self._listen()
        try:
            if offer is not None:
                offer.target = self._target
            transport = await self._negotiate(offer)
        finally:
            if offer is not None:
                offer.close()
        self.log.info(
            "UDP bytestream to {target} (sid {sid}): {route}",
            target=self._target,
            sid=self._sid,
            route=transport.peer.route,
        )
        transport.start(protocol)
        return protocol

    async def run(self, protocolFactory: Any) -> IProtocol:
        """
        There are no stream protocols in UDP mode.
        """
        raise TypeError("a UDP bytestream is requested by requestDatagrams")

    async def _checkTarget(self) -> None:
        try:
            known = await self._means.supportsDatagrams(self._target)
        except REQUEST_FAILURES as e:
            raise Refused(
                f"{self._target} does not tell whether it knows UDP bytestreams: {failureText(e)}"
            ) from e
        if not known:
            raise Refused(f"{self._target} knows no UDP bytestreams; use a TCP bytestream")

    async def _findProxies(self) -> list[StreamHost]:
        """
        Find the proxies that know UDP mode.
        """
        means, options = self._means, self._options
        server = means.surroundings.proxyServer() if options.discoverProxies else None
        found = await means.finder.find(server, options.proxies)
        capable: set[str] = set()
        for jid in dict.fromkeys(one.jid for one in found):
            try:
                if await means.supportsDatagrams(jid):
                    capable.add(jid)
            except REQUEST_FAILURES as e:
                self.log.info("{proxy} is not offered: {reason}", proxy=jid, reason=failureText(e))
        return [one for one in found if one.jid in capable]

    async def _negotiate(self, offer: DatagramOffer | None) -> DatagramTransport:
        used = await self._offerToTarget()
        proxies = [one for one in self._proxies if used is not None and self._isSame(one.jid, used)]
        if proxies:
            association = await self._associate(proxies)
            route = routeOf(association.leg, proxies[0].jid)
            return DatagramTransport(association.leg, association.path, self._peer(route))
        if offer is None or not self._ownHosts or not (used and self._isSame(used, self._ownHosts[0].jid)):
            raise NegotiationError(
                f"{self._target} says that it uses the streamhost {used!r}, which we have not offered"
            )
        leg, path = await offer.choose()
        return DatagramTransport(leg, path, self._peer(routeOf(leg, None)))

    def _peer(self, route: Route) -> BytestreamAddress:
        return BytestreamAddress(self._target, self._sid, route)

    async def _associate(self, proxies: Sequence[StreamHost]) -> Association:
        """
        Sections 8.3 and 6.3.5: associate with the proxy that the target has chosen, and activate.
        """
        jid, means = proxies[0].jid, self._means
        candidates = [Candidate(one.jid, one.host, one.port, False) for one in proxies]
        try:
            _, association = await means.associator.connect(
                candidates,
                self._hashes[0],
                means.surroundings.ownName(),
                means.surroundings.policyFor(self._target),
            )
        except NotReachable as e:
            raise NotReachable(f"{self._target} uses the proxy {jid}, which we cannot reach: {e}") from e
        try:
            await means.ask(jid, "set", activationElement(self._sid, self._target), ACTIVATION_TIMEOUT)
        except REQUEST_FAILURES as e:
            association.close()
            raise NotReachable(f"the proxy {jid} does not activate the bytestream: {failureText(e)}") from e
        except BaseException:
            association.close()
            raise
        return association


class StreamAcceptor:
    """
    An L{IDatagramAcceptor}, asked in the words of L{IBytestreamAcceptor
    <xmppbytes.interfaces.IBytestreamAcceptor>}: what it returns are protocols instead of factories.
    """

    def __init__(self, acceptor: IDatagramAcceptor) -> None:
        """
        @param acceptor: decides.
        """
        self._acceptor = acceptor

    def bytestreamRequested(self, offer: BytestreamOffer) -> Any:
        """
        See L{IDatagramAcceptor.datagramsRequested}.
        """
        return self._acceptor.datagramsRequested(offer)

    def bytestreamFailed(self, offer: BytestreamOffer, error: BytestreamError) -> None:
        """
        See L{IDatagramAcceptor.datagramsFailed}.
        """
        self._acceptor.datagramsFailed(offer, error)


class DatagramTarget(TargetSession):
    """
    A requester asks us for a UDP bytestream.
    """

    # Section 8.3.2.
    notConnected = "remote-server-not-found"
    _means: DatagramMeans
    _association: Association

    async def connect(self, candidates: Sequence[Candidate]) -> tuple[Candidate, CandidateConnection]:
        """
        See L{TargetSession}.
        """
        means = self._means
        candidate, self._association = await means.associator.connect(
            candidates,
            self._destinations[0],
            means.surroundings.ownName(),
            means.surroundings.policyFor(self.offer.requester),
        )
        return candidate, self._association.leg

    def start(self) -> None:
        """
        See L{TargetSession}.
        """
        assert self._connected is not None
        protocol, leg, route = self._connected
        address = BytestreamAddress(self.offer.requester, self.offer.sid, route)
        try:
            DatagramTransport(leg, self._association.path, address).start(protocol)
        except Exception:
            self.log.failure("The application failed to take a bytestream of {address}", address=address)
