"""
The UDP benchmark: C{python -m benchmarks.udp [--rounds N] [--seconds N] [--only NAME,NAME]}.

On one load, the same for all: the proxy as C{twistd s5bproxy} with real associations and activations,
coturn (Debian's, as a TURN relay with channels), a C relay with recvmmsg and no checks worth mentioning
(generator/udprelay.c), Twisted's DatagramProtocol, and no relay at all. The generator (generator/udpload.c)
runs on one processor, the relay on another; rounds are interleaved, medians are shown.
"""

import argparse
import json
import os
import secrets
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react
from twisted.internet.threads import deferToThread
from twisted.words.protocols.jabber.error import StanzaError

from xmppbytes.demo.router import DemoRouter
from xmppbytes.demo.service import ProxyProcess
from xmppbytes.s5b.address import destinationAddress
from xmppbytes.s5b.request import activationElement
from xmppbytes.stanza import Request
from xmppbytes.wire.s5budp import header, initPacket

GENERATOR = Path(__file__).parent / "generator"
RESULTS = Path(__file__).parent / "results"
LOOPBACK = "127.0.0.1"
RELAY_CPU, GENERATOR_CPU = 1, 0
PROXY = "proxy.verona.example"
REQUESTER = "romeo@montague.example/orchard"
TARGET = "juliet@capulet.example/balcony"


@dataclass(frozen=True)
class Load:
    """
    One load.

    @ivar name: what the table calls it.
    @ivar sessions: how many pairs.
    @ivar options: of the generator.
    """

    name: str
    sessions: int
    options: dict[str, int]


LOADS = (
    Load("1 session, 1200 B, bursts of 16", 1, {"payload": 1200, "burst": 16}),
    Load("1 session, 200 B, bursts of 16", 1, {"payload": 200, "burst": 16}),
    Load("100 sessions, 1200 B, bursts of 4", 100, {"payload": 1200, "burst": 4}),
    Load("100 sessions, 200 B, bursts of 1", 100, {"payload": 200, "burst": 1}),
    Load("1 session, 1200 B, UDP_SEGMENT", 1, {"payload": 1200, "burst": 32, "gso": 1}),
    Load("8 sessions, 200 B, 50k/s", 8, {"payload": 200, "burst": 8, "rate": 50000}),
    Load("8 sessions, 200 B, 150k/s", 8, {"payload": 200, "burst": 8, "rate": 150000}),
    Load("8 sessions, 200 B, 300k/s", 8, {"payload": 200, "burst": 8, "rate": 300000}),
)


@dataclass
class Pair:
    """
    The sockets of one session.

    @ivar header: what stands before each payload.
    @ivar others: what else has to stay open.
    @ivar farewell: what the sender says in the end.
    """

    sender: socket.socket
    receiver: socket.socket
    header: bytes
    others: list[socket.socket] = field(default_factory=list)
    farewell: bytes = b""

    def close(self) -> None:
        if self.farewell:
            self.sender.setblocking(True)
            self.sender.send(self.farewell)
        for each in (self.sender, self.receiver, *self.others):
            each.close()


def udpSocket(to: tuple[str, int] | None = None) -> socket.socket:
    """
    Make a UDP socket with room, connected when it is said where to.
    """
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        udp.setsockopt(socket.SOL_SOCKET, option, 1 << 21)
    udp.bind((LOOPBACK, 0))
    if to is not None:
        udp.connect(to)
    udp.settimeout(5)
    return udp


def freePort() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


class Contestant:
    """
    Something that relays, or nothing.
    """

    name = "no relay"
    pid = 0

    async def start(self, reactor: Any) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def pair(self, payload: int) -> Pair:
        """
        Make one session.
        """
        receiver = udpSocket()
        sender = udpSocket(receiver.getsockname())
        receiver.connect(sender.getsockname())
        return Pair(sender, receiver, b"")


class Ours(Contestant):
    """
    C{twistd s5bproxy}.
    """

    name = "xmppbytes"

    async def start(self, reactor: Any) -> None:
        self._reactor = reactor
        self._router = DemoRouter(reactor, lambda stanza: None)
        secret = secrets.token_hex(16)
        port = await self._router.listen(secret)
        self._port = freePort()
        self._process = ProxyProcess(
            PROXY, secret, port, f"--listen=tcp:{self._port}:interface=127.0.0.1", "--allow=*"
        )
        self._process.start(reactor)
        self.pid = self._process.transport.pid  # type: ignore[union-attr]
        await self._router.whenJoined(PROXY)
        self._requester = self._router.join(REQUESTER)
        self._router.join(TARGET)

    async def stop(self) -> None:
        await self._process.stop()
        await self._router.stop()

    async def pair(self, payload: int) -> Pair:
        sid = secrets.token_hex(8)
        address = destinationAddress(sid, REQUESTER, TARGET).encode()
        udp, lines = [], []
        for jid in (REQUESTER, TARGET):
            lines.append(await deferToThread(self._associate, address))
            udp.append(udpSocket((LOOPBACK, self._port)))
            udp[-1].send(initPacket(address, jid))
        activation = activationElement(sid, TARGET)
        for _ in range(100):
            try:
                await self._requester.request(Request(PROXY, "set", activation))
                return Pair(udp[0], udp[1], header(address), lines)
            except StanzaError as e:
                if e.condition != "not-allowed":
                    raise
                await deferLater(self._reactor, 0.01, lambda: None)
        raise RuntimeError("the proxy does not activate")

    def _associate(self, address: bytes) -> socket.socket:
        line = socket.create_connection((LOOPBACK, self._port), timeout=5)
        line.sendall(b"\5\1\0")
        line.recv(2)
        line.sendall(b"\5\3\0\3\x28" + address + b"\0\0")
        if line.recv(100)[1] != 0:
            raise RuntimeError("the proxy refuses UDP ASSOCIATE")
        return line


class Simple(Contestant):
    """
    A relay that pairs whatever initializes the same hash.
    """

    def __init__(self, name: str, command: Callable[[int], list[str]]) -> None:
        self.name = name
        self._command = command

    async def start(self, reactor: Any) -> None:
        self._port = freePort()
        self._process = subprocess.Popen(self._command(self._port))
        self.pid = self._process.pid
        await deferLater(reactor, 1.0, lambda: None)

    async def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    async def pair(self, payload: int) -> Pair:
        address = secrets.token_hex(20).encode()
        udp = [udpSocket((LOOPBACK, self._port)) for _ in range(2)]
        for each in udp:
            each.send(initPacket(address, "somebody"))
        return Pair(udp[0], udp[1], header(address))


class Coturn(Contestant):
    """
    Debian's turnserver: an allocation and a channel for each session.
    """

    name = "coturn"
    _COOKIE = 0x2112A442

    async def start(self, reactor: Any) -> None:
        self._port = freePort()
        self._folder = tempfile.mkdtemp(prefix="xmppbytes-coturn-")
        options = (
            "-n --no-auth --no-tls --no-dtls --no-tcp --no-cli --allow-loopback-peers -m 1 --no-stdout-log "
            f"--simple-log -l {self._folder}/log --pidfile {self._folder}/pid --db {self._folder}/db "
            f"--listening-ip {LOOPBACK} --relay-ip {LOOPBACK} --listening-port {self._port} "
            "--min-port 42000 --max-port 44999"
        )
        self._process = subprocess.Popen(
            ["turnserver", *options.split()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.pid = self._process.pid
        await deferLater(reactor, 1.5, lambda: None)

    async def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder)

    async def pair(self, payload: int) -> Pair:
        sender, receiver = udpSocket((LOOPBACK, self._port)), udpSocket()
        # Allocate, REQUESTED-TRANSPORT is UDP (RFC 5766 section 6).
        self._ask(sender, 0x003, struct.pack("!HHI", 0x0019, 4, 17 << 24))
        host, port = receiver.getsockname()
        peer = struct.unpack("!I", socket.inet_aton(host))[0] ^ self._COOKIE
        # ChannelBind: CHANNEL-NUMBER and XOR-PEER-ADDRESS (section 11).
        channel = struct.pack("!HHHH", 0x000C, 4, 0x4000, 0)
        address = struct.pack("!HHBBHI", 0x0012, 8, 0, 1, port ^ (self._COOKIE >> 16), peer)
        self._ask(sender, 0x009, channel + address)
        # Refresh with LIFETIME 0 in the end (section 7), or the allocation stays.
        release = self._message(0x004, struct.pack("!HHI", 0x000D, 4, 0))
        return Pair(sender, receiver, struct.pack("!HH", 0x4000, payload), farewell=release)

    def _message(self, method: int, attributes: bytes) -> bytes:
        return (
            struct.pack("!HHI", method, len(attributes), self._COOKIE) + secrets.token_bytes(12) + attributes
        )

    def _ask(self, udp: socket.socket, method: int, attributes: bytes) -> None:
        udp.send(self._message(method, attributes))
        answer = udp.recv(1000)
        if struct.unpack("!H", answer[:2])[0] != method | 0x100:
            raise RuntimeError(f"coturn refuses method {method:#05x}")


def build(folder: Path, name: str) -> str:
    """
    Compile a program of the generator.
    """
    program = str(folder / name)
    subprocess.run(["cc", "-O2", "-o", program, str(GENERATOR / f"{name}.c")], check=True)
    return program


def pin(pid: int, cpu: int) -> None:
    """
    Let all threads of a process run on one processor.
    """
    if cpu < (os.cpu_count() or 1):
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(thread), {cpu})


def generate(generator: str, pairs: list[Pair], pid: int, load: Load, seconds: float) -> dict[str, float]:
    """
    Run the generator once. Blocks.
    """
    lines = "".join(
        f"{pair.sender.fileno()} {pair.receiver.fileno()} {pair.header.hex() or '-'}\n" for pair in pairs
    )
    options = {**load.options, "seconds": seconds, "pid": pid}
    arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    pin_ = ["taskset", "-c", str(GENERATOR_CPU)] if shutil.which("taskset") else []
    done = subprocess.run(
        [*pin_, generator, *arguments],
        input=lines,
        capture_output=True,
        text=True,
        timeout=60,
        pass_fds=[each.fileno() for pair in pairs for each in (pair.sender, pair.receiver)],
    )
    if done.returncode:
        raise RuntimeError(f"the generator failed: {done.stderr}")
    result: dict[str, float] = json.loads(done.stdout)
    return result


async def measure(
    reactor: Any, generator: str, contestant: Contestant, load: Load, seconds: float
) -> dict[str, float]:
    """
    Put one load on one contestant.
    """
    pairs: list[Pair] = []
    try:
        for _ in range(load.sessions):
            pairs.append(await contestant.pair(load.options["payload"]))
        await deferLater(reactor, 0.2, lambda: None)
        for pair in pairs:
            pair.sender.setblocking(False)
            pair.receiver.setblocking(False)
        result = await deferToThread(generate, generator, pairs, contestant.pid, load, seconds)
        if result["wrong"]:
            raise RuntimeError(f"{contestant.name} changed the size of {result['wrong']} datagrams")
        return result
    finally:
        for pair in pairs:
            pair.close()


def show(results: dict[tuple[str, str], list[dict[str, float]]], names: list[str]) -> str:
    """
    Write the tables: datagrams a second @ processor microseconds of the relay for each, and the loss.
    """
    lines = ["| load | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for load in LOADS:
        cells = []
        for name in names:
            runs = results.get((load.name, name), [])
            if not runs:
                cells.append("-")
                continue
            median = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            cells.append(
                f"{median['datagramsPerSecond'] / 1000:.0f}k @ {median['cpuMicroseconds']:.1f}"
                + (f", {median['loss']:.1%} lost" if median["loss"] > 0.001 else "")
            )
        lines.append(f"| {load.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


async def benchmark(reactor: Any, arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="xmppbytes-udp-") as name:
        folder = Path(name)
        generator, reference = build(folder, "udpload"), build(folder, "udprelay")
        twisted = [sys.executable, str(Path(__file__).with_name("udptwisted.py"))]
        contestants = [
            Contestant(),
            Ours(),
            Simple("C recvmmsg", lambda port: [reference, str(port)]),
            Simple("DatagramProtocol", lambda port: [*twisted, str(port)]),
        ]
        if shutil.which("turnserver"):
            contestants.insert(2, Coturn())
        else:
            print("coturn is not here: apt-get install coturn", file=sys.stderr)
        if arguments.only:
            contestants = [each for each in contestants if each.name in arguments.only.split(",")]
        results: dict[tuple[str, str], list[dict[str, float]]] = {}
        try:
            for contestant in contestants:
                await contestant.start(reactor)
                if contestant.pid:
                    pin(contestant.pid, RELAY_CPU)
            for turn in range(arguments.rounds):
                for load in LOADS:
                    for contestant in contestants:
                        result = await measure(reactor, generator, contestant, load, arguments.seconds)
                        results.setdefault((load.name, contestant.name), []).append(result)
                print(f"round {turn + 1} of {arguments.rounds} is done", file=sys.stderr)
        finally:
            for contestant in contestants:
                await contestant.stop()
        report(results, [contestant.name for contestant in contestants])


def report(results: dict[tuple[str, str], list[dict[str, float]]], names: list[str]) -> None:
    """
    Print the tables, and keep the raw figures.
    """
    table = show(results, names)
    print("Datagrams a second @ processor microseconds of the relay for each (medians)\n\n" + table)
    RESULTS.mkdir(exist_ok=True)
    when = time.strftime("%Y%m%d-%H%M%S")
    (RESULTS / f"udp-{when}.md").write_text(table + "\n")
    raw = [{"load": load, "relay": name, "runs": runs} for (load, name), runs in results.items()]
    (RESULTS / f"udp-{when}.json").write_text(json.dumps(raw, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.udp", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--only", help="names of relays, with commas")
    arguments = parser.parse_args()
    react(lambda reactor: Deferred.fromCoroutine(benchmark(reactor, arguments)))


if __name__ == "__main__":
    main()
