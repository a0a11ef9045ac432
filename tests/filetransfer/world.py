"""
Two people in memory who send each other files that are on a real disk.
"""

from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish.domish import Element
from zope.interface import implementer

from xmppbytes.errors import BytestreamError
from xmppbytes.filetransfer.acceptor import IFileAcceptor, IncomingFile
from xmppbytes.filetransfer.ibb import InBandHandler
from xmppbytes.filetransfer.methods import StreamMethods, standardMethods
from xmppbytes.filetransfer.receive import FileReceiving
from xmppbytes.filetransfer.report import TransferReport
from xmppbytes.filetransfer.send import sendFile
from xmppbytes.filetransfer.si import StreamInitiationHandler
from xmppbytes.filetransfer.storage import Inbox
from xmppbytes.s5b.client import BytestreamsClientHandler
from xmppbytes.s5b.options import BytestreamOptions
from xmppbytes.stanza import RequestHandler
from xmppbytes.testing import MemoryInternet, MemoryXMPPServer

ROMEO = "romeo@montague.example/orchard"
JULIET = "juliet@capulet.example/balcony"


@implementer(IFileAcceptor)
class Acceptor:
    """
    Accepts, unless told otherwise, and notes what it is told.

    @ivar answer: an exception to raise, or what is returned.
    """

    def __init__(self, folder: Path) -> None:
        self.answer: Any = Inbox(folder)
        self.offers: list[IncomingFile] = []
        self.progress: list[int] = []
        self.reports: list[TransferReport] = []
        self.failures: list[tuple[str, bool]] = []

    def fileOffered(self, incoming: IncomingFile) -> Any:
        self.offers.append(incoming)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def fileProgressed(self, incoming: IncomingFile, done: int) -> None:
        self.progress.append(done)

    def fileReceived(self, incoming: IncomingFile, report: TransferReport) -> None:
        self.reports.append(report)

    def fileFailed(self, incoming: IncomingFile, error: BytestreamError, kept: bool) -> None:
        self.failures.append((str(error), kept))


class Person:
    """
    An account on its machine, with everything that files need.
    """

    def __init__(self, world: "FileTestCase", address: str, ip: str, inBand: bool = True) -> None:
        self.reactor = world.internet.machine(ip)
        self.manager = world.server.connect(address)
        options = BytestreamOptions(addresses=[ip], discoverProxies=False)
        self.s5b = BytestreamsClientHandler(self.reactor, options=options)
        self.inBand = InBandHandler(world.clock)
        methods = StreamMethods(standardMethods(self.s5b, self.inBand if inBand else None))
        self.initiation = StreamInitiationHandler(methods)
        self.asker = RequestHandler()
        for handler in (self.s5b, self.inBand, self.initiation, self.asker):
            handler.setHandlerParent(self.manager)


class FileTestCase(SynchronousTestCase):
    """
    Romeo sends to Juliet.
    """

    content = bytes(range(256)) * 1000

    def setUp(self) -> None:
        self.clock = Clock()
        self.server = MemoryXMPPServer(self.clock)
        self.internet = MemoryInternet(self.clock)
        self.romeo = Person(self, ROMEO, "192.0.2.1")
        self.juliet = Person(self, JULIET, "192.0.2.2")
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.acceptor = Acceptor(self.folder)
        self.receiving = FileReceiving(self.clock, self.juliet.initiation, self.acceptor)
        self.path = Path(self.mktemp())
        self.path.mkdir()
        self.path /= "doc.bin"
        self.path.write_bytes(self.content)

    def send(self, **options: Any) -> Any:
        """
        Begin to send the file.
        """
        return sendFile(self.clock, self.romeo.initiation, JULIET, self.path, **options)

    def pump(self, seconds: float = 3.0) -> None:
        """
        Let time pass.
        """
        self.clock.pump([0.05] * int(seconds / 0.05))

    def received(self) -> dict[str, bytes]:
        """
        What is in Juliet's folder.
        """
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def assertNothingLeft(self) -> None:
        """
        No timer, no connection, no table entry.
        """
        self.pump(10)
        self.assertEqual([str(call) for call in self.clock.getDelayedCalls()], [])
        self.assertEqual(self.internet.transports, [])
        self.assertEqual(self.internet.listening, {})
        for person in (self.romeo, self.juliet):
            self.assertEqual(person.initiation._running, {})
            self.assertEqual(person.initiation._incoming, set())
            self.assertEqual(person.inBand._expected, {})
            self.assertEqual(person.inBand._streams, {})
            self.assertEqual(person.s5b._expected, {})
            self.assertEqual(person.manager._iqDeferreds, {})
        self.assertEqual(self.receiving._running, set())

    def refuse(self, name: str, condition: str) -> None:
        """
        Let requests with this child element be refused on their way.
        """

        def intercept(stanza: Element) -> Element | None:
            child = stanza.firstChildElement()
            if child is None or child.name != name or stanza.getAttribute("type") != "set":
                return stanza
            self.clock.callLater(0, answer, stanza)
            return None

        def answer(stanza: Element) -> None:
            self.server._wires[stanza["from"]].deliver(StanzaError(condition).toResponse(stanza))

        self.server.intercept = intercept

    def lose(self, text: str) -> None:
        """
        Let stanzas that contain this text be lost.
        """
        self.server.intercept = lambda stanza: None if text in stanza.toXml() else stanza
