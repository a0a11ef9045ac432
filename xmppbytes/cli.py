"""
The C{xmppbytes} command: its subcommands, and what they share.

A subcommand is a module with two functions, which is imported only when it is used:

    - C{configure(parser)} adds its arguments to an C{argparse.ArgumentParser};
    - C{main(options)} does the work and returns the exit code. L{xmppbytes.running.runCommand} runs a
      coroutine in the reactor and makes Ctrl-C cancel it.

Exit codes: 0 all went well, 1 refused or failed, 2 used wrongly.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from xmppbytes import __version__

# Name, module, one line of help.
COMMANDS = (
    ("send", "xmppbytes.sendcommand", "send files to somebody"),
    ("receive", "xmppbytes.receivecommand", "receive files into a folder"),
)


def makeParser(wanted: str | None) -> argparse.ArgumentParser:
    """
    Make the parser of the command line.

    @param wanted: the subcommand whose module is to be imported; the others only have their names.
    """
    parser = argparse.ArgumentParser(prog="xmppbytes", description="Out-of-band bytestreams for XMPP.")
    parser.add_argument("--version", action="version", version=f"xmppbytes {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module, text in COMMANDS:
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if name == wanted:
            implementation = import_module(module)
            implementation.configure(command)
            command.set_defaults(main=implementation.main)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    @param arguments: C{None}: those of this process.
    @return: the exit code.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    wanted = next((word for word in words if not word.startswith("-")), None)
    options = makeParser(wanted).parse_args(words)
    return int(options.main(options))


if __name__ == "__main__":
    sys.exit(main())
