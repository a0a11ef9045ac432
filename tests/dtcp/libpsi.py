"""
A fake of the one other implementation of DTCP: libpsi of 2002.

Its keys are C{dtcp_} and 16 hexadecimal digits; it reads three hosts, splits them at the first colon and
tries them all at once; its errors carry a text and leave the socket open; it knows no starttls; it gives
up by an iq-error without an id.
"""

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from twisted.words.xish.domish import Element
from wokkel.subprotocols import XMPPHandler

NS_DTCP = "http://jabber.org/protocol/dtcp"
KEY = "dtcp_0123456789abcdef"


class PsiSocket(LineOnlyReceiver):
    """
    One connection of libpsi's, serving or connecting.
    """

    delimiter = b"\n"

    def __init__(self, psi: "LibPsi", connecting: bool) -> None:
        self.psi = psi
        self.connecting = connecting
        self.heard: list[bytes] = []
        self.bytes = b""
        self.closed: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        if self.connecting:
            self.sendLine(b"key:" + self.psi.peerKey.encode())

    def dataReceived(self, data: bytes) -> None:
        self.bytes += data
        if self.psi.active is self:
            self.psi.received(data)
        else:
            super().dataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        self.heard.append(line)
        command, _, argument = line.partition(b":")
        if self.connecting:
            self._answered(command, argument)
        elif command == b"key" and argument.decode() == self.psi.key and self.psi.active is None:
            self.sendLine(b"ok:" + self.psi.peerKey.encode())
            if self.psi.isRequester:
                self.psi.establish(self)
        elif command == b"ok" and b"key:" + self.psi.key.encode() in self.heard:
            self.psi.establish(self)
        elif command == b"key":
            self.sendLine(b"error:no such key or key active")
        else:
            self.sendLine(b"error:bad input")

    def _answered(self, command: bytes, argument: bytes) -> None:
        if command == b"ok" and argument.decode() == self.psi.key:
            if self.psi.isRequester:
                self.sendLine(b"ok")
            self.psi.establish(self)
        else:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed.callback(None)
        self.psi.lost(self)


class LibPsi(XMPPHandler):  # type: ignore[misc]
    """
    A client with libpsi in it.
    """

    def __init__(self, reachable: bool = True) -> None:
        super().__init__()
        self.key = KEY
        self.peerKey = ""
        self.isRequester = False
        self.active: PsiSocket | None = None
        self.sockets: list[PsiSocket] = []
        self.data = b""
        self.established: Deferred[PsiSocket] = Deferred()
        self.troubles: list[Element] = []
        self.asked: list[Element] = []
        self._reachable = reachable
        self._trying = 0
        self._peer = ""
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = lambda addr: self._socket(False)  # type: ignore[method-assign,assignment]
        self.listening = reactor.listenTCP(0, factory, interface="127.0.0.1")

    def connectionInitialized(self) -> None:
        self.xmlstream.addObserver("/iq", self._iq)

    def _socket(self, connecting: bool) -> PsiSocket:
        made = PsiSocket(self, connecting)
        self.sockets.append(made)
        return made

    def request(self, peer: str) -> None:
        """
        Ask somebody for a connection.
        """
        self.isRequester = True
        iq = Element((None, "iq"))
        iq["type"], iq["to"], iq["id"] = "set", peer, "dtcp_1"
        iq.addChild(self._query())
        iq.query.addElement("comment", content="a file")
        self.send(iq)

    def _query(self) -> Element:
        query = Element((NS_DTCP, "query"))
        query.addElement("key", content=self.key)
        if self._reachable:
            query.addElement("host", content=f"127.0.0.1:{self.listening.getHost().port}")
        return query

    def _iq(self, iq: Any) -> None:
        if iq["type"] == "error":
            self.troubles.append(iq)
        elif iq.query is not None and iq.query.uri == NS_DTCP:
            iq.handled = True
            self.asked.append(iq)
            if iq["type"] == "set":
                answer = Element((None, "iq"))
                answer["type"], answer["to"], answer["id"] = "result", iq["from"], iq["id"]
                answer.addChild(self._query())
                self.send(answer)
            self._begin(iq)

    def _begin(self, iq: Any) -> None:
        self._peer = iq["from"]
        self.peerKey = str(iq.query.key)
        hosts = [str(e) for e in iq.query.elements() if e.name == "host"][:3]
        self._trying = len(hosts)
        for text in hosts:
            host, _, port = text.partition(":")
            factory = Factory.forProtocol(lambda: self._socket(True))
            TCP4ClientEndpoint(reactor, host, int(port)).connect(factory).addErrback(lambda _: self._failed())

    def lost(self, one: PsiSocket) -> None:
        if one.connecting and one is not self.active:
            self._failed()

    def _failed(self) -> None:
        self._trying -= 1
        if not self._trying and self.active is None:
            self.giveUp("503", "Could not connect to any of the hosts.")

    def giveUp(self, code: str, text: str) -> None:
        """
        Say that it is over for us; without an id.
        """
        iq = Element((None, "iq"))
        iq["type"], iq["to"] = "error", self._peer
        query = iq.addElement((NS_DTCP, "query"))
        query.addElement("key", content=self.peerKey)
        iq.addElement("error", content=text)["code"] = code
        self.send(iq)

    def establish(self, one: PsiSocket) -> None:
        self.active = one
        for other in self.sockets:
            if other is not one and not other.closed.called:
                other.transport.loseConnection()
        self.established.callback(one)

    def received(self, data: bytes) -> None:
        self.data += data
