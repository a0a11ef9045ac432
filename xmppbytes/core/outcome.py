"""
How a relayed bytestream ended.
"""

from enum import Enum


class Outcome(Enum):
    """
    How a relayed bytestream ended.
    """

    FINISHED = "finished"
    BROKEN = "broken by a party"
    IDLE = "idle for too long"
    SHUTDOWN = "ended with the service"
    FAILED = "failed in the relay"
