"""
The life of one negotiation as Requester (XEP-0065 sections 5, 6 and 7).

It is a coroutine from the first step to the last, so that whatever ends it early, a refusal, a timeout or
a cancellation, passes through the same clean-up.
"""

from collections.abc import Sequence

from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.logger import Logger
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import InvalidFormat
from twisted.words.protocols.jabber.xmlstream import TimeoutError as RequestTimeout

from xmppbytes.connecting.addresses import parseAdvertised
from xmppbytes.connecting.handing import giveTo
from xmppbytes.core.bytestream import BytestreamAddress, Route
from xmppbytes.errors import NegotiationError, NotReachable, Refused
from xmppbytes.interfaces import ILeg
from xmppbytes.s5b.candidates import Candidate, CandidateConnection, routeOf
from xmppbytes.s5b.options import BytestreamOptions, Ways
from xmppbytes.s5b.request import BytestreamRequest, activationElement, usedStreamHost
from xmppbytes.s5b.session import Means
from xmppbytes.s5b.stanzas import StreamHost
from xmppbytes.s5b.streamhost import LocalOffer
from xmppbytes.stanza import REQUEST_FAILURES, failureText

# Seconds that a proxy has to activate a bytestream.
ACTIVATION_TIMEOUT = 30.0

# What a target that cannot be connected says, and one that cannot be asked; the rest is a no.
_NOT_CONNECTED = ("item-not-found", "remote-server-not-found")
_NOT_SUPPORTED = ("service-unavailable", "feature-not-implemented")


class RequesterSession:
    """
    We ask a target for a bytestream.

    @cvar mode: of the bytestream.
    """

    log = Logger()
    mode = "tcp"

    def __init__(self, means: Means, target: str, sid: str, options: BytestreamOptions) -> None:
        """
        @param means: what it works with.
        @param target: the target's address, prepared.
        @param sid: the stream ID.
        @param options: see L{BytestreamOptions}.
        """
        self._means = means
        self._target = target
        self._sid = sid
        self._options = options
        surroundings = means.surroundings
        self._hashes = surroundings.hashesOf(sid, surroundings.ownName(), target)
        self._ownHosts: list[StreamHost] = []
        self._proxies: list[StreamHost] = []

    async def run(self, protocolFactory: IProtocolFactory) -> IProtocol:
        """
        Negotiate, connect, and give the connection to a protocol.

        @return: the connected protocol.
        @raise NegotiationError: see L{BytestreamsClientHandler.requestBytestream
            <xmppbytes.s5b.client.BytestreamsClientHandler.requestBytestream>}.
        """
        options = self._options
        if options.ways is not Ways.DIRECT_ONLY:
            server = self._means.surroundings.proxyServer() if options.discoverProxies else None
            self._proxies = await self._means.finder.find(server, options.proxies)
        offer = await self._listen()
        try:
            leg, route = await self._connect(offer)
        finally:
            if offer is not None:
                offer.close()
        self.log.info(
            "Bytestream to {target} (sid {sid!r}): {route}", target=self._target, sid=self._sid, route=route
        )
        return giveTo(leg, protocolFactory, BytestreamAddress(self._target, self._sid, route))

    async def _listen(self) -> LocalOffer | None:
        """
        Open our own streamhost, where that is wanted and possible.
        """
        options = self._options
        if options.ways is Ways.PROXY_ONLY:
            return None
        addresses = self._means.surroundings.offeredAddresses(self._target)
        if not addresses and not options.advertise:
            return None
        try:
            offer = await self._means.streamHost.open(self._hashes, self._mayConnect)
        except NotReachable as e:
            if not self._proxies:
                raise
            self.log.warn("Only proxies are offered to {target}: {reason}", target=self._target, reason=e)
            return None
        jid = self._means.surroundings.streamHostJID(self._sid)
        places = [parseAdvertised(text, offer.port) for text in options.advertise]
        places += [(address, offer.port) for address in addresses]
        self._ownHosts = [StreamHost(jid, host, port) for host, port in dict.fromkeys(places)]
        return offer

    def _mayConnect(self, address: str) -> bool:
        permits = self._options.mayConnect
        return permits is None or permits(self._target, address)

    async def _connect(self, offer: LocalOffer | None) -> tuple[ILeg, Route]:
        used = await self._offerToTarget()
        proxies = [one for one in self._proxies if used is not None and self._isSame(one.jid, used)]
        if proxies:
            leg = await self._throughProxy(proxies)
            return leg, routeOf(leg, proxies[0].jid)
        # Whatever it calls us: what counts is that it is connected.
        if offer is not None and (offer.legs or (used and self._isSame(used, self._ownHosts[0].jid))):
            direct = await offer.choose([host.host for host in self._ownHosts])
            return direct, routeOf(direct, None)
        raise NegotiationError(
            f"{self._target} says that it uses the streamhost {used!r}, which we have not offered"
        )

    def _noProxy(self) -> str:
        """
        Say why there is no proxy, and what to do.
        """
        refusals = self._means.finder.refusals
        if not refusals or self._options.ways is Ways.DIRECT_ONLY:
            return "no proxy was found; name a proxy"
        # The reasons are those of others, who may have much to say.
        reasons = "; ".join(f"{proxy}: {reason[:200]}" for proxy, reason in list(refusals.items())[:3])
        return f"no proxy serves us ({reasons}); name another proxy"

    async def _offerToTarget(self) -> str | None:
        """
        Send the request, wait for the answer.

        @return: the JID of the streamhost that the target has used.
        """
        streamHosts = (*self._ownHosts, *self._proxies)
        if not streamHosts:
            raise NotReachable(
                "there is no way to offer: no address of this machine is of use, or wanted, and "
                f"{self._noProxy()}"
            )
        request = BytestreamRequest(self._sid, streamHosts, self.mode, self._hashes[0])
        self.log.info(
            "Offering {target} (sid {sid!r}) {own} own streamhosts and {proxies} of proxies",
            target=self._target,
            sid=self._sid,
            own=len(self._ownHosts),
            proxies=len(self._proxies),
        )
        timeout = self._options.answerTimeout
        try:
            answer = await self._means.ask(self._target, "set", request.toElement(), timeout)
        except StanzaError as e:
            raise _refusal(self._target, e, len(streamHosts)) from e
        except RequestTimeout as e:
            raise NotReachable(f"{self._target} did not answer within {timeout:g} s") from e
        except REQUEST_FAILURES as e:
            raise NegotiationError(
                f"the XMPP connection was lost while {self._target} was asked for a bytestream; try again"
            ) from e
        return usedStreamHost(answer)

    async def _throughProxy(self, proxies: Sequence[StreamHost]) -> CandidateConnection:
        """
        Sections 6.3.4 and 6.3.5: connect to the proxy that the target has chosen, and activate.
        """
        jid = proxies[0].jid
        candidates = [Candidate(one.jid, one.host, one.port, False) for one in proxies]
        connector = self._means.connector(self._target)
        try:
            _, leg = await connector.connect(candidates, self._hashes[:1])
        except NotReachable as e:
            raise NotReachable(f"{self._target} uses the proxy {jid}, which we cannot reach: {e}") from e
        try:
            await self._means.ask(jid, "set", activationElement(self._sid, self._target), ACTIVATION_TIMEOUT)
        except REQUEST_FAILURES as e:
            leg.transport.abortConnection()
            raise NotReachable(f"the proxy {jid} does not activate the bytestream: {failureText(e)}") from e
        except BaseException:
            leg.transport.abortConnection()
            raise
        return leg

    def _isSame(self, one: str, other: str) -> bool:
        names = self._means.surroundings.nameOf
        try:
            return names(one) == names(other)
        except InvalidFormat:
            return one == other


def _refusal(target: str, error: StanzaError, offered: int) -> NegotiationError:
    said = failureText(error)
    if error.condition in _NOT_CONNECTED:
        return NotReachable(
            f"{target} could connect to none of the {offered} streamhosts offered ({said}); "
            "a proxy that both sides reach would help"
        )
    if error.condition in _NOT_SUPPORTED:
        return Refused(f"{target} is not there, or knows no SOCKS5 bytestreams: {said}")
    return Refused(f"{target} refuses the bytestream: {said}")
