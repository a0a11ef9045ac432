"""
What is measured: each peer is a process with its own folder on loopback, and the way to load it.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.tools import build, pinned

ROOT = Path(__file__).parent.parent
SECRET = "sec"
# Two generators may load a peer at the same time.
REQUESTER, SECOND_REQUESTER = "req.lab.local", "req2.lab.local"
PROXY = "proxy.lab.local"
OURS = "s5b.lab.local"
MANY = 20000


def freePort() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def domainOf(name: str) -> str:
    """
    The component of one of our own variants.
    """
    return f"{name.replace('@', '-at-')}.{OURS}"


def ourDomains() -> list[str]:
    """
    The components that an XMPP server expects.
    """
    return [domainOf(name) for name, kind in PEERS.items() if issubclass(kind, Ours)]


class Peer:
    """
    A process that relays.

    @cvar needs: what else must run: the name of an XMPP server.
    @ivar pid: whose use of the machine, with its children's, is measured.
    """

    program = ""
    needs: str | None = None
    patience = 30.0

    def __init__(self, name: str, cpu: int | None) -> None:
        self.name = name
        self.cpu = cpu
        self.folder = Path(tempfile.mkdtemp(prefix=f"bench-{name}-"))
        self.port = freePort()
        self.others: dict[str, Peer] = {}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {}

    def prepare(self) -> None:
        pass

    def load(self, requester: str = REQUESTER) -> list[str]:
        """
        How the generator reaches this.
        """
        raise NotImplementedError

    def awaited(self) -> list[int]:
        """
        The ports that answer when it is ready.
        """
        return [self.port]

    def start(self) -> None:
        self.prepare()
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                pinned(self.cpu) + self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, **self.environment()},
                start_new_session=True,
            )
        end = time.monotonic() + self.patience
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{self.name} does not start:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.1)

    def ready(self) -> bool:
        try:
            for port in self.awaited():
                socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        if self.process is not None:
            # A session of its own: this ends what we have started, and nothing else.
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Prosody(Peer):
    """
    Prosody with mod_proxy65, as shipped.
    """

    program = "prosody"
    nagle = True

    def __init__(self, name: str, cpu: int | None) -> None:
        super().__init__(name, cpu)
        self.componentPort = freePort()

    def awaited(self) -> list[int]:
        return [self.port, self.componentPort]

    def portOf(self, domain: str) -> int:
        """
        Where a component connects.
        """
        return self.componentPort

    def command(self) -> list[str]:
        return ["prosody", "--config", str(self.folder / "prosody.cfg.lua"), "-F"]

    def load(self, requester: str = REQUESTER) -> list[str]:
        return [
            "--activation",
            f"xmpp:{self.portOf(requester)}:{requester}:{SECRET}:{PROXY}",
            "--port",
            str(self.port),
        ]

    def prepare(self) -> None:
        (self.folder / "data").mkdir(exist_ok=True)
        (self.folder / "prosody.cfg.lua").write_text(
            f"""
{"" if self.nagle else "network_settings = { nagle = false }"}
run_as_root = true; daemonize = false; network_backend = "epoll"
data_path = "{self.folder}/data"; pidfile = "{self.folder}/pid"
log = {{ warn = "{self.folder}/prosody.log" }}
modules_enabled = {{ "disco" }}
modules_disabled = {{ "s2s", "c2s", "offline", "posix", "admin_shell" }}
interfaces = {{ "127.0.0.1" }}; component_interface = "127.0.0.1"
component_ports = {{ {self.componentPort} }}
c2s_ports = {{}}; s2s_ports = {{}}; c2s_direct_tls_ports = {{}}
proxy65_ports = {{ {self.port} }}; proxy65_interfaces = {{ "127.0.0.1" }}
VirtualHost "lab.local"
Component "{PROXY}" "proxy65"
  proxy65_address = "127.0.0.1"
  proxy65_open_access = true
Component "{REQUESTER}"
  component_secret = "{SECRET}"
Component "{SECOND_REQUESTER}"
  component_secret = "{SECRET}"
"""
            + "".join(f'Component "{domain}"\n  component_secret = "{SECRET}"\n' for domain in ourDomains())
        )


class ProsodyNoNagle(Prosody):
    """
    Prosody told not to delay small segments.
    """

    nagle = False


class Ejabberd(Peer):
    """
    ejabberd with mod_proxy65; Erlang is started directly, so that no daemon stays behind.
    """

    program = "ejabberdctl"
    patience = 90.0

    def __init__(self, name: str, cpu: int | None) -> None:
        super().__init__(name, cpu)
        # A listener's domains all go to whoever connects there: a listener for each.
        self.ports = {domain: freePort() for domain in (REQUESTER, SECOND_REQUESTER, *ourDomains())}

    def awaited(self) -> list[int]:
        return [self.port, *self.ports.values()]

    def portOf(self, domain: str) -> int:
        return self.ports[domain]

    load = Prosody.load

    def environment(self) -> dict[str, str]:
        script = Path(shutil.which("ejabberdctl") or "/usr/sbin/ejabberdctl").read_text()
        libraries = re.search(r"^ERL_LIBS='?([^'\n]*)'?$", script, re.MULTILINE)
        return {
            "EJABBERD_CONFIG_PATH": str(self.folder / "ejabberd.yml"),
            "EJABBERD_LOG_PATH": str(self.folder / "ejabberd.log"),
            "ERL_CRASH_DUMP": str(self.folder / "crash.dump"),
            "ERL_LIBS": libraries.group(1) if libraries else "",
            "HOME": str(self.folder),
        }

    def command(self) -> list[str]:
        mnesia = ["-mnesia", "dir", f'"{self.folder}/mnesia"']
        return ["erl", "-noinput", "+K", "true", "+P", "250000", "+Q", "32000", *mnesia, "-s", "ejabberd"]

    def ready(self) -> bool:
        if not super().ready():
            return False
        # It answers before all of its components are in its tables.
        time.sleep(2)
        return True

    def prepare(self) -> None:
        (self.folder / "ejabberd.yml").write_text(
            "loglevel: warning\nhosts: [lab.local]\nlisten:\n"
            + "".join(self._listener(domain, port) for domain, port in self.ports.items())
            + f"""
modules:
  mod_disco: {{}}
  mod_proxy65:
    host: "{PROXY}"
    ip: "127.0.0.1"
    hostname: "127.0.0.1"
    port: {self.port}
    access: all
    max_connections: infinity
    shaper: none
"""
        )

    def _listener(self, domain: str, port: int) -> str:
        options = "access: all, shaper: none, max_fsm_queue: 100000"
        return (
            f'  - {{port: {port}, ip: "127.0.0.1", module: ejabberd_service, {options},\n'
            f'     hosts: {{{domain}: {{password: "{SECRET}"}}}}}}\n'
        )


class Haproxy(Peer):
    """
    haproxy as a plain TCP relay that may splice: no SOCKS5, no activation.
    """

    program = "haproxy"

    def __init__(self, name: str, cpu: int | None) -> None:
        super().__init__(name, cpu)
        self.sink = freePort()

    def command(self) -> list[str]:
        return ["haproxy", "-f", str(self.folder / "haproxy.cfg"), "-db"]

    def load(self, requester: str = REQUESTER) -> list[str]:
        return ["--protocol", "raw", "--port", str(self.port), "--sink", str(self.sink)]

    def prepare(self) -> None:
        (self.folder / "haproxy.cfg").write_text(
            f"""
global
  nbthread 1
  maxconn 7900
defaults
  mode tcp
  timeout connect 5s
  timeout client 120s
  timeout server 120s
  option splice-auto
listen relay
  bind 127.0.0.1:{self.port} backlog 4096
  server sink 127.0.0.1:{self.sink}
"""
        )


class Reference(Peer):
    """
    The relay in C.
    """

    way = "splice"

    def __init__(self, name: str, cpu: int | None) -> None:
        super().__init__(name, cpu)
        self.lines = freePort()

    def awaited(self) -> list[int]:
        return [self.port, self.lines]

    def command(self) -> list[str]:
        return [build("relay"), str(self.port), str(self.lines), self.way]

    def load(self, requester: str = REQUESTER) -> list[str]:
        return ["--activation", f"line:{self.lines}", "--port", str(self.port)]


class ReferenceCopy(Reference):
    """
    The relay in C, by recv and send.
    """

    way = "copy"


class Ours(Peer):
    """
    C{twistd s5bproxy}, attached to an XMPP server as a component.
    """

    needs = "prosody"
    options: Sequence[str] = ()

    def awaited(self) -> list[int]:
        return [self.port]

    def command(self) -> list[str]:
        limits = [
            f"--{name}={MANY}"
            for name in ("max-pending", "max-pending-per-address", "max-sessions", "max-sessions-per-jid")
        ]
        return [
            *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile="),
            *(
                "s5bproxy",
                f"--jid={domainOf(self.name)}",
                f"--server=tcp:127.0.0.1:{self.server.portOf(domainOf(self.name))}",
            ),
            *(f"--listen=tcp:{self.port}:interface=127.0.0.1", f"--advertise=127.0.0.1:{self.port}"),
            *("--allow=*", "--handshake-timeout=60", *limits, *self.options),
        ]

    @property
    def server(self) -> "Prosody | Ejabberd":
        assert self.needs is not None
        server = self.others[self.needs]
        assert isinstance(server, Prosody | Ejabberd)
        return server

    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(ROOT), "XMPPBYTES_SECRET": SECRET}

    def ready(self) -> bool:
        connected = b": connected" in (self.folder / "log").read_bytes()
        return connected and super().ready()

    def load(self, requester: str = REQUESTER) -> list[str]:
        way = f"xmpp:{self.server.portOf(requester)}:{requester}:{SECRET}:{domainOf(self.name)}"
        return ["--activation", way, "--port", str(self.port)]


class OursCopy(Ours):
    """
    Ours through Python.
    """

    options = ("--relay=copy",)


class OursOneWorker(Ours):
    """
    Ours with a worker.
    """

    options = ("--workers=1",)


class OursTwoWorkers(Ours):
    """
    Ours with two workers, on any processor.
    """

    options = ("--workers=2",)

    def __init__(self, name: str, cpu: int | None) -> None:
        super().__init__(name, None)


class OursFree(Ours):
    """
    Ours without workers, on any processor: what two workers are compared with.
    """

    def __init__(self, name: str, cpu: int | None) -> None:
        super().__init__(name, None)


class OursAtProsodyNoNagle(Ours):
    """
    Ours attached to a Prosody that does not delay small segments.
    """

    needs = "prosody-nd"


class OursAtEjabberd(Ours):
    """
    Ours attached to ejabberd.
    """

    needs = "ejabberd"


PEERS: dict[str, type[Peer]] = {
    "prosody": Prosody,
    "prosody-nd": ProsodyNoNagle,
    "ejabberd": Ejabberd,
    "haproxy": Haproxy,
    "c-splice": Reference,
    "c-copy": ReferenceCopy,
    "ours": Ours,
    "ours-copy": OursCopy,
    "ours@ejabberd": OursAtEjabberd,
    "ours@prosody-nd": OursAtProsodyNoNagle,
    "ours-free": OursFree,
    "ours-1w": OursOneWorker,
    "ours-2w": OursTwoWorkers,
}
