"""
Tests for L{xmppbytes.proxytap}.
"""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

import xmppbytes
from tests.fakes import lines
from xmppbytes import proxyservice
from xmppbytes.proxyservice import ProxyService
from xmppbytes.proxytap import SECRET_VARIABLE, Options, makeService
from xmppbytes.proxyvalues import limitsFrom

ROOT = Path(xmppbytes.__file__).parents[1]


class OptionsCase(SynchronousTestCase):
    """
    The command line of the proxy.
    """

    def setUp(self) -> None:
        environment = {k: v for k, v in os.environ.items() if k != SECRET_VARIABLE}
        self.patch(os, "environ", environment)

    def parse(self, *arguments: str) -> dict[str, Any]:
        self.options = Options()
        self.options.parseOptions(arguments)
        return self.options.chosen

    def refusal(self, *arguments: str) -> str:
        end = self.assertRaises(SystemExit, self.parse, *arguments)
        text = str(end.code)
        self.assertTrue(text.startswith("twistd s5bproxy: "), text)
        self.assertNotIn("\n", text)
        return text

    def file(self, content: str, mode: int = 0o600) -> str:
        path = self.mktemp()
        Path(path).write_text(content)
        os.chmod(path, mode)
        return path


class OptionTests(OptionsCase):
    """
    What the options say.
    """

    def test_defaults(self) -> None:
        """
        The defaults are those that are documented.
        """
        chosen = self.parse("--jid", "Proxy.Example.ORG", "--secret", "x")
        expected = {
            "jid": "proxy.example.org",
            "server": "tcp:127.0.0.1:5347",
            "listen": ("tcp:7777",),
            "advertise": (),
            "allow": (),
            "deny": (),
            "handshake-timeout": 10.0,
            "pending-timeout": 300.0,
            "idle-timeout": 900.0,
            "max-pending": 5000,
            "max-pending-per-address": 100,
            "max-sessions": 10000,
            "max-sessions-per-jid": 100,
            "rate-limit": None,
            "no-udp": False,
            "usage-log": None,
            "usage-log-blur": False,
            "drain": 0.0,
        }
        self.assertEqual({name: chosen[name] for name in expected}, expected)

    def test_everyOptionIsAKey(self) -> None:
        """
        A file can say all that the command line can.
        """
        path = self.file(
            """
            jid = "proxy.example.org"
            secret = "x"
            server = "tcp:10.0.0.1:5347"
            listen = ["tcp:7777", "unix:/run/s5b"]
            advertise = ["[2001:DB8::1]:80", "proxy.example.org"]
            allow = ["*"]
            deny = ["evil.example"]
            handshake-timeout = 5
            pending-timeout = "60s"
            idle-timeout = 0
            max-pending = 1
            max-pending-per-address = 2
            max-sessions = 3
            max-sessions-per-jid = 4
            rate-limit = "1M"
            no-udp = true
            usage-log = "/var/log/s5b"
            usage-log-blur = true
            drain = 30
            """
        )
        chosen = self.parse("--config", path)
        self.assertEqual(chosen["advertise"], (("2001:db8::1", 80), ("proxy.example.org", None)))
        self.assertEqual((chosen["allow"], chosen["deny"]), (("*",), ("evil.example",)))
        limits = limitsFrom(chosen)
        self.assertEqual((limits.handshakeTimeout, limits.pendingTimeout, limits.idleTimeout), (5, 60, 0))
        self.assertEqual((limits.maxPending, limits.maxPendingPerAddress), (1, 2))
        self.assertEqual((limits.maxSessions, limits.maxSessionsPerJid, limits.rateLimit), (3, 4, 2**20))

    def test_handshakeIsNeverLonger(self) -> None:
        """
        The time for the handshake is never longer than that for the activation.
        """
        chosen = self.parse("--jid", "p.x", "--secret", "x", "--pending-timeout", "5")
        self.assertEqual(limitsFrom(chosen).handshakeTimeout, 5)

    def test_refused(self) -> None:
        """
        What cannot be is said in one line.
        """
        base = ("--jid", "proxy.example.org", "--secret", "x")
        for arguments, words in (
            (("--secret", "x"), "--jid is required"),
            (("--jid", "", "--secret", "x"), "--jid"),
            (("--jid", "a@b", "--secret", "x"), "give the domain"),
            (("--jid", "a@b@c", "--secret", "x"), "--jid"),
            (("--jid", "proxy.example.org"), "a secret is required"),
            ((*base, "--secret-file", "x"), "--secret and --secret-file"),
            ((*base, "--handshake-timeout", "0"), "--handshake-timeout"),
            ((*base, "--pending-timeout", "0"), "--pending-timeout"),
            ((*base, "--max-sessions", "0"), "--max-sessions"),
            ((*base, "--rate-limit", "fast"), "--rate-limit"),
            ((*base, "--advertise", ":80"), "--advertise"),
            ((*base, "--allow", ""), "is no address rule"),
            ((*base, "--deny", "a@b@c"), "is no address rule"),
            ((*base, "--config", self.file("listen = []")), "listen names nothing"),
            ((*base, "--config", self.file("allow = ['x@y@z']")), "is no address rule"),
            ((*base, "--relay", "magic"), "--relay"),
        ):
            self.assertIn(words, self.refusal(*arguments), arguments)


class SecretTests(OptionsCase):
    """
    Where the secret comes from.
    """

    def secret(self, *arguments: str) -> str:
        secret: str = self.parse("--jid", "p.x", *arguments)["secret"]
        return secret

    def test_sources(self) -> None:
        """
        A file (without the end of its line), the environment, the command line, the configuration.
        """
        self.assertEqual(self.secret("--secret", "line"), "line")
        self.assertEqual(self.secret("--secret-file", self.file(" in a file \r\n")), " in a file ")
        self.assertEqual(self.secret("--config", self.file('secret = "configured"')), "configured")
        os.environ[SECRET_VARIABLE] = "environment"
        self.assertEqual(self.secret(), "environment")
        self.assertEqual(self.secret("--secret-file", self.file("file")), "file")

    def test_commandLineWins(self) -> None:
        """
        --secret wins over a configured secret-file, and --secret-file over a configured secret.
        """
        configured = self.file(f"secret-file = '{self.file('file')}'")
        self.assertEqual(self.secret("--config", configured), "file")
        self.assertEqual(self.secret("--config", configured, "--secret", "line"), "line")
        configured = self.file("secret = 'configured'")
        self.assertEqual(self.secret("--config", configured, "--secret-file", self.file("file")), "file")

    def test_refused(self) -> None:
        """
        A file that is missing, empty or no text; a secret that is empty.
        """
        for arguments, words in (
            (
                ("--secret-file", "/does/not/exist"),
                "cannot read the secret file /does/not/exist: No such file",
            ),
            (("--secret-file", "/"), "cannot read the secret file"),
            (("--secret-file", self.file("\n")), "is empty"),
            (("--secret", ""), "a secret is required"),
            (("--config", self.file('secret-file = "a\\u0000b"')), "cannot read the secret file"),
        ):
            self.assertIn(words, self.refusal("--jid", "p.x", *arguments))
        path = self.mktemp()
        Path(path).write_bytes(b"\xff\xfe")
        self.assertIn("cannot read the secret file", self.refusal("--jid", "p.x", "--secret-file", path))


class MakeServiceTests(OptionsCase):
    """
    The service made of them.
    """

    def setUp(self) -> None:
        super().setUp()
        import_module("twisted.internet.reactor")
        self.patch(sys.modules["twisted.internet"], "reactor", MemoryReactorClock())
        self.patch(proxyservice, "raiseDescriptorLimit", lambda: 10**6)

    def make(self, *arguments: str) -> list[str]:
        """
        Make the service.

        @return: the warnings.
        """
        self.parse("--jid", "p.x", *arguments)
        with capturedLogs() as events:
            self.assertIsInstance(makeService(self.options), ProxyService)
        return lines(e for e in events if e["log_level"].name == "warn")

    def test_warnings(self) -> None:
        """
        A secret that others can see is warned of, and never written.
        """
        (line,) = self.make("--secret", "hush")
        self.assertIn("--secret", line)
        self.assertNotIn("hush", line)
        (line,) = self.make("--secret-file", self.file("hush", 0o644))
        self.assertIn("can be read by others", line)
        self.assertEqual(self.make("--secret-file", self.file("hush")), [])

    def test_refused(self) -> None:
        """
        What turns out only now ends the program with one line as well.
        """
        for arguments, words in (
            (("--listen", "nonsense"), "cannot listen on 'nonsense'"),
            (("--server", "nonsense:1"), "cannot connect to 'nonsense:1'"),
        ):
            self.parse("--jid", "p.x", "--secret", "x", *arguments)
            end = self.assertRaises(SystemExit, makeService, self.options)
            self.assertIn(words, str(end.code))


class ProcessTests(SynchronousTestCase):
    """
    The real program.
    """

    def run_(self, *arguments: str) -> tuple[int, str]:
        """
        Run twistd to its end.

        @return: exit code, and what was written to stderr.
        """
        folder = self.mktemp()
        os.mkdir(folder)
        program = "from twisted.scripts.twistd import run; run()"
        done = subprocess.run(
            [sys.executable, "-c", program, "-n", "--pidfile=", "s5bproxy", *arguments],
            capture_output=True,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=60,
        )
        return done.returncode, done.stderr

    def test_wrongOptions(self) -> None:
        """
        One clear line on stderr, exit code 1, no traceback.
        """
        for arguments, line in (
            (("--secret", "x"), "--jid is required: the component's domain, such as proxy.example.org"),
            (("--jid", "p.x", "--nonsense"), "option --nonsense not recognized"),
            (
                ("--jid", "p.x", "--config", "missing.toml"),
                "cannot read the configuration file .*missing.toml: No such file or directory",
            ),
            (("--jid", "p.x", "--secret", "x", "--server", "x"), "--server: cannot connect to 'x'.*"),
        ):
            code, text = self.run_(*arguments)
            self.assertEqual((code, text.count("\n")), (1, 1), text)
            self.assertRegex(text, f"^twistd s5bproxy: {line}\n$")
