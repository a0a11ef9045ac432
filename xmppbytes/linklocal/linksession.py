"""
Everything that goes on on one link: its sockets, our records and those of the others.
"""

from collections.abc import Callable
from random import Random

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from xmppbytes.errors import WireError
from xmppbytes.linklocal.browser import Browser
from xmppbytes.linklocal.ilink import PORT, LinkOpener, NetworkInterface, Source
from xmppbytes.linklocal.pace import LineDamper
from xmppbytes.linklocal.resolver import Location, Resolution
from xmppbytes.linklocal.responder import Responder
from xmppbytes.wire.mdns import Message, Record

# How many lines a minute there may be about broken datagrams: of one host, of all.
_COMPLAINTS = 5
_COMPLAINTS_IN_ALL = 30


class LinkSession:
    """
    Responder and browser of one link, and the datagrams between them and the link.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        random: Random,
        opener: LinkOpener,
        interface: NetworkInterface,
        isOurs: Callable[[Record], bool],
        established: Callable[[], None],
        conflict: Callable[[bool], None],
        changed: Callable[[str], None],
        gone: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self.interface = interface
        self._lines = LineDamper(clock, _COMPLAINTS, _COMPLAINTS_IN_ALL)
        self.port = opener(interface, self.datagram)
        self.responder = Responder(clock, random, self.port, isOurs, established, conflict)
        self.browser = Browser(clock, random, self.port, changed, gone)

    def update(self, interface: NetworkInterface) -> None:
        """
        Take notice of other addresses on the same interface.
        """
        self.interface = interface
        self.port.update(interface)

    def datagram(self, datagram: bytes, source: Source) -> None:
        """
        Take in what somebody has sent to the group.
        """
        try:
            message = Message.parse(datagram)
        except WireError as error:
            if self._lines.admits(source[0]):
                self.log.info(
                    "ignored a datagram from {source} on {link}: {error}",
                    source=source[0],
                    link=self.interface.name,
                    error=error,
                )
            return
        if not message.response:
            self.responder.query(message, source)
        elif source[1] == PORT:
            # RFC 6762 section 6: answers from any other port are ignored.
            self.responder.response(message)
            self.browser.response(message)

    def resolve(self, name: str) -> Deferred[Location]:
        """
        Ask where somebody can be reached on this link.
        """
        return self._resolution(name).start()

    def knownAddresses(self, name: str) -> tuple[str, ...]:
        """
        Give the addresses that somebody was last heard to have on this link.
        """
        return self._resolution(name).known()

    def _resolution(self, name: str) -> Resolution:
        link = self.interface
        return Resolution(self._clock, self.browser, link.name, name, link.loopback)

    def close(self, goodbye: bool) -> None:
        """
        Leave the link.

        @param goodbye: whether the link still works.
        """
        if goodbye:
            self.responder.withdraw()
        else:
            self.responder.silence()
        self.browser.stop()
        self.port.close()
        self._lines.stop()
