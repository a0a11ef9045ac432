"""
Running cases: peers take turns (A, B, C, A, B, C), each result is a JSON line.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import PEERS, SECOND_REQUESTER, Peer
from benchmarks.suites import Case
from benchmarks.tools import build, pinned, processors

# In the namespace of the small group: lo up, and bounded TCP buffers.
NAMESPACE = """
ip link set lo up
echo "4096 131072 262144" > /proc/sys/net/ipv4/tcp_rmem
echo "4096 65536 262144" > /proc/sys/net/ipv4/tcp_wmem
exec "$@"
"""
LOAD_TIMEOUT = 25


class Lab:
    """
    Peers that run, and the generator.
    """

    def __init__(self) -> None:
        self.relayCpu, self.loadCpu = processors()
        self.running: dict[str, Peer] = {}

    def start(self, name: str) -> Peer:
        """
        Start a peer, and what it needs, unless it runs.
        """
        if name in self.running:
            return self.running[name]
        peer = PEERS[name](name, self.relayCpu)
        if peer.needs is not None:
            self.start(peer.needs)
        peer.others = self.running
        self.running[name] = peer
        peer.start()
        return peer

    def stop(self, name: str) -> None:
        self.running.pop(name).remove()

    def stopAll(self) -> None:
        for name in list(self.running):
            self.stop(name)

    def load(self, peer: Peer, case: Case, extra: Sequence[str] = ()) -> dict[str, Any]:
        """
        Load a peer once.
        """
        # A relay that may use every processor is not to find one taken by force.
        cpu = self.loadCpu if peer.cpu is not None else None
        start = [*pinned(cpu), build("load"), "--pids", str(peer.pid)]
        background = None
        if case.background:
            other = [*start, *peer.load(SECOND_REQUESTER), *case.background]
            background = subprocess.Popen(other, stdout=subprocess.DEVNULL)
            time.sleep(0.7)
        try:
            return self._measure([*start, *peer.load(), *case.arguments, *extra])
        finally:
            if background is not None:
                background.wait()

    def _measure(self, command: Sequence[str]) -> dict[str, Any]:
        if "--timeout" not in command:
            command = [*command, "--timeout", str(LOAD_TIMEOUT - 5)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LOAD_TIMEOUT, check=False)
        except subprocess.TimeoutExpired:
            return {"error": "it took too long"}
        lines = done.stdout.strip().splitlines()
        try:
            result: dict[str, Any] = json.loads(lines[-1])
        except (IndexError, ValueError):
            return {"error": done.stderr.strip()[-200:] or "no result"}
        if done.returncode and "error" not in result:
            result["error"] = done.stderr.strip()[-200:] or f"{result.get('failed')} failed"
        return result


def runCases(cases: Iterable[Case], group: str, output: Path, quick: bool, only: set[str]) -> None:
    """
    Run cases one after another and append the results to a file.

    @param quick: one short round of each.
    @param only: the peers to take; empty: all.
    """
    lab = Lab()
    try:
        for case in cases:
            peers = [name for name in case.peers if not only or name in only]
            rounds = 1 if quick else case.rounds
            for number in range(rounds):
                for name in peers:
                    note(output, group, case, name, number, runOnce(lab, case, name, quick))
            print(f"{time.strftime('%H:%M:%S')} {case.name}", file=sys.stderr, flush=True)
    finally:
        lab.stopAll()


def runOnce(lab: Lab, case: Case, name: str, quick: bool) -> dict[str, Any]:
    """
    Load one peer in one case.
    """
    extra = ("--seconds", "0.4") if quick and "bulk" in case.arguments and not case.background else ()
    if case.fresh and name in lab.running:
        lab.stop(name)
    peer = lab.start(name)
    result = lab.load(peer, case, extra)
    if case.fresh:
        needed = any(other.needs == name for other in lab.running.values())
        if not needed:
            lab.stop(name)
    return result


def note(output: Path, group: str, case: Case, name: str, number: int, result: dict[str, Any]) -> None:
    """
    Write a result down.
    """
    line = {"group": group, "case": case.name, "peer": name, "round": number, **result}
    with output.open("a", encoding="utf-8") as results:
        results.write(json.dumps(line) + "\n")


def inNamespace(arguments: Sequence[str]) -> None:
    """
    Run this package again in a network namespace of its own.
    """
    unshare = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
    command = [*unshare, "sh", "-ec", NAMESPACE, "sh", sys.executable, "-m", "benchmarks", *arguments]
    subprocess.run(command, check=True)
