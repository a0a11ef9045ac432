"""
libpurple's XMPP client (Pidgin's), headless, as a peer driven by lines of JSON; see ../peer.py.

Plain ctypes: needs the Debian package libpurple0 and nothing else.

    purple.py --jid romeo@localhost/p --password x --home DIR [--server 127.0.0.1] [--port 5222]
              [--files accept|decline|ask] [--no-direct] [--ft-proxies NAMES] [--security MODE] [--xml]

commands: file to path | accept n [path] | decline n | cancel n | im to text | raw xml | buddies | quit
events:   ready signed-on signed-off conn-error buddy-on buddy-off im
          file-recv-request n file size who; file-{send,recv}-{start,complete,cancel}; file-send-n n;
          file-saved local size sha256; proxy-found proxy; notify; xml-in, xml-out (with --xml); error; bye

--no-direct takes libpurple's whole listen range itself, so that it can offer no direct streamhost.
"""

import argparse
import ctypes as C
import hashlib
import json
import os
import signal
import socket
import sys
from xml.etree import ElementTree

parser = argparse.ArgumentParser()
parser.add_argument("--jid", required=True)
parser.add_argument("--password", required=True)
parser.add_argument("--server")
parser.add_argument("--port", type=int, default=5222)
parser.add_argument("--home", required=True)
parser.add_argument("--ft-proxies")
parser.add_argument("--no-direct", action="store_true")
parser.add_argument("--files", choices=("accept", "decline", "ask"), default="accept")
parser.add_argument("--security", default="opportunistic_tls")
parser.add_argument("--xml", action="store_true")
OPTIONS = parser.parse_args()
SAVE = os.path.join(OPTIONS.home, "received")
os.makedirs(SAVE, exist_ok=True)
UI = b"xmppbytes-interop"

# Events go to the original standard output; libpurple's chatter on it goes to the log.
events = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)


def emit(event, **fields):
    events.write(json.dumps({"event": event, **fields}) + "\n")
    events.flush()


def text(raw):
    return raw.decode("utf-8", "replace") if raw is not None else None


os.environ.setdefault("LC_ALL", "C.UTF-8")
glib = C.CDLL("libglib-2.0.so.0", mode=C.RTLD_GLOBAL)
purple = C.CDLL("libpurple.so.0", mode=C.RTLD_GLOBAL)
PTR, STR, INT, UINT = C.c_void_p, C.c_char_p, C.c_int, C.c_uint
keep = []  # callbacks that C may still call


def function(library, name, result, *arguments):
    f = getattr(library, name)
    f.restype, f.argtypes = result, list(arguments)
    return f


def address(f):
    return C.cast(f, PTR).value


# --- GLib's main loop for libpurple

IOFUNC = C.CFUNCTYPE(INT, PTR, UINT, PTR)
SOURCEFUNC = C.CFUNCTYPE(INT, PTR)
INPUTFUNC = C.CFUNCTYPE(None, PTR, INT, INT)
INPUTADD = C.CFUNCTYPE(UINT, INT, INT, PTR, PTR)
channelNew = function(glib, "g_io_channel_unix_new", PTR, INT)
channelUnref = function(glib, "g_io_channel_unref", None, PTR)
addWatch = function(glib, "g_io_add_watch", UINT, PTR, UINT, IOFUNC, PTR)
addTimeout = function(glib, "g_timeout_add", UINT, UINT, PTR, PTR)
function(glib, "g_source_remove", INT, UINT)
IN, OUT, ERR, HUP, NVAL = 1, 4, 8, 16, 32


def inputAdd(fd, condition, callback, data):
    call = C.cast(callback, INPUTFUNC)
    mask = (IN | HUP | ERR if condition & 1 else 0) | (OUT | HUP | ERR | NVAL if condition & 2 else 0)

    def fire(channel, seen, _):
        happened = (1 if seen & (IN | HUP | ERR) else 0) | (2 if seen & (OUT | HUP | ERR | NVAL) else 0)
        call(data, fd, happened & condition or happened)
        return 1

    watch = IOFUNC(fire)
    keep.append(watch)
    channel = channelNew(fd)
    handle = addWatch(channel, mask, watch, None)
    channelUnref(channel)
    return handle


def later(milliseconds, f):
    def once(_):
        f()
        return 0

    callback = SOURCEFUNC(once)
    keep.append(callback)
    addTimeout(milliseconds, C.cast(callback, PTR), None)


class EventLoopOps(C.Structure):
    _fields_ = [
        ("timeout_add", PTR),
        ("timeout_remove", PTR),
        ("input_add", INPUTADD),
        ("input_remove", PTR),
        ("input_get_error", PTR),
        ("timeout_add_seconds", PTR),
        ("reserved2", PTR),
        ("reserved3", PTR),
        ("reserved4", PTR),
    ]


class CoreOps(C.Structure):
    _fields_ = [(name, PTR) for name in "abcdefgh"]


loopOps = EventLoopOps(
    address(glib.g_timeout_add),
    address(glib.g_source_remove),
    INPUTADD(inputAdd),
    address(glib.g_source_remove),
    None,
    address(glib.g_timeout_add_seconds),
)
coreOps = CoreOps()
function(purple, "purple_util_set_user_dir", None, STR)(OPTIONS.home.encode())
function(purple, "purple_debug_set_enabled", None, INT)(1)
purple.purple_core_set_ui_ops(C.byref(coreOps))
purple.purple_eventloop_set_ui_ops(C.byref(loopOps))
if not function(purple, "purple_core_init", INT, STR)(UI):
    sys.exit("purple_core_init failed")
function(purple, "purple_set_blist", None, PTR)(function(purple, "purple_blist_new", PTR)())
purple.purple_blist_load()
purple.purple_prefs_load()
purple.purple_network_force_online()
plugin = function(purple, "purple_find_prpl", PTR, STR)(b"prpl-jabber")
if not plugin:
    sys.exit("libpurple has no prpl-jabber plugin")

# --- the account

setString = function(purple, "purple_account_set_string", None, PTR, STR, STR)
setBool = function(purple, "purple_account_set_bool", None, PTR, STR, INT)
preferBool = function(purple, "purple_prefs_set_bool", None, STR, INT)
preferInt = function(purple, "purple_prefs_set_int", None, STR, INT)
account = function(purple, "purple_account_new", PTR, STR, STR)(OPTIONS.jid.encode(), b"prpl-jabber")
function(purple, "purple_accounts_add", None, PTR)(account)
function(purple, "purple_account_set_password", None, PTR, STR)(account, OPTIONS.password.encode())
function(purple, "purple_account_set_int", None, PTR, STR, INT)(account, b"port", OPTIONS.port)
setBool(account, b"auth_plain_in_clear", 1)
setBool(account, b"require_tls", 0)
setString(account, b"connection_security", OPTIONS.security.encode())
if OPTIONS.server:
    setString(account, b"connect_server", OPTIONS.server.encode())
if OPTIONS.ft_proxies is not None:
    setString(account, b"ft_proxies", OPTIONS.ft_proxies.encode())
preferBool(b"/purple/network/map_ports", 0)  # no search for a UPnP or NAT-PMP gateway
if OPTIONS.no_direct:
    taken = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    port = taken.getsockname()[1]
    preferBool(b"/purple/network/ports_range_use", 1)
    preferInt(b"/purple/network/ports_range_start", port)
    preferInt(b"/purple/network/ports_range_end", port)

getConnection = function(purple, "purple_account_get_connection", PTR, PTR)
setEnabled = function(purple, "purple_account_set_enabled", None, PTR, STR, INT)
buddyName = function(purple, "purple_buddy_get_name", STR, PTR)
buddyAlias = function(purple, "purple_buddy_get_alias", STR, PTR)
buddyPresence = function(purple, "purple_buddy_get_presence", PTR, PTR)
activeStatus = function(purple, "purple_presence_get_active_status", PTR, PTR)
statusId = function(purple, "purple_status_get_id", STR, PTR)
findBuddies = function(purple, "purple_find_buddies", PTR, PTR, STR)


class GSList(C.Structure):
    pass


GSList._fields_ = [("data", PTR), ("next", C.POINTER(GSList))]


def buddy(b):
    status = activeStatus(buddyPresence(b))
    return {
        "name": text(buddyName(b)),
        "alias": text(buddyAlias(b)),
        "status": text(statusId(status)) if status else None,
    }


def buddies():
    first = findBuddies(account, None)
    node = C.cast(first, C.POINTER(GSList)) if first else None
    while node:
        yield buddy(node.contents.data)
        node = node.contents.next


# --- signals

connectSignal = function(purple, "purple_signal_connect", C.c_ulong, PTR, STR, PTR, PTR, PTR)
HANDLE = C.create_string_buffer(8)
ON1 = C.CFUNCTYPE(None, PTR, PTR)
ON2 = C.CFUNCTYPE(None, PTR, PTR, PTR)


def on(instance, name, prototype=ON1):
    """
    Decorate a function that takes a libpurple signal.
    """

    def decorate(f):
        def safe(*arguments):
            try:
                f(*arguments)
            except Exception as error:
                emit("error", text=f"{name}: {error!r}")

        callback = prototype(safe)
        keep.append(callback)
        connectSignal(instance, name.encode(), HANDLE, C.cast(callback, PTR), None)
        return f

    return decorate


def handle(part):
    return function(purple, f"purple_{part}_get_handle", PTR)()


connections, contacts, conversations, transfers = map(handle, ("connections", "blist", "conversations", "xfers"))
on(connections, "signed-on")(lambda *_: emit("signed-on"))
on(connections, "signed-off")(lambda *_: emit("signed-off"))
on(contacts, "buddy-signed-on")(lambda b, _: emit("buddy-on", **buddy(b)))
on(contacts, "buddy-signed-off")(lambda b, _: emit("buddy-off", name=text(buddyName(b))))


@on(connections, "connection-error", C.CFUNCTYPE(None, PTR, INT, STR, PTR))
def connectionError(connection, code, description, _):
    emit("conn-error", code=code, text=text(description))


@on(conversations, "received-im-msg", C.CFUNCTYPE(None, PTR, STR, STR, PTR, INT, PTR))
def message(_account, sender, body, _conversation, flags, _):
    emit("im", sender=text(sender), text=text(body))


# --- file transfers

offers = []
transferName = function(purple, "purple_xfer_get_filename", STR, PTR)
transferSize = function(purple, "purple_xfer_get_size", C.c_size_t, PTR)
transferPeer = function(purple, "purple_xfer_get_remote_user", STR, PTR)
transferBytes = function(purple, "purple_xfer_get_bytes_sent", C.c_size_t, PTR)
transferLocal = function(purple, "purple_xfer_get_local_filename", STR, PTR)
transferRef = function(purple, "purple_xfer_ref", None, PTR)
acceptTransfer = function(purple, "purple_xfer_request_accepted", None, PTR, STR)
denyTransfer = function(purple, "purple_xfer_request_denied", None, PTR)
cancelTransfer = function(purple, "purple_xfer_cancel_local", None, PTR)


def transfer(x):
    return {
        "file": text(transferName(x)),
        "size": transferSize(x),
        "who": text(transferPeer(x)),
        "bytes": transferBytes(x),
        "local": text(transferLocal(x)),
    }


def destination(x):
    return os.path.join(SAVE, os.path.basename(text(transferName(x)) or "unnamed")).encode()


def saved(path):
    with open(path, "rb") as file:
        data = file.read()
    emit("file-saved", local=path, size=len(data), sha256=hashlib.sha256(data).hexdigest())


@on(transfers, "file-recv-request")
def offered(x, _):
    transferRef(x)
    offers.append(x)
    emit("file-recv-request", n=len(offers) - 1, **transfer(x))
    if OPTIONS.files == "decline":
        denyTransfer(x)
    elif OPTIONS.files == "accept":
        acceptTransfer(x, destination(x))


@on(transfers, "file-recv-complete")
def received(x, _):
    path = transfer(x)["local"]
    if path:  # libpurple closes the file only after this signal
        later(100, lambda: saved(path))


@on(transfers, "file-send-start")
def sending(x, _):
    offers.append(x)
    emit("file-send-n", n=len(offers) - 1)


for name in ("recv-start", "recv-complete", "recv-cancel", "send-start", "send-complete", "send-cancel"):
    on(transfers, f"file-{name}")(lambda x, _, name=name: emit(f"file-{name}", **transfer(x)))


class NotifyOps(C.Structure):
    _fields_ = [("notify_message", C.CFUNCTYPE(PTR, INT, STR, STR, STR))] + [(n, PTR) for n in "abcdefghijkl"]


def notified(kind, title, primary, secondary):
    emit("notify", title=text(title), primary=text(primary), secondary=text(secondary))


notifyOps = NotifyOps(NotifyOps._fields_[0][1](notified))
function(purple, "purple_notify_set_ui_ops", None, PTR)(C.byref(notifyOps))

toText = function(purple, "xmlnode_to_str", PTR, PTR, PTR)
free = function(glib, "g_free", None, PTR)


@on(plugin, "jabber-sending-text", ON2)
def xmlOut(_connection, raw, _):
    if OPTIONS.xml:
        emit("xml-out", xml=text(C.cast(raw, C.POINTER(STR))[0]))


@on(plugin, "jabber-receiving-xmlnode", ON2)
def xmlIn(_connection, node, _):
    node = C.cast(node, C.POINTER(PTR))[0]
    if not node:
        return
    raw = toText(node, None)
    xml = text(C.string_at(raw))
    free(raw)
    if OPTIONS.xml:
        emit("xml-in", xml=xml)
    stanza = ElementTree.fromstring(xml)
    if stanza.get("type") == "result" and stanza.find("{*}query/{*}streamhost") is not None:
        later(0, lambda: emit("proxy-found", proxy=stanza.get("from")))  # once libpurple has read it too


# --- commands


def sendRaw(xml):
    with open("/proc/self/maps") as maps:
        path = next(line.split()[-1] for line in maps if "libjabber.so" in line)
    raw = xml.encode()
    jabber = C.CDLL(path, mode=C.RTLD_GLOBAL)
    function(jabber, "jabber_prpl_send_raw", INT, PTR, STR, INT)(getConnection(account), raw, len(raw))


def sendFile(to, path, method="si"):
    function(purple, "serv_send_file", None, PTR, STR, STR)(getConnection(account), to.encode(), path.encode())


def say(to, text):
    function(purple, "serv_send_im", INT, PTR, STR, STR, INT)(getConnection(account), to.encode(), text.encode(), 0)


def quit():
    """
    Sign off from a fresh turn of the main loop, then leave without finalizers.
    """

    def off():
        setEnabled(account, UI, 0)
        emit("bye")
        later(300, lambda: os._exit(0))

    later(10, off)


COMMANDS = {
    "file": sendFile,
    "accept": lambda n, path=None: acceptTransfer(offers[n], path.encode() if path else destination(offers[n])),
    "decline": lambda n: denyTransfer(offers[n]),
    "cancel": lambda n: cancelTransfer(offers[n]),
    "im": say,
    "raw": sendRaw,
    "buddies": lambda: emit("buddies", list=list(buddies())),
    "quit": quit,
}
pending = b""


def commanded(_channel, _condition, _):
    global pending
    data = os.read(0, 65536)
    if not data:
        quit()
        return 0
    *lines, pending = (pending + data).split(b"\n")
    for line in lines:
        order = json.loads(line)
        try:
            COMMANDS[order.pop("cmd")](**order)
        except Exception as error:
            emit("error", text=repr(error))
    return 1


commandWatch = IOFUNC(commanded)
addWatch(channelNew(0), IN | HUP, commandWatch, None)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
setEnabled(account, UI, 1)
status = function(purple, "purple_savedstatus_new", PTR, STR, INT)(None, 2)
function(purple, "purple_savedstatus_activate", None, PTR)(status)
emit("ready")
function(glib, "g_main_loop_run", None, PTR)(function(glib, "g_main_loop_new", PTR, PTR, INT)(None, 0))
