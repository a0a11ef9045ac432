"""
What a person types, and what he is shown: commands to control commands, events to lines.
"""

import mimetypes
import os
import shlex
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from xmppbytes.errors import BytestreamError
from xmppbytes.linklocal.names import speaker

Event = dict[str, Any]

HELP = """\
/who                    who is here
/to NAME                speak to NAME from now on; the beginning of the name is enough
/send FILE              send a file to whom you speak to
/accept [ID], /decline [ID]   take or refuse a file, the last one offered without ID
/cancel ID              end a transfer
/status avail|away|dnd [TEXT]
/avatar FILE|none
/verify                 show the code to compare, by voice, with whom you speak to
/close                  close the stream with whom you speak to
/quit                   leave; a service that was here before goes on
Everything else is said to whom you speak to. Begin with // to say something that begins with /."""


class NotUnderstood(BytestreamError):
    """
    What was typed makes no sense.
    """


@dataclass(frozen=True)
class Order:
    """
    What was typed, understood.

    @ivar kind: C{"command"} (of the control socket), C{"to"}, C{"help"} or C{"quit"}.
    @ivar command: the control command.
    @ivar arguments: its arguments; of C{"to"}: C{name}.
    """

    kind: str
    command: str = ""
    arguments: dict[str, Any] | None = None


@dataclass
class Situation:
    """
    What must be known to understand a line.

    @ivar partner: to whom the person speaks; empty: to nobody yet.
    @ivar names: who is here.
    @ivar offered: the id of the last file that was offered.
    """

    partner: str = ""
    names: tuple[str, ...] = ()
    offered: str = ""


def understand(line: str, situation: Situation) -> Order | None:
    """
    Understand a line.

    @return: C{None} for an empty one.
    @raise NotUnderstood: says what to type instead.
    """
    text = line.strip()
    if not text:
        return None
    if not text.startswith("/") or text.startswith("//"):
        said = text[1:] if text.startswith("//") else text
        return Order("command", "im", {"to": _partner(situation), "text": said})
    word, _, rest = text[1:].partition(" ")
    parse = _PARSERS.get(word)
    if parse is None:
        raise NotUnderstood(f"there is no /{word}; /help shows what there is")
    order: Order = parse(rest.strip(), situation)
    return order


def findName(beginning: str, names: tuple[str, ...]) -> str:
    """
    Find a person by the beginning of the name.

    @raise NotUnderstood: when it is none, or several.
    """
    if beginning in names:
        return beginning
    found = [name for name in names if name.lower().startswith(beginning.lower())]
    if len(found) == 1:
        return found[0]
    if not beginning or not found:
        raise NotUnderstood(f"nobody here is called {beginning!r}; /who shows who is")
    raise NotUnderstood(f"{beginning!r} may be {' or '.join(found)}: type more of the name")


def _partner(situation: Situation) -> str:
    if not situation.partner:
        raise NotUnderstood("to whom? /to NAME chooses, /who shows who is here")
    return situation.partner


def _to(rest: str, situation: Situation) -> Order:
    return Order("to", arguments={"name": findName(rest, situation.names)})


def _send(rest: str, situation: Situation) -> Order:
    if not rest:
        raise NotUnderstood("/send FILE")
    return Order("command", "file", {"to": _partner(situation), "path": _file(rest)})


def _file(text: str) -> str:
    """
    Read a file name as a shell would, but spaces need no quotes.
    """
    try:
        words = shlex.split(text)
    except ValueError:
        words = []
    return os.path.expanduser(words[0] if len(words) == 1 else text)


def _decision(command: str) -> Any:
    def parse(rest: str, situation: Situation) -> Order:
        identifier = rest or situation.offered
        if not identifier:
            raise NotUnderstood(f"no file was offered; /{command} ID")
        return Order("command", command, {"id": identifier})

    return parse


def _status(rest: str, situation: Situation) -> Order:
    status, _, message = rest.partition(" ")
    return Order("command", "status", {"status": status or "avail", "message": message.strip()})


def _avatar(rest: str, situation: Situation) -> Order:
    if not rest:
        raise NotUnderstood("/avatar FILE, or /avatar none")
    path = None if rest == "none" else _file(rest)
    if path is not None and not (mimetypes.guess_type(path)[0] or "").startswith("image/"):
        # Everybody on the network gets it: not a letter, by a slip of the finger.
        raise NotUnderstood(
            f"{path} is no picture by its name (such as me.png), and would go to everybody here"
        )
    return Order("command", "avatar", {"path": path})


def _withPartner(command: str) -> Any:
    return lambda rest, situation: Order("command", command, {"to": _partner(situation)})


_PARSERS: dict[str, Any] = {
    "help": lambda rest, situation: Order("help"),
    "who": lambda rest, situation: Order("command", "roster", {}),
    "to": _to,
    "send": _send,
    "accept": _decision("accept"),
    "decline": _decision("decline"),
    "cancel": _decision("cancel"),
    "status": _status,
    "avatar": _avatar,
    "verify": _withPartner("verify"),
    "close": _withPartner("close"),
    "quit": lambda rest, situation: Order("quit"),
}
COMMANDS = tuple(f"/{name}" for name in _PARSERS)


def safetyMark(event: Event) -> str:
    """
    Mark what is not safe, in front of everything that a person sees of it.
    """
    if not event.get("tls"):
        return "[not encrypted] "
    return "" if event.get("pinned") else "[key not known before] "


def _markOf(entry: Event) -> str:
    return safetyMark(entry) if "tls" in entry else ""


def show(event: Event) -> str | None:
    """
    Put an event into words.

    @return: a line; C{None} when there is nothing to see.
    """
    shower = _SHOWERS.get(event["event"])
    line: str | None = shower(event) if shower is not None else None
    if line is None:
        return None
    # What begins at the margin is ours: the lines of somebody's text are not to look like other events.
    text = line.replace("\n", "\n      ")
    return f"{datetime.now():%H:%M} {text}"


def _presence(event: Event) -> str:
    message = f" ({event['message']})" if event.get("message") else ""
    nick = f" alias {event['nick']}" if event.get("nick") else ""
    return f"{event['name']}{nick} is {_STATUS[event['status']]}{message}"


_STATUS = {"avail": "here", "away": "away", "dnd": "busy"}


def person(entry: Event) -> str:
    """
    Put one entry of the roster into words.
    """
    safety = f" {_markOf(entry)}".rstrip()
    return f"  {_presence(entry)}{safety}"


def _stream(event: Event) -> str | None:
    if event["state"] != "open":
        return None
    if not event["tls"]:
        return f"! the stream with {event['name']} is NOT encrypted: everybody on this network can read it"
    if event.get("new"):
        return (
            f"! first contact with {event['name']}: to be sure that nobody is between you, compare "
            f"{event['code']} by voice"
        )
    return f"the stream with {event['name']} is encrypted, with the key that is known"


def _request(event: Event) -> str:
    return (
        f"{safetyMark(event)}{event['from']} offers {event['name']!r} ({size(event['size'])}): "
        f"/accept {event['id']} or /decline {event['id']}"
    )


def _done(event: Event) -> str:
    mark = _markOf(event)
    if event["direction"] == "out":
        return f"{mark}{event['name']!r} is with {event['to']}"
    return f"{mark}{event['name']!r} from {event['from']} is in {event['path']}"


def _cancelled(event: Event) -> str:
    return f"{_markOf(event)}{event['name']!r} did not arrive: {event['reason']}"


_SHOWERS: dict[str, Any] = {
    "signed-on": lambda event: f"you are {event['name']}",
    "buddy-on": _presence,
    "buddy-status": _presence,
    "buddy-off": lambda event: f"{event['name']} has left",
    "im": lambda event: f"{safetyMark(event)}{speaker(event['from'])}: {event['text']}",
    "stream": _stream,
    "file-request": _request,
    "file-done": _done,
    "file-cancel": _cancelled,
}


def size(count: int) -> str:
    """
    Write a number of bytes for a person.
    """
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count = count / 1024  # type: ignore[assignment]
    return f"{count:.1f} GiB"


def progress(event: Event) -> str:
    """
    Put the progress of a transfer into a few words.
    """
    part = 100 * event["bytes"] // max(1, event["size"])
    arrow = "to" if event["direction"] == "out" else "from"
    return f"{event['name']} {arrow} {event.get('to') or event.get('from')}: {part} %"
