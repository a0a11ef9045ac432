"""
The notifications of a StreamHost that a UDP channel is initialised (XEP-0065 section 8.3.2).

Who connects to a StreamHost can make it send one of them to any address, so they are rationed.
"""

import secrets
from collections import Counter
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.words.xish.domish import Element
from wokkel.subprotocols import XMPPHandler

from xmppbytes.s5b.stanzas import udpSuccessElement

_MINUTE = 60.0


def noticeMessage(jid: str, address: str) -> Element:
    """
    Make a notification (listing 34).

    @param jid: the party's JID.
    @param address: the DST.ADDR of its initialization packet.
    """
    message = Element((None, "message"))
    message["to"] = jid
    message["id"] = secrets.token_hex(8)
    message.addChild(udpSuccessElement(address))
    return message


class NoticeSender(XMPPHandler):  # type: ignore[misc]
    """
    Sends the notifications over an XMPP stream.
    """

    def __init__(self) -> None:
        super().__init__()
        self._isConnected = False

    def connectionInitialized(self) -> None:
        """
        See L{XMPPHandler}.
        """
        self._isConnected = True

    def connectionLost(self, reason: object) -> None:
        """
        See L{XMPPHandler}.
        """
        self._isConnected = False
        super().connectionLost(reason)

    def notify(self, jid: str, address: str) -> bool:
        """
        Tell a party that its channel is initialised.

        @param jid: the party's JID.
        @param address: the DST.ADDR of its initialization packet.
        @return: false when there is no stream: nothing was sent, and nothing will be.
        """
        if not self._isConnected:
            return False
        self.send(noticeMessage(jid, address))
        return True


class NoticeRation:
    """
    Tells whether one more notification may be sent, by counting those of the current minute.
    """

    def __init__(self, clock: IReactorTime, each: int, inAll: int) -> None:
        """
        @param clock: tells the time.
        @param each: notifications a minute caused by one IP address, and the same to one account.
        @param inAll: notifications a minute in all. Bounds also what is remembered.
        """
        self._clock = clock
        self._each = each
        self._inAll = inAll
        self._ends = 0.0
        self._total = 0
        self._counts: Counter[str] = Counter()

    def take(self, host: str, account: str) -> bool:
        """
        Take note of one more, if it may be sent.

        @param host: the IP address that causes it.
        @param account: the bare JID that gets it.
        """
        now = self._clock.seconds()
        if now >= self._ends:
            self._ends = now + _MINUTE
            self._total = 0
            self._counts.clear()
        counts = self._counts
        if self._total >= self._inAll or counts[host] >= self._each or counts[account] >= self._each:
            return False
        self._total += 1
        counts[host] += 1
        counts[account] += 1
        return True

    def giveBack(self, host: str, account: str) -> None:
        """
        What was taken just now was not sent: it does not count.
        """
        self._total -= 1
        for one in (host, account):
            self._counts[one] -= 1
            if not self._counts[one]:
                del self._counts[one]


class NoticeBoard:
    """
    Who waits for which C{<udpsuccess/>}.
    """

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], list[Deferred[None]]] = {}

    def wait(self, streamHost: str, destination: str, waiting: Deferred[None]) -> Callable[[], None]:
        """
        Wait for a notification.

        @param streamHost: the JID of the StreamHost, prepared.
        @param destination: the DST.ADDR.
        @param waiting: fires when it has come.
        @return: to be called by whoever stops to wait, in any case.
        """
        key = streamHost, destination.lower()
        self._waiting.setdefault(key, []).append(waiting)

        def forget() -> None:
            others = self._waiting.get(key, [])
            if waiting in others:
                others.remove(waiting)
            if not others:
                self._waiting.pop(key, None)

        return forget

    def notice(self, streamHost: str, destination: str) -> None:
        """
        A notification has come. One that nobody waits for is ignored.
        """
        for waiting in self._waiting.pop((streamHost, destination.lower()), []):
            waiting.callback(None)
