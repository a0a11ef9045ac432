"""
Many parties of bytestreams as one process of plain sockets: nothing of ours is at their end.

    python tests/loopback/parties.py < orders.json > reports.json

Each order names a port, the key of a pair, how much each of the two sends, and whether one of them
resets the connection. Each party sends in random pieces, reads in random pieces with random pauses,
hashes both, half-closes when it has sent everything, and reports what it saw.
"""

import hashlib
import json
import random
import selectors
import socket
import struct
import sys
import time

BLOCK = random.Random(65).randbytes(1 << 20)
READ = 1 << 17
TIMEOUT = 250
PAUSES_PER_READ = 0.02


class Party:
    """
    One connection: its SOCKS5 handshake, then its bytes.
    """

    def __init__(self, order: dict, side: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.key = order["key"].encode()
        self.left = order["sizes"][side]
        self.resetAfter = order.get("reset") if order.get("resetSide") == side else None
        self.holds = order.get("holds", False)
        self.total = self.left
        self.sent = hashlib.sha1()
        self.received = hashlib.sha1()
        self.got = 0
        self.ended = ""
        self.wroteEnd = False
        self.pausedUntil = 0.0
        self.address = ("127.0.0.1", order["port"])

    def connect(self) -> None:
        self.socket = socket.create_connection(self.address)
        self.socket.sendall(b"\5\1\0")
        assert self.socket.recv(2) == b"\5\0"
        request = b"\5\1\0\3" + bytes((len(self.key),)) + self.key + b"\0\0"
        self.socket.sendall(request)
        reply = self.socket.recv(len(request), socket.MSG_WAITALL)
        assert reply[:2] == b"\5\0", reply
        self.socket.setblocking(False)

    @property
    def done(self) -> bool:
        return self.ended != "" and (self.wroteEnd or self.ended != "eof")

    def wanted(self, now: float) -> int:
        events = 0
        if not self.ended and now >= self.pausedUntil:
            events |= selectors.EVENT_READ
        if not self.wroteEnd and not self.holds and self.ended in ("", "eof"):
            events |= selectors.EVENT_WRITE
        return events

    def write(self) -> None:
        if self.resetAfter is not None and self.total - self.left >= self.resetAfter:
            self.reset()
            return
        if self.left:
            start = self.random.randrange(len(BLOCK) - 1)
            piece = BLOCK[start : start + min(self.left, self.random.randint(1, 1 << 18))]
            try:
                count = self.socket.send(piece)
            except BlockingIOError:
                return
            except ConnectionError:
                self.end("reset")
                return
            self.sent.update(memoryview(piece)[:count])
            self.left -= count
        if not self.left and self.resetAfter is None:
            self.wroteEnd = True
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                self.end("reset")

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.end("resetter")

    def read(self, now: float) -> None:
        try:
            data = self.socket.recv(self.random.randint(1, READ))
        except BlockingIOError:
            return
        except ConnectionError:
            self.end("reset")
            return
        if not data:
            self.ended = "eof"
            return
        self.received.update(data)
        self.got += len(data)
        if self.random.random() < PAUSES_PER_READ:
            self.pausedUntil = now + self.random.uniform(0, 0.05)

    def end(self, how: str) -> None:
        self.ended = how
        self.socket.close()

    def report(self) -> dict:
        return {
            "sent": self.total - self.left,
            "sentHash": self.sent.hexdigest(),
            "received": self.got,
            "receivedHash": self.received.hexdigest(),
            "ended": self.ended,
        }


def register(selector: selectors.BaseSelector, watched: dict, party: Party, now: float) -> None:
    """
    Watch a party for what it wants.
    """
    wanted = 0 if party.done else party.wanted(now)
    before = watched.get(party, 0)
    if wanted == before:
        return
    if before and party.socket.fileno() < 0:
        # Closed: the kernel has forgotten it, the selector is to forget it as well.
        for key in [key for key in selector.get_map().values() if key.data is party]:
            selector.unregister(key.fd)
    elif not wanted:
        selector.unregister(party.socket)
    elif before:
        selector.modify(party.socket, wanted, party)
    else:
        selector.register(party.socket, wanted, party)
    watched[party] = wanted


def run(parties: list[Party]) -> None:
    """
    Serve all parties until each is done.
    """
    selector = selectors.DefaultSelector()
    watched: dict[Party, int] = {}
    active = set(parties)
    end = time.monotonic() + TIMEOUT
    while active and (now := time.monotonic()) < end:
        for party in list(active):
            register(selector, watched, party, now)
            if party.done:
                active.discard(party)
                if party.ended == "eof":
                    party.socket.close()
        if not active:
            break
        for key, events in selector.select(0.01):
            party = key.data
            if events & selectors.EVENT_READ and not party.ended:
                party.read(now)
            if events & selectors.EVENT_WRITE and party.wanted(now) & selectors.EVENT_WRITE:
                party.write()
    for party in active:
        party.end(f"unfinished, {party.ended}")


def converse(parties: list[Party]) -> None:
    """
    Let parties that only hold their connection wait for a line, then exchange a byte each way.
    """
    print("holding", flush=True)
    sys.stdin.readline()
    for first, second in zip(parties[::2], parties[1::2], strict=True):
        for party in (first, second):
            party.socket.settimeout(60)
        first.socket.sendall(b"?")
        second.socket.sendall(b"!")
        first.ended = "held" if first.socket.recv(1) == b"!" else "lost"
        second.ended = "held" if second.socket.recv(1) == b"?" else "lost"
    for party in parties:
        party.socket.close()


def main() -> None:
    orders = json.loads(sys.stdin.readline())
    parties = []
    for number, order in enumerate(orders):
        for side in (0, 1):
            party = Party(order, side, 2 * number + side)
            party.connect()
            parties.append(party)
    if all(party.holds for party in parties):
        converse(parties)
    else:
        run(parties)
    reports = [party.report() for party in parties]
    print(json.dumps(list(zip(reports[::2], reports[1::2], strict=True))), flush=True)


if __name__ == "__main__":
    main()
