"""
C{twistd linklocal}, whole, in a network namespace of its own.
"""

from pathlib import Path

from tests.loopback.test_linklocal_sockets import NamespaceTestCase


class ServiceTests(NamespaceTestCase):
    """
    Two services on one cable, and a third.
    """

    script = Path(__file__).with_name("linklocal_service_script.py")

    def test_talk(self):
        """
        Avatar, roster, messages, code, a file, status, names that are taken, policies, the end.
        """
        self.runScript()
