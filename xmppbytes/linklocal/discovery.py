"""
Being seen, and seeing who is there, on every link of this machine. XEP-0174 sections 3 to 5.

One presence name is won on all links together: a conflict on one of them means another name on all.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from xmppbytes.linklocal.avatar import COMFORTABLE, sha1
from xmppbytes.linklocal.ilink import IInterfaceSource, LinkOpener, NetworkInterface
from xmppbytes.linklocal.linksession import LinkSession
from xmppbytes.linklocal.names import hostName, instanceName, presenceNames
from xmppbytes.linklocal.neighbours import Neighbours
from xmppbytes.linklocal.own import OwnRecords
from xmppbytes.linklocal.presence import Presence
from xmppbytes.linklocal.roster import Roster
from xmppbytes.linklocal.zone import Zone

# Between the goodbye of the old avatar and the new one: with both at once, other caches keep the old.
ICON_PAUSE = 1.3
# RFC 6762 section 8.1: after this many conflicts within so many seconds, slow down.
MANY_CONFLICTS = 15
CONFLICT_WINDOW = 10.0
CONFLICT_DELAY = 5.0


class Discovery(Neighbours):
    """
    Publishes one person, and fills a roster with the others.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        random: Random,
        interfaces: IInterfaceSource,
        opener: LinkOpener,
        roster: Roster,
        signedOn: Callable[[str], None],
    ) -> None:
        """
        @param clock: the reactor, or a L{twisted.internet.task.Clock}.
        @param random: for delays and the host name.
        @param interfaces: tells on which interfaces to be.
        @param opener: opens the multicast sockets of one.
        @param roster: gets the others.
        @param signedOn: called with our presence name each time it was won on all links.
        """
        super().__init__(roster)
        self._clock = clock
        self._random = random
        self._interfaces = interfaces
        self._opener = opener
        self._signedOn = signedOn
        self._own = OwnRecords(clock)
        self._conflicts: deque[float] = deque(maxlen=MANY_CONFLICTS)
        self._presence = Presence()
        self._icon: bytes | None = None
        self._iconCall: IDelayedCall | None = None
        self._running = False
        # Called when the links, or our addresses on them, have changed.
        self.linksChanged: Callable[[], None] = lambda: None
        self._won = False
        # Too many conflicts: until a name is won it is asked for slowly.
        self._slow = False
        self.name = ""

    def start(
        self, user: str, machine: str, port: int, presence: Presence, icon: bytes | None, separator: str = ""
    ) -> None:
        """
        Begin to ask for a name, and to look who is there.

        @param user: what stands before the C{@}; digits are added when the name is taken.
        @param machine: what stands behind it.
        @param port: the TCP port of our XML streams.
        @param presence: what is told about us; the hash of the icon and the port are filled in.
        @param icon: the avatar.
        @param separator: what stands before the digits.
        @raise ConfigurationError: when the name cannot be published.
        """
        self._names = presenceNames(user, machine, separator)
        self._machine = machine
        self._port = port
        self.name = next(self._names)
        self._newHost()
        self._icon = self._checkedIcon(icon)
        self._presence = presence
        self._running = True
        self.roster.setOwnName(self.name)
        self._interfaces.start(self._interfacesChanged)

    def stop(self) -> None:
        """
        Say goodbye on every link.
        """
        if not self._running:
            return
        self._running = False
        self._interfaces.stop()
        if self._iconCall is not None:
            self._iconCall.cancel()
            self._iconCall = None
        for session in self._sessions.values():
            session.close(goodbye=True)
        self._sessions.clear()
        self.roster.stop()

    # What we tell

    def setPresence(self, presence: Presence) -> None:
        """
        Tell something else about us.
        """
        self._presence = presence
        self._update()

    @property
    def presence(self) -> Presence:
        """
        What is told about us.
        """
        digest = sha1(self._icon) if self._icon is not None else ""
        return replace(self._presence, phsh=digest, port=str(self._port))

    def setIcon(self, icon: bytes | None) -> None:
        """
        Show another avatar, or none.

        The old one is taken back first and the new hash is told last: whoever asks by the new hash must
        not find the old picture in a cache.
        """
        new = self._checkedIcon(icon)
        if new == self._icon and self._iconCall is None:
            return
        hadOne = self._icon is not None or self._iconCall is not None
        if self._iconCall is not None:
            self._iconCall.cancel()
            self._iconCall = None
        text = self._zoneText()
        self._icon = None
        for session in self._sessions.values():
            session.responder.update(self._zone(session.interface, text))
        wait = ICON_PAUSE if hadOne else 0.0
        self._iconCall = self._clock.callLater(wait, self._showIcon, new, text)

    def _showIcon(self, icon: bytes | None, text: bytes) -> None:
        self._iconCall = None
        self._icon = icon
        for session in self._sessions.values():
            session.responder.update(self._zone(session.interface, text))
            session.responder.announceIcon()
        self._update()

    def _checkedIcon(self, icon: bytes | None) -> bytes | None:
        if icon is not None and len(icon) > COMFORTABLE:
            self.log.warn(
                "the avatar has {size} bytes: more than {comfortable} may not reach everybody",
                size=len(icon),
                comfortable=COMFORTABLE,
            )
        return icon

    def _zoneText(self) -> bytes:
        return self.presence.toText()

    def _zone(self, interface: NetworkInterface, text: bytes | None = None) -> Zone:
        zone = Zone(
            instanceName(self.name),
            self._host,
            self._port,
            self._zoneText() if text is None else text,
            interface.addresses,
            self._icon,
        )
        self._own.set(interface.index, zone)
        return zone

    def _update(self) -> None:
        for session in self._sessions.values():
            session.responder.update(self._zone(session.interface))

    def _newHost(self) -> None:
        self._host = hostName(self._machine, f"{self._random.getrandbits(24):06x}")

    @property
    def isWon(self) -> bool:
        """
        Whether our name is won on all links.
        """
        return self._won

    # Links

    def _interfacesChanged(self, interfaces: Sequence[NetworkInterface]) -> None:
        present = {interface.index: interface for interface in interfaces}
        for index in [index for index in self._sessions if index not in present]:
            self._closeLink(index)
        for index, interface in present.items():
            session = self._sessions.get(index)
            if session is None:
                self._openLink(interface)
            elif session.interface != interface:
                session.update(interface)
                session.responder.update(self._zone(interface))
        self.linksChanged()

    def _openLink(self, interface: NetworkInterface) -> None:
        index, name = interface.index, interface.name
        session = LinkSession(
            self._clock,
            self._random,
            self._opener,
            interface,
            self._own.__contains__,
            self._established,
            lambda isInstance: self._conflict(index, isInstance),
            lambda buddy: self.roster.seen(name, buddy, self._sessions[index].browser.text(buddy)),
            lambda buddy: self.roster.lost(name, buddy),
        )
        self._sessions[index] = session
        self.log.info("looking for people on {link} ({addresses})", link=name, addresses=interface.addresses)
        session.responder.publish(self._zone(interface))
        session.browser.start()

    def _closeLink(self, index: int) -> None:
        session = self._sessions.pop(index)
        session.close(goodbye=False)
        self._own.set(index, None)
        self.log.info("{link} is down", link=session.interface.name)
        self.roster.linkLost(session.interface.name)
        if self._running:
            self._established()

    # Names

    def _established(self) -> None:
        responders = [session.responder for session in self._sessions.values()]
        if not self._won and responders and all(responder.isEstablished for responder in responders):
            self._won = True
            self._slow = False
            self.log.info("signed on as {name}", name=self.name)
            self._signedOn(self.name)

    def _conflict(self, index: int, isInstance: bool) -> None:
        now = self._clock.seconds()
        self._conflicts.append(now)
        if len(self._conflicts) == MANY_CONFLICTS and now - self._conflicts[0] < CONFLICT_WINDOW:
            self._slow = True
        for other, session in self._sessions.items():
            session.responder.withdraw(contested=isInstance and other == index)
        if isInstance:
            taken, self.name = self.name, next(self._names)
            self.log.info("{taken} is taken: trying {name}", taken=taken, name=self.name)
            self._won = False
            self.roster.setOwnName(self.name)
        else:
            self._newHost()
        for session in self._sessions.values():
            session.responder.publish(self._zone(session.interface), CONFLICT_DELAY if self._slow else None)
