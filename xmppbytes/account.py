"""
The connection of an account to its XMPP server: STARTTLS, authentication, resource (RFC 6120).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from OpenSSL import crypto
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, platformTrust, trustRootFromCertificates
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.words.protocols.jabber import client, xmlstream
from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish.domish import Element
from twisted.words.xish.xmlstream import XmlStreamFactoryMixin
from wokkel.subprotocols import XMPPHandler
from zope.interface import implementer

from xmppbytes.accountmanager import ClientManager
from xmppbytes.accounttrouble import explain
from xmppbytes.compat import disco, generic, iwokkel, ping
from xmppbytes.errors import BytestreamError, ConfigurationError
from xmppbytes.scram import AuthenticationInitializer
from xmppbytes.serverstream import ServerStream
from xmppbytes.servertls import CertifiedServer
from xmppbytes.srv import CONNECT_TIMEOUT, ClientServerEndpoint, parseServer
from xmppbytes.stanza import RequestHandler
from xmppbytes.stream import StreamService

# Seconds that the server has to say goodbye.
GOODBYE_TIMEOUT = 2.0
_PEM = "-----BEGIN CERTIFICATE-----"


class AccountError(BytestreamError):
    """
    There is no connection to the account's server.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSettings:
    """
    What is needed to connect.

    @ivar jid: the account, with the wished resource or without.
    @ivar password: its password.
    @ivar server: C{HOST:PORT}; C{None}: found by the domain.
    @ivar tls: whether the connection must be encrypted, and the server certified.
    @ivar authorities: a PEM file with the certificates that are trusted; C{None}: those of this machine.
    """

    jid: JID
    password: str
    server: str | None = None
    tls: bool = True
    authorities: Path | None = None

    @property
    def domain(self) -> str:
        """
        The account's domain, as name servers and certificates know it.
        """
        return self.jid.host.encode("idna").decode("ascii")


class ClientAuthenticator(xmlstream.ConnectAuthenticator):
    """
    Sets a client's stream up.

    @ivar jid: the account; with the bound resource when that has happened.
    """

    namespace = "jabber:client"

    def __init__(self, settings: AccountSettings, tlsOptions: Any) -> None:
        """
        @param tlsOptions: an C{IOpenSSLClientConnectionCreator}.
        """
        super().__init__(settings.jid.host)
        self.jid = settings.jid
        self.password = settings.password
        self._tls = settings.tls
        self._tlsOptions = tlsOptions

    def associateWithStream(self, xs: Any) -> None:
        """
        See L{xmlstream.ConnectAuthenticator}.
        """
        super().associateWithStream(xs)
        starttls = xmlstream.TLSInitiatingInitializer(xs, self._tls, self._tlsOptions)
        starttls.wanted = self._tls
        xs.initializers = [
            client.CheckVersionInitializer(xs),
            starttls,
            AuthenticationInitializer(xs, required=True),
            client.BindInitializer(xs, required=True),
            client.SessionInitializer(xs, required=False),
        ]


class ClientFactory(XmlStreamFactoryMixin, Factory):  # type: ignore[misc]
    """
    Makes the XML streams of an account.
    """

    noisy = False

    def __init__(self, settings: AccountSettings) -> None:
        """
        @raise ConfigurationError: when the certificates that are to be trusted cannot be read.
        """
        super().__init__()
        self._settings = settings
        self._tlsOptions = _tlsOptions(settings) if settings.tls else None

    def buildProtocol(self, addr: Any) -> Any:
        """
        See L{Factory}.
        """
        stream = ServerStream(ClientAuthenticator(self._settings, self._tlsOptions))
        stream.factory = self
        self.installBootstraps(stream)
        return stream


class Account:
    """
    An account that is, or is to be, connected; it stays so, until another client takes its address.

    @ivar manager: carries the handlers.
    @ivar replaced: fires when that happens. To connect again would only take it back, for ever.
    """

    log = Logger()

    def __init__(self, reactor: Any, settings: AccountSettings, resolver: Any = None) -> None:
        """
        @param reactor: connects.
        @param resolver: answers C{lookupService}; C{None}: the name servers of this machine.
        @raise ConfigurationError: when the settings make no sense.
        """
        self._reactor = reactor
        self._settings = settings
        factory = ClientFactory(settings)
        self.manager = ClientManager(factory, reactor=reactor)
        endpoint: Any = ClientServerEndpoint(reactor, settings.domain, resolver)
        if settings.server is not None:
            endpoint = HostnameEndpoint(reactor, *parseServer(settings.server), timeout=CONNECT_TIMEOUT)
        self._service = StreamService(endpoint, factory, reactor, f"Account {settings.jid.full()}")
        for handler in (disco.DiscoHandler(), ping.PingHandler(), generic.FallbackHandler()):
            handler.setHandlerParent(self.manager)
        ClientIdentity().setHandlerParent(self.manager)
        self.replaced: Deferred[None] = Deferred()
        _Watcher(self._hasEnded).setHandlerParent(self.manager)

    def _hasEnded(self) -> None:
        if self.manager.replaced and not self.replaced.called:
            # The service is about to learn of the end, too.
            self._reactor.callLater(0, self._giveUp)

    def _giveUp(self) -> None:
        self._service.stopService()
        self.replaced.callback(None)

    async def connect(self) -> JID:
        """
        Connect. After this has succeeded, a lost connection is made again, for ever.

        @return: our full JID.
        @raise AccountError: when it cannot be; nothing goes on then.
        """
        self._service.startService()
        try:
            await self._service.whenConnected(failAfterFailures=1)
            return await self.manager.whenReady()
        except CancelledError:
            await self._stop()
            raise
        except Exception as e:
            await self._stop()
            raise AccountError(self._explain(e)) from e

    async def disconnect(self) -> None:
        """
        Say goodbye and disconnect.
        """
        if self.manager.connected:
            presence = Element((None, "presence"))
            presence["type"] = "unavailable"
            self.manager.send(presence)
            self.manager.xmlstream.sendFooter()
            # Closing at once could overtake, and lose, what was sent last.
            end = self._reactor.seconds() + GOODBYE_TIMEOUT
            while self.manager.connected and self._reactor.seconds() < end:
                await deferLater(self._reactor, 0.01)
        await self._stop()

    def _explain(self, error: Exception) -> str:
        settings = self._settings
        return explain(settings.server or settings.domain, settings.jid.userhost(), settings.domain, error)

    async def _stop(self) -> None:
        # The service may be telling us of a failure at this moment, and cannot be stopped meanwhile.
        await deferLater(self._reactor, 0)
        if self._service.running:
            await self._service.stopService()


class _Watcher(XMPPHandler):  # type: ignore[misc]
    """
    Tells when a stream has ended.
    """

    def __init__(self, ended: Callable[[], None]) -> None:
        super().__init__()
        self._ended = ended

    def connectionLost(self, reason: Any) -> None:
        super().connectionLost(reason)
        self._ended()


@implementer(iwokkel.IDisco)
class ClientIdentity(RequestHandler):
    """
    Tells what we are (XEP-0030).
    """

    def getDiscoInfo(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[object]:
        """
        See L{iwokkel.IDisco}.
        """
        if nodeIdentifier:
            return []
        identity = disco.DiscoIdentity("client", "console", "xmppbytes")
        return [identity, disco.DiscoFeature(disco.NS_DISCO_INFO), disco.DiscoFeature("urn:xmpp:ping")]

    def getDiscoItems(self, requestor: JID, target: JID, nodeIdentifier: str = "") -> list[object]:
        """
        See L{iwokkel.IDisco}.
        """
        return []


def _tlsOptions(settings: AccountSettings) -> Any:
    if settings.authorities is None:
        return CertifiedServer(settings.domain, platformTrust())
    try:
        blocks = settings.authorities.read_text("ascii").split(_PEM)[1:]
        found = [Certificate.loadPEM(f"{_PEM}{block}".encode("ascii")) for block in blocks]
    except (OSError, ValueError, crypto.Error) as e:
        raise ConfigurationError(f"{settings.authorities} cannot be read as certificates ({e})") from e
    if not found:
        raise ConfigurationError(f"{settings.authorities} holds no certificate in PEM form")
    return CertifiedServer(settings.domain, trustRootFromCertificates(found))
