"""
Tests for what L{xmppbytes.linklocal.multicast} does when sockets fail; tests.loopback has the rest.
"""

from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from xmppbytes.linklocal import multicast as module
from xmppbytes.linklocal.ilink import NetworkInterface
from xmppbytes.linklocal.multicast import MulticastLink

ETH0 = NetworkInterface("eth0", 2, ("169.254.0.1",))


class BrokenPort:
    """
    A datagram port through which nothing can be sent.
    """

    def __init__(self):
        self.stopped = False

    def write(self, datagram, address):
        raise OSError(101, "Network is unreachable")

    def stopListening(self):
        self.stopped = True


class Reactor:
    """
    Makes such ports.
    """

    def adoptDatagramPort(self, handle, family, protocol, size):
        self.port = BrokenPort()
        return self.port


class Socket:
    """
    A socket that is given away.
    """

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def fileno(self):
        return 99


class ComplaintTests(TestCase):
    """
    One line for each trouble.
    """

    def test_cannotJoin(self):
        """
        A group that cannot be joined costs one line; the link is there all the same.
        """

        def fails(family, address, index):
            raise OSError(19, "No such device")

        self.patch(module, "openSocket", fails)
        with capturedLogs() as logs:
            link = MulticastLink(None, ETH0, lambda *_: None)
            link.update(ETH0)
            link.send(b"x")
            link.close()
        self.assertEqual([event["text"][:29] for event in logs], ["cannot join 224.0.0.251 on et"])

    def test_cannotSend(self):
        """
        What cannot be sent is lost, with one line however often that happens.
        """
        self.patch(module, "openSocket", lambda family, address, index: Socket())
        reactor = Reactor()
        with capturedLogs() as logs:
            link = MulticastLink(reactor, ETH0, lambda *_: None)
            for _ in range(100):
                link.send(b"x")
            link.close()
        self.assertEqual(len(logs), 1)
        self.assertIn("cannot send 1 bytes to 224.0.0.251 on eth0", logs[0]["text"])
        self.assertTrue(reactor.port.stopped)
