"""
L{xmppbytes.linklocalfiles}: files between two meshes, over real connections.
"""

import hashlib
from pathlib import Path
from random import Random

from twisted.internet import reactor
from twisted.internet.defer import fail, inlineCallbacks
from twisted.logger import capturedLogs

from tests.loopback.test_linklocal_mesh import JULIET, ROMEO, MeshTestCase, Person, pause
from xmppbytes import linklocalfiles as module
from xmppbytes.errors import ConfigurationError, NotReachable
from xmppbytes.filetransfer.methods import StreamMethods, standardMethods
from xmppbytes.filetransfer.si import StreamInitiationHandler
from xmppbytes.linklocal.events import EventHub
from xmppbytes.linklocal.surroundings import LinkSurroundings
from xmppbytes.linklocalfiles import Files
from xmppbytes.s5b.client import BytestreamsClientHandler
from xmppbytes.s5b.options import BytestreamOptions, Ways


class Filer:
    """
    The file side of one person.
    """

    def __init__(self, person: Person, folder: Path, accept: str) -> None:
        self.person = person
        self.hub = EventHub(reactor)
        self.hub.streamOf = person.mesh.stream
        self.events = []
        self.hub.addListener(self.events.append)
        surroundings = LinkSurroundings(person.discovery, person.mesh)
        options = BytestreamOptions(
            ways=Ways.DIRECT_ONLY, discoverProxies=False, mayConnect=surroundings.mayConnect
        )
        s5b = BytestreamsClientHandler(reactor, None, options, surroundings)
        initiation = StreamInitiationHandler(StreamMethods(standardMethods(s5b, None)))
        for handler in (s5b, initiation):
            handler.setHandlerParent(person.mesh)
        self.folder = folder
        self.files = Files(reactor, initiation, self.hub, folder, accept)

    @inlineCallbacks
    def wait(self, event, count=1):
        for _ in range(3000):
            found = [one for one in self.events if one["event"] == event]
            if len(found) >= count:
                return found[count - 1]
            yield pause(0.02)
        raise AssertionError(f"no {event}, but {self.events}")


class FilesTests(MeshTestCase):
    """
    Romeo sends, Juliet receives.
    """

    def filers(self, accept="ask"):
        romeo, juliet = self.pair()
        root = Path(self.mktemp())
        root.mkdir()
        self.path = root / "a file.bin"
        self.path.write_bytes(Random(1).randbytes(500_000))
        return Filer(romeo, root / "r", "never"), Filer(juliet, root / "j", accept)

    @inlineCallbacks
    def test_accepted(self):
        """
        A file is offered, accepted, and arrives; both sides are told of progress and end.
        """
        romeo, juliet = self.filers()
        identifier = romeo.files.send(JULIET, str(self.path))
        request = yield juliet.wait("file-request")
        self.assertEqual(
            (request["from"], request["name"], request["size"], request["direction"], request["tls"]),
            (ROMEO, "a file.bin", 500_000, "in", True),
        )
        juliet.files.accept(request["id"])
        done = yield juliet.wait("file-done")
        content = Path(done["path"]).read_bytes()
        self.assertEqual(content, self.path.read_bytes())
        self.assertEqual(done["sha256"], hashlib.sha256(content).hexdigest())
        self.assertEqual(Path(done["path"]).parent, juliet.folder)
        sent = yield romeo.wait("file-done")
        self.assertEqual((sent["id"], sent["to"], sent["direction"]), (identifier, JULIET, "out"))
        for one in (romeo, juliet):
            ofFiles = [event for event in one.events if event["event"].startswith("file-")]
            self.assertEqual({(event["tls"], event["pinned"]) for event in ofFiles}, {(True, False)})
            self.assertEqual([e for e in one.events if e["event"] == "file-progress"][-1]["bytes"], 500_000)
        for command in (romeo.files.cancel, juliet.files.accept, juliet.files.decline):
            self.assertRaises(ConfigurationError, command, identifier)

    @inlineCallbacks
    def test_ownFault(self):
        """
        What nobody has foreseen ends the transfer, too, and is in the log.
        """
        romeo, _ = self.filers()
        self.patch(module, "sendFile", lambda *_, **__: fail(RuntimeError("oops")))
        romeo.files.send(JULIET, str(self.path))
        cancelled = yield romeo.wait("file-cancel")
        self.assertIn("our own fault", cancelled["reason"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    @inlineCallbacks
    def test_stranger(self):
        """
        Somebody at another address who knows the hash does not get the file.
        """
        romeo, juliet = self.filers()
        romeo.files.send(JULIET, str(self.path))
        request = yield juliet.wait("file-request")
        # Her connection comes from an address that is hers no more.
        romeo.person.mesh.stream(JULIET).address = "127.0.0.9"
        romeo.person.discovery.places[JULIET] = (1, ("127.0.0.9",))
        juliet.files.accept(request["id"])
        cancelled = yield romeo.wait("file-cancel")
        self.assertIn("none of the", cancelled["reason"])
        # She is told, too.
        yield juliet.wait("file-cancel")

    @inlineCallbacks
    def test_always(self):
        """
        With --accept=always nobody is asked.
        """
        romeo, juliet = self.filers("always")
        romeo.files.send(JULIET, str(self.path))
        yield juliet.wait("file-done")
        yield romeo.wait("file-done")

    @inlineCallbacks
    def test_never(self):
        """
        With --accept=never nobody is asked either.
        """
        romeo, juliet = self.filers("never")
        romeo.files.send(JULIET, str(self.path))
        cancelled = yield romeo.wait("file-cancel")
        self.assertIn("declined", cancelled["reason"])
        self.assertEqual([one["event"] for one in juliet.events], [])

    @inlineCallbacks
    def test_declined(self):
        """
        A file is declined: both sides are told.
        """
        romeo, juliet = self.filers()
        romeo.files.send(JULIET, str(self.path))
        request = yield juliet.wait("file-request")
        juliet.files.decline(request["id"])
        yield juliet.wait("file-cancel")
        cancelled = yield romeo.wait("file-cancel")
        self.assertIn("declined", cancelled["reason"])

    @inlineCallbacks
    def test_cancelled(self):
        """
        Either side cancels, before and after the decision: both are told.
        """
        romeo, juliet = self.filers()
        identifier = romeo.files.send(JULIET, str(self.path))
        yield juliet.wait("file-request")
        romeo.files.cancel(identifier)
        mine = yield romeo.wait("file-cancel")
        self.assertIn("by the sender", mine["reason"])
        yield juliet.wait("file-cancel")
        romeo.files.send(JULIET, str(self.path))
        request = yield juliet.wait("file-request", 2)
        juliet.files.cancel(request["id"])
        yield romeo.wait("file-cancel", 2)
        big = self.path.with_name("big")
        big.write_bytes(bytes(30_000_000))
        romeo.files.send(JULIET, str(big))
        request = yield juliet.wait("file-request", 3)
        juliet.files.accept(request["id"])
        yield juliet.wait("file-progress")
        juliet.files.cancel(request["id"])
        theirs = yield romeo.wait("file-cancel", 3)
        self.assertIn("cancelled by the receiver", theirs["reason"])

    @inlineCallbacks
    def test_peerGone(self):
        """
        The sender leaves before a word was said.
        """
        romeo, juliet = self.filers()
        romeo.files.send(JULIET, str(self.path))
        yield juliet.wait("file-request")
        juliet.files.peerGone("nurse@verona")
        juliet.files.peerGone(ROMEO)
        cancelled = yield juliet.wait("file-cancel")
        self.assertIn("has left", cancelled["reason"])
        yield romeo.wait("file-cancel")

    @inlineCallbacks
    def test_nobody(self):
        """
        A file for nobody is cancelled, with the reason.
        """
        romeo, _ = self.filers()
        romeo.files.send("tybalt@verona", str(self.path))
        yield romeo.wait("file-cancel")

    @inlineCallbacks
    def test_stopped(self):
        """
        When the service stops all transfers end, and the other side is told.
        """
        romeo, juliet = self.filers()
        romeo.files.send(JULIET, str(self.path))
        yield juliet.wait("file-request")
        romeo.files.stop("going offline")
        yield romeo.wait("file-cancel")
        yield juliet.wait("file-cancel")
        romeo.files.send(JULIET, str(self.path))
        yield juliet.wait("file-request", 2)
        juliet.files.stop("going offline")
        yield romeo.wait("file-cancel", 2)

    def test_noFile(self):
        """
        What is no file cannot be sent.
        """
        romeo, _ = self.filers()
        for path in (self.path.parent, self.path / "x"):
            self.assertRaises(ConfigurationError, romeo.files.send, JULIET, str(path))

    @inlineCallbacks
    def test_manyOffers(self):
        """
        Offers beyond the limit are refused until some are decided.
        """
        self.patch(module, "MAX_QUESTIONS", 1)
        romeo, juliet = self.filers()
        romeo.files.send(JULIET, str(self.path))
        request = yield juliet.wait("file-request")
        romeo.files.send(JULIET, str(self.path))
        cancelled = yield romeo.wait("file-cancel")
        self.assertIn("too many", cancelled["reason"])
        juliet.files.decline(request["id"])
        yield romeo.wait("file-cancel", 2)

    @inlineCallbacks
    def test_manyLines(self):
        """
        Many transfers that come to nothing are so many lines in the log; each is told to programs.
        """
        romeo, _ = self.filers()
        self.patch(module, "sendFile", lambda *_, **__: fail(NotReachable("gone")))
        with capturedLogs() as logs:
            for _ in range(100):
                romeo.files.send(JULIET, str(self.path))
            romeo.files.stop("enough")
        yield romeo.wait("file-cancel", 100)
        self.assertEqual(len(logs), 21)

    @inlineCallbacks
    def test_noFolder(self):
        """
        A folder that cannot be made: the command fails, the offer still waits.
        """
        romeo, juliet = self.filers()
        juliet.folder.write_bytes(b"")
        romeo.files.send(JULIET, str(self.path))
        request = yield juliet.wait("file-request")
        self.assertRaises(ConfigurationError, juliet.files.accept, request["id"])
        juliet.folder.unlink()
        juliet.files.accept(request["id"])
        yield juliet.wait("file-done")
