"""
Hosts in network namespaces, joined by cables, and programs on them that speak JSON lines.

Nothing in here can reach any other network. Needs root and iproute2.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest

PEERS = Path(__file__).with_name("peers")
ROOT = Path(__file__).parents[2]
HOST_SCRIPT = PEERS / "linklocal_host.sh"
DEBIAN_PYTHON = "/usr/bin/python3"


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def requireLab(*programs):
    """
    Skip, with a reason, where hosts cannot be made.
    """
    if os.environ.get("XMPPBYTES_INTEROP") != "1":
        raise SkipTest("real peers run with XMPPBYTES_INTEROP=1 only")
    if os.geteuid() != 0:
        raise SkipTest("network namespaces need root")
    for program in ("ip", "unshare", *programs):
        if shutil.which(program) is None:
            raise SkipTest(f"{program} is not installed")
    try:
        ip("netns", "add", f"try{os.getpid()}")
        ip("netns", "del", f"try{os.getpid()}")
    except subprocess.CalledProcessError as error:
        raise SkipTest(f"this kernel makes no network namespaces: {error.stderr}") from error


def requirePurple():
    """
    Skip where Pidgin's library is missing.
    """
    requireLab("avahi-daemon", "dbus-daemon")
    if not list(Path("/usr/lib").glob("**/purple-2/libbonjour.so")):
        raise SkipTest("libpurple with its Bonjour plugin is not installed (Debian: libpurple0)")


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
            ip("-n", end, "addr", "add", f"169.254.{self.cables}.{side}/24", "dev", interface)
            ip("-n", end, "link", "set", interface, "up")
        self._waitForAddresses(ends)

    def _waitForAddresses(self, ends):
        """
        Wait until the kernel has found that nobody else has the IPv6 addresses.
        """
        for _ in range(60):
            commands = [["ip", "-n", end, "-6", "addr", "show", "tentative"] for end in ends]
            if not any(subprocess.run(command, capture_output=True).stdout for command in commands):
                return
            time.sleep(0.05)

    def set(self, host, interface, state):
        """
        Switch an interface C{up} or C{down}.
        """
        ip("-n", f"{self.prefix}{host}", "link", "set", interface, state)

    def run(self, host, name, arguments, avahi=False, environment=None):
        """
        Start a program on a host.
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
        program = Program(name, command, work, environment or {})
        self.programs.append(program)
        return program

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
    def close(self):
        """
        End all programs and remove all hosts.
        """
        for program in self.programs:
            program.quit()
        for program in self.programs:
            yield program.ended
        for host in self.hosts:
            ip("netns", "del", f"{self.prefix}{host}")


class Program(ProcessProtocol):
    """
    A program that is told commands and tells events, one line of JSON each.
    """

    def __init__(self, name, command, work, environment):
        self.name = name
        self.events = []
        self.ended = Deferred()
        self._buffer = b""
        self._waiting = []
        self._log = open(work / "stderr.log", "wb", buffering=0)  # noqa: SIM115 - closed when it ends
        environment = {**os.environ, **environment}
        self.process = reactor.spawnProcess(self, command[0], command, environment, str(work))

    def outReceived(self, data):
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            try:
                self.events.append(json.loads(line))
            except ValueError:
                self._log.write(line + b"\n")
        for check in list(self._waiting):
            check()

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

    def mark(self):
        """
        Give a place in the events for C{since}.
        """
        return len(self.events)

    def wait(self, event, timeout=15, since=0, **match):
        """
        Wait for an event; one that came already counts.
        """
        found = Deferred()

        def check():
            for candidate in self.events[since:]:
                if candidate["event"] == event and all(candidate.get(k) == v for k, v in match.items()):
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

    def quit(self):
        """
        Ask the program to end; kill it when it does not.
        """
        if self.process.pid is None:
            return
        self.send("quit")
        for delay, signal in ((6, "TERM"), (10, "KILL")):
            call = reactor.callLater(delay, self._signal, signal)
            self.ended.addCallback(lambda _, call=call: call.cancel() if call.active() else None)

    def _signal(self, signal):
        if self.process.pid is not None:
            self.process.signalProcess(signal)


def pause(seconds):
    """
    Wait.
    """
    return deferLater(reactor, seconds, lambda: None)
