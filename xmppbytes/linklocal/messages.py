"""
What people say. XEP-0174 section 7; the forms that Bonjour clients write.
"""

from typing import Any
from xml.sax.saxutils import escape

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.words.xish.domish import Element
from wokkel.subprotocols import XMPPHandler

from xmppbytes.errors import NotReachable
from xmppbytes.linklocal.connection import NS_CLIENT
from xmppbytes.linklocal.stream import PeerStream
from xmppbytes.linklocal.tcp import DEAD_TIMEOUT

NS_XHTML = "http://www.w3.org/1999/xhtml"
# How much of a message is shown.
MAX_TEXT = 64 * 1024
# How often it is looked whether the other side's system has confirmed what was sent, in seconds.
_POLL = 0.03


def buildMessage(text: str) -> Element:
    """
    Make a message. libpurple takes the body for HTML and shows only C{html/body/font} as it was meant, so
    both are there.
    """
    clean = legible(text)
    message = Element((NS_CLIENT, "message"))
    message["type"] = "chat"
    message.addElement("body", content=clean)
    html = message.addElement((NS_XHTML, "html"))
    font = html.addElement("body").addElement("font")
    lines = escape(clean).split("\n")
    font.addRawXml("<br/>".join(lines))
    return message


def legible(text: str) -> str:
    """
    Take out of a text what XML cannot carry and a terminal should not see. Line breaks and tabs stay.
    """
    lines = text.replace("\r\n", "\n")
    return "".join(character for character in lines if character in "\n\t" or character.isprintable())


class MessageHandler(XMPPHandler):  # type: ignore[misc]
    """
    Gets messages, and sends them so that it is known whether they have arrived.
    """

    def __init__(self, clock: IReactorTime, listener: Any) -> None:
        """
        @param clock: the reactor, or a L{twisted.internet.task.Clock}.
        @param listener: has C{messageReceived(name, text)}.
        """
        super().__init__()
        self._clock = clock
        self._listener = listener

    def connectionInitialized(self) -> None:
        """
        See L{XMPPHandler}.
        """
        self.xmlstream.addObserver("/message", self.onMessage, -1)

    def onMessage(self, message: Any) -> None:
        """
        Somebody says something. The body counts; what stands in C{html} may be anything.
        """
        if message.handled or message.getAttribute("type") == "error":
            return
        body = next((str(child) for child in message.elements() if child.name == "body"), "")
        text = legible(body[:MAX_TEXT]).strip()
        # Adium and iChat tell that somebody is typing by a message without text.
        if text:
            message.handled = True
            self._listener.messageReceived(message["from"], text)

    def say(self, name: str, text: str) -> "Deferred[PeerStream]":
        """
        Say something to somebody.

        @return: fires with the stream when the peer's system has confirmed every byte, where that can be
            told; fails with a L{BytestreamError} when the message cannot be delivered.
        """
        return Deferred.fromCoroutine(self._say(name, text))

    async def _say(self, name: str, text: str) -> PeerStream:
        stream: PeerStream = await self.parent.deliver(name, buildMessage(text))
        # At first what was written is still in this process: TLS and the reactor pass it on in later turns.
        waited = _POLL
        await deferLater(self._clock, _POLL)
        while stream.unacknowledged() and waited < DEAD_TIMEOUT:
            await deferLater(self._clock, _POLL)
            waited += _POLL
        if stream.unacknowledged():
            # Whatever is said next is to find another way.
            stream.abort("what was sent is not confirmed")
        if stream.isBroken or waited >= DEAD_TIMEOUT:
            raise NotReachable(f"{name} has not confirmed the message: it is probably lost; say it again")
        return stream
