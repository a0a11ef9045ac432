"""
A real terminal, without anybody in front of it: tmux.
"""

import os
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import deferLater


class Terminal:
    """
    A program in a terminal of 120 by 40 characters.
    """

    def __init__(self, command, environment=None):
        self._folder = Path(tempfile.mkdtemp(prefix="xbt"))
        self._socket = self._folder / "tmux"
        self._environment = {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8", **(environment or {})}
        self._environment.pop("TMUX", None)
        line = shlex.join(map(str, command))
        # The shell stays, so that what the program has said last can be read.
        self._tmux("new-session", "-d", "-x", "120", "-y", "40", f"{line}; echo ended with $?; cat")

    def _tmux(self, *arguments):
        command = ["tmux", "-f", "/dev/null", "-S", str(self._socket), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=self._environment, check=True)
        return done.stdout

    def screen(self):
        """
        What can be seen.
        """
        return self._tmux("capture-pane", "-p", "-J", "-S", "-200")

    def type(self, text):
        """
        Type a line, and hit Enter.
        """
        self._tmux("send-keys", "-l", text)
        self._tmux("send-keys", "Enter")

    def press(self, key):
        """
        Press one key.
        """
        self._tmux("send-keys", key)

    @inlineCallbacks
    def wait(self, text, timeout=60):
        """
        Wait until something can be seen.
        """
        end = time.monotonic() + timeout
        while text not in self.screen():
            if time.monotonic() > end:
                raise AssertionError(f"{text!r} was not seen in {timeout} s:\n{self.screen()}")
            yield deferLater(reactor, 0.1, lambda: None)

    def close(self):
        """
        Switch it off.
        """
        self._tmux("kill-server")
        shutil.rmtree(self._folder, ignore_errors=True)
