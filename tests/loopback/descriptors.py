"""
File descriptors: which are open, and how many may be.
"""

import os
import resource


def raiseDescriptorLimit() -> int:
    """
    Let this process, and those that it starts, have as many descriptors open as it may at most.

    @return: how many that are.
    """
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def openDescriptors(pid: int = 0) -> set[str]:
    """
    What a process, or this one, has open: sockets and pipes have names of their own.
    """
    found = set()
    folder = f"/proc/{pid or 'self'}/fd"
    for descriptor in os.listdir(folder):
        try:
            found.add(f"{descriptor} {os.readlink(f'{folder}/{descriptor}')}")
        except FileNotFoundError:
            # Closed since, such as the descriptor of the listing itself.
            pass
    return found
