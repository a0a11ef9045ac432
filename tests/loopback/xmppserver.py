"""
A small XMPP server for clients, on loopback: STARTTLS, SASL, resource binding, presence and routing.

All accounts see each other's presence.
"""

import base64
import hashlib
import hmac
import os
from typing import Any

from twisted.internet import ssl
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.words.protocols.jabber import xmlstream
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID
from twisted.words.protocols.jabber.sasl import NS_XMPP_SASL
from twisted.words.protocols.jabber.xmlstream import NS_STREAMS, NS_XMPP_TLS, toResponse
from twisted.words.xish.domish import Element

NS_BIND = "urn:ietf:params:xml:ns:xmpp-bind"
DOMAIN = "localhost"


class LoopbackServer:
    """
    The server.

    @ivar mechanisms: the SASL mechanisms that are offered.
    @ivar lie: the server does not know the password, but pretends.
    @ivar bindError: the condition with which binding is refused.
    @ivar stanzas: all stanzas that came, as text.
    """

    address = "127.0.0.1"
    authority = None

    def __init__(self, reactor: Any, passwords: dict[str, str]) -> None:
        """
        @param passwords: account name -> password.
        """
        self.passwords = passwords
        self.mechanisms = ["SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN"]
        self.used: list[str] = []
        self.lie = False
        self.bindError = ""
        self.context: Any = None
        self.requireTLS = False
        self.stanzas: list[str] = []
        self.clients: dict[str, Any] = {}
        self.present: dict[str, Element] = {}
        self._reactor = reactor
        self._port: Any = None
        self._streams: set[Any] = set()

    def certify(self, key: Any, certificate: Any) -> None:
        """
        Offer STARTTLS.
        """
        self.context = ssl.DefaultOpenSSLContextFactory(str(key), str(certificate))

    async def listen(self) -> str:
        """
        @return: HOST:PORT.
        """
        factory = xmlstream.XmlStreamServerFactory(lambda: Session(self))
        self._port = await TCP4ServerEndpoint(self._reactor, 0, interface="127.0.0.1").listen(factory)
        self.c2sPort = int(self._port.getHost().port)
        return f"{self.address}:{self.c2sPort}"

    def jid(self, account: str, resource: str) -> str:
        """
        The address of an account.
        """
        return f"{account}@{DOMAIN}/{resource}"

    async def stop(self) -> None:
        """
        Close everything.
        """
        await self._port.stopListening()
        for stream in list(self._streams):
            stream.transport.abortConnection()

    def joined(self, stream: Any) -> None:
        self._streams.add(stream)

    def left(self, stream: Any, jid: str) -> None:
        self._streams.discard(stream)
        if self.clients.get(jid) is stream:
            del self.clients[jid]
            self.present.pop(jid, None)

    def route(self, sender: str, stanza: Element) -> None:
        """
        Deliver a stanza.
        """
        stanza["from"] = sender
        self.stanzas.append(stanza.toXml())
        to = stanza.getAttribute("to", "")
        if stanza.name == "presence" and not to:
            self.broadcast(sender, stanza)
        elif to in self.clients:
            self.clients[to].send(stanza)
        elif "/" not in to and stanza.name == "presence":
            for jid, stream in self.clients.items():
                if jid.startswith(f"{to}/"):
                    stream.send(stanza)
        elif stanza.name == "iq" and stanza["type"] in ("get", "set"):
            self.clients[sender].send(StanzaError("service-unavailable").toResponse(stanza))

    def broadcast(self, sender: str, presence: Element) -> None:
        """
        Show somebody to all, and all to somebody new.
        """
        new = sender not in self.present
        self.present[sender] = presence
        for jid, stream in self.clients.items():
            if jid != sender:
                stream.send(presence)
        for jid, other in list(self.present.items()):
            if new and jid != sender:
                self.clients[sender].send(other)


class Session(xmlstream.ListenAuthenticator):  # type: ignore[misc]
    """
    One client.
    """

    namespace = "jabber:client"

    def __init__(self, server: LoopbackServer) -> None:
        super().__init__()
        self._server = server
        self._user = ""
        self._jid = ""
        self._secure = False
        self._scram: Any = None

    def associateWithStream(self, xs: Any) -> None:
        super().associateWithStream(xs)
        xs.thisEntity = JID(DOMAIN)
        observe = xs.addObserver
        observe("/starttls", self.onStartTLS)
        observe("/auth", self.onAuth)
        observe("/response", self.onResponse)
        observe("/iq", self.onStanza)
        observe("/presence", self.onStanza)
        observe("/message", self.onStanza)
        observe(xmlstream.STREAM_END_EVENT, lambda _: self._server.left(xs, self._jid))
        self._server.joined(xs)

    def streamStarted(self, rootElement: Element) -> None:
        super().streamStarted(rootElement)
        xs: Any = self.xmlstream
        xs.thisEntity = JID(DOMAIN)
        xs.sendHeader()
        features = Element((NS_STREAMS, "features"))
        if self._user:
            features.addElement((NS_BIND, "bind"))
        else:
            self._offer(features)
        xs.send(features)

    def _offer(self, features: Element) -> None:
        server = self._server
        if server.context is not None and not self._secure:
            starttls = features.addElement((NS_XMPP_TLS, "starttls"))
            if server.requireTLS:
                starttls.addElement("required")
        mechanisms = features.addElement((NS_XMPP_SASL, "mechanisms"))
        for name in server.mechanisms:
            mechanisms.addElement("mechanism", content=name)

    def onStartTLS(self, _: Any) -> None:
        xs: Any = self.xmlstream
        xs.send(Element((NS_XMPP_TLS, "proceed")))
        xs.transport.startTLS(self._server.context)
        self._secure = True
        xs.reset()

    def _answer(self, name: str, content: bytes = b"", child: str = "") -> None:
        element = Element((NS_XMPP_SASL, name))
        if content:
            element.addContent(base64.b64encode(content).decode())
        if child:
            element.addElement(child)
        xs: Any = self.xmlstream
        xs.send(element)
        if name == "success":
            xs.reset()

    def onAuth(self, auth: Element) -> None:
        self._server.used.append(auth["mechanism"])
        data = base64.b64decode(str(auth))
        if auth["mechanism"] == "PLAIN":
            _, user, password = data.decode().split("\0")
            self._decide(user, self._server.passwords.get(user) == password, b"")
        else:
            self._challenge(auth["mechanism"].rpartition("SCRAM-")[2].replace("-", "").lower(), data.decode())

    def _challenge(self, algorithm: str, first: str) -> None:
        bare = first.partition(",,")[2]
        fields = {part[0]: part[2:] for part in bare.split(",")}
        salt = os.urandom(8)
        server = f"r={fields['r']}more,s={base64.b64encode(salt).decode()},i=4096"
        self._scram = algorithm, fields["n"], salt, f"{bare},{server}"
        self._answer("challenge", server.encode())

    def onResponse(self, response: Element) -> None:
        algorithm, user, salt, soFar = self._scram
        final = base64.b64decode(str(response)).decode()
        withoutProof, _, proof = final.rpartition(",p=")
        password = self._server.passwords.get(user, "").encode()
        salted = hashlib.pbkdf2_hmac(algorithm, password, salt, 4096)
        message = f"{soFar},{withoutProof}".encode()
        key = hmac.digest(salted, b"Client Key", algorithm)
        signature = hmac.digest(hashlib.new(algorithm, key).digest(), message, algorithm)
        right = bytes(a ^ b for a, b in zip(key, signature, strict=True)) == base64.b64decode(proof)
        verifier = hmac.digest(hmac.digest(salted, b"Server Key", algorithm), message, algorithm)
        if self._server.lie:
            verifier = b"x" * len(verifier)
        self._decide(user, right or self._server.lie, b"v=" + base64.b64encode(verifier))

    def _decide(self, user: str, right: bool, final: bytes) -> None:
        if right:
            self._user = user
            self._answer("success", final)
        else:
            self._answer("failure", child="not-authorized")

    def onStanza(self, stanza: Element) -> None:
        xs: Any = self.xmlstream
        child = stanza.firstChildElement()
        if child is None or child.uri != NS_BIND:
            self._server.route(self._jid, stanza)
            return
        if self._server.bindError:
            xs.send(StanzaError(self._server.bindError).toResponse(stanza))
            return
        resource = str(child.resource) if child.resource else os.urandom(4).hex()
        self._jid = f"{self._user}@{DOMAIN}/{resource}"
        self._server.clients[self._jid] = xs
        answer = toResponse(stanza, "result")
        answer.addElement((NS_BIND, "bind")).addElement("jid", content=self._jid)
        xs.send(answer)
