"""
Who is on which link of this machine, and where: what is asked about people once they are discovered.
"""

from twisted.internet.defer import Deferred, DeferredList, fail

from xmppbytes.errors import NotReachable
from xmppbytes.linklocal.browser import Browser
from xmppbytes.linklocal.ilink import NetworkInterface
from xmppbytes.linklocal.linksession import LinkSession
from xmppbytes.linklocal.resolver import Location, scoped
from xmppbytes.linklocal.roster import Buddy, Roster


class Neighbours:
    """
    The people on all links.

    @ivar roster: one entry for each of them.
    """

    def __init__(self, roster: Roster) -> None:
        """
        @param roster: who is there.
        """
        self.roster = roster
        # By the number of the interface.
        self._sessions: dict[int, LinkSession] = {}

    # The people

    def everybody(self, interface: str) -> list[str]:
        """
        Name everybody on one link, ourselves left out.
        """
        return [buddy.name for buddy in self.roster if interface in buddy.links]

    def browsers(self, buddy: Buddy) -> list[Browser]:
        """
        Give the browsers of the links on which somebody is seen.
        """
        return [s.browser for s in self._sessions.values() if s.interface.name in buddy.links]

    def resolve(self, name: str) -> "Deferred[list[Location]]":
        """
        Ask where somebody can be reached right now.

        @return: fires with the locations, one for each link on which the person is; fails with
            L{NotReachable}.
        """
        sessions = [s for s in self._sessions.values() if s.browser.isPublished(name)]
        if not sessions:
            return fail(NotReachable(f"nobody of the name {name} is on any link: look at the roster"))
        asked = DeferredList([session.resolve(name) for session in sessions], consumeErrors=True)

        def collect(results: list[tuple[bool, Location]]) -> list[Location]:
            found = [location for success, location in results if success]
            if not found:
                raise NotReachable(f"nobody tells where {name} can be reached: try again later")
            return found

        return asked.addCallback(collect)

    def knownAddresses(self, name: str, interface: str) -> set[str]:
        """
        Give the addresses that somebody was last heard to have on one link, and that he has not taken
        back since, with scope. Nothing is asked.
        """
        session = self._on(interface)
        return set(session.knownAddresses(name)) if session is not None else set()

    def confirm(self, name: str) -> None:
        """
        Find out whether somebody who could not be reached is still there.
        """
        for session in self._sessions.values():
            session.browser.confirm(name)

    # The links

    def _on(self, interface: str) -> LinkSession | None:
        return next((s for s in self._sessions.values() if s.interface.name == interface), None)

    def interfaces(self) -> list[NetworkInterface]:
        """
        The interfaces of the links on which we are.
        """
        return [session.interface for session in self._sessions.values()]

    def ownAddresses(self, interface: str) -> tuple[str, ...]:
        """
        Give our addresses on one link, link-local IPv6 ones with their scope.
        """
        session = self._on(interface)
        if session is None:
            return ()
        return tuple(scoped(address, interface) for address in session.interface.addresses)

    def linkOf(self, address: str, ownAddress: str) -> str | None:
        """
        Tell over which link a connection runs.

        @param address: the other side's, with scope.
        @param ownAddress: ours.
        @return: the name of the interface; C{None} when it is none of those on which we are.
        """
        scope = address.partition("%")[2]
        for interface in self.interfaces():
            own = self.ownAddresses(interface.name)
            if scope == interface.name or (not scope and ownAddress in own):
                return interface.name
        return None
