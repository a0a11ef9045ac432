"""
Tests for L{xmppbytes.chat.connection}, L{xmppbytes.chat.screen} and L{xmppbytes.chat.command}.
"""

import argparse
import asyncio
import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from prompt_toolkit.application import create_app_session
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from twisted.trial.unittest import SynchronousTestCase

from xmppbytes.chat import command, screen
from xmppbytes.chat.connection import MAX_LINE, CommandFailed, ControlClient
from xmppbytes.linklocal.events import describe
from xmppbytes.linklocal.presence import Presence
from xmppbytes.linklocal.roster import MAX_BUDDIES, Buddy
from xmppbytes.wire.txt import encodePairs

JULIET = "juliet@pronto"
ROSTER = {"name": "me@here", "roster": [{"name": JULIET, "status": "avail", "message": ""}]}


class FakeService:
    """
    A control socket whose answers a test knows.
    """

    def __init__(self):
        self.commands = []
        self.writers = []
        self.answers = {
            "roster": {"event": "ok", **ROSTER},
            "im": {"event": "ok", "to": JULIET, "tls": True, "pinned": True},
            "verify": {"event": "ok", "to": JULIET, "code": "ABCD-EFGH", "pinned": False},
            "file": {"event": "ok", "to": JULIET, "id": "1"},
            "close": {"event": "error", "text": "there is no stream"},
        }

    async def serve(self, reader, writer):
        self.writers.append(writer)
        with contextlib.suppress(asyncio.CancelledError):
            await self._answer(reader, writer)

    async def _answer(self, reader, writer):
        while line := await reader.readline():
            told = json.loads(line)
            self.commands.append(told)
            if told["cmd"] == "hang up":
                writer.close()
                return
            answer = self.answers.get(told["cmd"], {"event": "ok"})
            writer.write(json.dumps({**answer, "re": told["cmd"], "tag": told["tag"]}).encode() + b"\n")

    def emit(self, **event):
        for writer in self.writers:
            writer.write(json.dumps(event).encode() + b"\n")


class ChatTestCase(SynchronousTestCase):
    """
    A socket in a short folder.
    """

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="xb"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = self.folder / "s"
        self.service = FakeService()

    def run_with(self, work):
        """
        Run a coroutine function beside the service.
        """

        async def both():
            server = await asyncio.start_unix_server(self.service.serve, str(self.path))
            try:
                return await asyncio.wait_for(work(), 20)
            finally:
                server.close()
                for writer in self.service.writers:
                    writer.close()

        return asyncio.run(both())


class ConnectionTests(ChatTestCase):
    """
    Commands and events.
    """

    def test_longestRoster(self):
        """
        A roster of as many people as there can be, each of whom tells all that fits, can be read.
        """
        text = encodePairs([(key, '"' * 255) for key in ("1st", "last", "nick", "email")])
        more = encodePairs([(key, '"' * 255) for key in ("jid", "msg")])
        buddy = Buddy('"' * 63, Presence.fromText(text + more), {"eth0"}, "/" * 100, "a" * 40)
        entry = {**describe(buddy), "tls": False, "pinned": False}
        self.assertGreater(len(json.dumps(entry)), 3000)
        self.assertLess(len(json.dumps(entry)) * MAX_BUDDIES, MAX_LINE)

    def test_commands(self):
        """
        Answers find who waits for them; events are told.
        """
        told = []

        async def work():
            client = await ControlClient.connect(self.path, told.append)
            reading = asyncio.ensure_future(client.run())
            first, second = await asyncio.gather(client.do("roster"), client.do("im", to=JULIET, text="x"))
            self.service.emit(event="buddy-off", name=JULIET)
            with self.assertRaises(CommandFailed):
                await client.do("close", to=JULIET)
            client.close()
            await reading
            return first, second

        first, second = self.run_with(work)
        self.assertEqual((first["name"], second["to"]), ("me@here", JULIET))
        self.assertEqual(told, [{"event": "buddy-off", "name": JULIET}])
        self.assertEqual(self.service.commands[1], {"cmd": "im", "tag": 2, "to": JULIET, "text": "x"})

    def test_serviceEnds(self):
        """
        Who waits for an answer when the service ends is told so.
        """

        async def work():
            client = await ControlClient.connect(self.path, lambda event: None)
            reading = asyncio.ensure_future(client.run())
            with self.assertRaises(CommandFailed):
                await client.do("hang up")
            await reading
            client.close()

        self.run_with(work)

    def test_nonsense(self):
        """
        A service that talks nonsense is taken for one that has ended.
        """

        async def work():
            client = await ControlClient.connect(self.path, lambda event: None)
            await asyncio.sleep(0.05)
            self.service.writers[0].write(b"nonsense\n")
            await client.run()
            client.close()

        self.run_with(work)


class ScreenTests(ChatTestCase):
    """
    A person at a terminal.
    """

    def talk(self, *lines, before=lambda service: None):
        """
        Type lines; give what was shown.
        """
        shown = io.StringIO()
        one = screen.Screen()

        async def work(pipe):
            client = await ControlClient.connect(self.path, one.told)
            running = asyncio.ensure_future(one.run(client))
            await asyncio.sleep(0.1)
            before(self.service)
            await asyncio.sleep(0.1)
            for line in lines:
                pipe.send_text(line + "\r")
                await asyncio.sleep(0.05)
            await asyncio.wait_for(running, 10)

        with (
            create_pipe_input() as pipe,
            create_app_session(input=pipe, output=DummyOutput()),
            contextlib.redirect_stdout(shown),
        ):
            # What is shown goes to the terminal otherwise.
            self.patch(screen, "patch_stdout", lambda raw: contextlib.nullcontext())
            self.run_with(lambda: work(pipe))
        return shown.getvalue()

    def test_talk(self):
        """
        Roster, choice, words, code, file, help, a command that fails, the end.
        """
        shown = self.talk(
            "hello",
            "/to jul",
            "hello",
            "",
            "/verify",
            "/send /etc/hostname",
            "/close",
            "/help",
            "/who",
            "/status dnd",
            "/quit",
        )
        for text in (
            f"you are me@here; here are:\n  {JULIET} is here",
            "! to whom?",
            "you: hello",
            f"compare by voice with {JULIET}: ABCD-EFGH (the key was not known before)",
            f"offered to {JULIET} (transfer 1)",
            "! there is no stream",
            "/send FILE",
        ):
            self.assertIn(text, shown)
        self.assertEqual(self.service.commands[1]["cmd"], "im")

    def test_events(self):
        """
        Who speaks first becomes the partner; transfers show below the line.
        """

        def before(service):
            base = {"id": "4", "name": "a", "size": 10, "direction": "in", "from": JULIET}
            service.emit(event="buddy-on", name="nurse@verona", status="away", message="")
            service.emit(event="buddy-off", name=JULIET)
            service.emit(event="im", **{"from": "nurse@verona"}, text="psst", tls=False, pinned=False)
            service.emit(event="file-request", tls=True, pinned=True, **base)
            service.emit(event="file-progress", bytes=5, **base)
            service.emit(event="file-done", path="/x", **base)

        shown = self.talk("anon", "/accept", "/quit", before=before)
        self.assertIn("[not encrypted] nurse@verona: psst", shown)
        self.assertEqual(self.service.commands[1]["to"], "nurse@verona")
        self.assertEqual(self.service.commands[2]["id"], "4")

    def test_serviceEnds(self):
        """
        The service ends: so does the chat.
        """
        self.assertIn("has ended", self.talk(before=lambda service: service.writers[0].close()))

    def test_emptyRoster(self):
        """
        Nobody is here, or the roster cannot be had.
        """
        self.service.answers["roster"] = {"event": "ok", "name": "me@here", "roster": []}
        self.assertIn("nobody else", self.talk("/quit"))
        self.service.answers["roster"] = {"event": "error", "text": "not now"}
        self.assertIn("! not now", self.talk("\x04"))

    def test_toolbar(self):
        """
        Running transfers are shown below, and no more when they end.
        """
        one = screen.Screen()
        one._begun = True
        transfer = {"id": "1", "name": "a", "size": 10, "direction": "out", "to": JULIET}
        one.told({"event": "file-progress", "bytes": 5, **transfer})
        self.assertEqual(one._toolbar(), f"a to {JULIET}: 50 %")
        with contextlib.redirect_stdout(io.StringIO()):
            one.told({"event": "file-cancel", "reason": "x", **transfer})
        self.assertEqual((one._toolbar(), one._prompt()), ("", "(nobody: /to NAME)> "))

    def test_completion(self):
        """
        Commands are completed, and names after /to.
        """
        one = screen.Screen()
        one.situation.names = (JULIET, "nurse@verona")
        completer = screen.NameCompleter(one.situation)

        def complete(text):
            return [found.text for found in completer.get_completions(Document(text), None)]

        self.assertEqual(complete("/to j"), [JULIET])
        self.assertEqual(complete("/ver"), ["/verify"])
        self.assertEqual(complete("hello"), [])


class CommandTests(ChatTestCase):
    """
    Finding a service, or starting one.
    """

    def run_command(self, *service, control=None):
        options = argparse.Namespace(control=control or f"unix:{self.path}", service=list(service))
        shown = io.StringIO()
        with contextlib.redirect_stderr(shown):
            code = command.run(options)
        return code, shown.getvalue()

    def test_wrongSocket(self):
        """
        A socket of another kind is refused.
        """
        code, shown = self.run_command(control="tcp:1")
        self.assertEqual(code, 1)
        self.assertIn("unix:PATH", shown)

    def test_othersFolder(self):
        """
        A folder in which somebody else could listen in the place of the service is refused, whether one runs
        or not.
        """
        self.path.parent.chmod(0o777)
        for there in (False, True):
            if there:
                self.path.touch()
            code, shown = self.run_command()
            self.assertEqual(code, 1)
            self.assertIn("others may write to the folder", shown)

    def test_noService(self):
        """
        A service that cannot be started: its log is named.
        """
        root = Path(__file__).parents[2]
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = str(root)
        self.addCleanup(os.environ.__setitem__, "PYTHONPATH", before or "")
        code, shown = self.run_command("--status=chatty")
        self.assertEqual(code, 1)
        self.assertIn(str(self.path.with_suffix(".log")), shown)
        self.assertIn("choose one of", self.path.with_suffix(".log").read_text())

    def test_stubborn(self):
        """
        A service that does not end when it is told to is killed.
        """
        self.patch(command, "STOP_TIMEOUT", 0.2)
        self.patch(sys, "executable", str(self.folder / "stubborn"))
        Path(sys.executable).write_text("#!/bin/sh\ntrap '' TERM\necho ready\nwhile :; do sleep 0.1; done\n")
        Path(sys.executable).chmod(0o700)

        async def work():
            async with command.ownService(self.path, []) as process:
                while "ready" not in self.path.with_suffix(".log").read_text():
                    await asyncio.sleep(0.02)
            return process.returncode

        self.assertEqual(asyncio.run(work()), -9)

    def test_running(self):
        """
        A service that runs is used; options for another are not.
        """
        talked = []

        class Screen(screen.Screen):
            async def run(self, client):
                talked.append(client)
                client.close()

        self.patch(command, "Screen", Screen)
        shown = io.StringIO()
        with contextlib.redirect_stderr(shown):
            self.run_with(lambda: command.chat(self.path, ["--nick=x"]))
        self.assertEqual(len(talked), 1)
        self.assertIn("not used", shown.getvalue())

    def test_arguments(self):
        """
        Options for the service stand behind a double dash.
        """
        parser = argparse.ArgumentParser()
        command.addArguments(parser)
        parsed = parser.parse_args(["--control", "unix:/x", "--", "--nick=x"])
        self.assertEqual((parsed.control, parsed.service), ("unix:/x", ["--nick=x"]))
