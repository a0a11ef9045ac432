"""
The soak: the service under changing load for minutes. Memory, descriptors and pipes stay as they were.
"""

import subprocess
import time
from pathlib import Path

from benchmarks.peers import PEERS, Ours, Peer
from benchmarks.run import Lab
from benchmarks.tools import build

# One round: everything that a day brings, in small.
LOADS = (
    "--mode setup --total 3000 --concurrent 32",
    "--mode bulk --pairs 50 --both 1 --seconds 2 --concurrent 4",
    "--mode verify --bytes 3000000 --pairs 20 --both 1 --concurrent 4",
    "--mode verify --bytes 3000000 --pairs 20 --concurrent 4",
    "--mode idle --pairs 2000 --touch 65536 --concurrent 8",
    "--mode bulk --pairs 200 --write-size 1000 --seconds 2 --concurrent 8",
    "--mode bulk --pairs 1 --seconds 6",
    "--mode pending --single 1 --pairs 2000 --concurrent 8",
)
# What may still be added after the first rounds, in KiB: arenas that were not touched yet.
MAY_GROW = 2048


def resident(pid: int) -> int:
    """
    The memory of a process and its children, in KiB.
    """
    total = 0
    for one in (pid, *children(pid)):
        for line in Path(f"/proc/{one}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Rss:"):
                total += int(line.split()[1])
    return total


def children(pid: int) -> list[int]:
    """
    The processes that it has started.
    """
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def descriptors(pid: int) -> int:
    """
    What a process and its children have open.
    """
    return sum(len(list(Path(f"/proc/{one}/fd").iterdir())) for one in (pid, *children(pid)))


def soakPeer(workers: int) -> type[Peer]:
    """
    The service, with as many workers.
    """

    class Soaked(Ours):
        options = (f"--workers={workers}",)

    return Soaked


def soak(minutes: float, workers: int) -> int:
    """
    Load the service for some minutes.

    @return: the exit code: 0 when nothing grew, and every load was served.
    """
    PEERS["soaked"] = soakPeer(workers)
    lab = Lab()
    failures: list[str] = []
    seen: list[tuple[int, int]] = []
    try:
        peer = lab.start("soaked")
        end = time.monotonic() + 60 * minutes
        while time.monotonic() < end or len(seen) < 3:
            failures += [load for load in LOADS if not served(peer, load)]
            time.sleep(1.5)  # closed connections are noticed
            seen.append((resident(peer.pid), descriptors(peer.pid)))
            print(
                f"{time.strftime('%H:%M:%S')} resident {seen[-1][0]} KiB, {seen[-1][1]} descriptors",
                flush=True,
            )
    finally:
        lab.stopAll()
    wrong = complaints(seen, failures)
    print("\n".join(wrong) or f"flat for {len(seen)} rounds")
    return 1 if wrong else 0


def served(peer: Peer, load: str) -> bool:
    """
    Load once, and tell whether that went well.
    """
    command = [build("load"), "--pids", str(peer.pid), *peer.load(), "--timeout", "40", *load.split()]
    return subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0


def complaints(seen: list[tuple[int, int]], failures: list[str]) -> list[str]:
    """
    Compare what was used after the second round with what was used at the end.

    @param seen: KiB resident and open descriptors, after each round.
    @param failures: the loads that were not served.
    @return: what is wrong, a line each; nothing of a service that stayed flat.
    """
    grown = seen[-1][0] - seen[1][0]
    opened = seen[-1][1] - seen[1][1]
    wrong = [f"not served: {load}" for load in failures]
    if grown > MAY_GROW:
        wrong.append(f"memory grew by {grown} KiB after the second round, {MAY_GROW} KiB are allowed")
    if opened > 0:
        wrong.append(f"{opened} descriptors more than after the second round")
    return wrong
