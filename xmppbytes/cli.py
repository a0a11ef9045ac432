"""
The C{xmppbytes} command: a table of subcommands, each in a module of its own.

Such a module has C{addArguments(parser)} and C{run(arguments) -> int}, which returns the exit code.
It is imported only when its command is used or asked for help. Exit codes: 0 all went well, 1 refused or
failed, 2 used wrongly.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from xmppbytes import __version__

# command -> module, what it does
COMMANDS = {
    "demo": ("xmppbytes.demo.command", "show what the proxy does, with a real file, on this machine alone"),
    "send": ("xmppbytes.sendcommand", "send files to somebody"),
    "chat": ("xmppbytes.chat.command", "talk with the people on the local network, without a server"),
    "receive": ("xmppbytes.receivecommand", "receive files into a folder"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run a subcommand.

    @param argv: the command line without the program's name; C{None}: that of the process.
    @return: the exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="xmppbytes", description="Out-of-band bytestreams for XMPP.")
    parser.add_argument("--version", action="version", version=f"xmppbytes {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name in arguments[:1]:
            import_module(module).addArguments(command)
    chosen = parser.parse_args(arguments)
    return int(import_module(COMMANDS[chosen.command][0]).run(chosen))


if __name__ == "__main__":
    sys.exit(main())
