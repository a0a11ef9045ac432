"""
The command line of the benchmarks.
"""

import argparse
import sys
import time
from pathlib import Path

from benchmarks.peers import PEERS
from benchmarks.report import plot, report
from benchmarks.run import inNamespace, runCases
from benchmarks.soak import soak
from benchmarks.suites import GROUPS
from benchmarks.tools import RESULTS, build


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure the relay beside its peers."
    )
    parser.add_argument("what", nargs="?", choices=("bench", "soak", "report"), default="bench")
    parser.add_argument("--quick", action="store_true", help="one short round of each case")
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    parser.add_argument("--peers", default="", help=f"only these, by commas: {', '.join(PEERS)}")
    parser.add_argument("--group", choices=tuple(GROUPS), help="only this: default or small TCP buffers")
    parser.add_argument("--output", help="the file of raw results")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--minutes", type=float, default=10, help="how long to soak")
    parser.add_argument("--workers", type=int, default=0, help="workers while soaking")
    return parser.parse_args(arguments)


def bench(options: argparse.Namespace) -> None:
    """
    Run the groups, then report.
    """
    build("load")
    build("relay")
    output = Path(options.output or RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.jsonl").absolute()
    for group in [options.group] if options.group else list(GROUPS):
        runGroup(group, output, options)
    if not options.inside:
        show(output)


def runGroup(group: str, output: Path, options: argparse.Namespace) -> None:
    cases = [case for case in GROUPS[group] if options.case in case.name]
    if not cases:
        return
    if group == "small" and not options.inside:
        arguments = ["--inside", "--group", group, "--output", str(output), "--case", options.case]
        inNamespace([*arguments, "--peers", options.peers, *(["--quick"] if options.quick else [])])
        return
    only = set(filter(None, options.peers.split(",")))
    runCases(cases, group, output, options.quick, only)


def show(output: Path) -> None:
    """
    Print the tables and draw the plot.
    """
    if not output.exists():
        raise SystemExit("nothing was measured")
    text = report(output)
    output.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
    picture = output.with_suffix(".png")
    drawn = plot(output, picture)
    print(
        f"raw: {output}; tables: {output.with_suffix('.md')}; plot: {picture if drawn else 'no matplotlib'}"
    )


def main() -> None:
    options = parse(sys.argv[1:])
    if options.what == "soak":
        sys.exit(soak(options.minutes, options.workers))
    if options.what == "report":
        show(Path(options.output))
        return
    bench(options)


if __name__ == "__main__":
    main()
