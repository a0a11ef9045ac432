"""
C{xmppbytes chat} in a real terminal.
"""

import hashlib
import sys
from pathlib import Path
from tempfile import mkdtemp

from twisted.internet.defer import inlineCallbacks

from tests.interop.linklocal_lab import HOST_SCRIPT, HOSTS, ROOT, TMUX
from tests.interop.terminal import Terminal
from tests.interop.test_linklocal_service import ServiceTestCase

MAIN = "import sys; from xmppbytes.cli import main; sys.exit(main())"
CHAT = [sys.executable, "-c", MAIN, "chat"]
PLACE = {"PYTHONPATH": str(ROOT)}


class ChatTests(ServiceTestCase):
    """
    Juliet has a service, Romeo sits at a terminal.
    """

    needs = (HOSTS, TMUX)

    def terminal(self, *command):
        terminal = Terminal(command, PLACE)
        self.addCleanup(terminal.close)
        return terminal

    @inlineCallbacks
    def test_talk(self):
        """
        The roster, messages both ways, the code, a file both ways with progress, a refusal, the end.
        """
        juliet = yield self.lab.service("pronto", "juliet", "--nick", "JuliC", "--message", "M'lady")
        romeo = yield self.lab.service("forza", "romeo")
        yield romeo.wait("buddy-on", name="juliet@pronto")
        screen = self.terminal(*CHAT, "--control", f"unix:{romeo.socket}")
        yield screen.wait("juliet@pronto alias JuliC is here (M'lady)")
        screen.type("hello")
        yield screen.wait("to whom?")
        screen.type("/to jul")
        yield screen.wait("juliet@pronto>")
        screen.type("But soft, what l\u00efght")
        yield juliet.wait("im", text="But soft, what l\u00efght", tls=True)
        yield screen.wait("first contact with juliet@pronto")
        yield juliet.do("im", to="romeo@forza", text="Art thou not Romeo?")
        yield screen.wait("[key not known before] juliet@pronto: Art thou not Romeo?")
        code = yield juliet.do("verify", to="romeo@forza")
        screen.type("/verify")
        yield screen.wait(f"compare by voice with juliet@pronto: {code['code']}")

        path = self.file("a file.bin", 3_000_000)
        screen.type(f"/send {path}")
        request = yield juliet.wait("file-request")
        yield juliet.do("accept", id=request["id"])
        done = yield juliet.wait("file-done")
        self.assertEqual(done["sha256"], hashlib.sha256(path.read_bytes()).hexdigest())
        yield screen.wait("'a file.bin' is with juliet@pronto")

        yield juliet.do("file", to="romeo@forza", path=str(path))
        yield screen.wait("offers 'a file.bin' (2.9 MiB)")
        screen.type("/accept")
        yield screen.wait("'a file.bin' from juliet@pronto is in")
        yield juliet.do("file", to="romeo@forza", path=str(path))
        yield screen.wait("/accept 3")
        screen.type("/decline")
        yield juliet.wait("file-cancel")

        screen.type("/status dnd at the ball")
        yield juliet.wait("buddy-status", status="dnd", message="at the ball")
        juliet.service.kill("TERM")
        yield screen.wait("juliet@pronto has left")
        screen.type("where art thou")
        yield screen.wait("! nobody of the name juliet@pronto")
        screen.type("/quit")
        yield screen.wait("ended with 0")
        yield romeo.do("roster")

    @inlineCallbacks
    def test_ownService(self):
        """
        Without a service one is started, and ends with the chat.
        """
        juliet = yield self.lab.service("pronto", "juliet")
        folder = Path(mkdtemp(prefix="xb"))
        self.lab.sockets.append(folder)
        screen = self.terminal(
            *(HOST_SCRIPT, f"{self.lab.prefix}forza", "forza", folder / "work", "--no-avahi", "--"),
            *(*CHAT, "--control", f"unix:{folder / 'control'}", "--"),
            *("--user", "romeo", "--machine", "forza", "--pins", folder / "pins"),
        )
        yield screen.wait("you are romeo@forza")
        yield juliet.wait("buddy-on", name="romeo@forza")
        yield screen.wait("juliet@pronto is here")
        screen.type("/to juliet@pronto")
        screen.type("hello")
        yield juliet.wait("im", text="hello")
        screen.press("C-d")
        yield screen.wait("ended with 0")
        yield juliet.wait("buddy-off", name="romeo@forza")
        self.assertFalse((folder / "control").exists())

    @inlineCallbacks
    def test_serviceEnds(self):
        """
        When the service ends the chat says so and ends.
        """
        romeo = yield self.lab.service("forza", "romeo")
        screen = self.terminal(*CHAT, "--control", f"unix:{romeo.socket}")
        yield screen.wait("you are romeo@forza")
        romeo.service.kill("TERM")
        yield screen.wait("the service has ended")
        yield screen.wait("ended with 0")
