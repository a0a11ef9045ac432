"""
Tests for L{xmppbytes.proxyservice}: the whole service on a reactor in memory.
"""

import os
import signal
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import FakeTransport, FakeWatch, lines
from tests.test_stream import HEADER
from xmppbytes import proxyservice
from xmppbytes.jids import prepareJID
from xmppbytes.proxyservice import ProxyService
from xmppbytes.proxytap import SETTINGS, Options
from xmppbytes.proxyvalues import RELOADED
from xmppbytes.s5b.address import destinationAddress
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS, StreamHost
from xmppbytes.s5b.udp import listenDatagrams
from xmppbytes.serverstream import CLOSING_TIMEOUT

JID = "proxy.example.com"
REQUESTER = "romeo@example.com/orchard"
TARGET = "juliet@example.org/balcony"


class Reactor(MemoryReactorClock):
    """
    A reactor in memory, with what a service needs beside.
    """

    def callFromThread(self, function: Any, *arguments: Any) -> None:
        self.callLater(0, function, *arguments)


class SomePort:
    """
    The TCP port that is in memory only, as the UDP port beside it sees it: the number is the system's
    choice, for UDP sockets are real, and 7777 may be somebody's.
    """

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 0)


def listenDatagramsSomewhere(reactor: Any, listening: Any, strangers: Any) -> Any:
    """
    L{listenDatagrams} where nobody is in the way.
    """
    return listenDatagrams(reactor, SomePort(), strangers)


class ServiceCase(SynchronousTestCase):
    """
    A proxy service.
    """

    def setUp(self) -> None:
        self.patch(proxyservice, "listenDatagrams", listenDatagramsSomewhere)
        self.patch(proxyservice, "raiseDescriptorLimit", lambda: 10**9)
        self.patch(os, "environ", {**os.environ, "XMPPBYTES_SECRET": "secret"})
        self.reactor = Reactor()
        self.stopped = False

    def make(self, *arguments: str) -> ProxyService:
        self.options = Options()
        self.options.parseOptions(["--jid", JID, "--relay", "copy", *arguments])
        self.service = ProxyService(self.reactor, self.options)
        self.service.rendezvous._watch = FakeWatch()
        return self.service

    def start(self, *arguments: str) -> ProxyService:
        service = self.make(*arguments)
        service.privilegedStartService()
        service.startService()
        self.addCleanup(self.stop)
        return service

    def stop(self) -> Any:
        if self.stopped:
            return None
        self.stopped = True
        done = self.service.stopService()
        self.settle()
        return done

    def settle(self) -> None:
        self.reactor.pump([0] * 5)

    def connect(self, key: str) -> FakeTransport:
        """
        A party connects, over TCP.
        """
        factory = self.reactor.tcpServers[0][1]
        transport = FakeTransport(self.reactor)
        transport.protocol = factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))
        transport.protocol.makeConnection(transport)
        transport.receive(b"\5\1\0\5\1\0\3\x28" + key.encode("ascii") + b"\0\0")
        transport.sent = b""
        return transport

    def xmpp(self) -> FakeTransport:
        """
        The XMPP server lets the component in.
        """
        factory = self.reactor.tcpClients[-1][2]
        transport = FakeTransport(self.reactor)
        transport.protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 5347))
        transport.protocol.makeConnection(transport)
        transport.receive(HEADER.encode())
        transport.receive(b"<handshake/>")
        transport.sent = b""
        self.server = transport
        return transport

    def relayed(self) -> tuple[FakeTransport, FakeTransport]:
        """
        A bytestream is activated.
        """
        key = destinationAddress("s", REQUESTER, TARGET)
        pair = self.connect(key), self.connect(key)
        server = self.xmpp()
        server.receive(
            f"<iq from='{REQUESTER}' to='{JID}' id='1' type='set'><query xmlns='{NS_BYTESTREAMS}' sid='s'>"
            f"<activate>{TARGET}</activate></query></iq>".encode()
        )
        self.assertIn(b"type='result'", server.sent)
        return pair

    @property
    def advertised(self) -> tuple[StreamHost, ...]:
        return self.service._proxy.streamHosts


class StartTests(ServiceCase):
    """
    Everything put together.
    """

    def test_listensAndConnects(self) -> None:
        """
        It listens on all endpoints, and connects to the server.
        """
        self.start("--listen", "tcp:7777:interface=127.0.0.1", "--listen", "tcp:80:interface=127.0.0.1")
        self.assertEqual([port for port, *_ in self.reactor.tcpServers], [7777, 80])
        self.assertEqual(self.reactor.tcpClients[0][:2], ("127.0.0.1", 5347))

    def test_relays(self) -> None:
        """
        Two parties connect, one activates, and bytes flow.
        """
        self.start()
        first, second = self.relayed()
        first.receive(b"file")
        self.assertEqual(second.sent, b"file")

    def test_advertised(self) -> None:
        """
        The domain and the first port, or what was said; always with a port.
        """
        self.start("--listen", "tcp:7777:interface=127.0.0.1", "--listen", "tcp:80:interface=127.0.0.1")
        self.assertEqual(self.advertised, (StreamHost(JID, JID, 7777),))
        self.stop()
        self.stopped = False
        self.reactor = Reactor()
        self.start("--advertise", "192.0.2.1:80", "--advertise", "2001:DB8::1")
        self.assertEqual(
            self.advertised, (StreamHost(JID, "192.0.2.1", 80), StreamHost(JID, "2001:db8::1", 7777))
        )

    def test_portNeeded(self) -> None:
        """
        Where the first endpoint has no port one has to be said.
        """
        service = self.make("--listen", "unix:/tmp/x")
        end = self.assertRaises(SystemExit, service.privilegedStartService)
        self.assertIn("--advertise needs a port", str(end.code))
        self.make("--listen", "unix:/tmp/x", "--advertise", "h:1").privilegedStartService()
        self.assertEqual(self.advertised, (StreamHost(JID, "h", 1),))

    def test_withoutPrivilege(self) -> None:
        """
        An application that only calls startService gets it all as well.
        """
        service = self.make()
        self.addCleanup(self.stop)
        service.startService()
        self.assertEqual((len(self.reactor.tcpServers), len(self.advertised)), (1, 1))

    def test_usageLog(self) -> None:
        """
        Records go where they were said to go.
        """
        path = self.mktemp()
        self.start("--usage-log", path, "--usage-log-blur")
        first, second = self.relayed()
        first.receiveEnd()
        second.receiveEnd()
        self.settle()
        self.assertIn('"outcome": "finished"', Path(path).read_text())
        self.assertNotIn("romeo", Path(path).read_text())

    def test_usageLogCannotBeWritten(self) -> None:
        """
        That is said at the start, not when the first record is lost.
        """
        with capturedLogs() as events:
            self.start("--usage-log", f"{self.mktemp()}/usage.jsonl")
        self.assertIn("Usage records will be lost", "".join(lines(events)))


class ReloadTests(ServiceCase):
    """
    SIGHUP.
    """

    def configure(self, content: str) -> None:
        self.path = getattr(self, "path", None) or self.mktemp()
        Path(self.path).write_text(content)

    def reload(self, content: str) -> list[str]:
        """
        Write another file, and send the signal.

        @return: what was logged.
        """
        self.configure(content)
        with capturedLogs() as events:
            signal.raise_signal(signal.SIGHUP)
            self.settle()
        return lines(events)

    def permits(self, address: str) -> bool:
        return self.service._proxy.access.permits(prepareJID(address))

    def test_reloaded(self) -> None:
        """
        Access, limits and rate count from now on; what runs is not touched.
        """
        self.configure("deny = []")
        service = self.start("--config", self.path)
        first, second = self.relayed()
        self.assertTrue(self.permits("a@example.com"))
        self.assertEqual(
            self.reload("deny = ['a@example.com']\nmax-pending = 5\nmax-sessions = 6\nrate-limit = '1k'"),
            ["Configuration read again"],
        )
        self.assertFalse(self.permits("a@example.com"))
        self.assertEqual(service.rendezvous.limits.maxPending, 5)
        self.assertEqual((service.sessions.limits.maxSessions, service.sessions.limits.rateLimit), (6, 1024))
        first.receive(b"goes on")
        self.assertEqual((second.sent, second.state), (b"goes on", "open"))

    def test_otherChangesWait(self) -> None:
        """
        What needs a restart is named each time, and not used before.
        """
        self.configure("idle-timeout = 900")
        service = self.start("--config", self.path)
        for _ in range(2):
            self.assertEqual(
                self.reload("idle-timeout = 1\npending-timeout = 7\nusage-log = '/x'\nmax-sessions = 2"),
                [
                    "Configuration read again; changed, but used only after a restart: "
                    "idle-timeout, pending-timeout, usage-log"
                ],
            )
        self.assertEqual(service.sessions.limits.idleTimeout, 900)
        self.assertEqual(service.rendezvous.limits.pendingTimeout, 300)
        self.assertEqual(service.sessions.limits.maxSessions, 2)

    def test_nonsense(self) -> None:
        """
        A configuration that is wrong is not used, and the old one is kept.
        """
        self.configure("allow = ['a@example.net']")
        self.start("--config", self.path)
        for content in ("allow = ", "unknown = 1", "allow = ['']", "max-sessions = 0"):
            (line,) = self.reload(content)
            self.assertIn("The new configuration is not used: ", line)
        self.assertTrue(self.permits("a@example.net"))
        Path(self.path).unlink()
        with capturedLogs() as events:
            self.service.reload()
        self.assertIn("cannot read the configuration file", lines(events)[0])

    def test_secretIsNotNeededAgain(self) -> None:
        """
        A secret file that cannot be read any more, since twistd is somebody else now, is no mistake; another
        one is.
        """
        secret = Path(self.mktemp())
        secret.write_text("secret")
        secret.chmod(0o600)
        self.configure(f"secret-file = '{secret}'")
        self.start("--config", self.path)
        secret.unlink()
        self.assertEqual(
            self.reload(f"secret-file = '{secret}'\ndeny = ['a@example.com']"), ["Configuration read again"]
        )
        self.assertFalse(self.permits("a@example.com"))
        (line,) = self.reload(f"secret-file = '{secret}x'")
        self.assertIn("cannot read the secret file", line)

    def test_commandLineStillWins(self) -> None:
        """
        What was said on the command line is not changed by the file.
        """
        self.configure("")
        self.start("--config", self.path, "--allow", "a@example.net")
        self.reload("allow = ['*']")
        self.assertFalse(self.permits("b@example.net"))

    def test_names(self) -> None:
        """
        What is reloaded are settings.
        """
        self.assertLess(RELOADED, {setting.name for setting in SETTINGS})


class StopTests(ServiceCase):
    """
    The end.
    """

    def test_atOnce(self) -> None:
        """
        Without a drain time everything is closed, and the signals are as before.
        """
        before = signal.getsignal(signal.SIGHUP)
        self.start()
        first, second = self.relayed()
        waiting = self.connect("0" * 40)
        self.assertNotEqual(signal.getsignal(signal.SIGHUP), before)
        self.successResultOf(self.stop())
        self.assertEqual((first.state, second.state, waiting.state), ("reset", "reset", "closed"))
        self.assertEqual(signal.getsignal(signal.SIGHUP), before)
        self.assertEqual(self.service.rendezvous.pending, 0)

    def test_drain(self) -> None:
        """
        With one, what runs may go on, and the service ends with the last; who waits does not.
        """
        before = signal.getsignal(signal.SIGTERM)
        self.start("--drain", "60")
        first, second = self.relayed()
        waiting = self.connect("0" * 40)
        with capturedLogs() as events:
            done = self.stop()
        self.assertIn("1 bytestreams may go on for 60 s", " ".join(lines(events)))
        self.assertEqual(waiting.state, "closed")
        self.reactor.advance(30)
        first.receive(b"the rest")
        self.assertEqual(second.sent, b"the rest")
        self.assertNoResult(done)
        first.receiveEnd()
        second.receiveEnd()
        self.settle()
        self.successResultOf(done)
        self.assertEqual((first.state, second.state), ("closed", "closed"))
        self.assertEqual(signal.getsignal(signal.SIGTERM), before)

    def test_drainIsOver(self) -> None:
        """
        When the time is over what still runs is ended.
        """
        self.start("--drain", "60")
        first, _ = self.relayed()
        done = self.stop()
        self.reactor.advance(59)
        self.assertEqual(first.state, "open")
        self.reactor.advance(1)
        self.settle()
        self.assertEqual(first.state, "reset")
        self.successResultOf(done)

    def test_secondSignal(self) -> None:
        """
        A second signal ends it at once, whichever.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            self.stopped = False
            self.reactor = Reactor()
            self.start("--drain", "60")
            first, _ = self.relayed()
            done = self.stop()
            signal.raise_signal(number)
            self.settle()
            self.assertEqual(first.state, "reset")
            self.successResultOf(done)

    def test_silentServer(self) -> None:
        """
        A server that does not read neither delays the end of bytestreams, nor the service's for long; a
        second signal does not wait for it at all.
        """
        for number in (None, signal.SIGTERM):
            self.stopped = False
            self.reactor = Reactor()
            self.start()
            first, _ = self.relayed()
            self.server.room = 0
            self.server.write(b"<iq/>")
            done = self.stop()
            self.assertEqual(first.state, "reset")
            self.assertNoResult(done)
            if number is not None:
                signal.raise_signal(number)
            self.reactor.pump([0 if number else CLOSING_TIMEOUT, 0, 0])
            self.successResultOf(done)

    def test_nothingToDrain(self) -> None:
        """
        With nothing running there is nothing to wait for.
        """
        self.start("--drain", "60")
        self.successResultOf(self.stop())

    def test_notInTheMainThread(self) -> None:
        """
        Where no signal can be heard the service runs without.
        """
        self.patch(signal, "signal", self.noSignal)
        self.start("--drain", "60")
        self.relayed()
        done = self.stop()
        self.reactor.advance(60)
        self.settle()
        self.successResultOf(done)

    def noSignal(self, number: int, handler: Any) -> None:
        raise ValueError("signal only works in main thread of the main interpreter")

    def test_again(self) -> None:
        """
        It can be started again.
        """
        self.start()
        self.successResultOf(self.stop())
        self.stopped = False
        self.service.startService()
        self.assertEqual(len(self.reactor.tcpServers), 2)
        self.relayed()
