"""
Become another program that ends with the test run: C{python leash.py PARENT COMMAND...}.

C{reactor.spawnProcess} runs nothing of ours between fork and exec, so this little program does it: it
asks the kernel for a SIGKILL when its parent dies (prctl(2), PR_SET_PDEATHSIG) and then executes the
command, which inherits that wish. A test run that is killed leaves no server behind.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the request
        sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
