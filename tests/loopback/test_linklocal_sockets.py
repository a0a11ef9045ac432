"""
The real multicast sockets, in a network namespace of their own where nobody else can hear them.
"""

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, TestCase

ROOT = Path(__file__).parents[2]


def inNamespace(*command):
    """
    Make a command that runs in a fresh network namespace.
    """
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", "--net", *rights, *command]


class NamespaceTestCase(TestCase):
    """
    Runs a script where nobody else can hear it.
    """

    script: Path

    def setUp(self):
        try:
            subprocess.run(inNamespace("ip", "link", "set", "lo", "up"), check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SkipTest(f"no network namespaces here: {error}") from error

    def runScript(self, *arguments):
        done = subprocess.run(
            inNamespace(sys.executable, str(self.script), *arguments),
            capture_output=True,
            text=True,
            timeout=300,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.assertEqual((done.returncode, done.stdout.strip()), (0, "OK"), done.stdout + done.stderr)


class SocketTests(NamespaceTestCase):
    """
    Two interfaces joined by a cable, and two more joined by another.
    """

    script = Path(__file__).with_name("linklocal_sockets_script.py")

    def test_isolation(self):
        """
        What is sent on one link is received on that link alone, by IPv4 and IPv6, from its own address.
        """
        self.runScript("isolation")

    def test_interfaces(self):
        """
        An interface that goes down and up again is noticed within half a second.
        """
        self.runScript("interfaces")

    def test_addresses(self):
        """
        Another address: the sockets are opened anew; what cannot be sent is logged, not raised.
        """
        self.runScript("addresses")
