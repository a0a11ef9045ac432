"""
The targets, and whether they are reached: ratios of medians within one run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

Results = Mapping[str, Mapping[str, list[dict[str, Any]]]]
C_RELAYS = ("c-splice", "c-copy")


def values(results: Results, case: str, peer: str, metric: str) -> list[float]:
    """
    What was measured without an error.
    """
    found = results.get(case, {}).get(peer, [])
    return [line[metric] for line in found if "error" not in line and metric in line]


def middle(results: Results, case: str, peer: str, metric: str) -> float | None:
    """
    The median, if there is one.
    """
    found = values(results, case, peer, metric)
    return median(found) if found else None


@dataclass(frozen=True, slots=True)
class Target:
    """
    Our figure divided by a peer's is to be at most, or at least, a bound.

    @ivar peer: C{"c"}: the better of the relays in C. C{""}: no peer, an absolute figure.
    """

    case: str
    metric: str
    peer: str
    atMost: bool
    bound: float
    ours: str = "ours"

    def reference(self, results: Results) -> float | None:
        """
        The peer's figure.
        """
        if not self.peer:
            return 1.0
        if self.peer != "c":
            return middle(results, self.case, self.peer, self.metric)
        found = [middle(results, self.case, relay, self.metric) for relay in C_RELAYS]
        present = [figure for figure in found if figure is not None]
        if not present:
            return None
        return min(present) if self.atMost else max(present)

    def row(self, results: Results) -> str:
        """
        A line of the table.
        """
        mine, theirs = middle(results, self.case, self.ours, self.metric), self.reference(results)
        ratio = None if mine is None or not theirs else mine / theirs
        reached = ratio is not None and (ratio <= self.bound if self.atMost else ratio >= self.bound)
        verdict = "not measured" if ratio is None else "reached" if reached else "MISSED"
        name = {"c": "best in C", "": "absolute"}.get(self.peer, self.peer)
        cells = (
            f"{self.case}: {self.metric}{' (' + self.ours + ')' if self.ours != 'ours' else ''}",
            f"{mine:.4g}" if mine is not None else "-",
            f"{name} {theirs:.4g}" if theirs is not None and self.peer else name,
            f"{'<=' if self.atMost else '>='} {fraction(self.bound)}",
            fraction(ratio) if ratio is not None else "-",
            verdict,
        )
        return "| " + " | ".join(cells) + " |"


def fraction(ratio: float) -> str:
    """
    A ratio as people say it.
    """
    return f"1/{1 / ratio:.1f}" if 0 < ratio < 0.3 else f"{ratio:.2f}"


def targets() -> list[Target]:
    """
    All targets.
    """
    found: list[Target] = []

    def add(case: str, metric: str, atMost: bool, bounds: Mapping[str, float], ours: str = "ours") -> None:
        found.extend(Target(case, metric, peer, atMost, bound, ours) for peer, bound in bounds.items())

    for pairs in ("1 pair", "10 pairs"):
        case = f"bulk, {pairs} one way"
        add(case, "cpu_gib", True, {"prosody": 1 / 18, "ejabberd": 0.5, "c": 1.35, "haproxy": 0.55})
        add(case, "mibs", False, {"prosody": 14, "ejabberd": 1.8, "c": 0.75, "haproxy": 1.4})
        add(case, "cpu_gib", True, {"prosody": 1 / 8, "ejabberd": 1.1, "haproxy": 1.3}, "ours-copy")
    for pairs in ("1 pair", "10 pairs", "100 pairs"):
        case = f"bulk, {pairs} one way, small buffers"
        add(case, "cpu_gib", True, {"prosody": 1 / 15, "ejabberd": 0.7, "c": 1.5, "haproxy": 0.6})
    for ways in ("one way", "both ways"):
        case = f"bulk, 1 pair {ways}, small buffers"
        add(case, "mibs", False, {"prosody": 10, "ejabberd": 1.1, "haproxy": 1.2})
    case = "bulk, 1000 pairs one way, small buffers"
    add(case, "mibs", False, {"prosody": 15, "c": 0.55, "haproxy": 1.2})
    case = "set-up over XMPP, 32 at once"
    # Each beside its own kind: the server that we are attached to is set up as the other is.
    add(case, "rate", False, {"prosody": 4})
    add(case, "rate", False, {"prosody-nd": 1.2}, "ours@prosody-nd")
    add(case, "rate", False, {"ejabberd": 4}, "ours@ejabberd")
    memory: dict[str, float] = {"prosody": 1 / 10, "ejabberd": 1 / 15, "": 2, "haproxy": 0.6}
    for case in ("memory of an idle session", "memory of an idle session that moved 64 KiB"):
        add(case, "kib", True, memory)
    add("memory of a pending connection", "kib", True, {"prosody": 1 / 6, "ejabberd": 1 / 4, "": 1.5})
    case = "round trip, 50 pairs"
    add(case, "p50us", True, {"prosody": 0.55, "ejabberd": 0.55, "c": 1.4, "haproxy": 1.45})
    add(case, "p99us", True, {"prosody": 0.4, "ejabberd": 0.4})
    add("round trip beside 20 pairs of bulk", "p99us", True, {"c-splice": 1.0})
    return found


EXACT: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "exact, one way, then half-closed": lambda line: _whole(line) and line["half_closed"] == line["ends"],
    "exact, both ways": lambda line: _whole(line),
}


def _whole(line: Mapping[str, Any]) -> bool:
    return bool(
        line["received"] == line["wanted"] and not line["bad"] and line["ends"] == line["ends_wanted"]
    )


def exactRows(results: Results) -> list[str]:
    """
    Who delivers every byte and every end of stream.
    """
    rows = []
    for case, isExact in EXACT.items():
        for peer, lines in results.get(case, {}).items():
            share = sum("error" not in line and isExact(line) for line in lines) / len(lines)
            mine = peer.startswith("ours")
            verdict = ("reached" if share == 1 else "MISSED") if mine else ""
            rows.append(f"| {case} | {share:.0%} | {peer} | {'100 %' if mine else ''} | | {verdict} |")
    return rows


def verdictTable(results: Results) -> str:
    """
    Target, measured, reached or not.
    """
    head = ["| figure | ours | beside | target | measured | verdict |", "|---|---|---|---|---|---|"]
    return "\n".join(head + [target.row(results) for target in targets()] + exactRows(results))
