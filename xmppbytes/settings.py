"""
Settings of a service: one table, from which come its command line, its TOML file and its checks.

The command line wins over the file, the file over the environment, the environment over the default.
Whatever is wrong is said in one line, and the exit code is 1.
"""

import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from twisted.python import usage

from xmppbytes.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """
    One setting.

    @ivar name: what follows the dashes on the command line; also the key in the file.
    @ivar help: one sentence for C{--help}.
    @ivar parse: text -> value; raises C{ValueError} with the reason. Not used for flags.
    @ivar default: the value when it is not given; a repeatable setting has a tuple.
    @ivar repeatable: whether it may be given several times: a list in the file.
    @ivar flag: whether it takes no value: a boolean in the file.
    @ivar environment: the variable that gives a value when nothing else does.
    """

    name: str
    help: str
    parse: Callable[[str], Any] = str
    default: Any = None
    repeatable: bool = False
    flag: bool = False
    environment: str | None = None


CONFIG = Setting(name="config", help="a TOML file with any of these settings as keys; the command line wins")


class SettingsOptions(usage.Options):  # type: ignore[misc]
    """
    Options made from a table of settings.

    @cvar settings: the table.
    @cvar program: how the messages call the program.
    @ivar chosen: after parsing: setting name -> value.
    @ivar given: the names of the settings that came from the command line.
    """

    settings: ClassVar[Sequence[Setting]] = ()
    program: ClassVar[str] = ""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        for setting in (*cls.settings, CONFIG):
            setattr(cls, "opt_" + setting.name.replace("-", "_"), _optionMethod(setting))

    def __init__(self) -> None:
        super().__init__()
        self._fromCommandLine: dict[str, list[str]] = {}
        self.chosen: dict[str, Any] = {}

    @property
    def given(self) -> frozenset[str]:
        """
        The names of the settings that came from the command line.
        """
        return frozenset(self._fromCommandLine)

    def note(self, setting: Setting, text: str) -> None:
        """
        Take note of an option on the command line.
        """
        if setting is CONFIG:
            # It is read again later, when a daemon has gone to another folder.
            text = os.path.abspath(text)
        self._fromCommandLine.setdefault(setting.name, []).append(text)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Parse a command line.

        @raise SystemExit: when something is wrong, with one line and the exit code 1.
        """
        try:
            super().parseOptions(options)
            self.chosen = self.load()
        except (usage.UsageError, ConfigurationError) as e:
            raise SystemExit(f"{self.program}: {e}") from e

    def parseArgs(self, *arguments: str) -> None:
        """
        There are none.
        """
        if arguments:
            raise usage.UsageError(f"{arguments[0]!r} is not an option; see --help")

    def load(self) -> dict[str, Any]:
        """
        Put command line, file, environment and defaults together; reads the file (again).

        @return: setting name -> value.
        @raise ConfigurationError: when something is wrong.
        """
        fromFile = self._readFile()
        values = {}
        for setting in self.settings:
            if setting.name in self._fromCommandLine:
                values[setting.name] = _parseTexts(
                    setting, self._fromCommandLine[setting.name], f"--{setting.name}"
                )
            elif setting.name in fromFile:
                values[setting.name] = fromFile[setting.name]
            elif setting.environment and setting.environment in os.environ:
                values[setting.name] = _parseTexts(
                    setting, [os.environ[setting.environment]], setting.environment
                )
            else:
                values[setting.name] = setting.default
        return self.check(values)

    def check(self, values: dict[str, Any]) -> dict[str, Any]:
        """
        Check what single settings cannot know. Subclasses extend this.

        @raise ConfigurationError: when something is wrong.
        """
        return values

    def _readFile(self) -> dict[str, Any]:
        paths = self._fromCommandLine.get(CONFIG.name)
        return readSettings(paths[-1], self.settings) if paths else {}


def readSettings(path: str, settings: Sequence[Setting]) -> dict[str, Any]:
    """
    Read a TOML file of settings.

    @return: setting name -> value, of those that the file names.
    @raise ConfigurationError: for a file that cannot be read, an unknown key, or a bad value.
    """
    try:
        with open(path, "rb") as file:
            content = tomllib.load(file)
    except OSError as e:
        raise ConfigurationError(f"cannot read the configuration file {path}: {e.strerror}") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigurationError(f"the configuration file {path} is not valid TOML: {e}") from e
    known = {setting.name: setting for setting in settings}
    values = {}
    for key, value in content.items():
        if key not in known:
            raise ConfigurationError(
                f"unknown key {key!r} in {path}; the keys are {', '.join(sorted(known))}"
            )
        values[key] = _fromToml(known[key], value, f"{key} in {path}")
    return values


def _fromToml(setting: Setting, value: Any, where: str) -> Any:
    if setting.flag:
        if not isinstance(value, bool):
            raise ConfigurationError(f"{where} is true or false, not {value!r}")
        return value
    items = value if setting.repeatable and isinstance(value, list) else [value]
    for item in items:
        if isinstance(item, bool) or not isinstance(item, str | int | float):
            wanted = "a list of texts" if setting.repeatable else "a text or a number"
            raise ConfigurationError(f"{where} is {wanted}, not {value!r}")
    return _parseTexts(setting, [str(item) for item in items], where)


def _parseTexts(setting: Setting, texts: Sequence[str], where: str) -> Any:
    if setting.flag:
        return True
    values = []
    for text in texts:
        try:
            values.append(setting.parse(text))
        except ValueError as e:
            raise ConfigurationError(f"{where}: {text!r} is not possible: {e}") from e
    return tuple(values) if setting.repeatable else values[-1]


def _optionMethod(setting: Setting) -> Callable[..., None]:
    """
    Make the method by which L{usage.Options} knows an option.
    """

    def flag(self: SettingsOptions) -> None:
        self.note(setting, "")

    def option(self: SettingsOptions, value: str) -> None:
        self.note(setting, value)

    method: Callable[..., None] = flag if setting.flag else option
    method.__doc__ = setting.help
    return method


def seconds(text: str) -> float:
    """
    Parse a time in seconds, not negative.

    @raise ValueError: when it is none.
    """
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ValueError("give a number of seconds, such as 10 or 0.5")
    return value


def timeout(text: str) -> float:
    """
    Parse a time in seconds that is more than nothing.

    @raise ValueError: when it is none.
    """
    value = seconds(text)
    if not value:
        raise ValueError("give more than 0 seconds: nobody could be in time")
    return value


def count(text: str) -> int:
    """
    Parse a number that is at least 1.

    @raise ValueError: when it is none.
    """
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ValueError("give a whole number, at least 1")
    return int(text)


def countOrNone(text: str) -> int:
    """
    Parse a number that may be 0.

    @raise ValueError: when it is none.
    """
    if text == "0":
        return 0
    try:
        return count(text)
    except ValueError as e:
        raise ValueError("give a whole number, or 0") from e


def oneOf(*choices: str) -> Callable[[str], str]:
    """
    Make a parser of a choice.

    @return: text -> the same text; raises C{ValueError} when it is none of the choices.
    """

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"choose one of {', '.join(choices)}")
        return text

    return parse


_UNITS: Mapping[str, int] = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def size(text: str) -> int:
    """
    Parse a number of bytes, with the suffixes k, M and G (powers of 1024).

    @raise ValueError: when it is none, or less than 1.
    """
    number, unit = (text[:-1], text[-1].lower()) if text[-1:].isalpha() else (text, "")
    try:
        value = int(float(number) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        value = 0
    if value < 1:
        raise ValueError("give a number of bytes, such as 500k, 10M or 1G")
    return value
