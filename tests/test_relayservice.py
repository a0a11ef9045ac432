"""
Tests for L{xmppbytes.relayservice}, and for the DTCP relay's part of L{xmppbytes.proxytap}.
"""

from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import TestCase

from tests.dtcp.lab import REQUESTER, TARGET, Recorder
from xmppbytes.dtcp.stanzas import Host
from xmppbytes.proxyservice import ProxyService
from xmppbytes.proxytap import Options
from xmppbytes.wire.dtcprelay import Request, Verb

COMPONENT = ("--jid", "proxy.example.org", "--secret", "x", "--server", "tcp:127.0.0.1:1")
LISTEN = ("--listen", "tcp:0:interface=127.0.0.1")
RELAY = ("--dtcp-relay", "tcp:0:interface=127.0.0.1")
ALONE = (*RELAY, "--dtcp-relay-open", "--allow", "montague.example")


def parse(*arguments: str) -> Options:
    """
    Parse a command line.
    """
    options = Options()
    options.parseOptions(list(arguments))
    return options


class OptionTests(TestCase):
    """
    What goes together.
    """

    def refused(self, words: str, *arguments: str) -> None:
        error = self.assertRaises(SystemExit, parse, *arguments)
        self.assertIn(words, str(error))

    def test_withoutComponent(self) -> None:
        """
        Without a component connection the relay is refused, since nobody's word can be verified.
        """
        self.refused("--dtcp-relay needs --jid", *RELAY)

    def test_openWithoutComponent(self) -> None:
        """
        An open relay needs none; but it must be told who may use it.
        """
        self.refused("--allow is required", *RELAY, "--dtcp-relay-open")
        self.assertIsNone(parse(*ALONE).chosen["jid"])

    def test_nothing(self) -> None:
        """
        Without a relay the component's domain is required, as ever.
        """
        self.refused("--jid is required")
        self.refused("opens nothing without dtcp-relay", "--dtcp-relay-open")

    def test_badEndpoint(self) -> None:
        """
        An endpoint that cannot be understood.
        """
        options = parse(*COMPONENT, "--dtcp-relay", "nonsense")
        self.assertRaisesRegex(Exception, "nonsense", ProxyService, reactor, options)


class ServiceTests(TestCase):
    """
    The relay in the proxy's service.
    """

    def start(self, *arguments: str) -> Any:
        service = ProxyService(reactor, parse(*arguments))
        service.privilegedStartService()
        service.startService()
        self.addCleanup(service.stopService)
        return service

    async def say(self, service: Any, verb: Verb) -> Recorder:
        recorder = Recorder()
        port = service._dtcp.listener.port.getHost().port
        await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(Factory.forProtocol(lambda: recorder))
        recorder.transport.write(Request(verb, b"k", REQUESTER, TARGET).toBytes())
        return recorder

    def test_offByDefault(self) -> None:
        """
        Without the option there is no relay.
        """
        self.assertIsNone(self.start(*COMPONENT, *LISTEN)._dtcp)

    def test_tickets(self) -> None:
        """
        With a component, tickets tell the advertised hosts with the relay's own port.
        """
        service = self.start(*COMPONENT, *LISTEN, *RELAY, "--advertise", "files.example.org:7777")
        port = service._dtcp.listener.port.getHost().port
        self.assertEqual(service._dtcp.handler.hosts, (Host("files.example.org", port),))
        self.assertIn(service._dtcp.handler, service._makeHandlers())

    async def test_alone(self) -> None:
        """
        Alone and open it relays, after a warning; nothing else listens.
        """
        with capturedLogs() as logs:
            service = self.start(*ALONE)
        self.assertIn("is open", next(e for e in logs if e["log_level"] is LogLevel.warn)["log_format"])
        self.assertEqual(len(service._listeners), 1)
        one = await self.say(service, Verb.CREATE)
        other = await self.say(service, Verb.CONNECT)
        self.assertEqual(await other.whenReceived(3), b"OK\0")
        self.assertEqual(await one.whenReceived(3), b"OK\0")
        for end in (one, other):
            end.transport.loseConnection()
            await end.lost

    async def test_reload(self) -> None:
        """
        Reloading changes who may use the relay.
        """
        path = self.mktemp()
        with open(path, "w") as file:
            file.write('allow = ["montague.example"]\n')
        service = self.start(*RELAY, "--dtcp-relay-open", "--config", path)
        with open(path, "w") as file:
            file.write('allow = ["capulet.example"]\n')
        service.reload()
        refused = await self.say(service, Verb.CREATE)
        await refused.lost
        self.assertEqual(refused.received, b"ERROR\0")

    def test_noPort(self) -> None:
        """
        An endpoint without a TCP port cannot be told to clients.
        """
        path = self.mktemp()
        service = ProxyService(reactor, parse(*COMPONENT, *LISTEN, "--dtcp-relay", f"unix:{path}"))
        self.addCleanup(service.stopService)
        self.assertRaises(SystemExit, service.privilegedStartService)
