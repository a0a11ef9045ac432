"""
Passing on that one direction of a connection has ended, to whoever has the connection now.
"""

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol


def tellReadLost(protocol: IProtocol, transport: Any) -> None:
    """
    The peer sends nothing any more. For a protocol that knows no half-close the connection is closed, as
    Twisted does, but without losing what is still to be written.

    @param protocol: has the connection.
    @param transport: the connection.
    """
    halfCloseable = IHalfCloseableProtocol(protocol, None)
    if halfCloseable is not None:
        halfCloseable.readConnectionLost()
    else:
        transport.loseConnection()


def tellWriteLost(protocol: IProtocol | None) -> None:
    """
    Our own direction is closed.

    @param protocol: has the connection; C{None}: nobody.
    """
    halfCloseable = IHalfCloseableProtocol(protocol, None)
    if halfCloseable is not None:
        halfCloseable.writeConnectionLost()
