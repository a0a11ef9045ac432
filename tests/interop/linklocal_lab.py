"""
Hosts in network namespaces, joined by cables, and programs on them that speak JSON lines.

Nothing in here can reach any other network. Needs root and iproute2.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import mkdtemp

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.protocol import ProcessProtocol, Protocol
from twisted.internet.task import deferLater

from tests.interop.case import Need, program

PEERS = Path(__file__).with_name("peers")
ROOT = Path(__file__).parents[2]
HOST_SCRIPT = PEERS / "linklocal_host.sh"
DEBIAN_PYTHON = "/usr/bin/python3"


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def _canMakeHosts():
    """
    Tell whether hosts can be made here.
    """
    if os.geteuid() != 0 or not all(program(name) for name in ("ip", "unshare", "mount")):
        return False
    name = f"try{os.getpid()}"
    try:
        ip("netns", "add", name)
        ip("netns", "del", name)
    except subprocess.CalledProcessError:
        return False
    return True


HOSTS = Need(
    "the right to make network namespaces", _canMakeHosts, "run as root, with iproute2 and util-linux"
)
AVAHI = Need(
    "avahi",
    lambda: all(program(name) for name in ("avahi-daemon", "avahi-browse", "dbus-daemon")),
    "apt-get install --no-install-recommends avahi-daemon avahi-utils dbus",
)
BONJOUR = Need(
    "libpurple's Bonjour plugin",
    lambda: bool(list(Path("/usr/lib").glob("**/purple-2/libbonjour.so"))),
    "apt-get install --no-install-recommends libpurple0",
)
ZEROCONF = Need(
    "python-zeroconf", lambda: importlib.util.find_spec("zeroconf") is not None, "pip install zeroconf"
)
TMUX = Need("tmux", lambda: program("tmux") is not None, "apt-get install --no-install-recommends tmux")


class Lab:
    """
    Hosts and the cables between them.
    """

    count = 0

    def __init__(self, work):
        Lab.count += 1
        self.work = Path(work).absolute()
        self.work.mkdir(parents=True, exist_ok=True)
        self.prefix = f"xb{os.getpid()}x{Lab.count}"
        self.hosts = []
        self.programs = []
        self.controls = []
        self.sockets = []
        self.cables = 0

    def addHost(self, host):
        """
        Make a host without any cable.
        """
        namespace = f"{self.prefix}{host}"
        ip("netns", "add", namespace)
        self.hosts.append(host)
        ip("-n", namespace, "link", "set", "lo", "up")
        return namespace

    def cable(self, first, second, interface="eth0"):
        """
        Join two hosts: 169.254.<number of the cable>.1 and .2, and fe80 addresses.
        """
        self.cables += 1
        ends = [f"{self.prefix}{host}" for host in (first, second)]
        names = [f"xb{os.getpid() % 10000}{self.cables}{side}" for side in "ab"]
        here, there = ((name, "netns", end) for name, end in zip(names, ends, strict=True))
        ip("link", "add", *here, "type", "veth", "peer", "name", *there)
        for side, (end, name) in enumerate(zip(ends, names, strict=True), 1):
            ip("-n", end, "link", "set", name, "name", interface)
            # Nobody else can have the addresses of IPv6: to find that out takes a second or two.
            detection = f"/proc/sys/net/ipv6/conf/{interface}/accept_dad"
            ip("netns", "exec", end, "sh", "-c", f"echo 0 >{detection}")
            ip("-n", end, "addr", "add", f"169.254.{self.cables}.{side}/24", "dev", interface)
            ip("-n", end, "link", "set", interface, "up")
        self._waitForAddresses(ends)

    def _waitForAddresses(self, ends):
        """
        Wait until the IPv6 addresses can be used.
        """
        for _ in range(600):
            commands = [["ip", "-n", end, "-6", "addr", "show", "tentative"] for end in ends]
            if not any(subprocess.run(command, capture_output=True).stdout for command in commands):
                return
            time.sleep(0.05)

    def set(self, host, interface, state):
        """
        Switch an interface C{up} or C{down}.
        """
        ip("-n", f"{self.prefix}{host}", "link", "set", interface, state)

    def run(self, host, name, arguments, avahi=False, environment=None, kind=None):
        """
        Start a program on a host.

        @param kind: the class of what drives it.
        """
        work = self.work / name
        work.mkdir(exist_ok=True)
        options = [] if avahi else ["--no-avahi"]
        command = [
            str(HOST_SCRIPT),
            f"{self.prefix}{host}",
            host,
            str(work),
            *options,
            "--",
            *map(str, arguments),
        ]
        started = (kind or Program)(name, command, work, environment or {})
        self.programs.append(started)
        return started

    def purple(self, host, user, *options, port=5562):
        """
        Start Pidgin's library as C{user} on a host, with an avahi of its own.
        """
        work = self.work / f"purple-{host}"
        arguments = [DEBIAN_PYTHON, PEERS / "purple_bonjour.py", "--user", user, "--port", port]
        return self.run(host, f"purple-{host}", [*arguments, "--home", work / "home", *options], avahi=True)

    def ours(self, host, user, *options, avahi=False):
        """
        Start our discovery as C{user} on a host.
        """
        arguments = [sys.executable, PEERS / "linklocal_node.py", user, host, *options]
        name = f"ours-{host}-{user}"
        store = self.work / f"{name}-store"
        return self.run(host, name, [*arguments, "--store", store], avahi, {"PYTHONPATH": str(ROOT)})

    @inlineCallbacks
    def service(self, host, user, *options, avahi=False, machine=None):
        """
        Start C{twistd linklocal} as C{user} on a host.

        @return: fires with its control connection, whose C{service} is the program, once it is signed on.
        """
        name = f"service-{host}-{user}-{len(self.programs)}"
        work = self.work / name
        # The path of a socket must be short.
        socket = Path(mkdtemp(prefix="xb")) / "control"
        self.sockets.append(socket.parent)
        arguments = [sys.executable, "-m", "twisted", "--log-format=text", "linklocal"]
        arguments += ["--user", user]
        arguments += ["--machine", machine or host, "--control", f"unix:{socket}"]
        arguments += ["--pins", work / "pins", "--cache-dir", work / "cache"]
        arguments += ["--receive-dir", work / "received", *options]
        service = self.run(host, name, arguments, avahi, {"PYTHONPATH": str(ROOT)}, Service)
        control = yield service.connect(socket)
        self.controls.append(control)
        control.service, control.work, control.socket = service, work, socket
        # It hears of others before its name is its own, and may not speak to them until then.
        yield control.wait("signed-on")
        return control

    def uplink(self, host):
        """
        Join a host with where the tests run: C{10.66.0.2} and C{10.66.0.1}. Nobody multicasts here.
        """
        name = f"xbup{os.getpid() % 100000}"
        ip("link", "add", name, "type", "veth", "peer", "name", "up0", "netns", f"{self.prefix}{host}")
        ip("addr", "add", "10.66.0.1/30", "dev", name)
        ip("link", "set", name, "up")
        ip("-n", f"{self.prefix}{host}", "addr", "add", "10.66.0.2/30", "dev", "up0")
        ip("-n", f"{self.prefix}{host}", "link", "set", "up0", "up")

    def block(self, host, other, interface="eth0"):
        """
        Let what a host sends to another get lost, although the cable is plugged in: the frames go to
        somebody who does not exist. Multicast still arrives.
        """
        self._neighbours(host, other, interface, "replace", "lladdr", "02:00:00:00:00:99", "nud", "permanent")

    def unblock(self, host, other, interface="eth0"):
        """
        Undo L{block}.
        """
        self._neighbours(host, other, interface, "del")

    def _neighbours(self, host, other, interface, action, *what):
        shown = ["ip", "-n", f"{self.prefix}{other}", "-json", "addr", "show", "dev", interface]
        [entry] = json.loads(subprocess.run(shown, check=True, capture_output=True).stdout)
        for address in entry["addr_info"]:
            ip("-n", f"{self.prefix}{host}", "neigh", action, address["local"], *what, "dev", interface)

    @inlineCallbacks
    def close(self):
        """
        End all programs and remove all hosts.
        """
        for control in self.controls:
            control.transport.loseConnection()
        for running in self.programs:
            running.quit()
        for running in self.programs:
            yield running.ended
        for host in self.hosts:
            ip("netns", "del", f"{self.prefix}{host}")
        for folder in self.sockets:
            shutil.rmtree(folder)


def _fits(value, wanted):
    return wanted(value) if callable(wanted) else value == wanted


class Events:
    """
    The events that a program has told, one JSON object on each line.
    """

    def __init__(self, name):
        self.name = name
        self.events = []
        self._buffer = b""
        self._waiting = []

    def feed(self, data):
        """
        Take what the program says.

        @return: the lines that are no events.
        """
        others = []
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            try:
                self.events.append(json.loads(line))
            except ValueError:
                others.append(line)
        for check in list(self._waiting):
            check()
        return others

    def mark(self):
        """
        Give a place in the events for C{since}.
        """
        return len(self.events)

    def wait(self, event, timeout=60, since=0, **match):
        """
        Wait for an event; one that came already counts.

        @param event: one or several kinds.
        @param match: the values that it must have, or functions that check them.
        """
        found = Deferred()
        kinds = (event,) if isinstance(event, str) else event

        def check():
            for candidate in self.events[since:]:
                if candidate["event"] in kinds and all(_fits(candidate.get(k), v) for k, v in match.items()):
                    self._waiting.remove(check)
                    timer.cancel()
                    found.callback(candidate)
                    return

        def tooLate():
            self._waiting.remove(check)
            tail = (self.events[since:] or self.events)[-6:]
            found.errback(AssertionError(f"{self.name}: no {event} {match} in {timeout} s, but {tail}"))

        timer = reactor.callLater(timeout, tooLate)
        self._waiting.append(check)
        check()
        return found


class Program(Events, ProcessProtocol):
    """
    A program that is told commands, and tells events.
    """

    def __init__(self, name, command, work, environment):
        Events.__init__(self, name)
        self.ended = Deferred()
        self._log = open(work / "stderr.log", "wb", buffering=0)  # noqa: SIM115 - closed when it ends
        environment = {**os.environ, **environment}
        self.process = reactor.spawnProcess(self, command[0], command, environment, str(work))

    def outReceived(self, data):
        for line in self.feed(data):
            self._log.write(line + b"\n")

    def errReceived(self, data):
        self._log.write(data)

    def processEnded(self, reason):
        self._log.close()
        self.ended.callback(None)

    def send(self, cmd, **arguments):
        """
        Tell a command.
        """
        self.process.write(json.dumps({"cmd": cmd, **arguments}).encode() + b"\n")

    def quit(self):
        """
        Ask the program to end; kill it when it does not.
        """
        if self.process.pid is None:
            return
        self.send("quit")
        for delay, signal in ((6, "TERM"), (10, "KILL")):
            call = reactor.callLater(delay, self.kill, signal)
            self.ended.addCallback(lambda _, call=call: call.cancel() if call.active() else None)

    def kill(self, signal):
        """
        Send a signal.
        """
        if self.process.pid is not None:
            self.process.signalProcess(signal)


class Control(Events, Protocol):
    """
    A connection to the control socket of our service.
    """

    def __init__(self, name):
        Events.__init__(self, name)
        self._tags = 0

    def dataReceived(self, data):
        self.feed(data)

    def send(self, cmd, **arguments):
        """
        Tell a command.

        @return: fires with the answer.
        """
        self._tags += 1
        command = {"cmd": cmd, "tag": self._tags, **arguments}
        self.transport.write(json.dumps(command).encode() + b"\n")
        return self.wait(("ok", "error"), 90, tag=self._tags)

    @inlineCallbacks
    def do(self, cmd, **arguments):
        """
        Tell a command that must succeed.
        """
        answer = yield self.send(cmd, **arguments)
        if answer["event"] != "ok":
            raise AssertionError(f"{self.name}: {cmd} {arguments} failed: {answer}")
        return answer


class Service(Program):
    """
    C{twistd linklocal}.
    """

    @inlineCallbacks
    def connect(self, socket):
        """
        Connect to its control socket, when it is there.
        """
        while True:
            try:
                control = yield connectProtocol(UNIXClientEndpoint(reactor, str(socket)), Control(self.name))
            except ConnectError:
                if self.process.pid is None:
                    raise
                yield pause(0.1)
            else:
                return control

    def quit(self):
        """
        End it.
        """
        self.kill("TERM")
        call = reactor.callLater(12, self.kill, "KILL")
        self.ended.addCallback(lambda _: call.cancel() if call.active() else None)


def pause(seconds):
    """
    Wait.
    """
    return deferLater(reactor, seconds, lambda: None)
