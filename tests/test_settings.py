"""
Tests for L{xmppbytes.settings}.
"""

import os
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from xmppbytes.errors import ConfigurationError
from xmppbytes.settings import Setting, SettingsOptions, count, oneOf, readSettings, seconds, size, timeout

VARIABLE = "XMPPBYTES_TEST_SETTING"


class ExampleOptions(SettingsOptions):
    """
    One setting of each sort.
    """

    program = "example"
    settings = (
        Setting(name="name", help="a text", default="nobody"),
        Setting(name="level", help="a number", parse=count),
        Setting(name="rate-limit", help="a size", parse=size),
        Setting(name="item", help="several", default=("first",), repeatable=True),
        Setting(name="loud", help="a flag", flag=True, default=False),
        Setting(name="secret", help="from the environment", environment=VARIABLE),
    )


class SettingsCase(SynchronousTestCase):
    """
    Command line, file, environment, default.
    """

    def parse(self, *arguments: str) -> dict[str, Any]:
        self.options = ExampleOptions()
        self.options.parseOptions(arguments)
        return self.options.chosen

    def file(self, content: str | bytes) -> str:
        path = self.mktemp()
        Path(path).write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        return path

    def refusal(self, *arguments: str) -> str:
        """
        Parse what is wrong.

        @return: the line that the program ends with.
        """
        end = self.assertRaises(SystemExit, ExampleOptions().parseOptions, arguments)
        text = str(end.code)
        self.assertTrue(text.startswith("example: "), text)
        self.assertNotIn("\n", text)
        return text


class PrecedenceTests(SettingsCase):
    """
    Which one counts.
    """

    def test_defaults(self) -> None:
        """
        With nothing given, the defaults.
        """
        self.assertEqual(
            self.parse(),
            {
                "name": "nobody",
                "level": None,
                "rate-limit": None,
                "item": ("first",),
                "loud": False,
                "secret": None,
            },
        )
        self.assertEqual(self.options.given, frozenset())

    def test_commandLine(self) -> None:
        """
        Every setting is an option; a repeatable one replaces its default, and of others the last counts.
        """
        chosen = self.parse(
            "--name",
            "a",
            "--name=b",
            "--level",
            "5",
            "--rate-limit",
            "2k",
            "--item",
            "x",
            "--item",
            "y",
            "--loud",
        )
        self.assertEqual((chosen["name"], chosen["level"], chosen["rate-limit"]), ("b", 5, 2048))
        self.assertEqual((chosen["item"], chosen["loud"]), (("x", "y"), True))
        self.assertEqual(self.options.given, {"name", "level", "rate-limit", "item", "loud"})

    def test_file(self) -> None:
        """
        Every setting is a key, with the types of TOML, or as on the command line.
        """
        path = self.file('name = "a"\nlevel = 5\nrate-limit = "2k"\nitem = ["x", "y"]\nloud = true\n')
        chosen = self.parse("--config", path)
        self.assertEqual((chosen["name"], chosen["level"], chosen["rate-limit"]), ("a", 5, 2048))
        self.assertEqual((chosen["item"], chosen["loud"]), (("x", "y"), True))
        self.assertEqual(self.options.given, {"config"})

    def test_otherTypes(self) -> None:
        """
        A number may be a text, one item may stand alone, and a flag may be off.
        """
        chosen = self.parse(
            "--config", self.file('level = "5"\nitem = "x"\nloud = false\nrate-limit = 2.5\n')
        )
        self.assertEqual(
            (chosen["level"], chosen["item"], chosen["loud"], chosen["rate-limit"]), (5, ("x",), False, 2)
        )

    def test_order(self) -> None:
        """
        The command line wins over the file, the file over the environment, and that over the default.
        """
        path = self.file('secret = "file"\nname = "file"\n')
        self.patch(os, "environ", {VARIABLE: "environment"})
        self.assertEqual(self.parse()["secret"], "environment")
        self.assertEqual(self.parse("--config", path)["secret"], "file")
        chosen = self.parse("--config", path, "--secret", "line")
        self.assertEqual((chosen["secret"], chosen["name"]), ("line", "file"))

    def test_readAgain(self) -> None:
        """
        The file can be read again, also when the program has gone to another folder meanwhile.
        """
        path = self.file('name = "before"')
        self.parse("--config", os.path.relpath(path))
        Path(path).write_text('name = "after"')
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir("/")
        self.assertEqual(self.options.load()["name"], "after")
        self.assertEqual(self.options.chosen["name"], "before")

    def test_help(self) -> None:
        """
        --help tells of every setting, and is no error.
        """
        options = ExampleOptions()
        for setting in ExampleOptions.settings:
            self.assertIn(f"--{setting.name}", str(options))
            self.assertIn(setting.help, str(options))


class RefusalTests(SettingsCase):
    """
    What is wrong is said in one line.
    """

    def test_commandLine(self) -> None:
        """
        Unknown options, values where there are none, missing values, and what is no option at all.
        """
        for arguments, words in (
            (["--unknown", "x"], "unknown"),
            (["--loud=yes"], "loud"),
            (["--name"], "name"),
            (["stray"], "'stray' is not an option"),
            (["--level", "many"], "--level: 'many' is not possible: give a whole number"),
            (["--rate-limit", "0"], "--rate-limit: '0' is not possible"),
        ):
            self.assertIn(words, self.refusal(*arguments), arguments)

    def test_fileCannotBeRead(self) -> None:
        """
        A file that is missing, a folder, or not allowed to be read.
        """
        self.assertIn("No such file", self.refusal("--config", "/does/not/exist.toml"))
        self.assertIn("directory", self.refusal("--config", "/"))

    def test_notToml(self) -> None:
        """
        A file that is something else.
        """
        for content in (
            "name = ",
            "name: a",
            "<xml/>",
            "name = 'a'\nname = 'b'",
            b"\xff\xfe\x00",
            b'name = "\xe9"',
        ):
            self.assertIn("is not valid TOML", self.refusal("--config", self.file(content)), content)

    def test_unknownKey(self) -> None:
        """
        An unknown key is an error, and the known ones are listed.
        """
        for content in ('nmae = "x"', "rate_limit = 5", "[section]\nname = 'x'"):
            line = self.refusal("--config", self.file(content))
            self.assertIn("unknown key", line)
            self.assertIn("rate-limit", line)

    def test_wrongTypes(self) -> None:
        """
        A value of another type is an error that says which would do.
        """
        for content, words in (
            ("loud = 1", "true or false"),
            ('loud = "yes"', "true or false"),
            ("name = true", "a text or a number"),
            ("name = ['a']", "a text or a number"),
            ("name = 1979-05-27", "a text or a number"),
            ("item = [['a']]", "a list of texts"),
            ("item = true", "a list of texts"),
            ("name = {a = 1}", "a text or a number"),
            ("level = 2.5", "whole number"),
            ("level = -1", "whole number"),
            ("rate-limit = inf", "number of bytes"),
            ("rate-limit = nan", "number of bytes"),
        ):
            path = self.file(content)
            line = self.refusal("--config", path)
            self.assertIn(words, line, content)
            self.assertIn(path, line)

    def test_environment(self) -> None:
        """
        A variable is named when it is wrong.
        """

        class Numbers(SettingsOptions):
            program = "example"
            settings = (Setting(name="level", help="", parse=count, environment=VARIABLE),)

        self.patch(os, "environ", {VARIABLE: "x"})
        end = self.assertRaises(SystemExit, Numbers().parseOptions, [])
        self.assertIn(VARIABLE, str(end.code))

    def test_readSettings(self) -> None:
        """
        Reading a file alone gives what it names, or the exception.
        """
        self.assertEqual(readSettings(self.file("level = 3"), ExampleOptions.settings), {"level": 3})
        self.assertRaises(ConfigurationError, readSettings, self.file("x = 3"), ExampleOptions.settings)


class ParserTests(SynchronousTestCase):
    """
    Texts to values.
    """

    def check(self, parse: Any, good: dict[str, Any], bad: tuple[str, ...]) -> None:
        for text, value in good.items():
            self.assertEqual(parse(text), value, text)
        for text in bad:
            self.assertRaises(ValueError, parse, text)

    def test_seconds(self) -> None:
        """
        Seconds are not negative, not infinite, and may have their unit.
        """
        self.check(
            seconds, {"10": 10, "0.5": 0.5, "0": 0, "90s": 90}, ("", "-1", "inf", "nan", "1m", "x", "s")
        )

    def test_timeout(self) -> None:
        """
        A timeout is more than nothing.
        """
        self.check(timeout, {"10": 10, "0.001": 0.001}, ("0", "-0", "x"))

    def test_count(self) -> None:
        """
        A count is a whole number from 1 on.
        """
        self.check(count, {"1": 1, "5000": 5000}, ("0", "-1", "1.0", "", "x", "\xb2", "1" * 5000))

    def test_size(self) -> None:
        """
        A size may have a suffix, in powers of 1024.
        """
        self.check(
            size,
            {"1": 1, "500k": 512000, "10M": 10 * 2**20, "1G": 2**30, "1.5k": 1536, "2K": 2048},
            ("0", "", "k", "-1", "1T", "1kB", "x", "inf", "infk", "nan", "0.5", "1e999"),
        )

    def test_oneOf(self) -> None:
        """
        A choice is one of those that there are.
        """
        self.check(oneOf("a", "b"), {"a": "a", "b": "b"}, ("c", "", "A"))

    @given(st.text())
    def test_anyText(self, text: str) -> None:
        """
        Whatever the text is, there is a value or a ValueError.
        """
        for parse in (seconds, timeout, count, size):
            try:
                self.assertGreaterEqual(parse(text), 0)
            except ValueError:
                pass
