"""
What all parts of the demo have in common: a file goes over a connection, and is verified at the far end.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, BinaryIO

from tqdm import tqdm
from twisted.internet.task import LoopingCall

from xmppbytes.demo.files import DigestReceiver, FileSender
from xmppbytes.demo.narrator import Narrator
from xmppbytes.errors import TransferError

_MIB = 1024 * 1024
_PROGRESS_INTERVAL = 0.1


async def sendAndVerify(
    reactor: Any,
    connect: Callable[[], Awaitable[None]],
    sender: FileSender,
    receiver: DigestReceiver,
    file: BinaryIO,
    tell: Narrator,
    connected: str,
) -> None:
    """
    Connect, send a file, and verify it.

    @param connect: makes the connection between sender and receiver.
    @param file: what the sender sends, from its beginning to its end.
    @param connected: what is told when the connection is there.
    @raise TransferError: when what arrived is not what was sent.
    """
    size = file.seek(0, 2)
    file.seek(0)
    started = time.monotonic()
    with tqdm(total=size, unit="B", unit_scale=True, unit_divisor=1024, file=tell.out, disable=None) as bar:
        progress = LoopingCall(lambda: bar.update(receiver.received - bar.n))
        progress.clock = reactor
        await connect()
        tell.step(f"{connected}; sending {size / _MIB:.0f} MiB")
        moving = time.monotonic()
        progress.start(_PROGRESS_INTERVAL)
        await receiver.finished
        progress.stop()
        bar.update(receiver.received - bar.n)
    seconds = time.monotonic() - moving
    tell.step(
        f"transfer: {receiver.received} bytes arrived in {seconds:.2f} s, "
        f"{receiver.received / _MIB / seconds:.0f} MiB/s"
    )
    if (receiver.received, receiver.sha256.digest()) != (size, sender.sha256.digest()):
        raise TransferError(f"{receiver.received} of {size} bytes arrived, or others than were sent")
    tell.step(f"verified: SHA-256 {receiver.sha256.hexdigest()} at both ends")
    tell.remark(f"all in all {time.monotonic() - started:.2f} s")
