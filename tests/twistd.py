"""
C{twistd}, for child processes of tests: its branch coverage is saved although a signal ends it, and what it
logs is kept for L{tools.loglines}.

twistd ends itself by the signal that ended its reactor, so nothing that waits for the interpreter's exit
is called.
"""

import sys

from twisted.internet import reactor
from twisted.scripts.twistd import run

from tools.loglines import record


def saveCoverage() -> None:
    """
    Write down what is measured, if anything is.
    """
    coverage = sys.modules.get("coverage")
    measured = coverage.Coverage.current() if coverage is not None else None
    if measured is not None:
        measured.stop()
        measured.save()


if __name__ == "__main__":
    record()
    reactor.addSystemEventTrigger("after", "shutdown", saveCoverage)
    run()
