"""
Serverless messaging as a service: discovery, streams, messages, files and the control socket together.
"""

import getpass
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from random import SystemRandom
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.logger import Logger

from xmppbytes import __version__
from xmppbytes.account import Account, AccountSettings
from xmppbytes.compat import generic, ping
from xmppbytes.errors import ConfigurationError
from xmppbytes.filetransfer.methods import StreamMethods, standardMethods
from xmppbytes.filetransfer.si import StreamInitiationHandler
from xmppbytes.linklocal.avatar import AvatarFetcher, AvatarStore, loadIcon
from xmppbytes.linklocal.disco import DescriptionHandler
from xmppbytes.linklocal.discovery import Discovery
from xmppbytes.linklocal.events import Event, EventHub, describe
from xmppbytes.linklocal.interfaces import InterfaceMonitor
from xmppbytes.linklocal.mesh import Mesh
from xmppbytes.linklocal.messages import MessageHandler
from xmppbytes.linklocal.multicast import MulticastLink
from xmppbytes.linklocal.pins import PinStore, loadIdentity
from xmppbytes.linklocal.presence import Presence
from xmppbytes.linklocal.roster import Roster
from xmppbytes.linklocal.safety import Security, TLSPolicy
from xmppbytes.linklocal.surroundings import LinkSurroundings
from xmppbytes.linklocalcommands import Commands
from xmppbytes.linklocalcontrol import ControlFactory
from xmppbytes.linklocalfiles import Files
from xmppbytes.linklocalforward import Forwarder
from xmppbytes.listen import ListenService, makeServerEndpoint
from xmppbytes.s5b.client import BytestreamsClientHandler
from xmppbytes.s5b.options import BytestreamOptions, Ways

PROGRAM = "twistd linklocal"
NAME = "xmppbytes"


def presenceFrom(values: Mapping[str, Any]) -> Presence:
    """
    Take what is told about us out of the settings. Nothing personal is told that was not given.
    """
    presence = Presence(
        status=values["status"],
        message=values["message"],
        first=values["first"],
        last=values["last"],
        nick=values["nick"],
        email=" ".join(values["email"]),
        jid=" ".join(values["jid"]),
    )
    return presence.withoutPersonal() if values["no-personal-info"] else presence


class LinkLocalService(MultiService):
    """
    One person on the links of this machine.
    """

    log = Logger()

    def __init__(self, reactor: Any, values: Mapping[str, Any]) -> None:
        """
        @param reactor: the reactor.
        @param values: the settings, see L{xmppbytes.linklocaltap}.
        @raise ConfigurationError: when they make no sense.
        """
        super().__init__()
        self._reactor = reactor
        self._values = values
        self._user = values["user"] or getpass.getuser()
        self._machine = values["machine"] or socket.gethostname().partition(".")[0]
        self._presence = presenceFrom(values)
        self._icon = self._loadIcon(values["avatar"])
        self.hub = EventHub(reactor)
        self.roster = Roster(reactor)
        self.discovery = Discovery(
            reactor,
            SystemRandom(),
            InterfaceMonitor(reactor, values["interface"]),
            lambda interface, received: MulticastLink(reactor, interface, received),
            self.roster,
            self._signedOn,
        )
        self.mesh = Mesh(reactor, self.discovery, self._security())
        self.messages = MessageHandler(reactor, self.hub)
        self.files = self._makeHandlers()
        self.commands = Commands(
            reactor,
            self.discovery,
            self.mesh,
            self.messages,
            self.files,
            self._presence,
            not values["no-personal-info"],
        )
        self._wire()
        self._forwarder = self._makeForwarder()
        self._listener = self._listenOn(values["listen"], self.mesh)
        self._control = None
        if values["control"] != "none":
            self._control = self._listenOn(
                values["control"], ControlFactory(self.hub, self.commands.table(), self._greeting)
            )

    def _loadIcon(self, path: str | None) -> bytes | None:
        if path is None or self._values["no-personal-info"]:
            return None
        return loadIcon(path)

    def _security(self) -> Security:
        pins: Path = self._values["pins"]
        identity = loadIdentity(pins.with_name(pins.name + ".key"), f"{self._user}@{self._machine}"[:64])
        return Security(TLSPolicy(self._values["tls"]), identity, PinStore(pins))

    def _makeHandlers(self) -> Files:
        surroundings = LinkSurroundings(self.discovery, self.mesh)
        options = BytestreamOptions(
            ways=Ways.DIRECT_ONLY, discoverProxies=False, mayConnect=surroundings.mayConnect
        )
        bytestreams = BytestreamsClientHandler(self._reactor, None, options, surroundings)
        initiation = StreamInitiationHandler(StreamMethods(standardMethods(bytestreams, None)))
        description = DescriptionHandler(f"{NAME} {__version__}", "client", "pc")
        handlers = (
            self.messages,
            bytestreams,
            initiation,
            description,
            ping.PingHandler(),
            generic.VersionHandler(NAME, __version__),
            generic.FallbackHandler(),
        )
        for handler in handlers:
            handler.setHandlerParent(self.mesh)
        self.mesh.description = [description.describe()]
        values = self._values
        return Files(self._reactor, initiation, self.hub, values["receive-dir"], values["accept"])

    def _makeForwarder(self) -> Forwarder | None:
        values = self._values
        if values["forward-to"] is None:
            return None
        settings = AccountSettings(
            jid=values["account"],
            password=values["password"],
            server=values["account-server"],
            authorities=values["account-ca"],
        )
        account = Account(self._reactor, settings)
        forwarder = Forwarder(self._reactor, account, values["forward-to"], self.roster, self.messages)
        self.hub.addListener(forwarder.onEvent)
        return forwarder

    def _wire(self) -> None:
        store = AvatarStore(self._values["cache-dir"] / "avatars", time.time)
        fetcher = AvatarFetcher(self._reactor, self.roster, store, self.discovery.browsers)
        self._fetcher = fetcher
        self.hub.streamOf = self.mesh.stream
        self.mesh.listener = self.hub
        self.discovery.linksChanged = self.mesh.dropLost
        for listener in (self.hub, fetcher, _Leaving(self)):
            self.roster.addListener(listener)

    def _listenOn(self, description: str, factory: Any) -> ListenService:
        service = ListenService(makeServerEndpoint(self._reactor, description), factory, description, PROGRAM)
        service.setServiceParent(self)
        return service

    def startService(self) -> None:
        """
        Listen, and begin to look who is there.

        @raise SystemExit: when the name cannot be published.
        """
        super().startService()
        port = self._listener.port.getHost().port
        try:
            self.discovery.start(
                self._user,
                self._machine,
                port,
                self._presence,
                self._icon,
                "-" if self._values["dashed-names"] else "",
            )
        except ConfigurationError as error:
            raise SystemExit(f"{PROGRAM}: {error}") from error
        if self._forwarder is not None:
            self._forwarder.start()

    @inlineCallbacks
    def stopService(self) -> Any:
        """
        End transfers, say goodbye, close the streams.
        """
        self.files.stop("the other side goes offline")
        self.discovery.stop()
        self._fetcher.stop()
        yield self.mesh.stop("going offline")
        self.mesh.security.pins.save()
        self.hub.stop()
        if self._forwarder is not None:
            yield Deferred.fromCoroutine(self._forwarder.stop())
        yield super().stopService()

    def _signedOn(self, name: str) -> None:
        if self.mesh.xmlstream is None:
            self.mesh.start()
        self.hub.emit("signed-on", name=name)

    def _greeting(self) -> list[Event]:
        events: list[Event] = [{"event": "buddy-on", **describe(buddy)} for buddy in self.roster]
        if self.discovery.isWon:
            events.insert(0, {"event": "signed-on", "name": self.discovery.name})
        return events


class _Leaving:
    """
    Takes notice of who leaves (an L{xmppbytes.linklocal.roster.IRosterListener}): what is asked of him will
    not be answered.
    """

    def __init__(self, service: LinkLocalService) -> None:
        self._service = service

    def buddyOn(self, buddy: Any) -> None:
        """
        Of no concern.
        """

    buddyStatus = buddyIcon = buddyOn

    def buddyOff(self, buddy: Any) -> None:
        """
        Somebody has left.
        """
        self._service.mesh.peerGone(buddy.name, f"{buddy.name} has left")
        self._service.files.peerGone(buddy.name)
