"""
Waiting in tests: for what is to happen, and not for a time in which it happens on most machines.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

# How long something may take that is sure to happen, in seconds: a machine may be as slow as it likes.
PATIENCE = 60.0
# How often the reactor has read and written, at least, when a pause is over.
TURNS = 25


def pause(seconds: float = 0.05) -> "Deferred[None]":
    """
    Let things happen between ends that are in this process: time passes, and the reactor turns many
    times. After a time alone, it might have turned only once if the machine has stopped meanwhile.
    """
    return Deferred.fromCoroutine(_pause(seconds))


async def _pause(seconds: float) -> None:
    for _ in range(TURNS):
        await _later(seconds / TURNS)


def until(condition: Callable[[], Any], what: Any = "what was waited for") -> "Deferred[None]":
    """
    Wait until something is so.

    @param condition: tells whether it is.
    @param what: what it is, or makes the text of it, for the error.
    @return: fails with C{AssertionError} when it is not within L{PATIENCE}.
    """
    return Deferred.fromCoroutine(_until(condition, what))


async def _until(condition: Callable[[], Any], what: Any) -> None:
    clock: Any = reactor
    end = clock.seconds() + PATIENCE
    while not condition():
        if clock.seconds() > end:
            raise AssertionError(f"not within {PATIENCE:g} s: {what() if callable(what) else what}")
        await _later(0.01)


def _later(seconds: float) -> "Deferred[None]":
    clock: Any = reactor
    return deferLater(clock, seconds)
