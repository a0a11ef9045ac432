"""
Timers in groups.
"""

from collections.abc import Iterable

from twisted.internet.interfaces import IDelayedCall


def cancelAll(calls: Iterable[IDelayedCall]) -> None:
    """
    Cancel those of the timers that still run.
    """
    for call in calls:
        if call.active():
            call.cancel()
