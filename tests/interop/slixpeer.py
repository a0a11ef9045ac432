"""
A slixmpp client driven by lines of JSON (see peer.py), in a process of its own: slixmpp lives on asyncio.

    python -m tests.interop.slixpeer --jid romeo@localhost/r --password x --port 5222 [--authority CA.pem]

Every command with a C{call} number is answered by C{{"event": "result", "call": N, "value": ...}} or by
C{{"event": "failure", "call": N, "condition": ..., "type": ..., "text": ...}}.

  ping to | disco to | items to | join room nick | say to text
  iq type to payload                      any request; returns the answer as XML
  query proxy                             XEP-0065 address query; returns the streamhosts
  activate proxy sid target               XEP-0065 activation by itself
  expect sid [send seed pace receive]     what to do, as Target, with the stream of a sid
  send to sid size seed [proxies receive pace dstaddr close]   be the Requester of a stream

Events: signed-on conn-error disconnected message; as Target: receiving sid, progress sid,
received sid size sha256 error, stream-failed.

The streams are slixmpp's own xep_0065: discovery, address query, offer, SOCKS5 handshake, activation,
automatic acceptance as Target. Two things it cannot do are added here: it reports the data of all
streams as one event (here each connection has its own), and it knows no C{dstaddr} attribute, which
two occupants of a room need since neither knows the other's real address.
"""

import argparse
import asyncio
import hashlib
import json
import logging
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import slixmpp
from slixmpp.exceptions import IqError, IqTimeout, XMPPError
from slixmpp.plugins.base import register_plugin
from slixmpp.plugins.xep_0065.proxy import XEP_0065

from tests.interop import stream

PROGRESS = 1 << 20  # bytes between two progress events


def report(event: str, **fields: Any) -> None:
    """
    Write one event.
    """
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


class Received:
    """
    What arrives on one SOCKS5 connection; takes the place of slixmpp's client-wide events.
    """

    def __init__(self) -> None:
        self.size = 0
        self.digest = hashlib.sha256()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.changed = asyncio.Event()
        self.sid = ""

    def event(self, name: str, data: Any = None) -> None:
        if name == "socks5_data":
            before = self.size
            self.size += len(data)
            self.digest.update(data)
            if self.sid and (not before or before // PROGRESS != self.size // PROGRESS):
                report("progress" if before else "receiving", sid=self.sid, size=self.size)
        elif name == "socks5_closed":
            self.ended.set_result(repr(data) if data else "")
        self.changed.set()

    async def until(self, size: int | None) -> None:
        """
        Wait for a number of bytes, or for the end of the stream.
        """
        while not self.ended.done() and (size is None or self.size < size):
            self.changed.clear()
            await self.changed.wait()

    def outcome(self) -> dict[str, Any]:
        error = self.ended.result() if self.ended.done() else ""
        return {"size": self.size, "sha256": self.digest.hexdigest(), "error": error}


class Bytestreams(XEP_0065):
    """
    slixmpp's plugin with the data of each connection apart, and with C{dstaddr}.
    """

    def plugin_init(self) -> None:
        super().plugin_init()
        self.plans: dict[str, dict[str, Any]] = {}
        self.dstaddr: dict[str, str] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    async def _connect_proxy(self, dest: str, proxy: str, proxy_port: int) -> Any:
        transport, protocol = await super()._connect_proxy(dest, proxy, proxy_port)
        protocol.received = Received()
        protocol.event = protocol.received.event
        return transport, protocol

    def _get_dest_sha1(self, sid: str, requester: Any, target: Any) -> str:
        return self.dstaddr.get(sid) or super()._get_dest_sha1(sid, requester, target)

    def request_stream(
        self, to: Any, sid: Any = None, ifrom: Any = None, timeout: Any = None, callback: Any = None
    ):
        if sid not in self.dstaddr:
            return super().request_stream(to, sid, ifrom, timeout, callback)
        iq = self.xmpp.make_iq_set(ito=to, ifrom=ifrom)
        iq["socks"]["sid"] = sid
        iq["socks"].xml.set("dstaddr", self.dstaddr[sid])
        for proxy, (host, port) in self._proxies.items():
            iq["socks"].add_streamhost(proxy, host, port)
        return iq.send(timeout=timeout, callback=callback)

    async def _handle_streamhost(self, iq: Any) -> None:
        sid = iq["socks"]["sid"]
        if iq["socks"].xml.get("dstaddr"):
            self.dstaddr[sid] = iq["socks"].xml.get("dstaddr")
        try:
            await super()._handle_streamhost(iq)
        except Exception as error:
            report("stream-failed", sid=sid, text=repr(error))
            raise
        task = asyncio.ensure_future(self.serve(sid, self._sessions[sid], **self.plans.pop(sid, {})))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def serve(self, sid: str, connection: Any, **plan: Any) -> None:
        """
        Be the Target of a stream.
        """
        connection.received.sid = sid
        try:
            report("received", sid=sid, **await exchange(connection, **plan))
        except Exception as error:
            report("stream-failed", sid=sid, text=repr(error))


async def exchange(
    connection: Any,
    send: int = 0,
    seed: Any = 0,
    pace: int = 0,
    receive: int | None = None,
    close: bool = True,
) -> dict[str, Any]:
    """
    Write a seeded stream and take what comes, then close.

    @param send: bytes to write.
    @param pace: bytes a second; 0: as fast as it goes.
    @param receive: bytes to take before closing; C{None}: all until the other side closes.
    """
    started = asyncio.get_running_loop().time()
    sent = 0
    for block in stream.blocks(seed, send):
        await connection.write(block)
        sent += len(block)
        if connection.received.ended.done():
            raise ConnectionError(f"closed by the other side after {sent} of {send} bytes were written")
        if pace:
            await asyncio.sleep(max(0.0, started + sent / pace - asyncio.get_running_loop().time()))
    await connection.received.until(receive)
    if close:
        connection.transport.close()
        await connection.received.ended
    return connection.received.outcome()


class Client(slixmpp.ClientXMPP):
    """
    The client and its commands.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options.jid, options.password)
        self.options = options
        register_plugin(Bytestreams, "xep_0065")
        for name in ("0030", "0045", "0199"):
            self.register_plugin(f"xep_{name}")
        self.register_plugin("xep_0065", {"auto_accept": not options.refuse})
        self.add_event_handler("session_start", self.started)
        self.add_event_handler("failed_auth", lambda _: report("conn-error", text="not authorized"))
        self.add_event_handler("ssl_invalid_chain", lambda error: report("conn-error", text=repr(error)))
        self.add_event_handler("disconnected", self.lost)
        self.add_event_handler("message", self.said)
        self.enable_direct_tls = False
        self.enable_starttls = bool(options.authority)
        self.enable_plaintext = not options.authority
        if options.authority:
            self.ca_certs = Path(options.authority)
        self.plugin["feature_mechanisms"].unencrypted_plain = True
        self.plugin["feature_mechanisms"].unencrypted_scram = True

    async def started(self, _: Any) -> None:
        self.send_presence()
        await self.get_roster()
        report("signed-on", jid=self.boundjid.full)

    def lost(self, reason: Any) -> None:
        report("disconnected", text=str(reason or ""))
        if self.options.reconnect:
            self.loop.call_later(0.5, self.connect, self.options.server, self.options.port)

    def said(self, message: Any) -> None:
        report("message", sender=message["from"].full, text=message["body"])

    async def answer(self, order: dict[str, Any]) -> None:
        """
        Run one command and report how it ended.
        """
        call, command = order.pop("call", None), order.pop("cmd")
        try:
            report("result", call=call, value=await getattr(self, f"do_{command}")(**order))
        except IqTimeout:
            report("failure", call=call, condition="", type="timeout", text="no answer came")
        except IqError as error:
            report("failure", call=call, condition=error.condition, type=error.etype, text=error.text)
        except XMPPError as error:
            report("failure", call=call, condition=error.condition, type=error.etype, text=error.text)
        except Exception as error:
            logging.exception("command %s", command)
            report("failure", call=call, condition="", type=type(error).__name__, text=str(error))

    async def do_ping(self, to: str) -> None:
        await self.plugin["xep_0199"].send_ping(slixmpp.JID(to), timeout=60)

    async def do_disco(self, to: str) -> dict[str, Any]:
        info = (await self.plugin["xep_0030"].get_info(jid=to))["disco_info"]
        identities = sorted([i[0], i[1], i[3]] for i in info["identities"])
        return {"identities": identities, "features": sorted(info["features"])}

    async def do_items(self, to: str) -> list[str]:
        items = (await self.plugin["xep_0030"].get_items(jid=to))["disco_items"]["items"]
        return sorted(str(item[0]) for item in items)

    async def do_join(self, room: str, nick: str) -> None:
        await self.plugin["xep_0045"].join_muc_wait(slixmpp.JID(room), nick, timeout=60)

    async def do_say(self, to: str, text: str) -> None:
        self.send_message(mto=to, mbody=text, mtype="chat")

    async def do_iq(self, type: str, to: str, payload: str, timeout: int = 60) -> str:
        iq = self.make_iq(ito=to, itype=type)
        iq.append(ElementTree.fromstring(payload))
        return str(await iq.send(timeout=timeout))

    async def do_query(self, proxy: str) -> list[dict[str, Any]]:
        answer = await self.plugin["xep_0065"].get_network_address(slixmpp.JID(proxy), timeout=60)
        hosts = answer["socks"]["streamhosts"]
        return [{"jid": str(h["jid"]), "host": h["host"], "port": h["port"]} for h in hosts]

    async def do_activate(self, proxy: str, sid: str, target: str) -> None:
        await self.plugin["xep_0065"].activate(slixmpp.JID(proxy), sid, target, timeout=60)

    async def do_expect(self, sid: str, **plan: Any) -> None:
        self.plugin["xep_0065"].plans[sid] = plan

    async def streamhost(self, proxy: str) -> tuple[str, str]:
        """
        Ask a proxy for its (first) address.
        """
        answer = await self.plugin["xep_0065"].get_network_address(slixmpp.JID(proxy), timeout=60)
        return answer["socks"]["streamhost"]["host"], answer["socks"]["streamhost"]["port"]

    async def do_send(
        self, to: str, sid: str, size: int, proxies: Any = None, dstaddr: str = "", **plan: Any
    ) -> dict[str, Any]:
        streams = self.plugin["xep_0065"]
        if proxies:  # else it asks the server which there are
            streams._proxies = {slixmpp.JID(proxy): await self.streamhost(proxy) for proxy in proxies}
        if dstaddr:
            streams.dstaddr[sid] = dstaddr
        connection = await streams.handshake(slixmpp.JID(to), sid=sid, timeout=60)
        if connection is None:
            raise ConnectionError("slixmpp could not connect to the proxy that the Target has chosen")
        return await exchange(connection, send=size, **{"receive": 0, **plan})


async def main(options: argparse.Namespace) -> None:
    client = Client(options)
    client.connect(options.server, options.port)
    commands = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    running: set[asyncio.Task[None]] = set()
    while line := await commands.readline():
        task = loop.create_task(client.answer(json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)
    options.reconnect = False
    await asyncio.wait_for(asyncio.shield(client.disconnect(wait=0.5)), 2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--jid", required=True)
    parser.add_argument("--password", required=True)
    parser.add_argument("--server", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5222)
    parser.add_argument("--authority", help="log in by STARTTLS, trusting this certificate authority")
    parser.add_argument("--refuse", action="store_true", help="accept no stream")
    parser.add_argument("--reconnect", action="store_true", help="log in again when the stream is lost")
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main(parser.parse_args()))
