"""
Our discovery alone, driven by JSON lines on stdin; reports events as JSON lines on stdout.

    linklocal_node.py USER MACHINE [--icon FILE] [--store DIR] [--interface IF ...]
"""

import argparse
import json
import sys
from pathlib import Path
from random import SystemRandom

from twisted.internet import reactor, stdio
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.protocols.basic import LineReceiver

from xmppbytes.linklocal.avatar import AvatarFetcher, AvatarStore
from xmppbytes.linklocal.discovery import Discovery
from xmppbytes.linklocal.interfaces import InterfaceMonitor
from xmppbytes.linklocal.multicast import MulticastLink
from xmppbytes.linklocal.presence import Presence
from xmppbytes.linklocal.roster import Roster


def emit(event, **values):
    print(json.dumps({"event": event, **values}), flush=True)


class Listener:
    def buddyOn(self, buddy):
        emit("buddy-on", name=buddy.name, status=buddy.presence.status, message=buddy.presence.message)

    def buddyStatus(self, buddy):
        emit("buddy-status", name=buddy.name, status=buddy.presence.status, message=buddy.presence.message)

    def buddyIcon(self, buddy):
        emit("buddy-icon", name=buddy.name, sha1=buddy.iconHash)

    def buddyOff(self, buddy):
        emit("buddy-off", name=buddy.name)


class Commands(LineReceiver):
    delimiter = b"\n"

    def __init__(self, discovery):
        self.discovery = discovery

    def lineReceived(self, line):
        command = json.loads(line)
        getattr(self, command.pop("cmd"))(**command)

    def status(self, status, message):
        self.discovery.setPresence(Presence(status=status, message=message))

    def icon(self, path):
        self.discovery.setIcon(Path(path).read_bytes() if path else None)

    def resolve(self, name):
        found = self.discovery.resolve(name)
        found.addCallback(
            lambda locations: emit(
                "resolved",
                name=name,
                port=locations[0].port,
                addresses=[a for location in locations for a in location.addresses],
            )
        )
        found.addErrback(lambda failure: emit("unresolved", name=name, why=failure.getErrorMessage()))

    def quit(self):
        self.discovery.stop()
        reactor.callLater(0.2, reactor.stop)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("user")
    parser.add_argument("machine")
    parser.add_argument("--machine-name")
    parser.add_argument("--icon")
    parser.add_argument("--store", default="store")
    parser.add_argument("--interface", action="append", default=[])
    options = parser.parse_args()
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    roster = Roster(reactor)
    discovery = Discovery(
        reactor,
        SystemRandom(),
        InterfaceMonitor(reactor, options.interface),
        lambda interface, received: MulticastLink(reactor, interface, received),
        roster,
        lambda name: emit("signed-on", name=name),
    )
    fetcher = AvatarFetcher(reactor, roster, AvatarStore(Path(options.store), reactor.seconds), discovery.browsers)
    roster.addListener(Listener())
    roster.addListener(fetcher)
    icon = Path(options.icon).read_bytes() if options.icon else None
    stdio.StandardIO(Commands(discovery))
    reactor.callWhenRunning(
        discovery.start, options.user, options.machine_name or options.machine, 5562, Presence(message="hello"), icon
    )
    reactor.run()


if __name__ == "__main__":
    main()
