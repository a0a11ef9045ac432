"""
C{twistd linklocal} with Pidgin's library, and with itself.
"""

import hashlib
from random import Random

from twisted.internet.defer import inlineCallbacks

from tests.interop.linklocal_lab import AVAHI, BONJOUR, HOSTS, pause
from tests.interop.test_linklocal_discovery import LabTestCase, sha1

ROMEO, JULIET = "romeo@forza", "juliet@pronto"


class ServiceTestCase(LabTestCase):
    """
    Hosts pronto and forza.
    """

    def file(self, name, size, seed=1):
        path = self.lab.work / name
        path.write_bytes(Random(seed).randbytes(size))
        return path


class PurpleTests(ServiceTestCase):
    """
    Pidgin's library on one host, our service on the other.
    """

    needs = (HOSTS, AVAHI, BONJOUR)

    @inlineCallbacks
    def pair(self, *options, theirs="juliet", mine="romeo", purple=()):
        peer = self.lab.purple("pronto", theirs, *purple)
        ours = yield self.lab.service("forza", mine, *options)
        yield ours.wait("buddy-on", name=f"{theirs}@pronto")
        yield peer.wait("buddy-on", name=f"{mine}@forza")
        return peer, ours

    @inlineCallbacks
    def talk(self, theirs, mine):
        peer, ours = yield self.pair(theirs=theirs, mine=mine)
        them, me = f"{theirs}@pronto", f"{mine}@forza"
        answer = yield ours.do("im", to=them, text="M'lady <i>\u2603</i> & more")
        self.assertEqual((answer["tls"], answer["pinned"]), (False, False))
        shown = "lady &lt;i&gt;\u2603&lt;/i&gt; &amp; more"
        yield peer.wait("im", **{"from": me}, text=lambda text: shown in text)
        peer.send("im", to=me, text="Art thou not <b>Romeo</b>?")
        yield ours.wait("im", **{"from": them}, text="Art thou not Romeo?", tls=False, pinned=False)
        size = 300_000
        outgoing, incoming = self.file("out.bin", size, 1), self.file("in.bin", size, 2)
        yield ours.do("file", to=them, path=str(outgoing))
        yield peer.wait("file-saved", sha1=sha1(outgoing), size=size)
        yield ours.wait("file-done", direction="out", to=them, size=size)
        peer.send("file", to=me, path=str(incoming))
        request = yield ours.wait("file-request", **{"from": them}, name="in.bin", size=size)
        yield ours.do("accept", id=request["id"])
        done = yield ours.wait("file-done", direction="in", id=request["id"])
        self.assertEqual(hashlib.sha256(incoming.read_bytes()).hexdigest(), done["sha256"])
        yield peer.wait("file-send-complete")

    def test_talk(self):
        """
        Messages and files, both ways.
        """
        return self.talk("juliet", "romeo")

    def test_dots(self):
        """
        The same with dots in the names.
        """
        return self.talk("first.last", "a.b")

    def test_spaces(self):
        """
        The same with spaces and capitals in the names.
        """
        return self.talk("Juliet Capulet", "Romeo M")

    def test_letters(self):
        """
        The same with letters of any alphabet.
        """
        return self.talk("jul\u00efette \u2603", "\u0440\u043e\u043c\u0435\u043e")

    @inlineCallbacks
    def test_theyCallFirst(self):
        """
        Pidgin opens the stream and speaks in the same breath.
        """
        peer, ours = yield self.pair()
        peer.send("im", to=ROMEO, text="hello")
        yield ours.wait("im", **{"from": JULIET}, text="hello")
        yield ours.do("im", to=JULIET, text="good evening")
        yield peer.wait("im", text=lambda text: "good evening" in text)
        peer.send("close", to=ROMEO)
        yield ours.wait("stream", name=JULIET, state="closed")
        yield ours.do("im", to=JULIET, text="again")
        yield peer.wait("im", text=lambda text: "again" in text)

    @inlineCallbacks
    def test_refusal(self):
        """
        A file is declined by either side; both know.
        """
        peer, ours = yield self.pair(purple=["--decline-files"])
        path = self.file("x.bin", 1000)
        yield ours.do("file", to=JULIET, path=str(path))
        cancelled = yield ours.wait("file-cancel", direction="out")
        self.assertIn("declined", cancelled["reason"].lower())
        peer.send("file", to=ROMEO, path=str(path))
        request = yield ours.wait("file-request")
        yield ours.do("decline", id=request["id"])
        yield ours.wait("file-cancel", id=request["id"])
        yield peer.wait("file-send-cancel")

    @inlineCallbacks
    def test_gone(self):
        """
        Somebody leaves: a message to him is an error that says so.
        """
        peer, ours = yield self.pair()
        yield ours.do("im", to=JULIET, text="hello")
        peer.send("quit")
        yield ours.wait("buddy-off", name=JULIET)
        answer = yield ours.send("im", to=JULIET, text="where art thou")
        self.assertEqual(answer["event"], "error")
        self.assertIn("nobody of the name", answer["text"])

    @inlineCallbacks
    def test_policies(self):
        """
        With --tls=required nobody who cannot encrypt is spoken to, in either direction.
        """
        peer, ours = yield self.pair("--tls=required")
        answer = yield ours.send("im", to=JULIET, text="secret")
        self.assertEqual(answer["event"], "error")
        self.assertIn("--tls=required", answer["text"])
        peer.send("im", to=ROMEO, text="hello")
        yield pause(2)
        self.assertNotIn("im", [event["event"] for event in ours.events + peer.events])


class OwnTests(ServiceTestCase):
    """
    Two of our services.
    """

    @inlineCallbacks
    def pair(self, first=(), second=()):
        juliet = yield self.lab.service("pronto", "juliet", *first)
        romeo = yield self.lab.service("forza", "romeo", *second)
        yield juliet.wait("buddy-on", name=ROMEO)
        yield romeo.wait("buddy-on", name=JULIET)
        return juliet, romeo

    @inlineCallbacks
    def test_talk(self):
        """
        Messages encrypted, the same code at both ends, a file of 20 MB.
        """
        juliet, romeo = yield self.pair(["--accept=always"])
        answer = yield romeo.do("im", to=JULIET, text="M'lady")
        self.assertEqual((answer["tls"], answer["pinned"]), (True, False))
        yield juliet.wait("im", **{"from": ROMEO}, text="M'lady", tls=True)
        first = yield romeo.do("verify", to=JULIET)
        second = yield juliet.do("verify", to=ROMEO)
        self.assertEqual(first["code"], second["code"])
        self.assertRegex(first["code"], r"^[A-Z2-7]{4}-[A-Z2-7]{4}$")
        path = self.file("big.bin", 20_000_000)
        yield romeo.do("file", to=JULIET, path=str(path))
        done = yield juliet.wait("file-done", direction="in", timeout=90)
        self.assertEqual(done["sha256"], hashlib.sha256(path.read_bytes()).hexdigest())
        yield romeo.wait("file-done", direction="out")
        yield romeo.wait("file-progress", bytes=20_000_000)
        yield romeo.do("close", to=JULIET)
        yield juliet.wait("stream", name=ROMEO, state="closed")
        since = romeo.mark()
        yield romeo.do("im", to=JULIET, text="again")
        yield romeo.wait("stream", since=since, state="open", tls=True, pinned=True)

    @inlineCallbacks
    def test_bothCallAtOnce(self):
        """
        Both speak at the same moment: no message is lost.
        """
        juliet, romeo = yield self.pair()
        for number in range(4):
            words = [
                juliet.send("im", to=ROMEO, text=f"j{number}"),
                romeo.send("im", to=JULIET, text=f"r{number}"),
            ]
            for word in words:
                answer = yield word
                self.assertEqual(answer["event"], "ok", answer)
            yield romeo.wait("im", text=f"j{number}")
            yield juliet.wait("im", text=f"r{number}")
            yield pause(0.3)
            yield juliet.send("close", to=ROMEO)
            yield pause(0.3)

    @inlineCallbacks
    def test_otherKey(self):
        """
        Somebody of the same name with another key is refused, whoever calls.
        """
        juliet, romeo = yield self.pair()
        yield romeo.do("im", to=JULIET, text="M'lady")
        juliet.service.kill("TERM")
        yield romeo.wait("buddy-off", name=JULIET)
        since = romeo.mark()
        fake = yield self.lab.service("pronto", "juliet", "--pins", self.lab.work / "fake")
        yield romeo.wait("buddy-on", since=since, name=JULIET)
        yield fake.wait("buddy-on", name=ROMEO)
        answer = yield romeo.send("im", to=JULIET, text="M'lady?")
        self.assertEqual(answer["event"], "error")
        self.assertIn("another key", answer["text"])
        answer = yield fake.send("im", to=ROMEO, text="it is me")
        self.assertEqual(answer["event"], "error")
        self.assertNotIn("it is me", [event.get("text") for event in romeo.events])

    @inlineCallbacks
    def test_downgrade(self):
        """
        Who has encrypted before is not spoken to without, in either direction.
        """
        juliet, romeo = yield self.pair()
        yield romeo.do("im", to=JULIET, text="M'lady")
        juliet.service.kill("TERM")
        yield romeo.wait("buddy-off", name=JULIET)
        since = romeo.mark()
        plain = yield self.lab.service("pronto", "juliet", "--tls=off", "--pins", self.lab.work / "plain")
        yield romeo.wait("buddy-on", since=since, name=JULIET)
        yield plain.wait("buddy-on", name=ROMEO)
        answer = yield romeo.send("im", to=JULIET, text="M'lady?")
        self.assertIn("has encrypted before", answer["text"])
        yield plain.send("im", to=ROMEO, text="it is me")
        yield pause(1)
        self.assertNotIn("it is me", [event.get("text") for event in romeo.events])

    @inlineCallbacks
    def test_deadLink(self):
        """
        A message over a link that is dead is an error, not silence; when the link is back, all is well.
        """
        juliet, romeo = yield self.pair()
        yield romeo.do("im", to=JULIET, text="one")
        self.lab.block("forza", "pronto")
        answer = yield romeo.send("im", to=JULIET, text="two")
        self.assertEqual(answer["event"], "error")
        self.lab.unblock("forza", "pronto")
        yield pause(1)
        yield self.saidInTheEnd(romeo, "three")
        yield juliet.wait("im", text="three")

    @inlineCallbacks
    def saidInTheEnd(self, romeo, text):
        """
        Say something until it arrives.
        """
        for _ in range(10):
            answer = yield romeo.send("im", to=JULIET, text=text)
            if answer["event"] == "ok":
                return
            yield pause(2)
        self.fail(f"it was never delivered: {answer}")

    @inlineCallbacks
    def test_twoLinks(self):
        """
        Over two links: one goes down, the talk goes on over the other.
        """
        self.lab.cable("pronto", "forza", "eth1")
        juliet, romeo = yield self.pair()
        yield pause(1.5)
        yield romeo.do("im", to=JULIET, text="one")
        self.lab.set("forza", "eth0", "down")
        yield pause(2)
        yield self.saidInTheEnd(romeo, "two")
        yield juliet.wait("im", text="two")
        path = self.file("x.bin", 100_000)
        yield romeo.do("file", to=JULIET, path=str(path))
        request = yield juliet.wait("file-request")
        yield juliet.do("accept", id=request["id"])
        yield juliet.wait("file-done")
        yield romeo.wait("file-done")

    @inlineCallbacks
    def test_cancel(self):
        """
        A transfer is ended by either side, or nobody decides about it: both sides are told.
        """
        juliet, romeo = yield self.pair()
        path = self.file("x.bin", 1000)
        started = yield romeo.do("file", to=JULIET, path=str(path))
        request = yield juliet.wait("file-request")
        yield romeo.do("cancel", id=started["id"])
        yield romeo.wait("file-cancel", id=started["id"])
        yield juliet.wait("file-cancel", id=request["id"])
        since = juliet.mark()
        started = yield romeo.do("file", to=JULIET, path=str(path))
        request = yield juliet.wait("file-request", since=since)
        yield juliet.do("cancel", id=request["id"])
        yield romeo.wait("file-cancel", id=started["id"])
        since = juliet.mark()
        started = yield romeo.do("file", to=JULIET, path=str(path))
        request = yield juliet.wait("file-request", since=since)
        romeo.service.kill("TERM")
        yield juliet.wait("file-cancel", id=request["id"])
