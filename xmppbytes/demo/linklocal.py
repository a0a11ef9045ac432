"""
The part of the demo that needs no server: two people on one cable, who are found by multicast DNS
(XEP-0174). The cable lies in a network namespace of its own, where nobody else can hear them.

Run as a module inside that namespace, this shows it; L{showLinkLocal} makes the namespace.
"""

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from xmppbytes.chat.connection import CommandFailed, ControlClient, Event
from xmppbytes.demo.narrator import Narrator

ROMEO, JULIET = "romeo@forza", "juliet@pronto"
SIZE = 16 * 1024 * 1024
# Seconds that all of it may take; it takes four where nothing else is going on.
_PATIENCE = 120.0


def showLinkLocal(tell: Narrator) -> bool:
    """
    Show it, where that is possible; say why where it is not.

    @return: false when it was possible and failed.
    """
    tell.title("A message and a file without any server (XEP-0174)")
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    namespace = ["unshare", "--net", *rights]
    reason = _obstacle(namespace)
    if reason:
        tell.remark(f"left out: {reason}")
        return True
    done = subprocess.run([*namespace, sys.executable, "-m", "xmppbytes.demo.linklocal"], check=False)
    return done.returncode == 0


def _obstacle(namespace: list[str]) -> str:
    """
    Say why no cable can be made in a namespace; empty when one can.
    """
    for program in ("unshare", "ip"):
        if shutil.which(program) is None:
            return f"there is no {program} here (Debian: util-linux, iproute2)"
    cable = ["ip", "link", "add", "l1", "type", "veth", "peer", "name", "r1"]
    done = subprocess.run([*namespace, *cable], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"no network namespaces can be made here ({done.stderr.strip()}); root may"
    # Some containers may make them, and not say how they are to behave.
    writable = [*namespace, "test", "-w", "/proc/sys/net/ipv4/conf/all/rp_filter"]
    if subprocess.run(writable, check=False).returncode:
        return "/proc/sys is read-only here, so that a cable with both ends on one machine cannot be made"
    return ""


def _cable() -> None:
    """
    Join two interfaces. Both ends are on this machine, which must believe in its own addresses.
    """
    _ip("link set lo up", "link add l1 type veth peer name r1")
    _ip("addr add 10.1.0.1/24 dev l1", "addr add 10.1.0.2/24 dev r1")
    for interface in ("l1", "r1"):
        for setting, value in (("accept_local", "1"), ("rp_filter", "0")):
            Path(f"/proc/sys/net/ipv4/conf/{interface}/{setting}").write_text(value)
        # Nobody else can have our addresses. Without this those of IPv6 can be used a second or two late.
        detection = Path(f"/proc/sys/net/ipv6/conf/{interface}/accept_dad")
        if detection.exists():
            detection.write_text("0")
    _ip("link set l1 up", "link set r1 up")


def _ip(*commands: str) -> None:
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)


class _Person:
    """
    One service, a process of its own, and a connection to its control socket.
    """

    def __init__(self, folder: Path, name: str, interface: str) -> None:
        self.name = name
        self._folder = folder / interface
        # For nobody else's eyes, whatever the umask: the service demands it of its socket's folder.
        self._folder.mkdir(mode=0o700)
        user, _, machine = name.partition("@")
        self._command = [
            *(sys.executable, "-m", "twisted", "linklocal"),
            *(f"--user={user}", f"--machine={machine}", f"--interface={interface}", "--accept=always"),
            *(f"--control=unix:{self.socket}", f"--pins={self._folder}/pins"),
            *(f"--cache-dir={self._folder}", f"--receive-dir={self._folder}/received"),
        ]
        self._events: list[Event] = []
        self.client: ControlClient

    @property
    def socket(self) -> Path:
        return self._folder / "control"

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        while True:
            try:
                self.client = await ControlClient.connect(self.socket, self._events.append)
                break
            except OSError:
                await asyncio.sleep(0.05)
        self._reading = asyncio.ensure_future(self.client.run())

    async def wait(self, event: str, **match: object) -> Event:
        """
        Wait for an event.

        @raise CommandFailed: when a file is cancelled meanwhile.
        """
        while True:
            for one in self._events:
                if one["event"] == event and match.items() <= one.items():
                    return one
                if one["event"] == "file-cancel":
                    raise CommandFailed(f"{self.name} did not see the file through: {one}")
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self._process.terminate()
        await self._process.wait()
        await self._reading


async def _show(folder: Path, tell: Narrator) -> None:
    juliet, romeo = _Person(folder, JULIET, "l1"), _Person(folder, ROMEO, "r1")
    for person in (juliet, romeo):
        await person.start()
    tell.step("twistd linklocal, twice, at the two ends of a cable in a network namespace of its own")
    for person in (juliet, romeo):
        await person.wait("signed-on", name=person.name)
    tell.step(f"multicast DNS: nobody else is called {ROMEO} or {JULIET}, so these names are theirs")
    await romeo.wait("buddy-on", name=JULIET)
    await juliet.wait("buddy-on", name=ROMEO)
    tell.step("each sees the other; no server was asked, for there is none")
    said = await romeo.client.do(
        "im", to=JULIET, text="M'lady, I would be pleased to make your acquaintance."
    )
    heard = await juliet.wait("im")
    safety = "encrypted" if heard["tls"] and said["tls"] else "NOT encrypted"
    tell.step(f"{heard['from']} says, {safety}: {heard['text']}")
    code = (await romeo.client.do("verify", to=JULIET))["code"]
    other = (await juliet.client.do("verify", to=ROMEO))["code"]
    if code != other:
        raise CommandFailed(f"the codes {code} and {other} differ")
    tell.step(f"both would read the same code to each other, {code}: nobody sits between them")
    await _file(folder, romeo, juliet, tell)
    await romeo.stop()
    await juliet.wait("buddy-off", name=ROMEO)
    tell.step(f"{ROMEO} leaves, and {JULIET} knows")
    await juliet.stop()


async def _file(folder: Path, romeo: _Person, juliet: _Person, tell: Narrator) -> None:
    path = folder / "letter.bin"
    path.write_bytes(os.urandom(SIZE))
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    await romeo.client.do("file", to=JULIET, path=str(path))
    done = await juliet.wait("file-done")
    await romeo.wait("file-done")
    received = hashlib.sha256(Path(done["path"]).read_bytes()).hexdigest()
    if received != expected:
        raise CommandFailed("the file has changed on its way")
    tell.step(f"a file of {SIZE >> 20} MiB, {done['route']}: the SHA-256 {received[:16]}... is the same")


def main() -> int:
    """
    Show it, inside the namespace.

    @return: the exit code.
    """
    tell = Narrator(sys.stdout)
    folder = Path(tempfile.mkdtemp(prefix="xb"))
    try:
        _cable()
        asyncio.run(asyncio.wait_for(_show(folder, tell), _PATIENCE))
    except TimeoutError:
        tell.remark("failed: it took too long")
        return 1
    except (CommandFailed, OSError, subprocess.CalledProcessError) as error:
        tell.remark(f"failed: {error}")
        return 1
    finally:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
