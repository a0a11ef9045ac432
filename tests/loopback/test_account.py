"""
Tests for L{xmppbytes.account}, over real sockets.
"""

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.words.protocols.jabber.error import StanzaError, StreamError
from twisted.words.protocols.jabber.jid import JID
from twisted.words.xish.domish import Element

from tests.interop.authority import Authority
from tests.interop.processes import freePort
from tests.loopback.xmppserver import LoopbackServer
from xmppbytes.account import Account, AccountError, AccountSettings
from xmppbytes.errors import ConfigurationError
from xmppbytes.stanza import RequestHandler


class AccountTestCase(TestCase):
    """
    An account at a small server.
    """

    timeout = 300

    async def setUp(self) -> None:  # type: ignore[override]
        self.server = LoopbackServer(reactor, {"alice": "pässwörd"})
        self.where = await self.server.listen()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.server.stop()))

    def account(self, **changes: Any) -> Account:
        """
        Make an account, without encryption unless told otherwise.
        """
        settings: dict[str, Any] = {
            "jid": JID("alice@localhost/desk"),
            "password": "pässwörd",
            "server": self.where,
            "tls": False,
        }
        self.made = Account(reactor, AccountSettings(**{**settings, **changes}))
        self.addCleanup(lambda: Deferred.fromCoroutine(self.made.disconnect()))
        return self.made

    async def explanation(self, **changes: Any) -> str:
        """
        Fail to connect.

        @return: why.
        """
        try:
            await self.account(**changes).connect()
        except AccountError as e:
            return str(e)
        raise AssertionError("it has connected")


class ConnectingTests(AccountTestCase):
    """
    The way to a usable stream.
    """

    async def test_connected(self) -> None:
        """
        The full JID is told, and requests can be sent; the password did not travel.
        """
        account = self.account()
        self.assertEqual((await account.connect()).full(), "alice@localhost/desk")
        self.assertEqual(self.server.used, ["SCRAM-SHA-256"])
        self.assertTrue(account.manager.connected)
        self.assertEqual((await account.manager.whenReady()).full(), "alice@localhost/desk")

    async def test_replaced(self) -> None:
        """
        When another client takes our address we do not take it back.
        """
        account = self.account()
        await account.connect()
        stream = self.server.clients["alice@localhost/desk"]
        stream.sendStreamError(StreamError("conflict", text="Replaced by new connection"))
        await account.replaced
        self.assertFalse(account.manager.connected)
        self.assertFalse(account._service.running)
        await account.disconnect()

    async def test_mechanisms(self) -> None:
        """
        SCRAM-SHA-1 and PLAIN do as well, where there is nothing better.
        """
        for name in ("SCRAM-SHA-1", "PLAIN"):
            self.server.mechanisms = [name]
            account = self.account()
            await account.connect()
            await account.disconnect()
        self.assertEqual(self.server.used, ["SCRAM-SHA-1", "PLAIN"])

    async def test_resource(self) -> None:
        """
        The server may choose the resource.
        """
        jid = await self.account(jid=JID("alice@localhost")).connect()
        self.assertTrue(jid.resource)

    async def test_reconnects(self) -> None:
        """
        A lost connection is made again.
        """
        account = self.account()
        await account.connect()
        for stream in list(self.server._streams):
            stream.transport.abortConnection()
        while account.manager.connected:
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]
        await account.manager.whenReady()
        self.assertEqual(len(self.server.clients), 1)

    async def test_goodbye(self) -> None:
        """
        At the end the server is told.
        """
        account = self.account()
        await account.connect()
        await account.disconnect()
        self.assertIn("unavailable", self.server.stanzas[-1])
        await account.disconnect()

    async def test_disco(self) -> None:
        """
        We tell what we are, and answer what we do not know with an error.
        """
        first, second = self.account(), self.account(jid=JID("alice@localhost/couch"))
        await first.connect()
        await second.connect()
        self.addCleanup(lambda: Deferred.fromCoroutine(first.disconnect()))
        asker = RequestHandler()
        asker.setHandlerParent(second.manager)
        answer = await asker.ask("alice@localhost/desk", "get", Element((NS_INFO, "query")))
        text = answer.toXml()
        self.assertIn("console", text)
        self.assertIn("urn:xmpp:ping", text)
        query = Element((NS_INFO, "query"))
        query["node"] = "x"
        await self.assertFailure(asker.ask("alice@localhost/desk", "get", query), StanzaError)
        items = Element((NS_INFO.replace("#info", "#items"), "query"))
        await asker.ask("alice@localhost/desk", "get", items)
        await asker.ask("alice@localhost/desk", "get", Element(("urn:xmpp:ping", "ping")))
        error = await self.assertFailure(
            asker.ask("alice@localhost/desk", "get", Element(("urn:unknown", "query"))), Exception
        )
        self.assertEqual(error.condition, "service-unavailable")


NS_INFO = "http://jabber.org/protocol/disco#info"


class TroubleTests(AccountTestCase):
    """
    One line for each way to fail.
    """

    async def test_password(self) -> None:
        """
        A wrong password, by each mechanism.
        """
        for name in ("SCRAM-SHA-256", "PLAIN"):
            self.server.mechanisms = [name]
            text = await self.explanation(password="wrong")
            self.assertIn("does not accept the password of alice@localhost (not-authorized)", text)

    async def test_noMechanism(self) -> None:
        """
        Nothing that we know.
        """
        self.server.mechanisms = ["GSSAPI"]
        self.assertIn("offers no authentication that we know (GSSAPI)", await self.explanation())

    async def test_lyingServer(self) -> None:
        """
        A server that does not know the password itself.
        """
        self.server.lie = True
        self.assertIn("does not prove that it knows the password", await self.explanation())

    async def test_bindingRefused(self) -> None:
        """
        No resource for us.
        """
        self.server.bindError = "conflict"
        self.assertIn("refuses the connection: conflict", await self.explanation())

    async def test_nobodyThere(self) -> None:
        """
        Nothing listens.
        """
        where = f"127.0.0.1:{freePort()}"
        self.assertIn(f"cannot connect to {where}", await self.explanation(server=where))

    async def test_noName(self) -> None:
        """
        A name that does not exist.
        """
        text = await self.explanation(server="nothing.invalid:5222")
        self.assertIn("there is no address of nothing.invalid:5222", text)

    async def test_notXMPP(self) -> None:
        """
        Something that is no XMPP server, and closes.
        """

        class Web(Protocol):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")  # type: ignore[union-attr]
                self.transport.loseConnection()  # type: ignore[union-attr]

        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")  # type: ignore[arg-type]
        port = await endpoint.listen(Factory.forProtocol(Web))
        self.addCleanup(port.stopListening)
        text = await self.explanation(server=f"127.0.0.1:{port.getHost().port}")  # type: ignore[attr-defined]
        self.assertIn("is an XMPP server there?", text)

    async def test_streamError(self) -> None:
        """
        The server ends the stream, and says why.
        """

        class Angry(Protocol):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(  # type: ignore[union-attr]
                    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
                    b"version='1.0'><stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
                    b"<text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>Not here</text></stream:error>"
                    b"</stream:stream>"
                )

        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")  # type: ignore[arg-type]
        port = await endpoint.listen(Factory.forProtocol(Angry))
        self.addCleanup(port.stopListening)
        text = await self.explanation(server=f"127.0.0.1:{port.getHost().port}")  # type: ignore[attr-defined]
        self.assertIn("host-unknown (Not here)", text)

    async def test_cancel(self) -> None:
        """
        Connecting can be cancelled; nothing goes on then.
        """
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")  # type: ignore[arg-type]
        port = await endpoint.listen(Factory.forProtocol(Protocol))
        self.addCleanup(port.stopListening)
        account = self.account(server=f"127.0.0.1:{port.getHost().port}")  # type: ignore[attr-defined]
        connecting = Deferred.fromCoroutine(account.connect())
        await deferLater(reactor, 0.1)  # type: ignore[arg-type]
        connecting.cancel()
        await self.assertFailure(connecting, CancelledError)


class EncryptionTests(AccountTestCase):
    """
    STARTTLS.
    """

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.authority = Authority(Path(self.mktemp()))

    async def test_certified(self) -> None:
        """
        With a good certificate the stream is encrypted.
        """
        self.server.certify(*self.authority.issue("localhost"))
        account = self.account(tls=True, authorities=self.authority.certificate)
        await account.connect()
        self.assertTrue(account.manager.xmlstream.transport.TLS)

    async def test_otherName(self) -> None:
        """
        A certificate for another name.
        """
        self.server.certify(*self.authority.issue("example.org"))
        text = await self.explanation(tls=True, authorities=self.authority.certificate)
        self.assertIn("is not for localhost", text)
        self.assertEqual(self.server.used, [])

    async def test_nonsensicalName(self) -> None:
        """
        A certificate whose names make no sense is for nobody, and costs no line in the log.
        """
        self.server.certify(*self.authority.issue("*.org"))
        text = await self.explanation(tls=True, authorities=self.authority.certificate)
        self.assertIn("is not for localhost", text)
        self.assertEqual(self.server.used, [])

    async def test_nonsenseBeside(self) -> None:
        """
        A name that makes no sense beside the right one does no harm.
        """
        self.server.certify(*self.authority.issue("*.localhost", "localhost"))
        await self.account(tls=True, authorities=self.authority.certificate).connect()

    async def test_otherAuthority(self) -> None:
        """
        A certificate of an authority that we do not trust.
        """
        self.server.certify(*self.authority.issue("localhost"))
        for authorities in (None, Authority(Path(self.mktemp())).certificate):
            text = await self.explanation(tls=True, authorities=authorities)
            self.assertIn("is not trusted", text)
        self.assertEqual(self.server.used, [])

    async def test_notOffered(self) -> None:
        """
        A server without encryption: the password stays here.
        """
        text = await self.explanation(tls=True)
        self.assertIn("offers no encryption", text)
        self.assertIn("--no-tls", text)
        self.assertEqual(self.server.used, [])

    async def test_insisted(self) -> None:
        """
        A server that insists on it, where we were told not to.
        """
        self.server.certify(*self.authority.issue("localhost"))
        self.server.requireTLS = True
        self.assertIn("insists on encryption", await self.explanation())

    async def test_badAuthorities(self) -> None:
        """
        A file that holds no certificates.
        """
        path = Path(self.mktemp())
        self.assertRaises(ConfigurationError, self.account, tls=True, authorities=path)
        for text in ("nothing", "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"):
            path.write_text(text)
            self.assertRaises(ConfigurationError, self.account, tls=True, authorities=path)
