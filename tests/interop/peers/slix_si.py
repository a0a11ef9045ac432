"""
slixmpp sending and receiving files by SI (XEP-0095/0096), as a peer driven by lines of JSON; see ../peer.py.

    slix_si.py --jid juliet@localhost/s --password x --home DIR [--server 127.0.0.1] [--port 5222]
               [--files accept|decline] [--methods s5b,ibb] [--refuse-s5b]

commands: file to path | im to text
events:   signed-on conn-error im presence; file-recv-request file size who sid; ibb-open;
          file-saved local size sha256; file-recv-cancel; si-accepted method; file-send-start;
          file-send-complete; file-send-cancel condition text; fallback condition; error

--methods are those that it offers, and takes. slixmpp never offers a direct streamhost: it knows proxies
only. --refuse-s5b accepts the offer and then refuses the bytestream: what does the sender do?

slixmpp 1.17 cannot do SI as shipped; mend() tells the two faults that are mended here.
"""

import argparse
import asyncio
import hashlib
import json
import logging
import os
import sys

import slixmpp
from slixmpp.exceptions import IqError
from slixmpp.xmlstream.handler import CoroutineCallback
from slixmpp.xmlstream.matcher import StanzaPath

METHODS = {"s5b": "http://jabber.org/protocol/bytestreams", "ibb": "http://jabber.org/protocol/ibb"}

parser = argparse.ArgumentParser()
parser.add_argument("--jid", required=True)
parser.add_argument("--password", required=True)
parser.add_argument("--server", default="127.0.0.1")
parser.add_argument("--port", type=int, default=5222)
parser.add_argument("--home", required=True)
parser.add_argument("--files", choices=("accept", "decline"), default="accept")
parser.add_argument("--methods", default="s5b,ibb")
parser.add_argument("--refuse-s5b", action="store_true")
OPTIONS = parser.parse_args()
OFFERED = [METHODS[name] for name in OPTIONS.methods.split(",")]
SAVE = os.path.join(OPTIONS.home, "received")
os.makedirs(SAVE, exist_ok=True)
logging.basicConfig(level=logging.INFO)


def emit(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def mend(client):
    """
    Mend xep_0095: its coroutine handler is registered with Callback, so that offers are never answered,
    and offer() passes strings as options where form.add_field() wants mappings (TypeError).
    """
    si = client.plugin["xep_0095"]
    client.remove_handler("SI Request")
    client.register_handler(CoroutineCallback("SI Request", StanzaPath("iq@type=set/si"), si._handle_request))
    for namespace in METHODS.values():
        if namespace not in OFFERED:
            si.unregister_method(namespace)
    offer = si.offer
    si.offer = lambda *a, methods, **k: offer(*a, methods=[{"value": method} for method in methods], **k)


def refuseBytestreams(client):
    """
    Refuse each bytestream, and let the sender open an in-band one with the same sid.
    """

    async def no(_iq):
        return False

    def authorize(iq):
        client.plugin["xep_0047"].api["preauthorize_sid"](iq["to"], iq["si"]["id"], iq["from"])

    client.plugin["xep_0065"]._accept_stream = no
    client.add_event_handler("si_request", authorize)


class Client(slixmpp.ClientXMPP):
    def __init__(self):
        super().__init__(OPTIONS.jid, OPTIONS.password)
        for number in ("0030", "0047", "0065", "0095", "0096", "0115", "0199"):
            self.register_plugin(f"xep_{number}")
        mend(self)
        if OPTIONS.refuse_s5b:
            refuseBytestreams(self)
        self.file = None
        for event, handler in (
            ("session_start", self.started),
            ("failed_auth", lambda _: emit("conn-error", text="not authorized")),
            ("message", lambda m: emit("im", sender=m["from"].full, text=m["body"])),
            ("presence_available", lambda p: emit("presence", sender=p["from"].full)),
            ("si_request", self.offered),
            ("socks5_stream", self.connected),
            ("ibb_stream_start", lambda stream: emit("ibb-open", sid=stream.sid)),
            ("ibb_stream_data", self.arrivedInBand),
            ("ibb_stream_end", lambda _: self.ended()),
        ):
            self.add_event_handler(event, handler)
        self.enable_plaintext, self.enable_starttls, self.enable_direct_tls = True, False, False
        self.plugin["feature_mechanisms"].unencrypted_scram = True
        self.plugin["feature_mechanisms"].unencrypted_plain = True

    async def started(self, _):
        self.send_presence()
        await self.get_roster()
        emit("signed-on")

    # receiving

    async def offered(self, iq):
        file, sid = iq["si"]["file"], iq["si"]["id"]
        self.offer = {"who": iq["from"].full, "file": file["name"], "size": int(file["size"] or 0), "sid": sid}
        emit("file-recv-request", **self.offer)
        if OPTIONS.files == "decline":
            await self.plugin["xep_0095"].decline(iq["from"], sid, ifrom=iq["to"])
            return
        self.file = open(os.path.join(SAVE, os.path.basename(file["name"] or "unnamed")), "w+b")
        # ifrom: xep_0095 finds its pending offers by iq["to"]
        await self.plugin["xep_0095"].accept(iq["from"], sid, ifrom=iq["to"])

    def connected(self, connection):
        """
        Listen to the chosen connection only: slixmpp tries all streamhosts at once, and tells of the end of
        those that lose by the same event.
        """

        def happened(event, data=None):
            if event == "socks5_data":
                self.arrived(data)
            elif event == "socks5_closed":
                self.ended()

        connection.event = happened

    def arrived(self, data):
        if self.file is None:
            return
        self.file.write(data)
        if self.offer["size"] and self.file.tell() >= self.offer["size"]:
            self.ended()

    def arrivedInBand(self, stream):
        while not stream.recv_queue.empty():
            self.arrived(stream.recv_queue.get_nowait())

    def ended(self):
        if self.file is None:
            return
        file, self.file = self.file, None
        with file:
            file.seek(0)
            data = file.read()
        whole = len(data) >= self.offer["size"]
        digest = hashlib.sha256(data).hexdigest()
        emit("file-saved" if whole else "file-recv-cancel", local=file.name, size=len(data), sha256=digest)
        connection = self.plugin["xep_0065"].get_socket(self.offer["sid"])
        if connection:
            connection.transport.close()

    # sending

    async def do_file(self, to, path, method="si"):
        to, sid, size = slixmpp.JID(to), os.urandom(8).hex(), os.path.getsize(path)
        try:
            answer = await self.plugin["xep_0096"].request_file_transfer(
                to, sid=sid, name=os.path.basename(path), size=size, timeout=120, methods=OFFERED
            )
            chosen = answer["si"]["feature_neg"]["form"].get_values()["stream-method"]
            chosen = chosen[0] if isinstance(chosen, list) else chosen
            emit("si-accepted", method=chosen, sid=sid)
            with open(path, "rb") as file:
                data = file.read()
            if chosen == METHODS["ibb"] or not await self.sendByProxy(to, sid, data):
                await self.sendInBand(to, sid, data)
            emit("file-send-complete", bytes=size)
        except IqError as error:
            emit("file-send-cancel", condition=error.condition, text=error.text)
        except Exception as error:
            emit("file-send-cancel", condition="", text=repr(error))

    async def sendByProxy(self, to, sid, data):
        try:
            connection = await self.plugin["xep_0065"].handshake(to, sid=sid, timeout=60)
        except IqError as error:
            if METHODS["ibb"] not in OFFERED:
                raise
            emit("fallback", condition=error.condition)
            return False
        emit("file-send-start", sid=sid)
        for start in range(0, len(data), 65536):
            await connection.write(data[start : start + 65536])
        connection.transport.close()
        return True

    async def sendInBand(self, to, sid, data):
        stream = await self.plugin["xep_0047"].open_stream(to, sid=sid)
        emit("file-send-start", sid=sid)
        await stream.sendall(data)
        await stream.close()

    async def do_im(self, to, text):
        self.send_message(mto=to, mbody=text, mtype="chat")


def finished(task):
    if not task.cancelled() and task.exception():
        emit("error", text=repr(task.exception()))


async def main():
    client = Client()
    client.connect(OPTIONS.server, OPTIONS.port)
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    running = set()
    while line := await commands.readline():
        order = json.loads(line)
        task = loop.create_task(getattr(client, f"do_{order.pop('cmd')}")(**order))
        running.add(task)
        task.add_done_callback(finished)
        task.add_done_callback(running.discard)
    client.disconnect(wait=0.3)
    await asyncio.sleep(0.5)


asyncio.run(main())
