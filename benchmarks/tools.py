"""
The two C programs: the load generator and the reference relay, built on demand by C{cc}.
"""

import os
import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).with_name("generator")
RESULTS = Path(__file__).with_name("results")
PROGRAMS = {
    "load": ("load.c", "sha1.c", "account.c", "activate.c"),
    "relay": ("relay.c",),
}


def build(program: str) -> str:
    """
    Build a program unless it is newer than its sources.

    @return: its path.
    """
    folder = RESULTS / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / program
    sources = [SOURCES / name for name in PROGRAMS[program]]
    newest = max(path.stat().st_mtime for path in (*sources, SOURCES / "load.h"))
    if not target.exists() or target.stat().st_mtime < newest:
        compiler = os.environ.get("CC") or shutil.which("cc")
        if compiler is None:
            raise SystemExit("a C compiler is needed: install gcc, or set CC")
        subprocess.run([compiler, "-O2", "-Wall", "-o", str(target), *map(str, sources)], check=True)
    return str(target)


def pinned(cpu: int | None) -> list[str]:
    """
    What to put before a command so that it stays on one processor.
    """
    return [] if cpu is None else ["taskset", "-c", str(cpu)]


def processors() -> tuple[int | None, int | None]:
    """
    Choose the processor of the relay and that of the generator. With only one there is no choice.
    """
    available = sorted(os.sched_getaffinity(0))
    return (available[1], available[0]) if len(available) > 1 else (None, None)
