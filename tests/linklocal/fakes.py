"""
A discovery that knows what a test tells it.
"""

from twisted.internet.defer import fail, succeed

from xmppbytes.errors import NotReachable
from xmppbytes.linklocal.ilink import NetworkInterface
from xmppbytes.linklocal.names import foldText
from xmppbytes.linklocal.neighbours import Neighbours
from xmppbytes.linklocal.presence import Presence
from xmppbytes.linklocal.resolver import Location
from xmppbytes.linklocal.roster import Roster


class FakeDiscovery(Neighbours):
    """
    What streams ask of L{xmppbytes.linklocal.discovery.Discovery}.

    @ivar places: presence name -> port and addresses on the link C{lo}.
    @ivar asked: whose whereabouts were asked for.
    @ivar silent: of whom no address is known until he is asked.
    @ivar confirmed: about whom it was asked whether he is still there.
    """

    def __init__(self, clock, name, own=("127.0.0.1", "::1")):
        super().__init__(Roster(clock))
        self.name = name
        self.places = {}
        self.confirmed = []
        self.own = own
        self.slow = None
        self.asked = []
        self.silent = set()

    def add(self, name, port, *addresses):
        self.places[name] = (port, addresses)
        self.roster.seen("lo", name, (0.0, Presence().toText()))

    def resolve(self, name):
        self.asked.append(name)
        if self.slow is not None:
            return self.slow
        for known, (port, addresses) in self.places.items():
            if foldText(known) == foldText(name):
                return succeed([Location("lo", port, tuple(addresses))])
        return fail(NotReachable(f"nobody of the name {name} is on any link: look at the roster"))

    def knownAddresses(self, name, link):
        if link != "lo" or name in self.silent:
            return set()
        return set(self.places.get(name, (0, ()))[1])

    def interfaces(self):
        return [NetworkInterface("lo", 1, self.own)]

    def ownAddresses(self, link):
        return self.own if link == "lo" else ()

    def confirm(self, name):
        self.confirmed.append(name)
