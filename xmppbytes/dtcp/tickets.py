"""
Tickets: what proves to a DTCP relay, over XMPP, who the initiator of a connection is.
"""

from collections import Counter
from hmac import compare_digest

from twisted.internet.interfaces import IReactorTime

from xmppbytes.core.deadlines import Deadlines
from xmppbytes.dtcp.stanzas import newKey
from xmppbytes.errors import LimitReached

# Seconds for which a ticket is good.
TICKET_SECONDS = 60.0
MAX_TICKETS = 10000
MAX_TICKETS_PER_ACCOUNT = 100


class Tickets:
    """
    Keys that were given out, each good for one CREATE of one JID.
    """

    def __init__(
        self,
        clock: IReactorTime,
        seconds: float = TICKET_SECONDS,
        maximum: int = MAX_TICKETS,
        maximumPerAccount: int = MAX_TICKETS_PER_ACCOUNT,
    ) -> None:
        """
        @param clock: tells and schedules the time.
        @param seconds: how long a ticket is good.
        @param maximum: how many may be outstanding in all.
        @param maximumPerAccount: the same, of one bare JID.
        """
        self._maximum = maximum
        self._maximumPerAccount = maximumPerAccount
        self._holders: dict[bytes, str] = {}
        self._perAccount: Counter[str] = Counter()
        self._deadlines: Deadlines[bytes] = Deadlines(clock, seconds, self._forget)

    def __len__(self) -> int:
        return len(self._holders)

    def issue(self, jid: str) -> str:
        """
        Give a ticket out.

        @param jid: the full, prepared JID that may use it.
        @return: its key.
        @raise LimitReached: when too many are outstanding.
        """
        if len(self._holders) >= self._maximum:
            raise LimitReached(f"{len(self._holders)} tickets are outstanding; try again in a minute")
        account = _account(jid)
        if self._perAccount[account] >= self._maximumPerAccount:
            raise LimitReached(f"{account} has {self._perAccount[account]} unused tickets; use them first")
        key = newKey()
        self._holders[key.encode("ascii")] = jid
        self._perAccount[account] += 1
        self._deadlines.add(key.encode("ascii"))
        return key

    def isOutstanding(self, key: bytes) -> bool:
        """
        Tell whether a ticket with this key may still be used.
        """
        return key in self._holders

    def redeem(self, key: bytes, jid: str) -> bool:
        """
        Use a ticket up.

        @param jid: who says to hold it.
        @return: whether it was good; another's ticket stays good for its holder.
        """
        holder = self._holders.get(key)
        if holder is None or not compare_digest(holder.encode("utf-8"), jid.encode("utf-8")):
            return False
        self._deadlines.discard(key)
        self._forget(key)
        return True

    def _forget(self, key: bytes) -> None:
        account = _account(self._holders.pop(key))
        self._perAccount[account] -= 1
        if not self._perAccount[account]:
            del self._perAccount[account]


def _account(jid: str) -> str:
    return jid.partition("/")[0]
