"""
The DTCP relay beside the SOCKS5 proxy: the same TLS bytes through both, in turns.

    python -m benchmarks.dtcp [--size MIB] [--rounds N] [--relay auto|splice|copy]

One process relays, with the parts of C{twistd s5bproxy} and without XMPP: a SOCKS5 pair is activated as
soon as both are there. One process sends and one receives, with TLS between them, by Python's ssl.
Loopback only.
"""

import argparse
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from xmppbytes.core.access import AccessRules
from xmppbytes.core.engines import makeEngines
from xmppbytes.core.handshake import handshakeDeadlines
from xmppbytes.core.hangup import makeHangupWatch
from xmppbytes.core.limits import Limits
from xmppbytes.core.pairing import Rendezvous
from xmppbytes.core.sessions import Parties, Sessions
from xmppbytes.dtcp.relay import DTCPRelay, RelayFactory
from xmppbytes.dtcp.tickets import Tickets
from xmppbytes.s5b.protocol import StreamHostFactory
from xmppbytes.tls import createIdentity
from xmppbytes.wire.dtcprelay import Answer, Request, Verb
from xmppbytes.wire.socks5 import Command, Greeting, Method, MethodChoice, Reply
from xmppbytes.wire.socks5 import Request as SOCKSRequest

MIB = 1 << 20
BLOCK = 1 << 18
INITIATOR, TARGET = "romeo@montague.example/orchard", "juliet@capulet.example/balcony"
WAYS = ("s5b", "dtcp")


class EagerRendezvous(Rendezvous):
    """
    Activates SOCKS5 pairs by itself.
    """

    clock: Any

    def join(self, key: bytes, leg: Any) -> None:
        super().join(key, leg)
        if len(self.legs(key)) == 2 and not key.startswith(b"dtcp"):
            # When the reply is on its way.
            self.clock.callLater(0, self.activate, key, Parties(INITIATOR, TARGET, key.decode()))


def serve(relay: str) -> None:
    """
    Relay until standard input ends; print the two ports.
    """
    from twisted.internet import reactor
    from twisted.internet.stdio import StandardIO

    clock: Any = reactor
    limits = Limits()
    sessions = Sessions(clock, limits, makeEngines(clock, relay))
    rendezvous = EagerRendezvous(clock, limits, sessions, makeHangupWatch(clock))
    rendezvous.clock = clock
    deadlines = handshakeDeadlines(clock, limits.handshakeTimeout)
    dtcp = DTCPRelay(rendezvous, AccessRules(["*"]), Tickets(clock), open=True)
    factories: Sequence[Any] = (StreamHostFactory(rendezvous, deadlines), RelayFactory(dtcp, deadlines))
    ports = [clock.listenTCP(0, factory, interface="127.0.0.1").getHost().port for factory in factories]
    StandardIO(_EndOfInput(clock))
    print(json.dumps(dict(zip(WAYS, ports, strict=True))), flush=True)
    clock.run()


def _EndOfInput(clock: Any) -> Any:
    from twisted.internet.protocol import Protocol

    class EndOfInput(Protocol):
        def connectionLost(self, reason: Any = None) -> None:
            if clock.running:
                clock.stop()

    return EndOfInput()


def join(way: str, port: int, key: str, verb: Verb) -> socket.socket:
    """
    Connect to a relay, and wait until bytes can pass.
    """
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if way == "dtcp":
        connection.sendall(Request(verb, key.encode(), INITIATOR, TARGET).toBytes())
        _expect(connection, Answer.OK.toBytes())
        return connection
    connection.sendall(Greeting(bytes((Method.NONE,))).toBytes())
    _expect(connection, MethodChoice(Method.NONE).toBytes())
    request = SOCKSRequest(Command.CONNECT, key.encode())
    connection.sendall(request.toBytes())
    _expect(connection, Reply(0, key.encode()).toBytes())
    return connection


def _expect(connection: socket.socket, answer: bytes) -> None:
    received = b""
    while len(received) < len(answer):
        data = connection.recv(len(answer) - len(received))
        if not data:
            raise SystemExit(f"the relay closed after {received!r}")
        received += data
    if received != answer:
        raise SystemExit(f"the relay said {received!r}")


def send(way: str, port: int, key: str, size: int) -> None:
    """
    Send so many bytes as the client of TLS, and wait until all have arrived.
    """
    connection = join(way, port, key, Verb.CREATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(connection) as channel:
        block = memoryview(os.urandom(BLOCK))
        left = size
        while left:
            left -= channel.send(block[: min(BLOCK, left)])
        channel.recv(1)


def receive(way: str, port: int, key: str, size: int) -> None:
    """
    Take so many bytes as the server of TLS; print the seconds from the first to the last.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as pem:
        pem.write(createIdentity().toPEM())
        pem.flush()
        context.load_cert_chain(pem.name)
    connection = join(way, port, key, Verb.CONNECT)
    with context.wrap_socket(connection, server_side=True) as channel:
        buffer = bytearray(BLOCK)
        received = channel.recv_into(buffer)
        began = time.perf_counter()
        while received < size:
            count = channel.recv_into(buffer)
            if not count:
                raise SystemExit(f"only {received} of {size} bytes arrived")
            received += count
        print(time.perf_counter() - began, flush=True)
        channel.sendall(b".")


def cpuSeconds(pid: int) -> float:
    """
    The CPU time that a process has used.
    """
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(server: "subprocess.Popen[str]", way: str, port: int, size: int, number: int) -> dict[str, Any]:
    """
    One transfer.
    """
    key = f"{number:040x}"
    before = cpuSeconds(server.pid)
    # The sender first: without tickets, a CONNECT does not wait for its CREATE.
    sender = _start("send", way, str(port), key, str(size))
    time.sleep(1.0)
    receiver = _start("receive", way, str(port), key, str(size))
    output = receiver.communicate()[0]
    if sender.wait() or receiver.returncode:
        raise SystemExit(f"a transfer by {way} has failed")
    cpu = cpuSeconds(server.pid) - before
    gib = size / (1024 * MIB)
    return {"way": way, "MiB/s": size / MIB / float(output), "relay CPU s/GiB": cpu / gib}


def _start(*arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "benchmarks.dtcp", *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run(size: int, rounds: int, relay: str) -> None:
    """
    Measure in turns, and print a line for each transfer and the table.
    """
    server = _start("serve", relay)
    assert server.stdout is not None and server.stdin is not None
    try:
        ports = json.loads(server.stdout.readline())
        results: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for number in range(rounds):
            for way in WAYS:
                result = measure(server, way, ports[way], size, number)
                results[way].append(result)
                print(json.dumps(result), flush=True)
    finally:
        server.stdin.close()
        server.wait()
    _table(results)


def _table(results: dict[str, list[dict[str, Any]]]) -> None:
    medians = {}
    print(f"\n{'way':6} {'MiB/s (median, range)':32} relay CPU s/GiB")
    for way, ones in results.items():
        rates = [one["MiB/s"] for one in ones]
        cpu = statistics.median(one["relay CPU s/GiB"] for one in ones)
        medians[way] = statistics.median(rates)
        print(f"{way:6} {medians[way]:8.0f} ({min(rates):.0f} to {max(rates):.0f}){'':14} {cpu:.2f}")
    print(f"dtcp / s5b: {medians['dtcp'] / medians['s5b']:.2f}")


def main(arguments: Sequence[str]) -> None:
    """
    Be one of the processes, or the one that starts them.
    """
    if arguments and arguments[0] == "serve":
        serve(arguments[1])
    elif arguments and arguments[0] in ("send", "receive"):
        role = send if arguments[0] == "send" else receive
        role(arguments[1], int(arguments[2]), arguments[3], int(arguments[4]))
    else:
        parser = argparse.ArgumentParser(prog="python -m benchmarks.dtcp", description=__doc__)
        parser.add_argument("--size", type=int, default=1024, help="MiB of each transfer")
        parser.add_argument("--rounds", type=int, default=5)
        parser.add_argument("--relay", choices=("auto", "splice", "copy"), default="auto")
        options = parser.parse_args(arguments)
        run(options.size * MIB, options.rounds, options.relay)


if __name__ == "__main__":
    main(sys.argv[1:])
