"""
Tell which lines of the log no test ever provokes: run tests, and compare what was logged with the code.

    python -m tools.loglines tests
    python -m tools.loglines --modules xmppbytes/core xmppbytes/s5b -- tests.core tests.s5b tests.loopback

What twistd's child processes log counts as well (tests/twistd.py).
"""

import ast
import atexit
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.logger import globalLogPublisher

ROOT = Path(__file__).parent.parent
# Names the folder in which each process keeps a file of the formats that it has logged.
FOLDER = "XMPPBYTES_LOG_LINES"
LEVELS = ("debug", "info", "warn", "error", "failure", "critical")
# What lines are written with: a logger, or a damper.
WRITERS = ("log", "_log", "damper", "_damper")
# What a method is called that passes a C{format} on to one of them.
PASSES = "_tell"


def logFormats(source: str) -> Iterator[str]:
    """
    Find the formats of all log lines that a module may write.

    @param source: the module.
    @raise ValueError: when one is not a constant of the code.
    """
    tree = ast.parse(source)
    constants = {
        ast.unparse(each.targets[0]): each.value for each in tree.body if isinstance(each, ast.Assign)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        isWriter = node.func.attr in LEVELS and ast.unparse(node.func.value).split(".")[-1] in WRITERS
        if not isWriter and node.func.attr != PASSES:
            continue
        arguments = [constants.get(ast.unparse(each), each) for each in node.args]
        if not isWriter:
            arguments = arguments[:1]
        texts = [a.value for a in arguments if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        if texts:
            yield texts[0]
        elif isWriter and not any(ast.unparse(argument) == "format" for argument in node.args):
            raise ValueError(f"line {node.lineno}: the format of a log line is a constant")


def record() -> None:
    """
    Keep the formats that this process logs, when a run asks for it.
    """
    folder = os.environ.get(FOLDER)
    if folder is None:
        return
    seen: set[str] = set()
    file = open(Path(folder) / f"{os.getpid()}", "a", encoding="utf-8")  # noqa: SIM115
    atexit.register(file.close)

    def observe(event: Any) -> None:
        format = event.get("log_format")
        if isinstance(format, str) and format not in seen:
            seen.add(format)
            file.write(repr(format) + "\n")
            file.flush()

    globalLogPublisher.addObserver(observe)


def recorded(folder: str) -> set[str]:
    """
    Collect what all processes have kept.
    """
    return {
        ast.literal_eval(line)
        for path in Path(folder).iterdir()
        for line in path.read_text(encoding="utf-8").splitlines()
    }


def main(arguments: list[str]) -> int:
    """
    Run tests and list what they have not provoked.

    @return: the exit code of the tests.
    """
    modules = [ROOT / "xmppbytes"]
    if "--" in arguments:
        cut = arguments.index("--")
        modules, arguments = [ROOT / each for each in arguments[1:cut]], arguments[cut + 1 :]
    from tools.trial import main as runTests

    with tempfile.TemporaryDirectory() as folder:
        os.environ[FOLDER] = folder
        record()
        code = runTests(arguments)
        provoked = recorded(folder)
    paths = [path for each in modules for path in (sorted(each.rglob("*.py")) if each.is_dir() else [each])]
    silent = [
        f"{path.relative_to(ROOT)}: {format}"
        for path in paths
        for format in logFormats(path.read_text(encoding="utf-8"))
        if format not in provoked
    ]
    print(f"{len(silent)} lines were never provoked", *silent, sep="\n  ")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
