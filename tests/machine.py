"""
What a test needs of the machine.
"""

import socket
from unittest import SkipTest


def requireIPv6() -> None:
    """
    Skip the running test where there is no IPv6.
    """
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError as e:
        raise SkipTest(f"this machine has no IPv6 ({e})") from e
