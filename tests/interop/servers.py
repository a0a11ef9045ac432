"""
Real XMPP servers as child processes: Debian's Prosody and ejabberd, with the same face.

Each serves C{localhost} with accounts, external components (XEP-0114), rooms at
C{conference.localhost} and, on demand, its own XEP-0065 proxy and STARTTLS.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.interop.authority import Authority
from tests.interop.case import program
from tests.interop.processes import Child, environment, freePort

DOMAIN = "localhost"
PASSWORD = "x"
ROOMS = f"conference.{DOMAIN}"


class XmppServer(Child):
    """
    What the servers have in common.

    @ivar c2sPort: where clients connect.
    @ivar componentPort: where external components connect.
    @ivar proxy65: (address, port) of the server's own XEP-0065 proxy, or C{None}.
    """

    program = ""

    def __init__(
        self,
        reactor: Any,
        accounts: Iterable[str] = ("romeo", "juliet"),
        components: Mapping[str, str] | None = None,
        address: str = "127.0.0.1",
        proxy65: str | None = None,
        proxy65Address: str | None = None,
        authority: Authority | None = None,
    ) -> None:
        """
        @param accounts: the names of those who may log in with L{PASSWORD}.
        @param components: domain -> secret of the external components.
        @param address: where everything listens, unless said otherwise.
        @param proxy65: the domain of the server's own XEP-0065 proxy; C{None}: it has none.
        @param proxy65Address: where that proxy listens; the default is C{address}.
        @param authority: who certifies the server. With it clients must use STARTTLS, without it
            they cannot.
        """
        super().__init__(reactor, self.program)
        self.accounts = list(accounts)
        self.components = dict(components or {})
        self.address = address
        self.authority = authority
        self.c2sPort = freePort(address)
        self.componentPort = freePort(address)
        self.ports = [(address, self.c2sPort)]
        if self.components:  # without any, Prosody does not listen there
            self.ports.append((address, self.componentPort))
        self.proxy65Domain = proxy65
        self.proxy65: tuple[str, int] | None = None
        if proxy65:
            where = proxy65Address or address
            self.proxy65 = (where, freePort(where))
            self.ports.append(self.proxy65)
        self.certificate = authority.issue(DOMAIN, f"*.{DOMAIN}") if authority else None

    def jid(self, account: str, resource: str = "") -> str:
        """
        The address of an account.
        """
        return f"{account}@{DOMAIN}" + (f"/{resource}" if resource else "")


class Prosody(XmppServer):
    """
    Prosody 0.12. All accounts are in each other's rosters (mod_groups), so presence flows at once;
    every stanza is in the log (mod_stanza_debug).
    """

    program = "prosody"

    def command(self) -> list[str]:
        return [program("prosody") or "prosody", "--config", str(self.folder / "prosody.cfg.lua"), "-F"]

    def prepare(self) -> None:
        accounts = self.folder / "data" / DOMAIN / "accounts"
        accounts.mkdir(parents=True, exist_ok=True)
        for name in self.accounts:
            (accounts / f"{name}.dat").write_text(f'return {{ ["password"] = "{PASSWORD}"; }};\n')
        group = "".join(f"{self.jid(name)}={name}\n" for name in self.accounts)
        (self.folder / "groups.txt").write_text(f"[lab]\n{group}")
        (self.folder / "prosody.cfg.lua").write_text(self.configuration())

    def configuration(self) -> str:
        """
        The text of prosody.cfg.lua.
        """
        folder = self.folder
        modules = [
            "roster",
            "saslauth",
            "disco",
            "ping",
            "groups",
            "stanza_debug",
            "pep",
            "private",
            "posix",
            "time",
            "version",
        ]
        lines = [
            "run_as_root = true; daemonize = false",
            f'pidfile = "{folder}/prosody.pid"; data_path = "{folder}/data"',
            f'admin_socket = "{folder}/admin"; groups_file = "{folder}/groups.txt"',
            f'interfaces = {{ "{self.address}" }}; component_interfaces = {{ "{self.address}" }}',
            f"c2s_ports = {{ {self.c2sPort} }}; component_ports = {{ {self.componentPort} }}",
            "s2s_ports = {}; c2s_direct_tls_ports = {}; http_ports = {}; https_ports = {}",
            f"modules_enabled = {{ {_lua(modules + (['tls'] if self.certificate else []))} }}",
            f"modules_disabled = {{ {_lua(['s2s', 'offline', *([] if self.certificate else ['tls'])])} }}",
            'authentication = "internal_plain"; storage = "internal"',
            f"c2s_require_encryption = {'true' if self.certificate else 'false'}",
            "allow_unencrypted_plain_auth = true; component_tcp_keepalives = true",
            'log = { { levels = { min = "debug" }, to = "console" } }',
        ]
        if self.certificate:
            key, certificate = self.certificate
            lines.append(f'certificates = "{key.parent}"')
            lines.append(f'ssl = {{ key = "{key}"; certificate = "{certificate}" }}')
        if self.proxy65:
            address, port = self.proxy65
            lines.append(f'proxy65_ports = {{ {port} }}; proxy65_interfaces = {{ "{address}" }}')
        lines.append(f'VirtualHost "{DOMAIN}"')
        lines.append(f'Component "{ROOMS}" "muc"\n  muc_room_locking = false')
        lines += [f'Component "{d}"\n  component_secret = "{s}"' for d, s in self.components.items()]
        if self.proxy65:
            lines.append(f'Component "{self.proxy65Domain}" "proxy65"\n  proxy65_address = "{address}"')
        return "\n".join(lines) + "\n"


class Ejabberd(XmppServer):
    """
    ejabberd 23.01 without ejabberdctl, epmd or distribution: Erlang is started directly.
    """

    program = "ejabberd"
    startTimeout = 180.0

    def environment(self) -> dict[str, str]:
        script = Path(program("ejabberdctl") or "/usr/sbin/ejabberdctl").read_text()
        found = re.search(r"^ERL_LIBS='?([^'\n]*)'?$", script, re.MULTILINE)
        return environment(
            EJABBERD_CONFIG_PATH=str(self.folder / "ejabberd.yml"),
            EJABBERD_LOG_PATH=str(self.folder / "ejabberd-own.log"),
            ERL_CRASH_DUMP=str(self.folder / "crash.dump"),
            ERL_LIBS=found.group(1) if found else "",
            HOME=str(self.folder),
        )

    def command(self) -> list[str]:
        register = "".join(
            f'ejabberd_auth:try_register(<<"{name}">>,<<"{DOMAIN}">>,<<"{PASSWORD}">>),'
            for name in self.accounts
        )
        ready = f'{register}file:write_file("{self.folder}/ready",<<>>).'
        mnesia = ["-mnesia", "dir", f'"{self.folder}/mnesia"']
        limits = ["+P", "250000", "+Q", "32000"]
        return [program("erl") or "erl", "-noinput", *limits, *mnesia, "-s", "ejabberd", "-eval", ready]

    def prepare(self) -> None:
        (self.folder / "ready").unlink(missing_ok=True)
        (self.folder / "ejabberd.yml").write_text(self.configuration())

    async def untilReady(self) -> None:
        while not (self.folder / "ready").exists():
            await self.pause()
        await super().untilReady()

    def configuration(self) -> str:
        """
        The text of ejabberd.yml.
        """
        listen = [f"{{port: {self.c2sPort}, ip: '{self.address}', module: ejabberd_c2s, {self._tls()}}}"]
        hosts = ", ".join(f"'{d}': {{password: '{s}'}}" for d, s in self.components.items())
        listen.append(
            f"{{port: {self.componentPort}, ip: '{self.address}', module: ejabberd_service"
            + (f", hosts: {{{hosts}}}}}" if hosts else ", password: 'unused'}")
        )
        modules = [
            "mod_disco: {}",
            "mod_ping: {}",
            "mod_roster: {}",
            f"mod_muc: {{host: '{ROOMS}', access_create: all, access_persistent: all}}",
        ]
        if self.proxy65:
            address, port = self.proxy65
            modules.append(
                f"mod_proxy65: {{host: '{self.proxy65Domain}', ip: '{address}', port: {port}, "
                f"hostname: '{address}', access: all}}"
            )
        certificates = f"certfiles: ['{self._bundle()}']\n" if self.certificate else ""
        return (
            f"hosts: ['{DOMAIN}']\nloglevel: info\nauth_method: internal\nauth_password_format: plain\n"
            f"{certificates}listen:\n"
            + "".join(f"  - {item}\n" for item in listen)
            + "modules:\n"
            + "".join(f"  {item}\n" for item in modules)
        )

    def _tls(self) -> str:
        return "starttls: true, starttls_required: true" if self.certificate else "starttls: false"

    def _bundle(self) -> Path:
        """
        Key and certificate in one file, as ejabberd wants them.
        """
        assert self.certificate is not None
        bundle = self.folder / "server.pem"
        bundle.write_bytes(b"".join(path.read_bytes() for path in reversed(self.certificate)))
        return bundle

    def log(self) -> str:
        """
        What Erlang printed, and ejabberd's own log.
        """
        own = self.folder / "ejabberd-own.log"
        return super().log() + (own.read_text("utf-8", "replace") if own.exists() else "")


def _lua(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
