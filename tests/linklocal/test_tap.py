"""
Tests for L{xmppbytes.linklocaltap}, and for the service as far as it goes without a link.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.protocols.basic import LineOnlyReceiver
from twisted.trial.unittest import TestCase

from xmppbytes import linklocaltap
from xmppbytes.errors import ConfigurationError
from xmppbytes.linklocal.presence import Presence
from xmppbytes.linklocalservice import LinkLocalService, presenceFrom
from xmppbytes.linklocaltap import Options, makeService


class TapTestCase(TestCase):
    """
    Options in a home folder of their own.
    """

    def setUp(self):
        # Short, since the path of a socket is.
        self.home = Path(tempfile.mkdtemp(prefix="xb"))
        self.addCleanup(shutil.rmtree, self.home)
        self.patch(
            os,
            "environ",
            {
                **os.environ,
                "HOME": str(self.home),
                "XDG_RUNTIME_DIR": str(self.home / "run"),
                "XDG_STATE_HOME": str(self.home / "state"),
            },
        )

    def parse(self, *arguments):
        options = Options()
        options.parseOptions(list(arguments))
        return options

    def refused(self, *arguments):
        return str(self.assertRaises(SystemExit, self.parse, *arguments))


class OptionsTests(TapTestCase):
    """
    The command line.
    """

    def test_defaults(self):
        """
        Nothing needs to be given; files lie where they belong.
        """
        values = self.parse().chosen
        self.assertEqual(
            values["control"], f"unix:{self.home}/run/xmppbytes/linklocal.sock:mode=600:lockfile=1"
        )
        self.assertEqual(values["pins"], self.home / "state/xmppbytes/linklocal-pins")
        self.assertEqual(values["receive-dir"], self.home / "Downloads")
        self.assertEqual((values["tls"], values["accept"], values["status"]), ("optional", "ask", "avail"))
        self.assertEqual((self.home / "run/xmppbytes").stat().st_mode & 0o777, 0o700)
        del os.environ["XDG_RUNTIME_DIR"]
        self.assertIn("state/xmppbytes/linklocal.sock", self.parse().chosen["control"])

    def test_control(self):
        """
        Other endpoints, and other modes, are left as they are.
        """
        self.assertEqual(self.parse("--control=tcp:1:interface=::1").chosen["control"], "tcp:1:interface=::1")
        self.assertEqual(self.parse("--control=none").chosen["control"], "none")
        own = f"unix:{self.home}/c:mode=660:lockfile=0"
        self.assertEqual(self.parse(f"--control={own}").chosen["control"], own)
        inName = f"unix:{self.home}/mode=1,lockfile=0"
        self.assertEqual(self.parse(f"--control={inName}").chosen["control"], f"{inName}:mode=600:lockfile=1")
        self.assertIn("too long", self.refused(f"--control=unix:/{'x' * 101}"))
        (self.home / "file").touch()
        self.assertIn("cannot make the folder", self.refused(f"--control=unix:{self.home}/file/c"))

    def test_presence(self):
        """
        Nothing personal is told that was not given; --no-personal-info overrides all.
        """
        self.assertEqual(presenceFrom(self.parse().chosen), Presence())
        given = ["--first=J", "--last=C", "--nick=JuliC", "--email=a@b", "--email=c@d", "--jid=j@x"]
        told = presenceFrom(self.parse(*given, "--status=dnd", "--message=hi").chosen)
        self.assertEqual(
            told, Presence("dnd", "hi", first="J", last="C", nick="JuliC", email="a@b c@d", jid="j@x")
        )
        nothing = presenceFrom(self.parse(*given, "--message=hi", "--no-personal-info").chosen)
        self.assertEqual(nothing, Presence(message="hi"))

    def test_config(self):
        """
        Everything may stand in a file.
        """
        file = self.home / "c.toml"
        file.write_text('user = "juliet"\ninterface = ["eth0", "eth1"]\nno-personal-info = true\n')
        values = self.parse(f"--config={file}").chosen
        self.assertEqual((values["user"], values["interface"]), ("juliet", ("eth0", "eth1")))

    def test_wrong(self):
        """
        What makes no sense is said in one line.
        """
        self.assertIn("choose one of", self.refused("--status=chatty"))
        self.assertIn("choose one of", self.refused("--tls=maybe"))

    def test_forward(self):
        """
        Forwarding needs an account and its password.
        """
        self.assertIn("needs --account", self.refused("--forward-to=a@b"))
        account = ["--forward-to=a@b", "--account=c@d"]
        self.assertIn("cannot read", self.refused(*account, f"--password-file={self.home}/p"))
        (self.home / "p").write_text("\n")
        self.assertIn("is empty", self.refused(*account, f"--password-file={self.home}/p"))
        (self.home / "p").write_text("secret\n")
        self.assertEqual(self.parse(*account, f"--password-file={self.home}/p").chosen["password"], "secret")
        for wrong in ("--forward-to=@", "--account=example.org"):
            self.assertIn("is not possible", self.refused(wrong))


class Client(LineOnlyReceiver):
    """
    A client of the control socket.
    """

    delimiter = b"\n"

    def __init__(self):
        self.lines = []
        self.waiting = None

    def lineReceived(self, line):
        self.lines.append(json.loads(line))
        if self.waiting is not None:
            waiting, self.waiting = self.waiting, None
            waiting.callback(self.lines[-1])

    def tell(self, **command):
        self.sendLine(json.dumps(command).encode())
        self.waiting = Deferred()
        return self.waiting


class ServiceTests(TapTestCase):
    """
    The service on no link at all.
    """

    @inlineCallbacks
    def test_lonely(self):
        """
        Without a link the control socket is there, for our eyes only; nobody can be spoken to.
        """
        options = self.parse("--interface=no-such-if0", "--user=juliet", "--machine=pronto")
        service = makeService(options)
        self.assertIsInstance(service, LinkLocalService)
        service.privilegedStartService()
        service.startService()
        socket = self.home / "run/xmppbytes/linklocal.sock"
        self.assertEqual(socket.stat().st_mode & 0o777, 0o600)
        client = yield connectProtocol(UNIXClientEndpoint(reactor, str(socket)), Client())
        for command, text in (
            ({"cmd": "im", "to": "a@b", "text": "x"}, "not signed on"),
            ({"cmd": "verify", "to": "a@b"}, "not signed on"),
            ({"cmd": "file", "to": "a@b", "path": "/etc/hostname"}, "nobody of the name"),
            ({"cmd": "close", "to": "a@b"}, "no stream"),
            ({"cmd": "status", "status": "x"}, "a status is one of"),
            ({"cmd": "avatar", "path": "/no/such/file"}, "cannot read"),
            ({"cmd": "accept", "id": "1"}, "no file with the id"),
        ):
            answer = yield client.tell(**command)
            self.assertEqual((answer["event"], answer["re"]), ("error", command["cmd"]))
            self.assertIn(text, answer["text"])
        answer = yield client.tell(cmd="roster")
        self.assertEqual((answer["name"], answer["roster"]), ("juliet@pronto", []))
        for command in ({"cmd": "status", "status": "dnd"}, {"cmd": "avatar", "path": None}):
            answer = yield client.tell(**command)
            self.assertEqual(answer["event"], "ok")
        client.transport.loseConnection()
        yield service.stopService()
        self.assertFalse(socket.exists())

    def test_wrong(self):
        """
        What cannot work ends the program with one line.
        """
        bad = self.home / "bad"
        bad.write_text("nonsense")
        for arguments in ([f"--pins={bad}"], ["--avatar=/no/such"], ["--listen=nonsense:1"]):
            error = self.assertRaises(SystemExit, makeService, self.parse(*arguments))
            self.assertTrue(str(error).startswith("twistd linklocal: "), error)

    @inlineCallbacks
    def test_badName(self):
        """
        So does a name that cannot be published.
        """
        service = makeService(self.parse("--user=a&b", "--interface=no-such-if0", "--control=none"))
        service.privilegedStartService()
        error = self.assertRaises(SystemExit, service.startService)
        self.assertIn("choose another one", str(error))
        yield service.stopService()

    @inlineCallbacks
    def test_noAvatar(self):
        """
        With --no-personal-info no avatar is shown, nor can one be set.
        """
        picture = self.home / "me.png"
        picture.write_bytes(b"png")
        service = makeService(
            self.parse(f"--avatar={picture}", "--no-personal-info", "--interface=no-such-if0")
        )
        service.privilegedStartService()
        service.startService()
        self.assertEqual(service.discovery.presence.phsh, "")
        self.assertRaises(ConfigurationError, service.commands.setAvatar, str(picture))
        yield service.stopService()

    def test_plugin(self):
        """
        twistd finds it.
        """
        from twisted.plugins import xmppbytes_plugins

        self.assertEqual(xmppbytes_plugins.linklocal.tapname, "linklocal")
        self.assertIs(xmppbytes_plugins.linklocal.options, linklocaltap.Options)
