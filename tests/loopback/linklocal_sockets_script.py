"""
Runs inside a network namespace of its own, for L{tests.loopback.test_linklocal_sockets}.
"""

import subprocess
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import deferLater, react

from xmppbytes.linklocal import interfaces as interfacesModule
from xmppbytes.linklocal.interfaces import InterfaceMonitor, listInterfaces
from xmppbytes.linklocal.multicast import MulticastLink


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


def cable(number):
    """
    Join two interfaces of this namespace.
    """
    left, right = f"l{number}", f"r{number}"
    ip("link", "add", left, "type", "veth", "peer", "name", right)
    for side, name in enumerate((left, right), 1):
        # Both ends are here: the kernel must believe in packets from its own addresses.
        for setting, value in (("accept_local", "1"), ("rp_filter", "0")):
            Path(f"/proc/sys/net/ipv4/conf/{name}/{setting}").write_text(value)
        ip("addr", "add", f"10.{number}.0.{side}/24", "dev", name)
        ip("addr", "add", f"fe80::{number}:{side}/64", "dev", name, "nodad")
        ip("link", "set", name, "up")


def pause(seconds):
    return deferLater(reactor, seconds, lambda: None)


@inlineCallbacks
def until(condition):
    for _ in range(1500):
        if condition():
            return
        yield pause(0.02)
    raise AssertionError("it did not come about within 30 s")


@inlineCallbacks
def isolation():
    heard = {}
    links = {}
    yield pause(2.0)  # the addresses that the kernel adds by itself become usable
    for interface in listInterfaces():
        heard[interface.name] = []
        links[interface.name] = MulticastLink(
            reactor, interface, lambda data, source, n=interface.name: heard[n].append((data, source))
        )
    assert sorted(links) == ["l1", "l2", "r1", "r2"], links
    for _ in range(5):
        for name, link in links.items():
            link.send(name.encode() * 3000)
    yield until(lambda: all(len(received) >= 2 * 2 * 5 for received in heard.values()))
    yield pause(0.2)
    for name, received in heard.items():
        pair = {data[:2].decode() for data, _ in received}
        assert pair == {f"l{name[1]}", f"r{name[1]}"}, (name, pair)
        assert len(received) == 2 * 2 * 5, (name, len(received))
        for data, (host, port) in received:
            side = "12"[data[:1] == b"r"]
            assert port == 5353, port
            assert host == f"10.{name[1]}.0.{side}" or (
                host.startswith("fe80::") and host.endswith(f"%{name}")
            ), host
    before = len(heard["r1"])
    links["l1"].send(b"alone", ("10.1.0.2", 5353))
    yield pause(0.2)
    # The sockets are bound to the group: a datagram to our own address is somebody else's.
    assert len(heard["r1"]) == before
    for link in links.values():
        link.close()
    links["l1"].send(b"after the end")


@inlineCallbacks
def interfaces():
    changes = []
    waiting = []

    def changed(found):
        changes.append([interface.name for interface in found])
        for names, reached in waiting:
            if changes[-1] == names and not reached.called:
                reached.callback(None)

    def change(*names):
        waiting.append((list(names), Deferred()))
        return waiting[-1][1].addTimeout(30, reactor)

    # Whatever is told is told by the kernel, not found by looking again.
    interfacesModule.POLL_INTERVAL = 3600
    monitor = InterfaceMonitor(reactor, ["l1"])
    monitor.start(changed)
    yield pause(2.5)  # duplicate address detection of the kernel's own addresses
    assert changes[-1] == ["l1"], changes
    down = change()
    ip("link", "set", "r1", "down")  # the carrier is lost, the interface itself is up
    yield down
    up = change("l1")
    ip("link", "set", "r1", "up")
    yield up
    monitor.stop()
    monitor.stop()


@inlineCallbacks
def addresses():
    heard = []
    yield pause(2.0)
    left = MulticastLink(reactor, listInterfaces(["l1"])[0], lambda *_: None)
    right = MulticastLink(reactor, listInterfaces(["r1"])[0], lambda data, source: heard.append(source[0]))
    ip("addr", "add", "10.9.0.9/24", "dev", "l1")
    ip("addr", "del", "10.1.0.1/24", "dev", "l1")
    left.update(listInterfaces(["l1"])[0])
    left.send(b"x")
    yield until(lambda: "10.9.0.9" in heard)
    left.send(bytes(65530))
    ip("link", "set", "l1", "down")
    left.send(b"x")
    left.close()
    right.close()
    gone = listInterfaces(["r2"])[0]
    ip("link", "del", "l2")
    MulticastLink(reactor, gone, lambda *_: None).close()


def main(_, part):
    ip("link", "set", "lo", "up")
    cable(1)
    cable(2)
    return {"isolation": isolation, "interfaces": interfaces, "addresses": addresses}[part]().addCallback(
        lambda _: print("OK")
    )


if __name__ == "__main__":
    react(main, sys.argv[1:])
