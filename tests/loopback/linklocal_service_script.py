"""
Two whole services on the two ends of one cable, in a network namespace of their own; for
L{tests.loopback.test_linklocal_service}.
"""

import hashlib
import importlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    # Before anything imports the default one.
    importlib.import_module(f"twisted.internet.{sys.argv[1]}reactor").install()

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.task import deferLater, react
from twisted.protocols.basic import LineOnlyReceiver

from tests.loopback.linklocal_sockets_script import cable, ip
from xmppbytes.linklocaltap import Options, makeService

ROMEO, JULIET = "romeo@forza", "juliet@pronto"


class Client(LineOnlyReceiver):
    """
    A client of a control socket.
    """

    delimiter = b"\n"
    MAX_LENGTH = 1 << 20

    def __init__(self):
        self.events = []
        self.checks = []

    def lineReceived(self, line):
        self.events.append(json.loads(line))
        for check in list(self.checks):
            check()

    def wait(self, event, **match):
        """
        Wait for an event; it is taken out, with those before it of the same kind.
        """
        found = Deferred()

        def check():
            for one in self.events:
                if one["event"] == event and match.items() <= one.items():
                    self.events.remove(one)
                    self.checks.remove(check)
                    found.callback(one)
                    return

        self.checks.append(check)
        check()
        return found.addTimeout(
            60, reactor, lambda *_: (_ for _ in ()).throw(AssertionError((event, match, self.events)))
        )

    @inlineCallbacks
    def do(self, cmd, **arguments):
        self.sendLine(json.dumps({"cmd": cmd, **arguments}).encode())
        ok = yield self.wait("ok", re=cmd)
        return ok

    @inlineCallbacks
    def refused(self, cmd, **arguments):
        self.sendLine(json.dumps({"cmd": cmd, **arguments}).encode())
        error = yield self.wait("error", re=cmd)
        return error["text"]


@inlineCallbacks
def start(folder, interface, name, *options):
    user, _, machine = name.partition("@")
    parsed = Options()
    own = folder / interface
    parsed.parseOptions(
        [
            *(f"--interface={interface}", f"--user={user}", f"--machine={machine}"),
            *(f"--control=unix:{own}/control", f"--pins={own}/pins", f"--cache-dir={own}/cache"),
            *(f"--receive-dir={own}/received", *options),
        ]
    )
    service = makeService(parsed)
    service.privilegedStartService()
    service.startService()
    client = yield connectProtocol(UNIXClientEndpoint(reactor, f"{own}/control"), Client())
    return service, client


@inlineCallbacks
def talk(folder):
    picture = folder / "me.png"
    picture.write_bytes(b"\x89PNG" + bytes(3000))
    first, juliet = yield start(folder, "l1", JULIET, f"--avatar={picture}", "--nick=JuliC")
    second, romeo = yield start(folder, "r1", ROMEO, "--tls=required", "--dashed-names")
    yield juliet.wait("signed-on", name=JULIET)
    yield romeo.wait("signed-on", name=ROMEO)
    yield romeo.wait("buddy-on", name=JULIET, nick="JuliC")
    icon = yield romeo.wait("buddy-icon", name=JULIET)
    assert Path(icon["path"]).read_bytes() == picture.read_bytes()
    late = yield connectProtocol(UNIXClientEndpoint(reactor, f"{folder}/l1/control"), Client())
    yield late.wait("signed-on", name=JULIET)

    said = yield romeo.do("im", to="Juliet@PRONTO", text="M'lady")
    assert (said["to"], said["tls"], said["pinned"]) == (JULIET, True, False), said
    for client in (juliet, late):
        heard = yield client.wait("im", text="M'lady")
        assert (heard["from"], heard["tls"]) == (ROMEO, True), heard
    codes = []
    for client, other in ((juliet, ROMEO), (romeo, JULIET)):
        verified = yield client.do("verify", to=other)
        codes.append(verified["code"])
    assert codes[0] == codes[1], codes
    roster = yield juliet.do("roster")
    assert [(one["name"], one["tls"]) for one in roster["roster"]] == [(ROMEO, True)], roster

    path = folder / "a file.bin"
    path.write_bytes(bytes(range(256)) * 4000)
    yield juliet.do("file", to=ROMEO, path=str(path))
    request = yield romeo.wait("file-request", name="a file.bin")
    yield romeo.do("accept", id=request["id"])
    done = yield romeo.wait("file-done")
    assert done["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    yield juliet.wait("file-done")

    yield juliet.do("status", status="dnd", message="at the ball")
    yield romeo.wait("buddy-status", status="dnd", message="at the ball")
    yield juliet.do("avatar", path=None)
    gone = yield romeo.wait("buddy-icon", name=JULIET)
    assert gone["path"] is None
    yield romeo.do("close", to=JULIET)
    yield juliet.wait("stream", name=ROMEO, state="closed")
    text = yield romeo.refused("verify", to="nobody@here")
    assert "nobody" in text, text

    # Somebody of the same name, on the same cable.
    third, other = yield start(folder / "third", "l1", ROMEO, "--dashed-names", "--tls=off")
    yield other.wait("signed-on", name="romeo-1@forza")
    yield romeo.wait("buddy-on", name="romeo-1@forza")
    text = yield romeo.refused("im", to="romeo-1@forza", text="psst")
    assert "--tls=required" in text, text
    text = yield other.refused("verify", to=JULIET)
    assert "not encrypted" in text, text
    for client in (juliet, late, romeo, other):
        client.transport.loseConnection()
    yield first.stopService()
    yield deferLater(reactor, 0.1)
    yield second.stopService()
    yield third.stopService()


def main(_):
    ip("link", "set", "lo", "up")
    cable(1)
    folder = Path(tempfile.mkdtemp(prefix="xb"))

    def finished(result):
        shutil.rmtree(folder)
        return result

    return talk(folder).addBoth(finished).addCallback(lambda _: print("OK"))


if __name__ == "__main__":
    react(main)
