"""
Libervia (formerly Salut a Toi) 0.9, headless, as a peer driven by lines of JSON; see ../peer.py.

No D-Bus and no command line: it runs the backend in this process and is its "bridge". Debian:
libervia-backend python3-netifaces; run it with Debian's own Python.

    libervia.py --jid juliet@localhost/l --password x --home DIR [--server 127.0.0.1] [--port 5222]
                [--files accept|decline] [--no-direct] [--no-proxy] [--keep-losers] [--fix]

commands: file to path [method: si or jingle] | im to text | disco to | bridge name args
events:   ready signed-on im presence; file-recv-request file size who; file-saved local size sha256;
          file-recv-cancel; file-offered; file-send-complete; file-send-cancel text; bridge; error

--fix mends three faults of 0.9 in Jingle, see fix(); SI works as shipped. --keep-losers leaves those
SOCKS5 connections open that were not chosen.
"""

import argparse
import base64
import hashlib
import json
import logging
import os
import sys
import types

parser = argparse.ArgumentParser()
parser.add_argument("--jid", required=True)
parser.add_argument("--password", required=True)
parser.add_argument("--home", required=True)
parser.add_argument("--server", default="127.0.0.1")
parser.add_argument("--port", default="5222")
parser.add_argument("--files", choices=("accept", "decline"), default="accept")
parser.add_argument("--no-direct", action="store_true")
parser.add_argument("--no-proxy", action="store_true")
parser.add_argument("--keep-losers", action="store_true")
parser.add_argument("--fix", action="store_true")
OPTIONS = parser.parse_args()
HOME = os.path.abspath(OPTIONS.home)
SAVE = os.path.join(HOME, "received")
PROFILE = "lab"

for name in ("received", "media", "downloads"):
    os.makedirs(os.path.join(HOME, name), exist_ok=True)
os.environ.update(
    HOME=HOME,
    XDG_DATA_HOME=HOME + "/data",
    XDG_CONFIG_HOME=HOME + "/config",
    XDG_CACHE_HOME=HOME + "/cache",
    XDG_CONFIG_DIRS=HOME + "/none",
    XDG_DATA_DIRS=HOME + "/none",
    LIBERVIA_BRIDGE_NAME="jsonl",
)
with open(HOME + "/libervia.conf", "w") as configuration:
    configuration.write(
        f"[DEFAULT]\nmedia_dir = {HOME}/media\nlocal_dir = {HOME}/data\n"
        f"downloads_dir = {HOME}/downloads\nlog_dir = {HOME}\npid_dir = {HOME}\n"
    )

# Events go to the original standard output; the backend's chatter on it goes to the log.
events = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)


def emit(event, **fields):
    events.write(json.dumps({"event": event, **fields}, default=str) + "\n")


sys.path.insert(0, os.environ.get("LIBERVIA_PATH", "/usr/share/libervia"))
from twisted.internet import asyncioreactor

asyncioreactor.install()
from sat.core import exceptions, log_config
from sat.core.constants import Const
from twisted.internet import defer, reactor, stdio
from twisted.protocols.basic import LineReceiver

logging.basicConfig(level=logging.INFO, stream=sys.stderr)
log_config.satConfigure(Const.LOG_BACKEND_STANDARD, Const)
incoming = []  # the paths of files that are being received


class Bridge:
    """
    What the backend takes for its D-Bus.
    """

    def __init__(self):
        self.methods = {}

    def register_method(self, name, callback):
        self.methods[name] = callback

    def addMethod(self, name, int_suffix, in_sign, out_sign, method, async_=False, doc=None):
        self.methods[name] = method

    def addSignal(self, *arguments, **fields):
        pass

    def sendSignal(self, name, *arguments, **fields):
        self.signalled(name, arguments)

    def signalled(self, name, arguments):
        if name == "connected":
            emit("signed-on")
        elif name == "messageNew":
            emit("im", sender=arguments[2], text=arguments[4])
        elif name == "presenceUpdate":
            emit("presence", sender=arguments[0], show=arguments[1])
        elif name == "progressFinished":
            reactor.callLater(0.2, finished)
        elif name == "progressError":
            failed(arguments[1])

    def __getattr__(self, name):
        if name.startswith("_") or name == "postInit":
            raise AttributeError(name)
        return lambda *a, **k: self.signalled(name, a + tuple(k.values()))


def finished():
    if not incoming:
        emit("file-send-complete")
    while incoming:
        path = incoming.pop(0)
        with open(path, "rb") as file:
            data = file.read()
        emit("file-saved", local=path, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def failed(reason):
    emit("file-recv-cancel" if incoming else "file-send-cancel", text=reason)
    incoming.clear()


module = types.ModuleType("sat.bridge.jsonl")
module.Bridge, module.__file__ = Bridge, "jsonl.py"
sys.modules["sat.bridge.jsonl"] = module


async def chooseDestination(client, peer, transfer, file, stream):
    """
    The user's answer to an offer (trigger FILE_getDestDir).
    """
    emit("file-recv-request", who=peer.full(), file=file["name"], size=file.get("size"))
    if OPTIONS.files == "decline":
        return False, False
    file["file_path"] = os.path.join(SAVE, os.path.basename(file["name"]))
    incoming.append(file["file_path"])
    host.plugins["FILE"].openFileWrite(client, file["file_path"], transfer, file, stream)
    return False, True


def fix():
    """
    1. <hash/> (XEP-0300) holds base64 of the hexadecimal digest, both ways; a true one raises UnicodeDecodeError.
    2. An offer with neither <hash/> nor <hash-used/> is refused with failed-application.
    3. Candidate.activate() is called with the wrong arguments: its own proxy always ends in proxy-error.
    """
    hashes = host.plugins["XEP-0300"]
    build, parse, used = hashes.buildHashElt, hashes.parseHashElt, hashes.parseHashUsedElt

    def buildTrue(digest, algorithm="sha-256"):
        element = build(digest, algorithm)
        element.children = [base64.b64encode(bytes.fromhex(digest)).decode()]
        return element

    def parseTrue(parent):
        for element in parent.elements("urn:xmpp:hashes:2", "hash"):
            raw = base64.b64decode(str(element))
            element.children = [base64.b64encode(raw.hex().encode()).decode()]
        return parse(parent)

    def parseUsed(parent):
        try:
            return used(parent)
        except exceptions.NotFound:
            return None

    hashes.buildHashElt, hashes.parseHashElt, hashes.parseHashUsedElt = buildTrue, parseTrue, parseUsed
    candidate = host.plugins["XEP-0065"].Candidate
    activate = candidate.activate
    candidate.activate = lambda self, *a: (
        activate(self, a[2], a[0], a[1], a[2].jid) if len(a) == 3 else activate(self, *a)
    )


def narrow(s5b):
    """
    Do what the options say about candidates.
    """
    if OPTIONS.no_direct:
        getCandidates = s5b.getCandidates

        async def proxiesOnly(*arguments):
            candidates = await defer.maybeDeferred(getCandidates, *arguments)
            return [candidate for candidate in candidates if candidate.type == s5b.TYPE_PROXY]

        s5b.getCandidates = lambda *a: defer.ensureDeferred(proxiesOnly(*a))
    if OPTIONS.no_proxy:
        s5b.getProxy = lambda *a: defer.succeed(None)
    if OPTIONS.keep_losers:
        s5b.Candidate.discard = lambda self: None


def bridge(name, *arguments):
    return defer.maybeDeferred(host.bridge.methods[name], *arguments)


async def start():
    await host.initialised
    host.trigger.add("FILE_getDestDir", chooseDestination)
    await bridge("profileCreate", PROFILE, "", "")
    await bridge("profileStartSession", "", PROFILE)
    for name, value in (
        ("JabberID", OPTIONS.jid),
        ("Password", OPTIONS.password),
        (Const.FORCE_SERVER_PARAM, OPTIONS.server),
        (Const.FORCE_PORT_PARAM, OPTIONS.port),
        ("check_certificate", "false"),
    ):
        await defer.maybeDeferred(
            host.memory.setParam, name, value, "Connection", Const.NO_SECURITY_LIMIT, PROFILE
        )
    # Never ask a web site for our address.
    host.plugins["IP"]._externalAllowed = lambda client: defer.succeed(False)
    host.plugins["IP"].getExternalIP = lambda client: defer.succeed(None)
    narrow(host.plugins["XEP-0065"])
    if OPTIONS.fix:
        fix()
    emit("ready")
    await bridge("connect", PROFILE, "", {})


class Commands(LineReceiver):
    delimiter = b"\n"

    def lineReceived(self, line):
        order = json.loads(line)
        d = defer.ensureDeferred(getattr(self, "do_" + order.pop("cmd"))(**order))
        d.addErrback(report)

    def connectionLost(self, reason):
        reactor.callLater(0, stop)

    async def do_file(self, to, path, method="jingle"):
        name = os.path.basename(path)
        if method == "jingle":
            offer = await bridge("fileJingleSend", to, path, name, "", {}, PROFILE)
        else:
            offer = await bridge("siSendFile", to, path, name, "", PROFILE)
        emit("file-offered", id=offer)

    async def do_im(self, to, text):
        await bridge("messageSend", to, {"": text}, {}, "chat", "", PROFILE)

    async def do_disco(self, to):
        emit("disco", info=await bridge("discoInfos", to, "", True, PROFILE))

    async def do_bridge(self, name, args):
        emit("bridge", name=name, value=await bridge(name, *args))


def report(failure):
    emit("error", text=failure.getErrorMessage())
    failure.printTraceback(sys.stderr)


def stop():
    defer.maybeDeferred(host.stopService).addBoth(lambda _: reactor.callLater(0.3, os._exit, 0))
    reactor.callLater(2, os._exit, 0)


from sat.core.sat_main import SAT

host = SAT()
host.startService()
reactor.callWhenRunning(lambda: defer.ensureDeferred(start()).addErrback(report))
stdio.StandardIO(Commands())
reactor.run()
