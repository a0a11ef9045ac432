"""
The XEP-0065 proxy as a service: everything put together, started, reloaded, drained and stopped.
"""

import signal
from collections.abc import Sequence
from typing import Any

from twisted.application.internet import backoffPolicy
from twisted.application.service import MultiService
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import inlineCallbacks
from twisted.internet.endpoints import clientFromString
from twisted.logger import Logger
from wokkel.subprotocols import XMPPHandler

from xmppbytes import __version__
from xmppbytes.compat import disco, generic, ping
from xmppbytes.component import ComponentFactory, ComponentManager
from xmppbytes.core.acceptloop import makeAcceptLoop
from xmppbytes.core.damper import LogDamper
from xmppbytes.core.datagramport import DatagramPort
from xmppbytes.core.datagrams import DatagramEngine
from xmppbytes.core.engines import makeEngines
from xmppbytes.core.handshake import handshakeDeadlines
from xmppbytes.core.hangup import makeHangupWatch
from xmppbytes.core.limits import Limits
from xmppbytes.core.outcome import Outcome
from xmppbytes.core.pairing import Rendezvous
from xmppbytes.core.relay import CopyEngine
from xmppbytes.core.sessions import Sessions
from xmppbytes.core.usage import UsageLog
from xmppbytes.core.workers import WorkerEngine
from xmppbytes.errors import ConfigurationError
from xmppbytes.listen import AcceptGate, CannotStart, ListenService, makeServerEndpoint, raiseDescriptorLimit
from xmppbytes.proxyvalues import RELOADED, accessFrom, limitsFrom
from xmppbytes.relayservice import DTCPRelayParts
from xmppbytes.s5b.association import AssociationFactory
from xmppbytes.s5b.notices import NoticeSender
from xmppbytes.s5b.protocol import StreamHostFactory
from xmppbytes.s5b.proxy import ProxyHandler
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS_UDP, StreamHost
from xmppbytes.s5b.udp import Associations, listenDatagrams
from xmppbytes.serviceinfo import ServiceInfoHandler
from xmppbytes.stream import StreamService

PROGRAM = "twistd s5bproxy"
NAME = "xmppbytes proxy"


class ProxyService(MultiService):
    """
    A StreamHost for others: TCP ports, the rendezvous, the relay, and the component connection.
    """

    log = Logger()

    def __init__(self, reactor: Any, options: Any) -> None:
        """
        @param reactor: the reactor.
        @param options: parsed L{xmppbytes.proxytap.Options}.
        """
        super().__init__()
        values = options.chosen
        self._reactor = reactor
        self._options = options
        self._drain: float = values["drain"]
        limits = limitsFrom(values)
        path = values["usage-log"]
        self._usageLog = UsageLog(path, values["usage-log-blur"]) if path else None
        self._engines = [*makeEngines(reactor, values["relay"], values["workers"]), DatagramEngine(reactor)]
        self.sessions = Sessions(reactor, limits, self._engines, self._usageLog)
        self.rendezvous = Rendezvous(reactor, limits, self.sessions, makeHangupWatch(reactor))
        self._damper = LogDamper(reactor)
        self._notices = NoticeSender()
        self._associations: Associations | None = None
        if not values["no-udp"]:
            self._associations = Associations(reactor, limits, self._notices.notify, self._damper)
        self._datagramPorts: list[DatagramPort] = []
        self._gate = AcceptGate(reactor, raiseDescriptorLimit())
        # Copied connections are read by transports of the reactor, and may have one from the start.
        splices = not isinstance(self._engines[0], CopyEngine)
        self._loop = makeAcceptLoop(reactor, self._gate.exhausted, self._damper) if splices else None
        # Without XMPP nothing can be activated: then only the DTCP relay listens.
        self._listeners = self._makeListeners(values["listen"] if values["jid"] else (), limits)
        self._proxy = ProxyHandler((), self.rendezvous, accessFrom(values), damper=self._damper)
        self._dtcp = self._makeDTCPRelay(values, limits)
        self._stream = self._makeStream(values) if values["jid"] is not None else None
        self._handlers: dict[int, Any] = {}
        self._listening = False

    def _makeListeners(self, descriptions: Sequence[str], limits: Limits) -> list[ListenService]:
        deadlines = handshakeDeadlines(self._reactor, limits.handshakeTimeout)
        accepted = self._gate.accepted
        factory = StreamHostFactory(self.rendezvous, deadlines, accepted, self._damper)
        if self._associations is not None:
            factory = AssociationFactory(self.rendezvous, deadlines, self._associations, accepted)
        listeners = []
        for description in descriptions:
            endpoint = makeServerEndpoint(self._reactor, description)
            listener = ListenService(endpoint, factory, description, PROGRAM, self._loop)
            listener.setServiceParent(self)
            listeners.append(listener)
        return listeners

    def _makeDTCPRelay(self, values: dict[str, Any], limits: Limits) -> DTCPRelayParts | None:
        if values["dtcp-relay"] is None:
            return None
        parts = DTCPRelayParts(
            self._reactor,
            values,
            limits,
            self.rendezvous,
            self._proxy.access,
            self._gate.accepted,
            PROGRAM,
            self._loop,
            self._damper,
        )
        parts.listener.setServiceParent(self)
        self._listeners.append(parts.listener)
        return parts

    def _makeStream(self, values: dict[str, Any]) -> StreamService:
        jid, server = values["jid"], values["server"]
        try:
            endpoint = clientFromString(self._reactor, server)
        except Exception as e:  # Endpoint parsers raise whatever they please.
            raise ConfigurationError(
                f"--server: cannot connect to {server!r} ({e}); give a Twisted client endpoint such as "
                "tcp:127.0.0.1:5347"
            ) from e
        factory = ComponentFactory(jid, values["secret"])
        manager = ComponentManager(factory, self._reactor)
        for handler in self._makeHandlers():
            handler.setHandlerParent(manager)
        backoff = backoffPolicy(initialDelay=1.0, maxDelay=30.0)
        return StreamService(endpoint, factory, self._reactor, f"Component {jid} at {server}", backoff)

    def _makeHandlers(self) -> list[XMPPHandler]:
        return [
            self._proxy,
            self._notices,
            *([self._dtcp.handler] if self._dtcp is not None else []),
            disco.DiscoHandler(),
            ping.PingHandler(),
            generic.VersionHandler(NAME, __version__),
            ServiceInfoHandler(NAME, "Relays file transfers (XEP-0065)", "proxy", "bytestreams"),
            generic.FallbackHandler(),
        ]

    def privilegedStartService(self) -> None:
        """
        Listen, while the process may still use low ports.
        """
        super().privilegedStartService()
        self._listening = True
        if self._stream is not None:
            self._proxy.streamHosts = self._streamHosts()
        if self._dtcp is not None:
            self._dtcp.listening()
        self._listenDatagrams()

    def _listenDatagrams(self) -> None:
        """
        Open a UDP port beside each TCP port of the StreamHost.
        """
        if self._associations is None or self._datagramPorts:
            return
        relay = self._dtcp.listener if self._dtcp is not None else None
        for listener in self._listeners:
            if listener is relay or not isinstance(listener.port.getHost(), IPv4Address | IPv6Address):
                continue
            try:
                port = listenDatagrams(self._reactor, listener.port, self._associations.datagramReceived)
            except ConfigurationError as e:
                raise CannotStart(f"{PROGRAM}: {e} (--no-udp)") from e
            self._datagramPorts.append(port)
            self.log.info("Listening on UDP {host}, {name}", host=port.getHost(), name=port.name)
        if self._datagramPorts and NS_BYTESTREAMS_UDP not in self._proxy.features:
            self._proxy.features = (*self._proxy.features, NS_BYTESTREAMS_UDP)

    def startService(self) -> None:
        """
        Connect to the XMPP server, and hear SIGHUP.
        """
        super().startService()
        if not self._listening:
            self.privilegedStartService()
        for listener in self._listeners:
            self._gate.guard(listener.port)
        if self._usageLog is not None:
            # Not before: the file is to belong to the user that twistd has become meanwhile.
            self._usageLog.tryOut()
        if self._stream is not None:
            self._stream.startService()
        self._hear(signal.SIGHUP, self.reload)
        for streamHost in self._proxy.streamHosts:
            self.log.info("Advertising {host} port {port}", host=streamHost.host, port=streamHost.port)

    def _streamHosts(self) -> tuple[StreamHost, ...]:
        values = self._options.chosen
        ownPort = getattr(self._listeners[0].port.getHost(), "port", None)
        streamHosts = []
        for host, port in values["advertise"] or ((values["jid"], None),):
            chosen = port or ownPort
            if chosen is None:
                raise CannotStart(f"{PROGRAM}: --advertise needs a port, since the first --listen has none")
            streamHosts.append(StreamHost(values["jid"], host, chosen))
        return tuple(streamHosts)

    def reload(self) -> None:
        """
        Read the configuration file again, and use its access rules, limits and rate from now on.
        """
        try:
            values = self._options.load()
            old = self._options.chosen
            used = old | {name: values[name] for name in RELOADED}
            limits, access = limitsFrom(used), accessFrom(used)
        except ConfigurationError as e:
            self.log.error("The new configuration is not used: {error}", error=e)
            return
        self._proxy.access = access
        if self._dtcp is not None:
            self._dtcp.relay.access = access
        self.sessions.setLimits(limits)
        self.rendezvous.limits = limits
        self._options.chosen = used
        later = sorted(name for name in values if values[name] != used[name])
        self.log.info(
            "Configuration read again{later}",
            later=f"; changed, but used only after a restart: {', '.join(later)}" if later else "",
        )

    @inlineCallbacks
    def stopService(self) -> Any:
        """
        Accept nothing any more, let running bytestreams go on for the drain time, then end them.
        """
        # From now on: nobody can tell how long it takes to part from the XMPP server.
        self._hear(signal.SIGTERM, self._endNow)
        self._hear(signal.SIGINT, self._endNow)
        self._gate.stop()
        self._listening = False
        disconnected = self._stream.stopService() if self._stream is not None else None
        yield super().stopService()
        self.rendezvous.closeAll("the service ends")
        if self._drain and len(self.sessions):
            yield self._drainSessions()
        self.sessions.abortAll(Outcome.SHUTDOWN)
        yield self.sessions.whenEmpty()
        self.sessions.finishLog()
        self._damper.flush()
        for engine in self._engines:
            if isinstance(engine, WorkerEngine):
                yield engine.close()
        yield disconnected
        if self._loop is not None:
            self._loop.close()
        for port in self._datagramPorts:
            port.close()
        self._datagramPorts.clear()
        self._restoreSignals()

    def _endNow(self) -> None:
        self.sessions.abortAll(Outcome.SHUTDOWN)
        if self._stream is not None:
            self._stream.cut()

    def _drainSessions(self) -> Any:
        self.log.info(
            "Ending, but {count} bytestreams may go on for {drain:g} s; end at once with a second signal",
            count=len(self.sessions),
            drain=self._drain,
        )
        timer = self._reactor.callLater(self._drain, self.sessions.abortAll, Outcome.SHUTDOWN)
        done = self.sessions.whenEmpty()
        done.addCallback(lambda _: timer.active() and timer.cancel())
        return done

    def _hear(self, number: signal.Signals, heard: Any) -> None:
        def handler(*_: Any) -> None:
            self._reactor.callFromThread(heard)

        try:
            previous = signal.signal(number, handler)
        except ValueError:
            # Not in the main thread: an application that embeds us has its own way to reload.
            return
        self._handlers.setdefault(number, previous)

    def _restoreSignals(self) -> None:
        for number, previous in self._handlers.items():
            signal.signal(number, previous if previous is not None else signal.SIG_DFL)
        self._handlers.clear()
