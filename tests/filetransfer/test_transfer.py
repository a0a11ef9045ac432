"""
Tests for L{xmppbytes.filetransfer.send} and L{xmppbytes.filetransfer.receive}: whole transfers.
"""

import errno
import hashlib
import os
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.protocol import Protocol
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish.domish import Element

from tests.filetransfer.world import JULIET, ROMEO, FileTestCase, Person
from xmppbytes import rooms
from xmppbytes.errors import NegotiationError, NotReachable, Refused, TransferError
from xmppbytes.filetransfer import digests, incoming, receive, send, si, storage
from xmppbytes.filetransfer.methods import StreamMethods, standardMethods
from xmppbytes.filetransfer.offer import FileOffer
from xmppbytes.filetransfer.report import TransferReport
from xmppbytes.filetransfer.sender import Unreadable
from xmppbytes.filetransfer.stanzas import NS_FILE, Acceptance, Initiation
from xmppbytes.filetransfer.storage import Inbox

S5B = "http://jabber.org/protocol/bytestreams"


class WholeTests(FileTestCase):
    """
    Transfers that succeed.
    """

    def test_direct(self) -> None:
        """
        The file arrives, and both sides report the same.
        """
        done = self.send()
        self.pump()
        report = self.successResultOf(done)
        [other] = self.acceptor.reports
        sha256 = hashlib.sha256(self.content).hexdigest()
        self.assertEqual((report.sha256, other.sha256), (sha256, sha256))
        self.assertEqual((report.size, other.size), (len(self.content),) * 2)
        self.assertEqual((report.transferred, other.transferred), (len(self.content),) * 2)
        self.assertEqual((report.route, other.route), ("direct to 192.0.2.2", "direct to 192.0.2.1"))
        self.assertEqual((report.peer, other.peer), (JULIET, ROMEO))
        self.assertTrue(report.verified and other.verified)
        self.assertEqual(other.path, self.folder / "doc.bin")
        self.assertEqual(self.received(), {"doc.bin": self.content})
        self.assertNothingLeft()

    def test_offer(self) -> None:
        """
        The offer says what is known of the file.
        """
        os.utime(self.path, (0, 0))
        self.send(description="a word")
        self.pump()
        [incoming] = self.acceptor.offers
        self.assertEqual(incoming.sender, ROMEO)
        self.assertEqual(incoming.file.name, "doc.bin")
        self.assertEqual(incoming.file.size, len(self.content))
        self.assertEqual(incoming.file.md5, hashlib.md5(self.content).hexdigest())
        assert incoming.file.date is not None
        self.assertEqual(incoming.file.date.timestamp(), 0)
        self.assertEqual(incoming.file.description, "a word")
        self.assertTrue(incoming.file.ranged)

    def test_strangeName(self) -> None:
        """
        A name or a word that XML cannot carry does not end the stream.
        """
        self.path = self.path.rename(self.path.with_name("d\x01o\udcffc.bin"))
        done = self.send(description="a\x1bword")
        self.pump()
        self.successResultOf(done)
        [incoming] = self.acceptor.offers
        self.assertEqual(incoming.file.name, "d_o_c.bin")
        self.assertEqual(incoming.file.description, "a_word")

    def test_strangeDate(self) -> None:
        """
        A year that the calendar does not know is not told.
        """
        status = os.stat_result((0o100600, *(0,) * 5, 9, 0, 1 << 50, 0))
        self.assertIsNone(send._dateOf(status))

    def test_sameId(self) -> None:
        """
        The offer's id is its sid: libpurple refuses with the sid for an id.
        """
        self.send()
        self.pump()
        [offer] = [stanza for stanza in self.server.stanzas if "<si " in stanza and "'set'" in stanza]
        self.assertEqual(offer.count(self.acceptor.offers[0].sid), 2)

    def test_progress(self) -> None:
        """
        Both sides can follow it.
        """
        seen: list[tuple[int, int]] = []
        self.send(progress=lambda done, size: seen.append((done, size)))
        self.pump()
        size = len(self.content)
        self.assertEqual(seen[-1], (size, size))
        self.assertEqual(seen, sorted(seen))
        self.assertGreater(len(seen), 1)
        self.assertEqual(self.acceptor.progress[-1], size)

    def test_unhashed(self) -> None:
        """
        Without a hash nothing is verified, which is told.
        """
        done = self.send(hashed=False)
        self.pump()
        self.assertFalse(self.successResultOf(done).verified)
        self.assertFalse(self.acceptor.reports[0].verified)
        self.assertIsNone(self.acceptor.offers[0].file.md5)

    def test_empty(self) -> None:
        """
        A file without a byte arrives.
        """
        self.path.write_bytes(b"")
        done = self.send()
        self.pump()
        self.successResultOf(done)
        self.assertEqual(self.received(), {"doc.bin": b""})
        self.assertEqual(self.acceptor.reports[0].rate, 0.0)
        self.assertNothingLeft()

    def test_several(self) -> None:
        """
        Several files travel at once, also with the same name.
        """
        jobs = [self.send() for _ in range(3)]
        self.pump()
        for job in jobs:
            self.successResultOf(job)
        self.assertEqual(
            self.received(), dict.fromkeys(["doc.bin", "doc (2).bin", "doc (3).bin"], self.content)
        )
        self.assertNothingLeft()

    def test_inBandLastResort(self) -> None:
        """
        When no connection comes about the file goes in-band, on the same sid.
        """
        self.internet.silent.add("192.0.2.1")
        self.content = self.content[:10000]
        self.path.write_bytes(self.content)
        done = self.send()
        self.pump(60)
        self.assertIn("in-band", self.successResultOf(done).route)
        self.assertIn("in-band", self.acceptor.reports[0].route)
        self.assertEqual(self.received(), {"doc.bin": self.content})
        self.assertNothingLeft()

    def test_rate(self) -> None:
        """
        The rate is that of what was moved.
        """
        report = TransferReport(
            peer="x", path=self.path, size=100, sha256="", transferred=50, seconds=2.0, route=""
        )
        self.assertEqual(report.rate, 25.0)


class ResumeTests(FileTestCase):
    """
    Transfers that are continued.
    """

    def begin(self, count: int) -> str:
        """
        Have some bytes of the file already.
        """
        name = f"doc.bin.{hashlib.md5(self.content).hexdigest()[:8]}.part"
        (self.folder / name).write_bytes(self.content[:count])
        return name

    def test_continued(self) -> None:
        """
        What is there is not sent again; the whole is verified, and its SHA-256 told, at both ends.
        """
        self.begin(100000)
        seen: list[int] = []
        done = self.send(progress=lambda count, size: seen.append(count))
        self.pump()
        report = self.successResultOf(done)
        missing = len(self.content) - 100000
        sha256 = hashlib.sha256(self.content).hexdigest()
        for one in (report, self.acceptor.reports[0]):
            self.assertEqual((one.transferred, one.sha256), (missing, sha256))
        self.assertEqual(self.received(), {"doc.bin": self.content})
        self.assertGreater(seen[0], 100000)
        self.assertGreater(self.acceptor.progress[0], 100000)
        self.assertNothingLeft()

    def test_wrongBeginning(self) -> None:
        """
        A beginning that belongs to something else is found out in the end; the next try begins anew.
        """
        name = self.begin(100000)
        (self.folder / name).write_bytes(b"x" * 100000)
        done = self.send()
        self.pump()
        error = self.failureResultOf(done, Refused)
        self.assertIn("MD5", str(error.value))
        [(text, kept)] = self.acceptor.failures
        self.assertIn("not what was announced", text)
        self.assertFalse(kept)
        self.assertEqual(self.received(), {})
        again = self.send()
        self.pump()
        self.successResultOf(again)
        self.assertEqual(self.received(), {"doc.bin": self.content})

    def test_interrupted(self) -> None:
        """
        A transfer that breaks is continued by the next.
        """
        job: list[Any] = []

        def breakOff(done: int, size: int) -> None:
            if done > 50000:
                self.clock.callLater(0, job[0].cancel)

        job.append(self.send(progress=breakOff))
        self.pump()
        self.failureResultOf(job[0], CancelledError)
        [(text, kept)] = self.acceptor.failures
        self.assertEqual(text, f"{ROMEO} ended the transfer: cancelled by the sender")
        self.assertTrue(kept)
        [held] = self.received().values()
        self.assertTrue(0 < len(held) < len(self.content))
        again = self.send()
        self.pump()
        self.assertEqual(self.successResultOf(again).transferred, len(self.content) - len(held))
        self.assertEqual(self.received(), {"doc.bin": self.content})
        self.assertNothingLeft()

    def test_beyond32Bits(self) -> None:
        """
        What lies behind 4 GiB is counted right: only the end of 5 GiB is sent.
        """
        size, held, md5 = 5 << 30, (5 << 30) - 300_000, "0" * 32

        def skip(clock: Any, file: Any, length: int, digests: Any) -> Deferred[Any]:
            file.seek(length, os.SEEK_CUR)
            return succeed(digests)

        self.patch(send, "hashFile", skip)
        self.patch(incoming, "hashFile", skip)
        self.patch(digests.Digests, "md5", md5)
        part = self.folder / f"doc.bin.{md5[:8]}.part"
        for path, length in ((self.path, size), (part, held)):
            with path.open("wb") as file:
                file.truncate(length)
        done = self.send()
        self.pump()
        report = self.successResultOf(done)
        self.assertEqual((report.size, report.transferred), (size, 300_000))
        [other] = self.acceptor.reports
        self.assertEqual((other.size, other.transferred), (size, 300_000))
        self.assertEqual((self.folder / "doc.bin").stat().st_size, size)
        self.assertEqual(self.acceptor.progress[-1], size)

    def test_foreignRange(self) -> None:
        """
        A receiver may ask for any part of the file.
        """
        for text, expected in (
            ("<range offset='10' length='5'/>", self.content[10:15]),
            ("<range offset='255990'/>", self.content[255990:]),
            ("<range length='3'/>", self.content[:3]),
        ):
            self.assertEqual(self.askFor(text), expected)

    def test_impossibleRange(self) -> None:
        """
        A part that the file does not have cannot be sent.
        """
        for text in (
            "<range offset='256001'/>",
            "<range offset='1' length='256000'/>",
            "<range offset='x'/>",
        ):
            self.assertIsInstance(self.askFor(text), NegotiationError)

    def askFor(self, text: str) -> Any:
        """
        Let the receiver ask for a range.

        @return: what it gets, or the exception at the sender.
        """
        taken: list[bytes] = []

        class Taker(Protocol):
            def dataReceived(self, data: bytes) -> None:
                taken.append(data)

        def answer(sender: str, target: str, offered: Initiation) -> Deferred[Any]:
            acceptor = _Plain(Taker)
            self.juliet.s5b.expectBytestream(sender, offered.sid, acceptor)
            si = Acceptance(S5B).toElement()
            file = si.addElement((NS_FILE, "file"))
            file.addRawXml(text)
            decided: Deferred[Any] = Deferred()
            decided.callback(_Element(si))
            return decided

        self.juliet.initiation.decide = answer
        done = self.send()
        self.pump()
        self.juliet.initiation._incoming.clear()
        results: list[Any] = []
        done.addErrback(lambda failure: results.append(failure.value))
        self.assertTrue(done.called)
        return results[0] if results else b"".join(taken)


class _Plain:
    """
    An acceptor that only makes a protocol.
    """

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol

    def bytestreamRequested(self, offer: Any) -> Any:
        return self

    def buildProtocol(self, addr: Any) -> Any:
        return self._protocol()

    def bytestreamFailed(self, offer: Any, error: Any) -> None:
        raise AssertionError(error)


class _Element:
    """
    An acceptance that is written by hand.
    """

    def __init__(self, element: Element) -> None:
        self._element = element

    def toElement(self) -> Element:
        return self._element


class RefusalTests(FileTestCase):
    """
    Offers that come to nothing.
    """

    def test_declined(self) -> None:
        """
        The receiver says no.
        """
        self.acceptor.answer = Refused("I do not know you")
        done = self.send()
        self.pump()
        error = self.failureResultOf(done, Refused)
        self.assertEqual(str(error.value), f"{JULIET} declined the file: Offer Declined (forbidden)")
        self.assertEqual(self.acceptor.failures, [("I do not know you", False)])
        self.assertNothingLeft()

    def test_notDecided(self) -> None:
        """
        The receiver's application never decides: it learns that it need not any more, and the sender,
        who may have more patience, that it is declined.
        """
        withdrawn: list[Any] = []
        self.acceptor.answer = Deferred(withdrawn.append)
        done = self.send(answerTimeout=1000)
        self.clock.pump([1.0] * int(receive.DECISION_TIMEOUT - 1))
        self.assertNoResult(done)
        self.clock.pump([1.0] * 3)
        self.assertIn("declined the file: Offer Declined", str(self.failureResultOf(done, Refused).value))
        self.assertEqual(self.acceptor.failures, [("nobody decided about it within 240 s", False)])
        self.assertEqual(withdrawn, [self.acceptor.answer])
        self.assertNothingLeft()

    def test_unanswered(self) -> None:
        """
        The receiver says nothing: the offer is taken back, which it is told.
        """
        question: Deferred[Any] = Deferred()
        self.acceptor.answer = question
        done = self.send(answerTimeout=20.0)
        self.pump(21)
        error = self.failureResultOf(done, NotReachable)
        self.assertIn("has not answered within 20 s", str(error.value))
        self.assertTrue(question.called)
        self.assertEqual(self.acceptor.failures, [("the offer was taken back", False)])
        self.assertNothingLeft()

    def test_withdrawn(self) -> None:
        """
        The sender changes its mind before there is an answer.
        """
        question: Deferred[Any] = Deferred()
        self.acceptor.answer = question
        done = self.send()
        self.pump(1)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.pump(1)
        self.assertTrue(question.called)
        self.assertEqual(self.acceptor.failures, [("the offer was taken back", False)])
        self.assertNothingLeft()

    def test_noConnection(self) -> None:
        """
        The XMPP connection is lost while the answer is awaited.
        """
        self.acceptor.answer = Deferred()
        done = self.send()
        self.pump(1)
        self.server.disconnect(ROMEO)
        self.assertIn("was lost", str(self.failureResultOf(done, NotReachable).value))

    def test_offline(self) -> None:
        """
        Nobody is there.
        """
        self.server.disconnect(JULIET)
        done = self.send()
        self.pump()
        self.assertIn("is not online", str(self.failureResultOf(done, NotReachable).value))

    def test_noRoom(self) -> None:
        """
        There is no room: both sides are told, but the sender not how much there is.
        """
        self.patch(storage, "RESERVE", 1 << 62)
        done = self.send()
        self.pump()
        error = self.failureResultOf(done, Refused)
        self.assertIn("there is no room for this file (resource-constraint)", str(error.value))
        self.assertIn("make room", self.acceptor.failures[0][0])
        self.assertNothingLeft()

    def test_noFolder(self) -> None:
        """
        The folder cannot be written to: the sender is not told why.
        """
        self.acceptor.answer = Inbox(self.folder / "missing")
        done = self.send()
        self.pump()
        error = self.failureResultOf(done, Refused)
        self.assertIn("cannot be stored", str(error.value))
        self.assertNotIn("missing", str(error.value))
        self.assertNothingLeft()

    def test_acceptorFails(self) -> None:
        """
        An application that fails costs one log entry.
        """
        self.acceptor.answer = RuntimeError("bug")
        done = self.send()
        self.pump()
        self.failureResultOf(done, Refused)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertIn("our own fault", self.acceptor.failures[0][0])
        self.assertNothingLeft()

    def test_unreadablePart(self) -> None:
        """
        What is there of the file cannot be read.
        """

        def broken(*_: Any) -> Any:
            raise OSError(5, "Input/output error")

        self.patch(incoming, "hashFile", broken)
        md5 = hashlib.md5(self.content).hexdigest()
        (self.folder / f"doc.bin.{md5[:8]}.part").write_bytes(self.content[:100])
        done = self.send()
        self.pump()
        self.failureResultOf(done, Refused)
        self.assertIn("cannot be read", self.acceptor.failures[0][0])

    def test_nobodyDecides(self) -> None:
        """
        Without anybody to decide all is refused.
        """
        self.receiving.stop("closing")
        done = self.send()
        self.pump()
        self.failureResultOf(done, Refused)
        self.assertNothingLeft()

    def test_foreignMethod(self) -> None:
        """
        An answer with a method that was not offered, or with none, is no answer.
        """
        for method in ("jabber:iq:oob", ""):
            decided: Deferred[Any] = Deferred()
            decided.callback(Acceptance(method))
            self.juliet.initiation.decide = lambda *_, decided=decided: decided
            done = self.send()
            self.pump()
            self.assertIn("not offered", str(self.failureResultOf(done, NegotiationError).value))

    def test_vanishedFile(self) -> None:
        """
        The file is not there.
        """
        self.path.unlink()
        self.failureResultOf(self.send(), FileNotFoundError)

    def test_shrinkingMeanwhile(self) -> None:
        """
        The file becomes shorter while it is sent, or before the receiver goes on in its middle: both
        sides know.
        """

        def shorten(stanza: Element, what: str) -> Element:
            if what in stanza.toXml():
                os.truncate(self.path, 100)
            return stanza

        for what in ("<streamhost-used", "<range offset="):
            self.acceptor.failures.clear()
            self.path.write_bytes(self.content)
            self.server.intercept = lambda stanza, what=what: shorten(stanza, what)
            done = self.send()
            self.pump()
            error = self.failureResultOf(done, Unreadable)
            self.assertIn("has become shorter", str(error.value))
            [(text, kept)] = self.acceptor.failures
            self.assertIn("ended the transfer: the sender cannot read its file", text)
            self.assertTrue(kept)
        self.server.intercept = lambda stanza: stanza
        self.assertNothingLeft()

    def test_unreadableFile(self) -> None:
        """
        The file cannot be read.
        """
        self.patch(send, "hashFile", lambda *_: fail(OSError(errno.EIO, os.strerror(errno.EIO))))
        self.assertIn("Input/output error", str(self.failureResultOf(self.send(), Unreadable).value))

    def test_shrinkingFile(self) -> None:
        """
        The file becomes shorter while it is read.
        """
        real = os.fstat
        self.patch(os, "fstat", lambda fd: _Larger(real(fd)))
        done = self.send()
        self.pump()
        self.failureResultOf(done, TransferError)


class _Larger:
    """
    The status of a file, with a size that is wrong.
    """

    def __init__(self, status: Any) -> None:
        self.st_size = status.st_size + 1
        self.st_mtime = status.st_mtime


class BrokenTests(FileTestCase):
    """
    Transfers that break.
    """

    def during(self, action: Any, at: int = 50000) -> Any:
        """
        Send, and do something once some bytes were sent.
        """
        acted: list[None] = []

        def progress(done: int, size: int) -> None:
            if done > at and not acted:
                acted.append(None)
                self.clock.callLater(0, action)

        return self.send(progress=progress)

    def test_diskFull(self) -> None:
        """
        The disk becomes full: both sides know that it is that.
        """

        def full(part: Any, data: bytes) -> None:
            if part.size > 50000:
                raise storage.DiskFull("the disk is full (/secret); make room")
            real(part, data)

        real = storage.PartFile.write
        self.patch(storage.PartFile, "write", full)
        done = self.send()
        self.pump()
        error = self.failureResultOf(done, Refused)
        self.assertEqual(str(error.value), f"{JULIET} ended the transfer: there is no room left for the file")
        [(text, kept)] = self.acceptor.failures
        self.assertIn("the disk is full", text)
        self.assertTrue(kept)
        self.assertNothingLeft()

    def test_receiverCancels(self) -> None:
        """
        The receiver stops: the sender knows why, and what was received is kept.
        """
        done = self.during(lambda: self.receiving.stop("cancelled by the receiver"))
        self.pump()
        error = self.failureResultOf(done, Refused)
        self.assertIn("cancelled by the receiver", str(error.value))
        [(_, kept)] = self.acceptor.failures
        self.assertTrue(kept)
        self.assertNothingLeft()

    def test_receiverCancelsBeforeConnection(self) -> None:
        """
        The receiver stops between its yes and the connection.
        """
        self.internet.silent.add("192.0.2.1")
        done = self.send()
        self.pump(1)
        self.receiving.stop("cancelled by the receiver")
        self.pump(1)
        self.assertIn("cancelled by the receiver", str(self.failureResultOf(done, Refused).value))
        self.assertNothingLeft()

    def test_receiverCancelsBeforeDecision(self) -> None:
        """
        The receiver stops before it has decided.
        """
        self.acceptor.answer = Deferred()
        done = self.send()
        self.pump(1)
        self.receiving.stop("closing")
        self.pump(1)
        self.failureResultOf(done, Refused)
        self.assertNothingLeft()

    def test_connectionBreaks(self) -> None:
        """
        The connection breaks: both sides say how far it came.
        """

        def breakIt() -> None:
            self.server.intercept = lambda stanza: None if stanza.name == "message" else stanza
            for transport in list(self.internet.transports):
                transport.abortConnection()

        done = self.during(breakIt)
        self.pump()
        self.assertIn("bytes were sent", str(self.failureResultOf(done, TransferError).value))
        [(text, kept)] = self.acceptor.failures
        self.assertIn("bytes were missing", text)
        self.assertTrue(kept)
        self.assertNothingLeft()

    def test_cancelledWhileWaitingForReason(self) -> None:
        """
        The receiver stops in the moment in which it waits for the reason of a break.
        """

        def breakIt() -> None:
            self.server.intercept = lambda stanza: None if stanza.name == "message" else stanza
            for transport in list(self.internet.transports):
                transport.abortConnection()
            self.clock.callLater(0.3, self.receiving.stop, "closing")

        done = self.during(breakIt)
        self.pump()
        self.failureResultOf(done, TransferError)
        self.assertEqual(len(self.acceptor.failures), 1)
        self.assertNothingLeft()

    def test_neverConnected(self) -> None:
        """
        The sender accepts our yes and does nothing: there is an end to the patience.
        """
        self.server.intercept = lambda stanza: (
            None if any(one in stanza.toXml() for one in ("streamhost", "<open", "<message")) else stanza
        )
        done = self.send()
        self.pump(incoming.CONNECT_TIMEOUT + 5)
        self.failureResultOf(done, NotReachable)
        [(text, kept)] = self.acceptor.failures
        self.assertIn("the sender never opened the stream", text)
        self.assertFalse(kept)

    def test_nothingConnects(self) -> None:
        """
        No connection, and nothing in-band: both sides know why, before long.
        """
        self.romeo.initiation.methods = _withoutInBand(self.romeo)
        self.internet.silent.add("192.0.2.1")
        done = self.send()
        self.pump(60)
        self.failureResultOf(done, NegotiationError)
        [(text, _)] = self.acceptor.failures
        self.assertIn("ended the transfer: the sender found no way to send it (", text)
        self.assertIn("192.0.2.1 port", text)
        self.assertNothingLeft()

    def test_storeFails(self) -> None:
        """
        A file that cannot get its name did not arrive.
        """

        def fails(part: Any) -> Any:
            raise TransferError("cannot be renamed in /secret")

        self.patch(storage.PartFile, "finish", fails)
        done = self.send()
        self.pump()
        error = self.failureResultOf(done, Refused)
        self.assertIn("broken off", str(error.value))
        self.assertNotIn("secret", str(error.value))
        self.assertIn("cannot be renamed", self.acceptor.failures[0][0])
        self.assertNothingLeft()


def _withoutInBand(person: Person) -> Any:
    return StreamMethods(standardMethods(person.s5b, None))


class OfferTests(FileTestCase):
    """
    Offers of strangers.
    """

    def offer(self, sid: str = "sid", **changes: Any) -> str:
        """
        Send an offer.

        @return: the condition of the refusal, with that of XEP-0095 if there is one; empty: none.
        """
        file = FileOffer(**{"name": "a", "size": 1, **changes.pop("file", {})})
        offered = Initiation(sid, NS_FILE, (S5B,), file).toElement()
        for key, value in changes.items():
            if value is None:
                offered.children = [e for e in offered.children if e.name != key]
            else:
                offered[key] = value
        answer = self.romeo.asker.ask(JULIET, "set", offered)
        self.pump(1)
        results: list[Any] = []
        answer.addBoth(results.append)
        if not results or not hasattr(results[0], "value"):
            return ""
        error: StanzaError = results[0].value
        app = error.appCondition
        return f"{error.condition} {app.name if app is not None else ''}".strip()

    def test_badProfile(self) -> None:
        """
        What is no file is refused as XEP-0095 says.
        """
        self.assertEqual(self.offer(profile="urn:other"), "bad-request bad-profile")

    def test_noValidStreams(self) -> None:
        """
        So is what can travel by no method that we have.
        """
        self.assertEqual(self.offer(feature=None), "bad-request no-valid-streams")

    def test_incomplete(self) -> None:
        """
        So is what has no name, no size or no id, or an endless id.
        """
        self.assertEqual(self.offer(file={"name": ""}), "bad-request")
        self.assertEqual(self.offer(sid=""), "bad-request")
        self.assertEqual(self.offer(sid="s" * 1025), "bad-request")

    def test_sidTwice(self) -> None:
        """
        One sender uses one id for one file.
        """
        self.acceptor.answer = Deferred()
        self.assertEqual(self.offer(), "")
        self.assertEqual(self.offer(), "conflict")

    def test_expectedElsewhere(self) -> None:
        """
        The id of a bytestream that is expected for another purpose is refused.
        """
        self.juliet.s5b.expectBytestream(ROMEO, "sid", _Plain(None))
        self.assertEqual(self.offer(), "forbidden")
        self.assertEqual(self.juliet.inBand._expected, {})

    def test_limits(self) -> None:
        """
        There is a limit for each account, and one for all.
        """
        self.acceptor.answer = Deferred()
        self.patch(si, "MAX_TRANSFERS_PER_ACCOUNT", 2)
        self.assertEqual([self.offer(sid=str(n)) for n in range(3)], ["", "", "resource-constraint"])
        self.patch(si, "MAX_TRANSFERS_PER_ACCOUNT", 10)
        self.patch(si, "MAX_TRANSFERS", 2)
        self.assertEqual(self.offer(sid="3"), "resource-constraint")
        self.assertEqual(len(self.acceptor.offers), 2)

    def test_limitsInRoom(self) -> None:
        """
        In a room each occupant has a share, and all of them together that of a few accounts.
        """
        self.acceptor.answer = Deferred()
        self.patch(si, "MAX_TRANSFERS_PER_ACCOUNT", 2)
        self.patch(rooms, "ROOM_ACCOUNTS", 2)
        presence = Element((None, "presence"))
        presence["to"] = JULIET
        presence.addElement((rooms.NS_MUC_USER, "x")).addElement("item")["role"] = "participant"
        self.server.route("garden@chat.example/nurse", presence)
        self.pump(0.1)
        asked: dict[str, list[str]] = {}
        for nick in ("nurse", "page", "friar"):
            self.romeo = Person(self, f"garden@chat.example/{nick}", "192.0.2.1")
            asked[nick] = [self.offer(sid=str(n)) for n in range(3)]
        no = "resource-constraint"
        self.assertEqual(asked, {"nurse": ["", "", no], "page": ["", "", no], "friar": [no, no, no]})

    def test_synchronousFailure(self) -> None:
        """
        A decision that fails at once leaves nothing behind.
        """

        def fails(*_: Any) -> Any:
            raise RuntimeError("bug")

        self.juliet.initiation.decide = fails
        self.assertEqual(self.offer(), "internal-server-error")
        self.assertEqual(self.juliet.initiation._incoming, set())
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_dangerousName(self) -> None:
        """
        A name with a path stays in the folder.
        """
        self.path.write_bytes(b"x")

        def rename(stanza: Element) -> Element:
            child = stanza.firstChildElement()
            if child is not None and child.name == "si" and stanza["type"] == "set":
                next(e for e in child.elements() if e.name == "file")["name"] = "../../etc/cron.d/x"
            return stanza

        self.server.intercept = rename
        done = self.send()
        self.pump()
        self.successResultOf(done)
        self.assertEqual(self.received(), {"x": b"x"})

    def test_disco(self) -> None:
        """
        Both specifications are announced.
        """
        found = {str(feature) for feature in self.juliet.initiation.getDiscoInfo(None, None)}  # type: ignore[arg-type]
        self.assertEqual(found, {"http://jabber.org/protocol/si", NS_FILE})
        self.assertEqual(self.juliet.initiation.getDiscoInfo(None, None, "n"), [])  # type: ignore[arg-type]
        self.assertEqual(self.juliet.initiation.getDiscoItems(None, None), [])  # type: ignore[arg-type]

    def test_foreignErrors(self) -> None:
        """
        Errors about something else, or from somebody else, end nothing.
        """
        self.acceptor.answer = question = Deferred()
        self.offer()
        nurse = Person(self, "nurse@capulet.example/x", "192.0.2.9")
        nurse.initiation.tell(JULIET, "sid", "gone", "I am not Romeo")
        self.romeo.initiation.tell(JULIET, "other", "gone", "?")
        message = Element((None, "message"))
        message["to"], message["type"] = JULIET, "error"
        self.romeo.manager.send(message)
        self.pump(1)
        self.assertNoResult(question)
        self.romeo.initiation.tell(JULIET, "sid", "gone", "I am")
        self.pump(1)
        self.assertTrue(question.called)
        self.assertEqual(self.acceptor.failures, [("the offer was taken back", False)])


class SecondStreamTests(FileTestCase):
    """
    A sender that opens more than one stream for one file.
    """

    def test_refused(self) -> None:
        """
        While one is open another is refused.
        """
        opened: list[Any] = []

        class Idle(Protocol):
            pass

        class Opener:
            def buildProtocol(self, addr: Any) -> Any:
                return Idle()

        offered = Initiation("sid", NS_FILE, (S5B,), FileOffer(name="a", size=10)).toElement()
        self.romeo.asker.ask(JULIET, "set", offered)
        self.pump(1)
        for _ in range(2):
            opened.append(self.romeo.s5b.requestBytestream(JULIET, Opener(), "sid"))  # type: ignore[arg-type]
            self.pump(1)
        first = self.successResultOf(opened[0])
        self.failureResultOf(opened[1], Refused)
        first.transport.write(b"0123456789")
        self.pump(1)
        self.assertEqual(self.received(), {"a": b"0123456789"})
        # It was the receiver that has closed: not all senders do.
        self.assertEqual(self.internet.transports, [])
        self.assertEqual(len(self.acceptor.reports), 1)
