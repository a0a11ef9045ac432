"""
Run trial and end with one line that counts: C{N passed, N failed, N skipped}.

    python -m tools.trial tests
"""

import sys
import time
from typing import Any

from twisted.scripts import trial
from twisted.trial.reporter import TreeReporter, VerboseTextReporter

# How many tests are named that took the longest.
SLOWEST = 12


def _counting(base: type[Any]) -> type[Any]:
    """
    Extend a trial reporter with the closing line.

    @param base: the reporter class to extend.
    @return: a class that prints the counts as the last thing of a run.
    """

    class CountingReporter(base):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self._seconds: dict[str, float] = {}

        def startTest(self, test: Any) -> None:
            self._began = time.monotonic()
            super().startTest(test)

        def stopTest(self, test: Any) -> None:
            super().stopTest(test)
            self._seconds[test.id()] = time.monotonic() - self._began

        def done(self) -> None:
            super().done()
            slowest = sorted(self._seconds.items(), key=lambda each: -each[1])[:SLOWEST]
            self._stream.write(f"The {len(slowest)} slowest of {sum(self._seconds.values()):.0f} s:\n")
            for name, seconds in slowest:
                self._stream.write(f"{seconds:8.1f} s {name}\n")
            failed = len(self.failures) + len(self.errors) + len(self.unexpectedSuccesses)
            passed = self.successes + len(self.expectedFailures)
            self._stream.write(f"{passed} passed, {failed} failed, {len(self.skips)} skipped\n")

    return CountingReporter


def main(arguments: list[str]) -> int:
    """
    Run trial in this process.

    @param arguments: what would follow C{trial} on a command line.
    @return: the exit code: 0 when every test passed.
    """
    config = trial.Options()
    config.parseOptions(["--temp-directory", "_trial_temp", *arguments])
    config["reporter"] = _counting(VerboseTextReporter if not sys.stdout.isatty() else TreeReporter)
    trial._initialDebugSetup(config)
    runner = trial._makeRunner(config)
    result = runner.run(trial._getSuite(config))
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
