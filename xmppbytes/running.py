"""
Running a subcommand in the reactor.
"""

import io
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from twisted.python.failure import Failure

from xmppbytes.errors import BytestreamError, ConfigurationError


def runCommand(work: Callable[[Any], Coroutine[Any, Any, int]], verbose: bool = False) -> int:
    """
    Run a coroutine in the reactor until it is done.

    The first Ctrl-C, or SIGTERM, cancels it, and it may say goodbye; the second ends it.

    @param work: gets the reactor; its result is the exit code. A L{BytestreamError} becomes one line
        on standard error and the exit code 1; 2 when it is a L{ConfigurationError}.
    @param verbose: show the log.
    """
    # Importing it installs it: not before it is needed.
    from twisted.internet import reactor

    startLogging(verbose)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name that this terminal cannot show is no reason to fail.
        sys.stdout.reconfigure(errors="backslashreplace")
    return runIn(reactor, work)


def startLogging(verbose: bool) -> None:
    """
    Send the log to standard error: all of it, or nothing but what must not happen.
    """
    observer: Any = textFileLogObserver(sys.stderr)
    if not verbose:
        errors = LogLevelFilterPredicate(defaultLogLevel=LogLevel.error)
        observer = FilteringLogObserver(observer, [errors])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)


def runIn(reactor: Any, work: Callable[[Any], Coroutine[Any, Any, int]]) -> int:
    """
    L{runCommand} with another reactor.
    """
    codes: list[int] = []
    jobs: list[Deferred[int]] = []

    def begin() -> None:
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, lambda *_: reactor.callFromThread(interrupt))
        job = Deferred.fromCoroutine(work(reactor))
        jobs.append(job)
        job.addErrback(failed)
        job.addCallback(done)

    def interrupt() -> None:
        if len(jobs) == 1:
            jobs.append(jobs[0])
            jobs[0].cancel()
        elif reactor.running:
            reactor.stop()

    def failed(failure: Failure) -> int:
        if failure.check(CancelledError):
            print("Cancelled.", file=sys.stderr)
        elif failure.check(BytestreamError):
            print(f"xmppbytes: {failure.value}", file=sys.stderr)
            return 2 if failure.check(ConfigurationError) else 1
        else:
            failure.printTraceback(file=sys.stderr)
        return 1

    def done(code: int) -> None:
        codes.append(code)
        if reactor.running:
            reactor.stop()

    reactor.callWhenRunning(begin)
    reactor.run()
    return codes[0] if codes else 1
