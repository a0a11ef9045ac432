"""
What a user installs: the wheel in a clean virtual environment.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

ROOT = Path(__file__).parents[1]
PACKAGED = ("xmppbytes", "twisted", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
PLUGINS = ("s5bproxy", "linklocal")


class WheelTests(TestCase):
    """
    The wheel that is built of the checkout.
    """

    timeout = 300

    def run_(self, *command: str | Path) -> str:
        """
        Run a program that has to succeed.

        @return: what it printed.
        """
        environment = {
            k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "COVERAGE_PROCESS_CONFIG")
        }
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=self.folder)
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def test_installAndUninstall(self) -> None:
        """
        The installed wheel shows its twistd plugins and its command; uninstalling it leaves Twisted whole.
        """
        self.folder = Path(self.mktemp()).absolute()
        source = self.folder / "source"
        source.mkdir(parents=True)
        for name in PACKAGED:
            path = ROOT / name
            if path.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "dropin.cache")
                shutil.copytree(path, source / name, ignore=ignored)
            else:
                shutil.copy(path, source / name)
        python = self.folder / "venv" / "bin" / "python"
        twistd = self.folder / "venv" / "bin" / "twistd"
        pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check")
        self.run_(sys.executable, "-m", "venv", self.folder / "venv")
        self.run_(*pip, "wheel", "--no-deps", "--wheel-dir", self.folder / "wheels", source)
        (wheel,) = (self.folder / "wheels").glob("xmppbytes-*.whl")
        self.run_(*pip, "install", wheel)
        offered = self.run_(twistd, "--help")
        for plugin in PLUGINS:
            self.assertIn(plugin, offered)
        self.assertIn("usage: xmppbytes", self.run_(self.folder / "venv" / "bin" / "xmppbytes", "--help"))
        self.run_(*pip, "uninstall", "--yes", "xmppbytes")
        left = self.run_(twistd, "--help")
        for plugin in PLUGINS:
            self.assertNotIn(plugin, left)
        self.assertIn("web", left)
        self.run_(python, "-c", "import twisted.plugins, twisted.words.protocols.jabber.client")
