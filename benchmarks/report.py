"""
Tables of medians and ranges from the raw results, and a plot.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.suites import GROUPS, Case
from benchmarks.verdicts import Results, middle, values, verdictTable


def readResults(path: Path) -> Results:
    """
    Read the raw results: case -> peer -> lines.
    """
    results: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        results.setdefault(line["case"], {}).setdefault(line["peer"], []).append(line)
    return results


def caseTable(case: Case, results: Results) -> str:
    """
    One case: medians (and ranges) of each peer.
    """
    lines = [f"### {case.name}", "", f"| peer | {' | '.join(case.metrics)} | |"]
    lines.append("|---" * (len(case.metrics) + 2) + "|")
    for peer, found in results[case.name].items():
        cells = [figures(values(results, case.name, peer, metric)) for metric in case.metrics]
        errors = {line["error"][:60] for line in found if "error" in line}
        lines.append(f"| {peer} | {' | '.join(cells)} | {'; '.join(errors)} |")
    return "\n".join(lines)


def figures(found: list[float]) -> str:
    """
    A median and its range.
    """
    if not found:
        return "-"
    if len(found) == 1:
        return f"{found[0]:.4g}"
    return f"{median(found):.4g} ({min(found):.3g}-{max(found):.3g})"


def report(path: Path) -> str:
    """
    Everything as Markdown.
    """
    results = readResults(path)
    cases: Iterable[Case] = (case for group in GROUPS.values() for case in group if case.name in results)
    tables = [caseTable(case, results) for case in cases]
    return "\n\n".join(["## Targets", verdictTable(results), "## Measured", *tables]) + "\n"


def plot(path: Path, picture: Path) -> bool:
    """
    Draw what matters most: processor time, throughput, memory and latency of each peer.

    @return: whether matplotlib is there (the extra C{bench}).
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        return False
    results = readResults(path)
    wanted = (
        ("bulk, 10 pairs one way", "cpu_gib", "CPU-seconds for a GiB, 10 pairs"),
        ("bulk, 10 pairs one way", "mibs", "MiB/s, 10 pairs"),
        ("memory of an idle session", "kib", "KiB for an idle session"),
        ("round trip, 50 pairs", "p99us", "round trip among 50, p99, us"),
    )
    figure, axes = pyplot.subplots(2, 2, figsize=(11, 7))
    for axis, (case, metric, title) in zip(axes.flat, wanted, strict=True):
        peers = [peer for peer in results.get(case, {}) if middle(results, case, peer, metric)]
        heights = [middle(results, case, peer, metric) or 0.0 for peer in peers]
        colours = ["tab:green" if peer.startswith("ours") else "tab:gray" for peer in peers]
        axis.bar(peers, heights, color=colours)
        axis.set_title(title)
        axis.set_yscale("log")
        axis.tick_params(axis="x", rotation=35)
    figure.tight_layout()
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)
    return True
