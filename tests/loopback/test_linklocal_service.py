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
        self.runScript("epoll")

    def test_asyncio(self):
        """
        The same on the reactor of asyncio.
        """
        self.runScript("asyncio")

    def test_select(self):
        """
        The same on the select reactor.
        """
        self.runScript("select")

    def test_poll(self):
        """
        The same on the poll reactor.
        """
        self.runScript("poll")
