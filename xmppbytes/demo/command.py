"""
The command itself: what is shown, in which order.
"""

import argparse
import secrets
import sys
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import react

from xmppbytes.demo.files import makeFile
from xmppbytes.demo.linklocal import showLinkLocal
from xmppbytes.demo.narrator import Narrator
from xmppbytes.demo.parts import Stage
from xmppbytes.demo.router import DemoRouter
from xmppbytes.demo.service import ProxyProcess
from xmppbytes.errors import BytestreamError, ConfigurationError
from xmppbytes.settings import size

PROXY = "proxy.verona.example"
REQUESTER = "romeo@montague.example/orchard"
TARGET = "juliet@capulet.example/balcony"
DATAGRAMS = 5000
_START_TIMEOUT = 60.0


def addArguments(parser: argparse.ArgumentParser) -> None:
    """
    See L{xmppbytes.cli}.
    """
    parser.add_argument("--file", help="the file to send; without it, random bytes are made")
    parser.add_argument(
        "--size", type=size, default=256 * 1024 * 1024, help="how many, with k, M or G [256M]"
    )


def run(arguments: argparse.Namespace) -> int:
    """
    See L{xmppbytes.cli}.

    @return: 0 only when everything was verified.
    """
    tell = Narrator(sys.stdout)
    outcome: list[bool] = []

    async def show(reactor: Any) -> None:
        outcome.append(await _show(reactor, arguments, tell))

    try:
        react(lambda reactor: Deferred.fromCoroutine(show(reactor)))
    except SystemExit:
        pass
    return 0 if outcome == [True] and showLinkLocal(tell) else 1


async def _show(reactor: Any, arguments: argparse.Namespace, tell: Narrator) -> bool:
    proxy: ProxyProcess | None = None
    router = DemoRouter(reactor, tell.sawStanza)
    try:
        file = open(arguments.file, "rb") if arguments.file else makeFile(arguments.size)  # noqa: SIM115
        with file:
            tell.title("The stage")
            if not arguments.file:
                tell.step(f"{arguments.size} random bytes were made, in a temporary file")
            secret = secrets.token_hex(16)
            port = await router.listen(secret)
            tell.step(f"an XMPP router runs in this process; it accepts components on 127.0.0.1 port {port}")
            proxy = ProxyProcess(PROXY, secret, port)
            proxy.start(reactor)
            await router.whenJoined(PROXY).addTimeout(_START_TIMEOUT, reactor)
            tell.step(f"twistd s5bproxy, a process of its own, has joined as {PROXY}")
            tell.step(f"two users log in: {REQUESTER} (Requester) and {TARGET} (Target)")
            stage = Stage(reactor, router, (REQUESTER, TARGET), PROXY, tell)
            await stage.fileThroughProxy(file)
            await stage.datagramsThroughProxy(DATAGRAMS)
            await stage.fileOverDTCP(file, relayed=False)
            await stage.fileOverDTCP(file, relayed=True)
        return True
    except OSError as e:
        tell.remark(f"cannot go on: {e}")
    except TimeoutError:
        tell.remark(f"cannot go on: the proxy did not join within {_START_TIMEOUT:g} s")
        if proxy is not None:
            tell.remark(f"its log:\n{proxy.log()}")
    except (BytestreamError, ConfigurationError) as e:
        tell.remark(f"failed: {e}")
        if proxy is not None:
            tell.remark(f"the proxy's log:\n{proxy.log()}")
    finally:
        if proxy is not None:
            await proxy.stop()
        await Deferred.fromCoroutine(_stop(router))
    return False


async def _stop(router: DemoRouter) -> None:
    stopped = router.stop()
    if stopped is not None:
        await stopped
