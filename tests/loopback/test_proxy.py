"""
The proxy service as a process of its own, over real sockets.
"""

import os
import random
import socket
import threading
import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.loopback.descriptors import raiseDescriptorLimit
from tests.loopback.lab import (
    REQUESTER,
    TARGET,
    ProxyTestCase,
    expect,
    readStream,
    reset,
    sendStream,
)
from tests.waiting import until
from xmppbytes.s5b.address import destinationAddress
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS

MIB = 1024 * 1024
# twistd passes the signal that it was ended by on to its parent.
ENDED_BY_SIGTERM = -15
ANYONE = ("--max-pending-per-address=6000", "--max-sessions-per-jid=6000")


def condition(answer: Any) -> tuple[str, str]:
    """
    The type and condition of an error stanza.
    """
    return answer.error["type"], answer.error.firstChildElement().name


class RelayTests(ProxyTestCase):
    """
    Bytes through the service.
    """

    async def test_bothWaysAtOnce(self) -> None:
        """
        What each party sends arrives whole at the other, and its end with it.
        """
        await self.startProxy()
        requester, target = await self.pair("both")
        results = await gatherResults(
            [
                deferToThread(sendStream, requester, 32 * MIB),
                deferToThread(sendStream, target, 16 * MIB + 7),
                deferToThread(readStream, requester),
                deferToThread(readStream, target),
            ]
        )
        self.assertEqual(results[0], results[3])
        self.assertEqual(results[1], results[2])
        ended = await self.proxy.untilLogged("finished")
        self.assertIn(str(32 * MIB), ended)
        self.assertIn(str(16 * MIB + 7), ended)

    async def test_halfClose(self) -> None:
        """
        A party that has finished sending still receives.
        """
        await self.startProxy()
        requester, target = await self.pair("half")
        requester.shutdown(socket.SHUT_WR)
        self.assertEqual(await deferToThread(target.recv, 10), b"")
        await deferToThread(sendStream, target, MIB)
        digest = await deferToThread(readStream, requester)
        self.assertEqual(digest, await deferToThread(_digestOf, MIB))

    async def test_resetPassesThrough(self) -> None:
        """
        When one party breaks, the other is told so, and does not take it for an end.
        """
        await self.startProxy()
        requester, target = await self.pair("reset")
        target.sendall(b"some")
        await deferToThread(expect, requester, b"some")
        reset(target)
        with self.assertRaises(ConnectionResetError):
            await deferToThread(requester.recv, 10)
        await self.proxy.untilLogged("broken by a party")

    async def test_earlyBytesAreKept(self) -> None:
        """
        What a party sends before the activation, even glued to its request, is delivered after it.
        """
        await self.startProxy()
        target = await deferToThread(self.connect, "early")
        requester = self.openSocket()
        requester.sendall(b"\5\1\0")
        await deferToThread(expect, requester, b"\5\0")
        request = b"\5\1\0\3\x28" + destinationAddress("early", REQUESTER, TARGET).encode() + b"\0\0"
        requester.sendall(request + b"glued ")
        await deferToThread(expect, requester, b"\5\0" + request[2:])
        requester.sendall(b"and early")
        await self.server.activate("early")
        await deferToThread(expect, target, b"glued and early")

    async def test_stalledReaderCostsNoMemory(self) -> None:
        """
        A reader that stalls in a stream of 512 MiB makes the process grow by less than 16 MiB.
        """
        await self.startProxy()
        requester, target = await self.pair("stall")
        before = self.proxy.residentBytes()
        sending = deferToThread(sendStream, requester, 512 * MIB)
        peak = 0
        for _ in range(20):
            await deferLater(reactor, 0.1)
            peak = max(peak, self.proxy.residentBytes())
        self.assertFalse(sending.called, "the sender should have been held back")
        self.assertLess(peak - before, 16 * MIB)
        digest = await deferToThread(readStream, target)
        self.assertEqual(digest, await sending)

    async def test_rateLimit(self) -> None:
        """
        A limited stream keeps its rate, and trickles: its pauses are shorter than a second.
        """
        await self.startProxy("--rate-limit=256k")
        requester, target = await self.pair("slow")
        sending = deferToThread(sendStream, requester, 640 * 1024)
        gaps, seconds, total = await deferToThread(_timeStream, target)
        await sending
        self.assertEqual(total, 640 * 1024)
        self.assertGreater(seconds, 1.5)
        # The machine may stop for longer once, but a proxy that makes pauses makes one after the other.
        pauses = sorted(gap for gap in gaps if gap > 0.05)
        self.assertLess(pauses[len(pauses) // 2], 1.0)

    async def test_idle(self) -> None:
        """
        A bytestream without a byte for the idle timeout is ended.
        """
        await self.startProxy("--idle-timeout=1")
        requester, _target = await self.pair("idle")
        with self.assertRaises(ConnectionResetError):
            await deferToThread(requester.recv, 10)
        await self.proxy.untilLogged("idle for too long")


class WaitingTests(ProxyTestCase):
    """
    Connections that are not activated.
    """

    async def test_thirdLegIsRefused(self) -> None:
        """
        A third connection for a bytestream is refused; the two that are there stay unharmed.
        """
        await self.startProxy()
        target = await deferToThread(self.connect, "third")
        requester = await deferToThread(self.connect, "third")
        intruder = self.openSocket()
        intruder.sendall(b"\5\1\0")
        await deferToThread(expect, intruder, b"\5\0")
        request = b"\1\0\3\x28" + destinationAddress("third", REQUESTER, TARGET).encode() + b"\0\0"
        intruder.sendall(b"\5" + request)
        await deferToThread(expect, intruder, b"\5\2" + request[1:])
        self.assertEqual(await deferToThread(intruder.recv, 1), b"")
        answer = await self.server.activate("third")
        self.assertEqual(answer["type"], "result")
        target.sendall(b"unharmed")
        await deferToThread(expect, requester, b"unharmed")

    async def test_whoLeavesIsForgottenAtOnce(self) -> None:
        """
        A waiting party that closes loses its place, though its socket is not being read.
        """
        await self.startProxy()
        target = await deferToThread(self.connect, "left")
        await deferToThread(self.connect, "left")
        target.close()
        await self.proxy.untilLogged("it left before the activation")
        answer = await self.server.activate("left")
        self.assertEqual(condition(answer), ("cancel", "not-allowed"))

    async def test_whoWasQuickIsKept(self) -> None:
        """
        A party that sent everything and closed before the activation has not left: its bytes count.
        """
        await self.startProxy()
        target = await deferToThread(self.connect, "quick")
        requester = await deferToThread(self.connect, "quick")
        requester.sendall(b"everything")
        requester.shutdown(socket.SHUT_WR)
        await deferLater(reactor, 0.2)
        answer = await self.server.activate("quick")
        self.assertEqual(answer["type"], "result")
        await deferToThread(expect, target, b"everything")
        self.assertEqual(await deferToThread(target.recv, 1), b"")

    async def test_handshakeTimeout(self) -> None:
        """
        A trickle does not put the end of the handshake's time off.
        """
        await self.startProxy("--handshake-timeout=1")
        slow = self.openSocket()
        # At this pace, the greeting would be complete after 25 seconds.
        sent = await deferToThread(_trickleUntilClosed, slow)
        self.assertLess(sent, 255)
        await self.proxy.untilLogged("no complete handshake within 1 s")

    async def test_pendingTimeout(self) -> None:
        """
        A connection that nobody activates is closed.
        """
        await self.startProxy("--pending-timeout=1")
        lonely = await deferToThread(self.connect, "lonely")
        self.assertEqual(await deferToThread(lonely.recv, 1), b"")
        await self.proxy.untilLogged("no activation within 1 s")

    async def test_pendingPerAddress(self) -> None:
        """
        One address cannot take more places than it may have.
        """
        await self.startProxy("--max-pending-per-address=3")
        for number in range(3):
            await deferToThread(self.connect, f"many{number}")
        extra = self.openSocket()
        self.assertEqual(await deferToThread(extra.recv, 1), b"")
        await self.proxy.untilLogged("the limit for one address")

    async def test_crowd(self) -> None:
        """
        With 2000 waiting connections and 1000 active bytestreams a transfer runs at full speed.
        """
        # Each party has two ends: one here, one in the proxy.
        many = min(1000, (raiseDescriptorLimit() - 500) // 5 // 50 * 50)
        await self.startProxy(*ANYONE)
        alone = await self._transfer("alone")
        await deferToThread(self._openWaiting, 2 * many)
        for first in range(0, many, 50):
            sids = [f"active{number}" for number in range(first, first + 50)]
            for sid in sids:
                await deferToThread(self._connectTwice, sid)
            answers = await gatherResults([self.server.activate(sid) for sid in sids])
            self.assertEqual({answer["type"] for answer in answers}, {"result"})
        # Slow machines are slow; what counts is that the crowd costs nothing like a factor of ten.
        self.assertLess(await self._transfer("bulk"), 10 * alone + 5)
        answer = await self.server.activate("waiting7")
        self.assertEqual(condition(answer), ("cancel", "not-allowed"))

    async def _transfer(self, sid: str) -> float:
        """
        Send 128 MiB.

        @return: how many seconds that took.
        """
        requester, target = await self.pair(sid)
        started = time.monotonic()
        sending = deferToThread(sendStream, requester, 128 * MIB)
        digest = await deferToThread(readStream, target)
        self.assertEqual(digest, await sending)
        return time.monotonic() - started

    def _openWaiting(self, count: int) -> None:
        for number in range(count):
            self.connect(f"waiting{number}")

    def _connectTwice(self, sid: str) -> None:
        self.connect(sid)
        self.connect(sid)


class HostileTests(ProxyTestCase):
    """
    Input from strangers.
    """

    async def test_noise(self) -> None:
        """
        5000 random inputs and every truncation of a valid one leave it serving, each with a log line at most.
        """
        await self.startProxy(*ANYONE, "--max-pending=6000")
        generator = random.Random(65)
        before = len(self.proxy.log().splitlines())
        address = destinationAddress("cut", REQUESTER, TARGET).encode()
        valid = b"\5\1\0\5\1\0\3\x28" + address + b"\0\0"
        inputs = [_noise(generator, valid) for _ in range(5000)] + [valid[:n] for n in range(len(valid))]
        await deferToThread(self._throw, inputs)
        requester, target = await self.pair("alive")
        target.sendall(b"still here")
        await deferToThread(expect, requester, b"still here")
        lines = self.proxy.log().splitlines()[before:]
        self.assertLessEqual(len(lines), len(inputs) + 10)
        self.assertNotIn("Traceback", self.proxy.log())

    def _throw(self, inputs: list[bytes]) -> None:
        for data in inputs:
            with socket.create_connection(("127.0.0.1", self.proxy.port), timeout=60) as stranger:
                try:
                    stranger.sendall(data)
                    stranger.shutdown(socket.SHUT_WR)
                    while stranger.recv(4096):
                        pass
                except OSError:
                    pass  # Refused in mid-sentence, which is an answer too.

    async def test_deepStanzas(self) -> None:
        """
        Requests of strangers that are nested a thousandfold are answered as any, and neither end the stream
        nor fill the log.
        """
        await self.startProxy()
        deep = "<a>" * 5000 + "</a>" * 5000
        sender = "mallory@montague.example/x"
        for number, namespace in enumerate((NS_BYTESTREAMS, "urn:xmpp:ping", "urn:example:unknown")):
            query = f"<query xmlns='{namespace}' sid='s'>{deep}</query>"
            for kind in ("get", "set"):
                answer = await self.server.requestRaw(kind, query, sender, f"deep{number}{kind}")
                self.assertEqual(answer["type"], "error")
        self.assertNotIn("Traceback", self.proxy.log())
        self.assertEqual(self.proxy.log().count(": connected"), 1)

    async def test_outOfDescriptors(self) -> None:
        """
        Short of descriptors it waits without spinning, says so once, and accepts again later.
        """
        await self.startProxy(*ANYONE, descriptors=200)
        crowd = [self.openSocket() for _ in range(250)]
        await self.proxy.untilLogged("Short of descriptors")
        used, began = self.proxy.processorSeconds(), time.monotonic()
        await deferLater(reactor, 2)
        took = time.monotonic() - began
        # A quarter of a second is for what it was still busy with, on a slow machine.
        self.assertLess(self.proxy.processorSeconds() - used, took / 4 + 0.25)
        for each in crowd:
            each.close()
        await self.proxy.untilLogged("accepting connections")
        requester, target = await self.pair("again")
        target.sendall(b"served")
        await deferToThread(expect, requester, b"served")
        self.assertEqual(self.proxy.log().count("Short of descriptors"), 1)
        self.assertNotIn("Traceback", self.proxy.log())


class LifeTests(ProxyTestCase):
    """
    Signals, restarts of the XMPP server, and access.
    """

    async def test_serverRestart(self) -> None:
        """
        Running bytestreams survive a restart of the XMPP server, and waiting ones can be activated after it.
        """
        await self.startProxy()
        requester, target = await self.pair("running")
        await deferToThread(self.connect, "waiting")
        await deferToThread(self.connect, "waiting")
        await self.server.stop()
        target.sendall(b"meanwhile")
        await deferToThread(expect, requester, b"meanwhile")
        mark = len(self.proxy.log())
        self.server.listen()
        await self.proxy.untilLogged(": connected", after=mark)
        answer = await self.server.activate("waiting")
        self.assertEqual(answer["type"], "result")
        target.sendall(b"and after")
        await deferToThread(expect, requester, b"and after")

    async def test_terminate(self) -> None:
        """
        SIGTERM ends the service at once, and tells the parties that their stream is broken.
        """
        await self.startProxy()
        requester, _target = await self.pair("term")
        self.assertEqual(await self.proxy.stop(), ENDED_BY_SIGTERM)
        with self.assertRaises(ConnectionResetError):
            await deferToThread(requester.recv, 1)

    async def test_drain(self) -> None:
        """
        With --drain, running bytestreams go on after SIGTERM and the service ends with the last of them.
        """
        await self.startProxy("--drain=30")
        requester, target = await self.pair("drain")
        waiting = await deferToThread(self.connect, "waiting")
        self.proxy.signal("TERM")
        await self.proxy.untilLogged("may go on")
        self.assertEqual(await deferToThread(waiting.recv, 1), b"")
        with self.assertRaises(ConnectionRefusedError):
            self.openSocket()
        sending = deferToThread(sendStream, requester, MIB)
        self.assertEqual(await deferToThread(readStream, target), await sending)
        self.assertTrue(self.proxy.running)
        target.close()
        requester.close()
        self.assertEqual(await self.proxy.whenEnded(), ENDED_BY_SIGTERM)

    async def test_secondSignalEndsAtOnce(self) -> None:
        """
        A second SIGTERM ends the draining.
        """
        await self.startProxy("--drain=60")
        requester, _target = await self.pair("impatient")
        self.proxy.signal("TERM")
        await self.proxy.untilLogged("may go on")
        self.proxy.signal("TERM")
        self.assertEqual(await self.proxy.whenEnded(), ENDED_BY_SIGTERM)
        with self.assertRaises(ConnectionResetError):
            await deferToThread(requester.recv, 1)

    async def test_reload(self) -> None:
        """
        SIGHUP changes who may use the proxy, without touching what runs.
        """
        config = os.path.abspath(self.mktemp())
        _write(config, 'allow = ["*"]\n')
        await self.startProxy("--config", config)
        requester, target = await self.pair("before")
        query = f"<query xmlns='{NS_BYTESTREAMS}'/>"
        self.assertEqual((await self.server.request("get", query))["type"], "result")
        _write(config, 'allow = ["montague.example"]\n')
        self.proxy.signal("HUP")
        await self.proxy.untilLogged("Configuration read again")
        self.assertEqual(condition(await self.server.request("get", query)), ("auth", "forbidden"))
        target.sendall(b"untouched")
        await deferToThread(expect, requester, b"untouched")

    async def test_reloadOfNonsense(self) -> None:
        """
        A configuration with a mistake is refused in one line, and the old one stays.
        """
        config = os.path.abspath(self.mktemp())
        _write(config, 'allow = ["*"]\n')
        await self.startProxy("--config", config)
        _write(config, "allow = [\n")
        self.proxy.signal("HUP")
        line = await self.proxy.untilLogged("The new configuration is not used")
        self.assertIn("not valid TOML", line)
        answer = await self.server.request("get", f"<query xmlns='{NS_BYTESTREAMS}'/>")
        self.assertEqual(answer["type"], "result")

    async def test_strangersAreRefused(self) -> None:
        """
        By default only the parent domain of the proxy may use it.
        """
        await self.startProxy()
        sender = "romeo@montague.example/orchard"
        self.connect("foreign", requester=sender)
        self.connect("foreign", requester=sender)
        answer = await self.server.activate("foreign", sender=sender)
        self.assertEqual(answer.getAttribute("type"), "error")
        self.assertEqual(condition(answer), ("auth", "forbidden"))

    async def test_addressQuery(self) -> None:
        """
        All advertised addresses are told, in order, each with its port.
        """
        await self.startProxy("--advertise=[2001:DB8:0::1]:7000", "--advertise=files.example")
        answer = await self.server.request("get", f"<query xmlns='{NS_BYTESTREAMS}'/>")
        hosts = [(host["host"], host["port"]) for host in answer.query.elements()]
        port = str(self.proxy.port)
        self.assertEqual(hosts, [("127.0.0.1", port), ("2001:db8::1", "7000"), ("files.example", port)])

    async def test_glued(self) -> None:
        """
        Greeting and request in one segment are answered one after the other.
        """
        await self.startProxy()
        party = self.openSocket()
        request = b"\5\1\0\3\x28" + b"a" * 40 + b"\0\0"
        party.sendall(b"\5\1\0" + request)
        await deferToThread(expect, party, b"\5\0\5\0" + request[2:])


def _digestOf(size: int) -> str:
    left, right = socket.socketpair()
    with left, right:
        sent: list[str] = []
        thread = threading.Thread(target=lambda: sent.append(sendStream(left, size)))
        thread.start()
        readStream(right)
        thread.join()
        return sent[0]


def _timeStream(party: socket.socket) -> tuple[list[float], float, int]:
    started = last = time.monotonic()
    gaps, total = [0.0], 0
    while piece := party.recv(65536):
        now = time.monotonic()
        gaps.append(now - last)
        last = now
        total += len(piece)
    return gaps, time.monotonic() - started, total


def _trickleUntilClosed(party: socket.socket) -> int:
    party.sendall(b"\5\xff")
    for sent in range(255):
        try:
            party.sendall(b"\1")
        except OSError:
            return sent
        time.sleep(0.1)
    return 255


def _noise(generator: random.Random, valid: bytes) -> bytes:
    if generator.random() < 0.5:
        return generator.randbytes(generator.randrange(1, 600))
    mutated = bytearray(valid)
    for _ in range(generator.randrange(1, 4)):
        mutated[generator.randrange(len(mutated))] = generator.randrange(256)
    return bytes(mutated)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


class WorkerTests(ProxyTestCase):
    """
    The proxy with processes that relay.
    """

    async def test_workersEndWithTheService(self) -> None:
        """
        What workers relay arrives whole, and no worker outlives the service.
        """
        await self.startProxy("--workers=2")
        with open(f"/proc/{self.proxy.pid}/task/{self.proxy.pid}/children") as children:
            workers = children.read().split()
        self.assertEqual(len(workers), 2)
        requester, target = await self.pair("worked")
        sending = deferToThread(sendStream, requester, 8 * MIB)
        self.assertEqual(await deferToThread(readStream, target), await sending)
        self.assertEqual(await self.proxy.stop(), ENDED_BY_SIGTERM)
        await until(lambda: not any(map(_isRunning, workers)), "no worker outlives the service")


def _isRunning(pid: str) -> bool:
    """
    Tell whether there is a process of this number that has not ended.
    """
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False
