"""
The stream methods: which kinds of bytestream files may travel over, and how each is opened and accepted.

Another kind of bytestream joins by one entry: the namespace by which it is negotiated, and a client that
has the three calls of L{IBytestreamClient}.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.logger import Logger
from zope.interface import Interface

from xmppbytes.dtcp.stanzas import NS_DTCP
from xmppbytes.errors import LimitReached, NegotiationError
from xmppbytes.filetransfer.blocks import NS_IBB
from xmppbytes.interfaces import IBytestreamAcceptor
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS


class IBytestreamClient(Interface):
    """
    One kind of bytestream, both roles. L{BytestreamsClientHandler
    <xmppbytes.s5b.client.BytestreamsClientHandler>} and L{InBandHandler
    <xmppbytes.filetransfer.ibb.InBandHandler>} are such clients.

    In all calls C{buildProtocol} gets an address that has C{peer}, C{sid} and C{route}, whose C{str}
    tells which way the bytes go.
    """

    def requestBytestream(target: Any, protocolFactory: Any, sid: Any = None) -> Any:
        """
        Open a bytestream.

        @return: a cancellable Deferred of the connected protocol, which fails with a
            L{NegotiationError}.
        """

    def expectBytestream(requester: Any, sid: str, acceptor: Any) -> None:
        """
        Let an L{IBytestreamAcceptor} decide when this requester opens a bytestream of this sid.

        @raise ValueError: when the bytestream is expected already.
        """

    def forgetBytestream(requester: Any, sid: str) -> None:
        """
        Expect a bytestream no longer. One that is connected is not touched.
        """


@dataclass(frozen=True, slots=True)
class StreamMethod:
    """
    One stream method.

    @ivar namespace: by which it is negotiated.
    @ivar client: an L{IBytestreamClient}.
    @ivar lastResort: it may be opened, on the same sid, when the method that was agreed upon does not
        connect; and by the other side although another was agreed upon, as several clients do.
    """

    namespace: str
    client: Any
    lastResort: bool = False


class StreamMethods:
    """
    The stream methods of one stream manager, the best first.
    """

    log = Logger()

    def __init__(self, methods: Iterable[StreamMethod]) -> None:
        """
        @param methods: the best first.
        """
        self._methods = tuple(methods)

    @property
    def namespaces(self) -> tuple[str, ...]:
        """
        What is offered, in this order.
        """
        return tuple(method.namespace for method in self._methods)

    def find(self, namespace: str) -> StreamMethod | None:
        """
        The method with this namespace.
        """
        return next((method for method in self._methods if method.namespace == namespace), None)

    def pick(self, offered: Sequence[str]) -> str | None:
        """
        Choose by our own taste: the orders in which clients list methods mean nothing.

        @param offered: what the other side can do.
        """
        return next((name for name in self.namespaces if name in offered), None)

    def open(self, namespace: str, target: str, sid: str, factory: IProtocolFactory) -> "Deferred[IProtocol]":
        """
        Open a bytestream by the method that was agreed upon; when it does not connect, by a last
        resort.

        @return: fires with the connected protocol; fails with the L{NegotiationError} of the method
            that was agreed upon. May be cancelled.
        """
        return Deferred.fromCoroutine(self._open(namespace, target, sid, factory))

    async def _open(self, namespace: str, target: str, sid: str, factory: IProtocolFactory) -> Any:
        method = self.find(namespace)
        if method is None:
            raise NegotiationError(f"{target} chose a stream method that was not offered ({namespace})")
        try:
            return await method.client.requestBytestream(target, factory, sid=sid)
        except NegotiationError as first:
            for other in self._methods:
                if other is method or not other.lastResort:
                    continue
                self.log.info(
                    "No {method} to {target} ({reason}); trying {other}",
                    method=namespace,
                    target=target,
                    reason=first,
                    other=other.namespace,
                )
                try:
                    return await other.client.requestBytestream(target, factory, sid=sid)
                except (NegotiationError, LimitReached) as error:
                    self.log.info("No {other} either: {reason}", other=other.namespace, reason=error)
            raise

    def expect(self, requester: str, sid: str, agreed: str, acceptor: IBytestreamAcceptor) -> None:
        """
        Wait for a bytestream that was agreed upon, or a last resort.

        @param agreed: the namespace of the method.
        @raise ValueError: when it is expected already; nothing was changed.
        """
        begun: list[StreamMethod] = []
        try:
            for method in self._methods:
                if method.namespace == agreed or method.lastResort:
                    method.client.expectBytestream(requester, sid, acceptor)
                    begun.append(method)
        except ValueError:
            for method in begun:
                method.client.forgetBytestream(requester, sid)
            raise

    def forget(self, requester: str, sid: str) -> None:
        """
        Wait no longer.
        """
        for method in self._methods:
            method.client.forgetBytestream(requester, sid)


def standardMethods(s5b: Any, inBand: Any, dtcp: Any = None) -> list[StreamMethod]:
    """
    What XEP-0096 section 3.1 demands, in the order that it demands; and DTCP, where it is wanted.

    @param s5b: a L{BytestreamsClientHandler<xmppbytes.s5b.client.BytestreamsClientHandler>}, or
        C{None}.
    @param inBand: an L{InBandHandler<xmppbytes.filetransfer.ibb.InBandHandler>}, or C{None}.
    @param dtcp: a L{DTCPClientHandler<xmppbytes.dtcp.client.DTCPClientHandler>}, or C{None}.
    """
    methods = [] if s5b is None else [StreamMethod(NS_BYTESTREAMS, s5b)]
    methods += [] if dtcp is None else [StreamMethod(NS_DTCP, dtcp)]
    return methods + ([] if inBand is None else [StreamMethod(NS_IBB, inBand, lastResort=True)])
