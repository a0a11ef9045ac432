"""
Who is at the other end of a connection: the person in whose address records its address is.
XEP-0174 section 12.1 (security): names alone prove nothing.
"""

from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from xmppbytes.core.quota import Quota
from xmppbytes.errors import NotReachable, Refused
from xmppbytes.linklocal.names import foldText
from xmppbytes.linklocal.neighbours import Neighbours
from xmppbytes.linklocal.resolver import Location

# Somebody may connect right after announcing himself, before we have heard of him.
PATIENCE = 2.0
_STEP = 0.25
# Connections that name nobody: for how many people's addresses is asked on behalf of one, and how often a
# minute on behalf of one address, and of all. Who answers is known for the next two minutes.
MAX_CANDIDATES = 64
ASKING_PER_ADDRESS = 3
ASKING_IN_ALL = 20


class Identifier:
    """
    Finds the name that belongs to an address.
    """

    def __init__(self, clock: IReactorTime, discovery: Neighbours) -> None:
        """
        @param clock: the reactor, or a L{twisted.internet.task.Clock}.
        @param discovery: knows who is where.
        """
        self._clock = clock
        self._discovery = discovery
        self._asking = Quota(clock.seconds, ASKING_PER_ADDRESS, ASKING_IN_ALL)

    def identify(self, address: str, ownAddress: str, claimed: str | None) -> "Deferred[str]":
        """
        Find out whose address it is. Where it is a question of one link, only people of that link
        are considered.

        @param address: the IP address, with scope.
        @param ownAddress: which of our addresses it has reached.
        @param claimed: the presence name that it gives itself; C{None}: none.
        @return: fires with the presence name as it is published; fails with L{Refused}.
        """
        return Deferred.fromCoroutine(self._identify(address, ownAddress, claimed))

    async def _identify(self, address: str, ownAddress: str, claimed: str | None) -> str:
        link = self._discovery.linkOf(address, ownAddress)
        if link is None:
            raise Refused(f"{address} has come over no link that we are on: XMPP is for neighbours here")
        if claimed is not None:
            return await self._claimed(address, link, claimed)
        found = await self._unclaimed(address, link)
        if len(found) != 1:
            raise Refused(
                f"{address} does not say who it is, and belongs to {', '.join(found) or 'nobody'} on {link}"
            )
        return found[0]

    async def _unclaimed(self, address: str, link: str) -> list[str]:
        """
        Name everybody who has an address. Usually that is known. Those of whom nothing is known are asked,
        since there may be a second one on the same machine; the others only if nobody else fits.
        """
        known = {name: self._discovery.knownAddresses(name, link) for name in self._discovery.everybody(link)}
        found = [name for name, addresses in known.items() if address in addresses]
        asked = [name for name, addresses in known.items() if not addresses]
        if not found:
            asked += [name for name, addresses in known.items() if addresses]
        if len(found) < 2 and asked and self._asking.admits(address):
            found += await self._owners(address, link, asked[:MAX_CANDIDATES])
        return found

    async def _claimed(self, address: str, link: str, claimed: str) -> str:
        waited = 0.0
        while not self._isThere(link, claimed) and waited < PATIENCE:
            await deferLater(self._clock, _STEP)
            waited += _STEP
        if not self._isThere(link, claimed):
            raise Refused(f"{address} calls itself {claimed!r}, of whom nobody has heard on {link}")
        found = await self._owners(address, link, [claimed])
        if not found:
            raise Refused(f"{address} calls itself {claimed!r}, whose addresses are others")
        buddy = self._discovery.roster.get(claimed)
        return buddy.name if buddy is not None else claimed

    def _isThere(self, link: str, name: str) -> bool:
        return foldText(name) in map(foldText, self._discovery.everybody(link))

    async def _owners(self, address: str, link: str, names: list[str]) -> list[str]:
        """
        Tell to whom, of these people, an address belongs.
        """
        results: Any = await DeferredList([self._addresses(name, link) for name in names])
        return [name for name, (_, found) in zip(names, results, strict=True) if address in found]

    def _addresses(self, name: str, link: str) -> "Deferred[set[str]]":
        def onLink(locations: list[Location]) -> set[str]:
            return {one for where in locations if where.interface == link for one in where.addresses}

        def nowhere(failure: Any) -> set[str]:
            failure.trap(NotReachable)
            return set()

        return self._discovery.resolve(name).addCallback(onLink).addErrback(nowhere)
