"""
The legs of a bytestream: what is known of a connected party before it is relayed.
"""

from enum import Enum


class LegKind(Enum):
    """
    What a party asked for. Legs of different kinds never meet.
    """

    STREAM = "TCP"
    DATAGRAM = "UDP"
