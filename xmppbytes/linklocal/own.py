"""
Which records are ours.

What we send comes back to us, and on a machine with two links into one network it comes in on the other
link too, perhaps after we have changed it: none of that is a conflict.
"""

from twisted.internet.interfaces import IReactorTime

from xmppbytes.linklocal.zone import Zone
from xmppbytes.wire.mdns import Name, Record

# How long a record that was replaced may still come back, in seconds.
FORMER_TIME = 10.0

Identity = tuple[Name, int, bytes]


class OwnRecords:
    """
    What we publish on all links, and what we did publish until just now.
    """

    def __init__(self, clock: IReactorTime) -> None:
        """
        @param clock: the reactor, or a L{twisted.internet.task.Clock}.
        """
        self._clock = clock
        self._current: dict[int, frozenset[Identity]] = {}
        self._former: dict[Identity, float] = {}

    def __contains__(self, record: Record) -> bool:
        if any(record.identity in identities for identities in self._current.values()):
            return True
        return self._former.get(record.identity, 0.0) > self._clock.seconds()

    def set(self, index: int, zone: Zone | None) -> None:
        """
        Note what is published on one link from now on.

        @param index: the number of the interface.
        """
        now = self._clock.seconds()
        self._former = {key: until for key, until in self._former.items() if until > now}
        for identity in self._current.pop(index, ()):
            self._former[identity] = now + FORMER_TIME
        if zone is not None:
            records = (*zone.shared(), *zone.unique(), *zone.null())
            self._current[index] = frozenset(record.identity for record in records)
