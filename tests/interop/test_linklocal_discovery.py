"""
Our discovery with other people's: Pidgin's library over avahi, python-zeroconf, avahi on our own host.
"""

import hashlib
import sys
from random import Random

from twisted.internet.defer import inlineCallbacks

from tests.interop.case import InteropTestCase
from tests.interop.linklocal_lab import AVAHI, BONJOUR, HOSTS, PEERS, ZEROCONF, Lab, pause
from tests.waiting import until


def sha1(path):
    return hashlib.sha1(path.read_bytes()).hexdigest()


class LabTestCase(InteropTestCase):
    """
    Two hosts, joined by a cable.
    """

    needs = (HOSTS,)

    def setUp(self):
        super().setUp()
        self.lab = Lab(self.mktemp())
        self.addCleanup(self.lab.close)
        for host in ("pronto", "forza"):
            self.lab.addHost(host)
        self.lab.cable("pronto", "forza")

    def picture(self, name, size, seed):
        path = self.lab.work / name
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + Random(seed).randbytes(size - 8))
        return path


class PurpleTests(LabTestCase):
    """
    Pidgin's library on one host, ours on the other.
    """

    needs = (HOSTS, AVAHI, BONJOUR)

    @inlineCallbacks
    def test_presence(self):
        """
        Both see each other, the messages, the icons, every change of them, and the end.
        """
        first, second = self.picture("1.png", 3000, 1), self.picture("2.png", 7000, 2)
        purple = self.lab.purple("pronto", "juliet", "--icon", first)
        ours = self.lab.ours("forza", "romeo", "--icon", second)
        yield ours.wait("signed-on", name="romeo@forza")
        yield ours.wait("buddy-on", name="juliet@pronto", status="avail")
        yield ours.wait("buddy-icon", name="juliet@pronto", sha1=sha1(first))
        yield purple.wait("buddy-on", name="romeo@forza", status="available", message="hello")
        yield purple.wait("buddy-icon", name="romeo@forza", icon_sha1=sha1(second))
        ours.send("status", status="dnd", message="d\u00e9j\u00e0 \u2603")
        yield purple.wait("buddy-status", status="away", message="d\u00e9j\u00e0 \u2603")
        purple.send("status", id="away", message="at the ball")
        yield ours.wait("buddy-status", name="juliet@pronto", status="dnd", message="at the ball")
        # At once after the other: the new picture must not be taken from a cache of the old one.
        ours.send("icon", path=str(first))
        yield purple.wait("buddy-icon", name="romeo@forza", icon_sha1=sha1(first))
        purple.send("icon", path=str(second))
        yield ours.wait("buddy-icon", name="juliet@pronto", sha1=sha1(second))
        ours.send("resolve", name="juliet@pronto")
        where = yield ours.wait("resolved", name="juliet@pronto", port=5562)
        self.assertIn("169.254.1.1", where["addresses"])
        self.assertTrue(any(a.startswith("fe80::") and a.endswith("%eth0") for a in where["addresses"]))
        purple.send("quit")
        yield ours.wait("buddy-off", name="juliet@pronto")

    @inlineCallbacks
    def test_quickUpdates(self):
        """
        Of many changes within a second the last is what the other side shows in the end.
        """
        purple = self.lab.purple("pronto", "juliet")
        ours = self.lab.ours("forza", "romeo")
        yield purple.wait("buddy-on", name="romeo@forza")
        for number in range(5):
            ours.send("status", status="dnd" if number % 2 else "avail", message=f"m{number}")
            yield pause(0.15)
        yield purple.wait("buddy-status", status="available", message="m4")
        yield pause(3)
        since = purple.mark()
        purple.send("buddies")
        shown = yield purple.wait("buddies", since=since)
        self.assertEqual([buddy["message"] for buddy in shown["list"]], ["m4"])

    @inlineCallbacks
    def test_bigIcons(self):
        """
        Icons of 500 bytes, 8 kB and 60 kB cross both ways.
        """
        purple = self.lab.purple("pronto", "juliet")
        ours = self.lab.ours("forza", "romeo")
        yield purple.wait("buddy-on", name="romeo@forza")
        yield ours.wait("buddy-on", name="juliet@pronto")
        for seed, size in enumerate((500, 8000, 60000)):
            mine, theirs = self.picture(f"m{size}", size, seed), self.picture(f"t{size}", size, seed + 9)
            ours.send("icon", path=str(mine))
            purple.send("icon", path=str(theirs))
            yield purple.wait("buddy-icon", name="romeo@forza", icon_sha1=sha1(mine), icon_len=size)
            yield ours.wait("buddy-icon", name="juliet@pronto", sha1=sha1(theirs), timeout=90)

    @inlineCallbacks
    def oddNames(self, theirs, mine):
        purple = self.lab.purple("pronto", theirs)
        ours = self.lab.ours("forza", mine)
        yield ours.wait("buddy-on", name=f"{theirs}@pronto")
        yield purple.wait("buddy-on", name=f"{mine}@forza")
        ours.send("resolve", name=f"{theirs}@pronto")
        yield ours.wait("resolved", name=f"{theirs}@pronto", port=5562)

    def test_dots(self):
        """
        Names with dots stay whole.
        """
        return self.oddNames("first.last", "a.b.c")

    def test_spaces(self):
        """
        Names with spaces and capitals stay as they are.
        """
        return self.oddNames("Juliet Capulet", "Romeo M's")

    def test_letters(self):
        """
        Names with letters of any alphabet stay as they are.
        """
        return self.oddNames("jul\u00efette \u2603", "\u0440\u043e\u043c\u0435\u043e")

    @inlineCallbacks
    def test_conflict(self):
        """
        A name that Pidgin has is left to it: we take the next one.
        """
        purple = self.lab.purple("pronto", "juliet")
        # The name is Pidgin's when somebody has seen it, not when Pidgin has asked avahi for it.
        watcher = self.lab.ours("forza", "nurse")
        yield watcher.wait("buddy-on", name="juliet@pronto")
        ours = self.lab.ours("forza", "juliet", "--machine-name", "pronto")
        yield ours.wait("signed-on", name="juliet1@pronto")
        yield purple.wait("buddy-on", name="juliet1@pronto")
        yield ours.wait("buddy-on", name="juliet@pronto")


class ZeroconfTests(LabTestCase):
    """
    python-zeroconf on one host, ours on the other.
    """

    needs = (HOSTS, ZEROCONF)

    def zeroconf(self, host, name, machine, address):
        return self.lab.run(
            host,
            f"zeroconf-{name}",
            [sys.executable, PEERS / "zeroconf_peer.py", name, machine, address, 4444],
        )

    @inlineCallbacks
    def test_presence(self):
        """
        Both see each other, every change, and the end.
        """
        other = self.zeroconf("pronto", "juliet", "pronto", "169.254.1.1")
        ours = self.lab.ours("forza", "romeo")
        yield ours.wait("buddy-on", name="juliet@pronto", status="avail")
        seen = yield other.wait("buddy-on", name="romeo@forza", port=5562)
        self.assertEqual(seen["txt"]["txtvers"], "1")
        self.assertTrue(seen["server"].startswith("forza-xb-"), seen)
        self.assertIn("169.254.1.2", seen["addresses"])
        ours.send("resolve", name="juliet@pronto")
        where = yield ours.wait("resolved", name="juliet@pronto", port=4444)
        self.assertEqual(where["addresses"], ["169.254.1.1"])
        ours.send("status", status="away", message="lunch")
        while True:
            since = other.mark()
            update = yield other.wait("buddy-status", name="romeo@forza", since=since)
            if update["txt"]["msg"] == "lunch":
                break
        yield pause(2)
        other.send("status", status="dnd")
        yield ours.wait("buddy-status", name="juliet@pronto", status="dnd")
        other.send("quit")
        yield ours.wait("buddy-off", name="juliet@pronto")

    @inlineCallbacks
    def test_conflicts(self):
        """
        Whoever comes second yields, whichever side it is.
        """
        ours = self.lab.ours("forza", "juliet", "--machine-name", "pronto")
        yield ours.wait("signed-on", name="juliet@pronto")
        other = self.zeroconf("pronto", "juliet", "pronto", "169.254.1.1")
        yield other.wait("conflict", error="NonUniqueNameException")
        late = self.zeroconf("pronto", "romeo", "pronto", "169.254.1.1")
        yield late.wait("signed-on")
        second = self.lab.ours("forza", "romeo", "--machine-name", "pronto")
        yield second.wait("signed-on", name="romeo1@pronto")

    @inlineCallbacks
    def test_goodbye(self):
        """
        Our goodbye is heard.
        """
        other = self.zeroconf("pronto", "juliet", "pronto", "169.254.1.1")
        ours = self.lab.ours("forza", "romeo")
        yield other.wait("buddy-on", name="romeo@forza")
        ours.send("quit")
        yield other.wait("buddy-off", name="romeo@forza")


class AvahiTests(LabTestCase):
    """
    avahi beside ours on one host.
    """

    needs = (HOSTS, AVAHI)

    @inlineCallbacks
    def test_sameHost(self):
        """
        avahi and two of ours share port 5353 of one host; avahi keeps its host name and sees us.
        """
        first = self.lab.ours("forza", "romeo", avahi=True)
        second = self.lab.ours("forza", "mercutio")
        other = self.lab.ours("pronto", "juliet")
        for node in (first, second, other):
            yield node.wait("signed-on")
        yield first.wait("buddy-on", name="mercutio@forza")
        yield second.wait("buddy-on", name="romeo@forza")
        for name in ("romeo@forza", "mercutio@forza"):
            yield other.wait("buddy-on", name=name)
        yield pause(2)
        log = (self.lab.work / "ours-forza-romeo" / "avahi.log").read_text()
        self.assertNotIn("onflict", log)
        self.assertIn("Server startup complete. Host name is forza.local", log)

    @inlineCallbacks
    def test_browse(self):
        """
        avahi-browse resolves us: service, host name, address and text.
        """
        ours = self.lab.ours("pronto", "juliet")
        yield ours.wait("signed-on")
        look = "avahi-browse -rpt _presence._tcp | tee /dev/stderr | grep -q '^=.*IPv4.*;169'"
        shell = f"until {look}; do sleep 0.5; done; echo seen; cat"
        browse = self.lab.run("forza", "browse", ["bash", "-c", shell], avahi=True)
        log = self.lab.work / "browse" / "stderr.log"
        yield until(lambda: log.exists() and "seen" in log.read_text(), lambda: log.read_text())
        text = log.read_text()
        self.assertIn(";pronto-xb-", text)
        self.assertIn(";169.254.1.1;5562;", text)
        self.assertIn('"txtvers=1"', text)
        browse.process.closeStdin()


class LinkTests(LabTestCase):
    """
    Two of ours over one and two links.
    """

    @inlineCallbacks
    def test_links(self):
        """
        One entry over two links; it stays when one goes down, leaves with the second and comes back.
        """
        self.lab.cable("pronto", "forza", "eth1")
        juliet = self.lab.ours("pronto", "juliet")
        romeo = self.lab.ours("forza", "romeo")
        yield romeo.wait("buddy-on", name="juliet@pronto")
        yield pause(2)
        self.assertEqual([event["event"] for event in romeo.events].count("buddy-on"), 1)
        yield self.resolved(romeo, lambda found: {"169.254.1.1", "169.254.2.1"} <= found)
        self.lab.set("pronto", "eth0", "down")
        yield pause(2)
        self.assertNotIn("buddy-off", [event["event"] for event in romeo.events])
        yield self.resolved(romeo, lambda found: found and "169.254.1.1" not in found)
        self.lab.set("pronto", "eth1", "down")
        yield romeo.wait("buddy-off", name="juliet@pronto")
        since = romeo.mark()
        self.lab.set("pronto", "eth0", "up")
        yield romeo.wait("buddy-on", name="juliet@pronto", since=since)
        yield juliet.wait("buddy-on", name="romeo@forza", since=0)

    @inlineCallbacks
    def resolved(self, node, isRight):
        """
        Ask where Juliet is until the answer is the right one.
        """
        for _ in range(20):
            since = node.mark()
            node.send("resolve", name="juliet@pronto")
            where = yield node.wait(("resolved", "unresolved"), name="juliet@pronto", since=since)
            if isRight(set(where.get("addresses", ()))):
                return
            yield pause(0.5)
        self.fail(f"Juliet is at {where}")

    @inlineCallbacks
    def test_noAddressBefore(self):
        """
        A host whose cable comes later signs on then.
        """
        self.lab.set("forza", "eth0", "down")
        juliet = self.lab.ours("pronto", "juliet")
        romeo = self.lab.ours("forza", "romeo")
        yield pause(2)
        self.assertEqual((juliet.events, romeo.events), ([], []))
        self.lab.set("forza", "eth0", "up")
        yield juliet.wait("buddy-on", name="romeo@forza")
        yield romeo.wait("buddy-on", name="juliet@pronto")
