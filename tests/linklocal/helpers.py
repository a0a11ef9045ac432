"""
What the tests of this package share.
"""

from random import Random

from twisted.internet.task import Clock

from xmppbytes.linklocal.discovery import Discovery
from xmppbytes.linklocal.ilink import NetworkInterface
from xmppbytes.linklocal.names import SERVICE, instanceName
from xmppbytes.linklocal.presence import Presence
from xmppbytes.linklocal.roster import Roster
from xmppbytes.linklocal.zone import Zone
from xmppbytes.testing.multicast import MemoryInterfaces, MemoryLink
from xmppbytes.wire.mdns import Message
from xmppbytes.wire.mdnspack import pack

HOST = (b"pronto-xb-123456", b"local")


def makeZone(
    name="juliet@pronto", text=b"\x09txtvers=1", addresses=("169.254.7.1", "fe80::1"), icon=None, host=HOST
):
    return Zone(instanceName(name), host, 5562, text, addresses, icon)


def packed(message):
    [datagram] = pack(message, 65535)
    return datagram


class Recorder:
    """
    Notes what a roster tells.
    """

    def __init__(self, clock):
        self.clock = clock
        self.events = []

    def buddyOn(self, buddy):
        self.events.append(("on", buddy.name, buddy.presence.status))

    def buddyStatus(self, buddy):
        self.events.append(("status", buddy.name, buddy.presence.status, buddy.presence.message))

    def buddyIcon(self, buddy):
        self.events.append(("icon", buddy.name, buddy.iconHash))

    def buddyOff(self, buddy):
        self.events.append(("off", buddy.name))


class Node:
    """
    One host with our discovery on links in memory.
    """

    def __init__(self, clock, number, user, machine, *links, seed=0):
        self.clock = clock
        self.links = {f"eth{index}": link for index, link in enumerate(links)}
        self.interfaces = MemoryInterfaces(*(self.interface(index, number) for index in range(len(links))))
        self.roster = Roster(clock)
        self.recorder = Recorder(clock)
        self.roster.addListener(self.recorder)
        self.signedOn = []
        self.discovery = Discovery(
            clock,
            Random(number + seed),
            self.interfaces,
            lambda interface, received: self.links[interface.name].attach(interface, received),
            self.roster,
            self.signedOn.append,
        )
        self.user, self.machine = user, machine

    @staticmethod
    def interface(index, number):
        return NetworkInterface(f"eth{index}", index + 1, (f"169.254.{index}.{number}", f"fe80::{number}"))

    def start(self, port=5562, presence=None, icon=None, separator=""):
        self.discovery.start(self.user, self.machine, port, presence or Presence(), icon, separator)
        return self

    @property
    def events(self):
        return self.recorder.events

    def names(self):
        return sorted(buddy.name for buddy in self.roster)


def advance(clock, seconds, step=0.01):
    for _ in range(round(seconds / step)):
        clock.advance(step)


def messages(link, since=0.0, sender=None):
    """
    Give what was sent on a link: when, by whom, the message.
    """
    return [
        (when, source, Message.parse(datagram))
        for when, source, datagram in link.sent
        if when >= since and sender in (None, source)
    ]


__all__ = [
    "HOST",
    "SERVICE",
    "Clock",
    "MemoryLink",
    "Node",
    "Recorder",
    "advance",
    "makeZone",
    "messages",
    "packed",
]
