"""
The real services, as child processes of the demo.
"""

import os
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from xmppbytes.proxytap import SECRET_VARIABLE


class ProxyProcess(ProcessProtocol):
    """
    C{twistd s5bproxy} on loopback.

    @ivar ended: fires when the process has ended.
    """

    def __init__(self, jid: str, secret: str, serverPort: int, *options: str) -> None:
        """
        @param jid: the component's domain.
        @param secret: shared with the router.
        @param serverPort: where the router accepts components.
        @param options: further options.
        """
        self.ended: Deferred[None] = Deferred()
        self._secret = secret
        self._log = b""
        self.command = [
            *(sys.executable, "-m", "twisted", "--log-level=info", "--log-format=text"),
            "s5bproxy",
            *(f"--jid={jid}", f"--server=tcp:127.0.0.1:{serverPort}"),
            *("--listen=tcp:0:interface=127.0.0.1", "--advertise=127.0.0.1", "--allow=montague.example"),
            "--dtcp-relay=tcp:0:interface=127.0.0.1",
            *options,
        ]

    def start(self, reactor: Any) -> None:
        """
        Start the process.
        """
        environment = {**os.environ, SECRET_VARIABLE: self._secret}
        reactor.spawnProcess(self, sys.executable, self.command, env=environment)

    def outReceived(self, data: bytes) -> None:
        """
        See L{ProcessProtocol}.
        """
        self._log = (self._log + data)[-10000:]

    errReceived = outReceived

    def log(self) -> str:
        """
        The last lines of its log.
        """
        return self._log.decode("utf-8", "replace")

    def stop(self) -> "Deferred[None]":
        """
        End the process.
        """
        try:
            if self.transport is not None:
                self.transport.signalProcess("TERM")  # type: ignore[attr-defined]
        except ProcessExitedAlready:
            pass
        return self.ended

    def processEnded(self, reason: Failure) -> None:
        """
        See L{ProcessProtocol}.
        """
        self.ended.callback(None)
