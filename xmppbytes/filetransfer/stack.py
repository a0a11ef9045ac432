"""
All that a stream manager needs for files, in one call.
"""

from collections.abc import Iterable
from typing import Any

from xmppbytes.filetransfer.ibb import InBandHandler
from xmppbytes.filetransfer.methods import StreamMethod, StreamMethods, standardMethods
from xmppbytes.filetransfer.si import StreamInitiationHandler
from xmppbytes.s5b.client import BytestreamsClientHandler
from xmppbytes.s5b.options import BytestreamOptions


def addFileTransfer(
    reactor: Any,
    manager: Any,
    options: BytestreamOptions | None = None,
    *,
    socks: bool = True,
    inBand: bool = True,
    others: Iterable[StreamMethod] = (),
) -> StreamInitiationHandler:
    """
    Add the handlers for SOCKS5 bytestreams, in-band bytestreams and stream initiation.

    @param reactor: connects, listens, resolves names, tells the time.
    @param manager: a wokkel stream manager.
    @param options: of the SOCKS5 bytestreams.
    @param socks: whether to use them.
    @param inBand: whether to use in-band bytestreams.
    @param others: further stream methods, better than in-band ones and worse than SOCKS5 ones; their
        clients have a manager already.
    @return: what L{sendFile<xmppbytes.filetransfer.send.sendFile>} and
        L{FileReceiving<xmppbytes.filetransfer.receive.FileReceiving>} take.
    """
    s5b = BytestreamsClientHandler(reactor, options=options) if socks else None
    ibb = InBandHandler(reactor) if inBand else None
    methods = [*standardMethods(s5b, None), *others, *standardMethods(None, ibb)]
    initiation = StreamInitiationHandler(StreamMethods(methods))
    for handler in (s5b, ibb, initiation):
        if handler is not None:
            handler.setHandlerParent(manager)
    return initiation
