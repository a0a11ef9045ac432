"""
Forwarding: what is said to us on the link goes to one XMPP address, and its answers come back.
XEP-0174 section 12.2 permits it to a client that has authenticated on the XMPP network.

The names of the link travel in the text of messages only, never as XMPP addresses: to the server everything
comes from our own account.
"""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.jid import JID, InvalidFormat
from twisted.words.xish.domish import Element
from wokkel.subprotocols import XMPPHandler

from xmppbytes.account import Account, AccountError
from xmppbytes.errors import BytestreamError, NotReachable
from xmppbytes.jids import prepareJID
from xmppbytes.linklocal.events import Event
from xmppbytes.linklocal.messages import MAX_TEXT, MessageHandler, legible
from xmppbytes.linklocal.names import foldText, speaker
from xmppbytes.linklocal.roster import Roster

# Seconds until the account is tried again when it could not be connected at first.
RETRY_DELAY = 30.0
# Messages of one turn of a chatty neighbour are not to flood the account's server.
MAX_PER_MINUTE = 60
# How many people are named for whom an answer may be meant.
MAX_NAMES = 10


class Forwarder(XMPPHandler):  # type: ignore[misc]
    """
    Carries messages between the link and one XMPP address.
    """

    log = Logger()

    def __init__(
        self, reactor: Any, account: Account, recipient: JID, roster: Roster, messages: MessageHandler
    ) -> None:
        """
        @param reactor: tells the time.
        @param account: ours on the XMPP network.
        @param recipient: who gets what is said to us.
        @param roster: the people on the link.
        @param messages: speaks to them.
        """
        super().__init__()
        self._reactor = reactor
        self._account = account
        self._recipient = recipient
        self._roster = roster
        self._messages = messages
        self._lastSpeaker = ""
        self._minute = 0
        self._count = 0
        self._connecting: Deferred[None] | None = None
        self.setHandlerParent(account.manager)

    def start(self) -> None:
        """
        Connect the account.
        """
        self._connecting = Deferred.fromCoroutine(self._connect())
        self._connecting.addErrback(self._notConnecting)

    def _notConnecting(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self.log.failure("nothing is forwarded, by our own fault", failure=failure)

    async def _connect(self) -> None:
        while True:
            try:
                await self._account.connect()
            except AccountError as error:
                self.log.warn("nothing is forwarded: {error}", error=error)
                await deferLater(self._reactor, RETRY_DELAY)
            else:
                return

    async def stop(self) -> None:
        """
        Disconnect the account.
        """
        if self._connecting is not None:
            self._connecting.cancel()
        await self._account.disconnect()

    def connectionInitialized(self) -> None:
        """
        See L{XMPPHandler}.
        """
        self.xmlstream.addObserver("/message", self.onMessage)
        self.send(Element((None, "presence")))

    # From the link

    def onEvent(self, event: Event) -> None:
        """
        Something has happened on the link (a listener of L{EventHub
        <xmppbytes.linklocal.events.EventHub>}).
        """
        if event["event"] != "im":
            return
        minute = int(self._reactor.seconds() // 60)
        if minute != self._minute:
            self._minute, self._count = minute, 0
        self._count += 1
        if self._count > MAX_PER_MINUTE:
            if self._count == MAX_PER_MINUTE + 1:
                self.log.warn("too many messages: the rest of this minute is not forwarded")
            return
        self._lastSpeaker = event["from"]
        # A line of its own with a name at its beginning would look like what somebody else has said.
        text = event["text"].replace("\n", "\n  ")
        self._tell(f"{speaker(event['from'])}{_warning(event)}: {text}")
        self.log.info("forwarded a message of {name}", name=event["from"])

    def _tell(self, text: str) -> None:
        if self.xmlstream is None:
            self.log.warn("a message is not forwarded: the account is not connected")
            return
        message = Element((None, "message"))
        message["to"], message["type"] = self._recipient.full(), "chat"
        message.addElement("body", content=legible(text))
        self.send(message)

    # From the account

    def onMessage(self, message: Any) -> None:
        """
        Somebody writes to the account; only the one to whom we forward is heard.
        """
        body = next((str(child) for child in message.elements() if child.name == "body"), "")
        if message.getAttribute("type") == "error" or not body or not self._isRecipient(message):
            return
        message.handled = True
        bringing = Deferred.fromCoroutine(self._bring(legible(body[:MAX_TEXT])))
        bringing.addErrback(lambda why: self.log.failure("an answer is lost, by our own fault", failure=why))

    def _isRecipient(self, message: Element) -> bool:
        try:
            sender = prepareJID(message.getAttribute("from", ""))
        except InvalidFormat:
            return False
        return bool(sender.userhost() == self._recipient.userhost())

    def _addressed(self, body: str) -> tuple[str, str]:
        """
        Tell for whom an answer is: C{@NAME: text} names him, otherwise it is who has spoken last. Nothing
        else is taken for a name, such as C{http} in C{http://x}, which anybody on the link may bear.

        @raise NotReachable: when it is for nobody; says what to write instead.
        """
        if not body.startswith("@") or body.startswith("@@"):
            if not self._lastSpeaker:
                raise NotReachable(f"nobody has said anything yet: {self._howTo()}")
            return self._lastSpeaker, body.removeprefix("@")
        folded = foldText(body[1:])
        meant = [buddy.name for buddy in self._roster if folded.startswith(f"{foldText(buddy.name)}:")]
        if not meant:
            raise NotReachable(
                f"nobody of this name is here: {self._howTo()}; @@ says one @ to who spoke last"
            )
        # One name may be the beginning of another.
        name = max(meant, key=len)
        text = body[len(name) + 2 :].strip()
        if not text:
            raise NotReachable(f"nothing is said to {name}: write the text behind the colon")
        return name, text

    def _howTo(self) -> str:
        names = sorted(buddy.name for buddy in self._roster)
        shown = ", ".join(names[:MAX_NAMES]) or "nobody at present"
        more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        return f"begin with @NAME: to say to whom (here: {shown}{more})"

    async def _bring(self, body: str) -> None:
        try:
            name, text = self._addressed(body)
            await self._messages.say(name, text)
        except BytestreamError as error:
            self.log.info("an answer is not delivered: {error}", error=error)
            self._tell(f"[not delivered: {error}]")
        else:
            self.log.info("brought an answer to {name}", name=name)


def _warning(event: Event) -> str:
    if not event["tls"]:
        return " (not encrypted)"
    return "" if event["pinned"] else " (key not known before)"
