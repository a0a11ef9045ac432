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
# What one IP address may always cause of what others share: else few strangers could use up everybody's
# notifications, or all of one account.
SHARE = 10


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

    def __init__(self, clock: IReactorTime, each: int, inAll: int, share: int = SHARE) -> None:
        """
        @param clock: tells the time.
        @param each: notifications a minute caused by one IP address, and the same to one account.
        @param inAll: notifications a minute in all. Bounds also what is remembered.
        @param share: what one IP address may cause of all, and of those to one account, even when they
            are used up; until there were twice as many.
        """
        self._clock = clock
        self._each = each
        self._inAll = inAll
        self._share = share
        self._ends = 0.0
        self._total = 0
        # Of hosts, of accounts, and of both together.
        self._counts: Counter[str | tuple[str, str]] = Counter()

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
        counts, both = self._counts, (host, account)
        if counts[host] >= self._each:
            return False
        if self._used(self._total, self._inAll, counts[host]):
            return False
        if self._used(counts[account], self._each, counts[both]):
            return False
        self._total += 1
        counts.update((host, account, both))
        return True

    def _used(self, all: int, limit: int, own: int) -> bool:
        """
        Tell whether what several share is used up for one of them.

        @param all: how much all have had.
        @param own: how much of it this one has had.
        """
        return all >= (limit if own >= self._share else 2 * limit)

    def giveBack(self, host: str, account: str) -> None:
        """
        What was taken just now was not sent: it does not count.
        """
        self._total -= 1
        for one in (host, account, (host, account)):
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
