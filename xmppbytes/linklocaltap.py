"""
C{twistd linklocal}: its options, and how the service is made of them.
"""

from pathlib import Path
from typing import Any

from twisted.application.service import IService
from twisted.words.protocols.jabber.jid import JID, InvalidFormat

from xmppbytes.errors import ConfigurationError
from xmppbytes.jids import prepareJID
from xmppbytes.linklocal.presence import STATUSES
from xmppbytes.linklocalservice import PROGRAM, LinkLocalService
from xmppbytes.linklocalsocket import defaultControl, privateControl, xdg
from xmppbytes.settings import Setting, SettingsOptions, oneOf


def path(text: str) -> Path:
    """
    Read a path; C{~} is the home folder.
    """
    return Path(text).expanduser().absolute()


def address(text: str) -> JID:
    """
    Read an XMPP address.

    @raise ValueError: when it is none.
    """
    try:
        jid = prepareJID(text)
    except InvalidFormat as error:
        raise ValueError(str(error)) from error
    if not jid.user:
        raise ValueError("give a whole address, such as juliet@example.org")
    return jid


SETTINGS = (
    Setting(name="user", help="the user part of the presence name USER@MACHINE [the login name]"),
    Setting(name="machine", help="the machine part, ASCII [the host name]"),
    Setting(
        name="dashed-names",
        flag=True,
        default=False,
        help="when the name is taken try juliet-1 (XEP-0174 2.0.1) instead of juliet1 (0.9)",
    ),
    Setting(
        name="listen",
        default="tcp:0",
        help="where to accept streams, a Twisted server endpoint [tcp:0, any port, v4 and v6]",
    ),
    Setting(
        name="interface",
        default=(),
        repeatable=True,
        help="a network interface to be on; may be repeated [all that can multicast, not the loopback]",
    ),
    Setting(name="status", parse=oneOf(*STATUSES), default="avail", help="avail, away or dnd [avail]"),
    Setting(name="message", default="", help="a text about your state, which everybody on the link can see"),
    Setting(name="first", default="", help="your first name, for everybody to see"),
    Setting(name="last", default="", help="your last name, for everybody to see"),
    Setting(name="nick", default="", help="your nickname, for everybody to see"),
    Setting(
        name="email", default=(), repeatable=True, help="your e-mail address, for everybody; may be repeated"
    ),
    Setting(
        name="jid", default=(), repeatable=True, help="your XMPP address, for everybody; may be repeated"
    ),
    Setting(name="avatar", help="a picture for everybody, at best below 8 KiB"),
    Setting(
        name="no-personal-info",
        flag=True,
        default=False,
        help="publish no names, addresses or avatar, whatever else is set",
    ),
    Setting(
        name="tls",
        parse=oneOf("off", "optional", "required"),
        default="optional",
        help="encryption: off, optional (with whoever can) or required [optional]",
    ),
    Setting(
        name="pins",
        parse=path,
        help="the file of known keys; our own is beside it, .key [linklocal-pins in the state folder]",
    ),
    Setting(name="receive-dir", parse=path, help="where received files go [Downloads in the home folder]"),
    Setting(
        name="accept",
        parse=oneOf("ask", "always", "never"),
        default="ask",
        help="files from others: ask (a control client decides), always or never [ask]",
    ),
    Setting(name="cache-dir", parse=path, help="where avatars of others are kept [the cache folder]"),
    Setting(
        name="forward-to",
        parse=address,
        help="an XMPP address that gets what is said to you; its answers are brought back",
    ),
    Setting(name="account", parse=address, help="your XMPP account, from which that is done"),
    Setting(name="password-file", parse=path, help="a file with the password of --account"),
    Setting(name="account-server", help="HOST:PORT of the server of --account [found by its domain]"),
    Setting(name="account-ca", parse=path, help="a PEM file with the certificates that the server may have"),
    Setting(
        name="control",
        help="the control socket, a Twisted server endpoint, or none [unix:, in the runtime folder]",
    ),
)


class Options(SettingsOptions):
    """
    The options of C{twistd linklocal}.
    """

    settings = SETTINGS
    program = PROGRAM
    synopsis = "[options]"
    longdesc = (
        "Messages and files between the people on one local network, without any server (XEP-0174). "
        "'xmppbytes chat' talks to it. docs/linklocal.md tells more."
    )

    def check(self, values: dict[str, Any]) -> dict[str, Any]:
        """
        See L{SettingsOptions}: fill in the folders.
        """
        values["pins"] = values["pins"] or xdg("XDG_STATE_HOME", ".local/state") / "linklocal-pins"
        values["cache-dir"] = values["cache-dir"] or xdg("XDG_CACHE_HOME", ".cache")
        values["receive-dir"] = values["receive-dir"] or Path.home() / "Downloads"
        values["control"] = privateControl(values["control"] or defaultControl())
        values["password"] = _password(values)
        return values


def _password(values: dict[str, Any]) -> str:
    if values["forward-to"] is None:
        return ""
    if values["account"] is None or values["password-file"] is None:
        raise ConfigurationError("--forward-to needs --account and --password-file")
    file = values["password-file"]
    try:
        password = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read the password in {file}: {error}") from error
    if not password:
        raise ConfigurationError(f"the password file {file} is empty")
    return str(password)


def makeService(options: Options) -> IService:
    """
    Make the service for C{twistd}.

    @param options: parsed.
    """
    from twisted.internet import reactor

    try:
        return LinkLocalService(reactor, options.chosen)
    except ConfigurationError as error:
        raise SystemExit(f"{PROGRAM}: {error}") from error
