"""
C{twistd s5bproxy}: its options, and how the service is made of them.
"""

import gc
import os
import stat
from typing import Any

from twisted.application.service import IService
from twisted.logger import Logger
from twisted.words.protocols.jabber.jid import InvalidFormat

from xmppbytes.core.limits import Limits
from xmppbytes.errors import ConfigurationError
from xmppbytes.jids import prepareJID
from xmppbytes.listen import parseAdvertised
from xmppbytes.proxyservice import PROGRAM, ProxyService
from xmppbytes.proxyvalues import accessFrom
from xmppbytes.relayservice import checkRelayAlone
from xmppbytes.settings import Setting, SettingsOptions, count, countOrNone, oneOf, seconds, size, timeout

SECRET_VARIABLE = "XMPPBYTES_SECRET"
_DEFAULTS = Limits()
_log = Logger()


def domain(text: str) -> str:
    """
    Prepare a domain.

    @raise ValueError: when it is none.
    """
    try:
        jid = prepareJID(text)
    except InvalidFormat as e:
        raise ValueError(str(e)) from e
    if jid.user or jid.resource:
        raise ValueError("give the domain of the component, such as proxy.example.org")
    return jid.host


SETTINGS = (
    Setting(name="jid", parse=domain, help="the component's domain, such as proxy.example.org (required)"),
    Setting(name="secret-file", help="a file that holds the secret shared with the XMPP server"),
    Setting(
        name="secret",
        environment=SECRET_VARIABLE,
        help=f"the secret itself; other users can see it, so prefer --secret-file or {SECRET_VARIABLE}",
    ),
    Setting(
        name="server",
        default="tcp:127.0.0.1:5347",
        help="where the XMPP server accepts components, a Twisted client endpoint [tcp:127.0.0.1:5347]",
    ),
    Setting(
        name="listen",
        default=("tcp:7777",),
        repeatable=True,
        help="where to accept bytestreams, a Twisted server endpoint; may be repeated [tcp:7777, v4 and v6]",
    ),
    Setting(
        name="advertise",
        parse=parseAdvertised,
        default=(),
        repeatable=True,
        help="HOST[:PORT] that is told to clients; may be repeated "
        "[the domain of --jid, port of the first --listen]",
    ),
    Setting(
        name="allow",
        default=(),
        repeatable=True,
        help="who may use the proxy: JID, domain, *.domain or *; may be repeated "
        "[the parent domain of --jid and its subdomains]",
    ),
    Setting(name="deny", default=(), repeatable=True, help="who may not, even if allowed; may be repeated"),
    Setting(
        name="handshake-timeout",
        parse=timeout,
        default=_DEFAULTS.handshakeTimeout,
        help=f"seconds from a connection to its accepted request [{_DEFAULTS.handshakeTimeout:g}]",
    ),
    Setting(
        name="pending-timeout",
        parse=timeout,
        default=_DEFAULTS.pendingTimeout,
        help=f"seconds from a connection to the activation of its bytestream [{_DEFAULTS.pendingTimeout:g}]",
    ),
    Setting(
        name="idle-timeout",
        parse=seconds,
        default=_DEFAULTS.idleTimeout,
        help=f"seconds without a byte in either direction after which a bytestream ends, 0: never "
        f"[{_DEFAULTS.idleTimeout:g}]",
    ),
    Setting(
        name="max-pending",
        parse=count,
        default=_DEFAULTS.maxPending,
        help=f"connections that wait for activation, in all [{_DEFAULTS.maxPending}]",
    ),
    Setting(
        name="max-pending-per-address",
        parse=count,
        default=_DEFAULTS.maxPendingPerAddress,
        help=f"the same, of one IP address [{_DEFAULTS.maxPendingPerAddress}]",
    ),
    Setting(
        name="max-sessions",
        parse=count,
        default=_DEFAULTS.maxSessions,
        help=f"active bytestreams, in all [{_DEFAULTS.maxSessions}]",
    ),
    Setting(
        name="max-sessions-per-jid",
        parse=count,
        default=_DEFAULTS.maxSessionsPerJid,
        help=f"the same, of one requester's bare JID [{_DEFAULTS.maxSessionsPerJid}]",
    ),
    Setting(
        name="rate-limit", parse=size, help="bytes a second of each bytestream, with k, M or G [no limit]"
    ),
    Setting(
        name="relay",
        parse=oneOf("auto", "splice", "copy"),
        default="auto",
        help="how bytes are moved: splice (inside the Linux kernel), copy (through Python), "
        "auto: splice where it can be done [auto]",
    ),
    Setting(
        name="workers",
        parse=countOrNone,
        default=0,
        help="how many processes of their own splice; 0: the service itself does [0]",
    ),
    Setting(name="no-udp", flag=True, default=False, help="offer no UDP mode"),
    Setting(name="usage-log", help="a file that gets a JSON line for each bytestream that has ended"),
    Setting(
        name="usage-log-blur", flag=True, default=False, help="leave JIDs and addresses out of the usage log"
    ),
    Setting(
        name="dtcp-relay",
        help="also relay DTCP connections there, a Twisted server endpoint such as tcp:7778 [off]",
    ),
    Setting(
        name="dtcp-relay-open",
        flag=True,
        default=False,
        help="let the DTCP relay believe who people say they are, without asking over XMPP",
    ),
    Setting(
        name="drain",
        parse=seconds,
        default=0.0,
        help="seconds that bytestreams may go on after SIGTERM; a second signal ends them at once [0]",
    ),
)


class Options(SettingsOptions):
    """
    The options of C{twistd s5bproxy}.
    """

    settings = SETTINGS
    program = PROGRAM
    synopsis = "[options]"
    longdesc = (
        "A SOCKS5 bytestreams proxy (XEP-0065), attached to an XMPP server as a component (XEP-0114). "
        "SIGHUP reads --config again (allow, deny, limits, rate). docs/operating.md tells more."
    )

    def check(self, values: dict[str, Any]) -> dict[str, Any]:
        """
        See L{SettingsOptions}.
        """
        if values["dtcp-relay-open"] and values["dtcp-relay"] is None:
            raise ConfigurationError(
                "dtcp-relay-open opens nothing without dtcp-relay: say where, such as --dtcp-relay tcp:7778"
            )
        if values["jid"] is None:
            checkRelayAlone(values)
        else:
            if not values["listen"]:
                raise ConfigurationError("listen names nothing: give at least one endpoint, such as tcp:7777")
            self._chooseSecret(values)
            values["secret"] = self._secret(values)
        accessFrom(values)
        return values

    def _secret(self, values: dict[str, Any]) -> str:
        try:
            return _readSecret(values)
        except ConfigurationError:
            # A reload: twistd may have become somebody who cannot read the file, and it is not used again.
            if not self.chosen or self.chosen["secret-file"] != values["secret-file"]:
                raise
            return str(self.chosen["secret"])

    def _chooseSecret(self, values: dict[str, Any]) -> None:
        given = self.given & {"secret", "secret-file"}
        if len(given) == 2:
            raise ConfigurationError("--secret and --secret-file were both given; give one of them")
        if given == {"secret"}:
            # The command line wins, over a file with secret-file as well.
            values["secret-file"] = None


def _readSecret(values: dict[str, Any]) -> str:
    path = values["secret-file"]
    if path is None:
        if not values["secret"]:
            raise ConfigurationError(
                f"a secret is required: give --secret-file, or the variable {SECRET_VARIABLE}, as in the "
                "component's section of the XMPP server's configuration"
            )
        return str(values["secret"])
    try:
        with open(path, encoding="utf-8") as file:
            secret = file.read().rstrip("\r\n")
    except (OSError, ValueError) as e:
        raise ConfigurationError(f"cannot read the secret file {path}: {getattr(e, 'strerror', e)}") from e
    if not secret:
        raise ConfigurationError(f"the secret file {path} is empty")
    return secret


def makeService(options: Options) -> IService:
    """
    Make the service for C{twistd}.

    @param options: parsed.
    """
    from twisted.internet import reactor

    _warnOfSecrets(options)
    # What lives as long as the process is not to be looked through by the garbage collector again and again.
    reactor.callWhenRunning(gc.freeze)
    try:
        return ProxyService(reactor, options)
    except ConfigurationError as e:
        raise SystemExit(f"{PROGRAM}: {e}") from e


def _warnOfSecrets(options: Options) -> None:
    if "secret" in options.given:
        _log.warn("The secret was given by --secret, where other users can see it; use --secret-file instead")
    path = options.chosen["secret-file"]
    if path is not None and os.stat(path).st_mode & (stat.S_IRGRP | stat.S_IROTH):
        _log.warn("The secret file {path} can be read by others; chmod 600 it", path=path)
