"""
python-zeroconf as a publisher and browser of presence, driven by JSON lines on stdin.

    zeroconf_peer.py NAME MACHINE ADDRESS PORT
"""

import json
import socket
import sys

from zeroconf import ServiceBrowser, ServiceInfo, Zeroconf

TYPE = "_presence._tcp.local."


def emit(event, **values):
    print(json.dumps({"event": event, **values}), flush=True)


class Listener:
    def add_service(self, zeroconf, kind, name):
        info = zeroconf.get_service_info(kind, name, timeout=30000)
        values = {} if info is None else {
            "port": info.port,
            "server": info.server,
            "addresses": info.parsed_scoped_addresses(),
            "txt": {k.decode(): (v or b"").decode() for k, v in info.properties.items()},
        }
        emit("buddy-on", name=name.removesuffix("." + TYPE), **values)

    def update_service(self, zeroconf, kind, name):
        info = zeroconf.get_service_info(kind, name, timeout=30000)
        emit("buddy-status", name=name.removesuffix("." + TYPE),
             txt={k.decode(): (v or b"").decode() for k, v in info.properties.items()} if info else None)

    def remove_service(self, zeroconf, kind, name):
        emit("buddy-off", name=name.removesuffix("." + TYPE))


def info(name, machine, address, port, **txt):
    return ServiceInfo(
        TYPE, f"{name}@{machine}.{TYPE}", addresses=[socket.inet_aton(address)], port=int(port),
        server=f"{machine}-zc.local.", properties={"txtvers": "1", "status": "avail", **txt},
    )


def main(name, machine, address, port):
    zeroconf = Zeroconf(interfaces=[address])
    mine = info(name, machine, address, port)
    try:
        zeroconf.register_service(mine)
        emit("signed-on", name=f"{name}@{machine}")
    except Exception as error:
        emit("conflict", error=type(error).__name__)
    ServiceBrowser(zeroconf, TYPE, Listener())
    for line in sys.stdin:
        command = json.loads(line)
        if command["cmd"] == "status":
            mine = info(name, machine, address, port, status=command["status"])
            zeroconf.update_service(mine)
        elif command["cmd"] == "quit":
            break
    zeroconf.close()


main(*sys.argv[1:])
