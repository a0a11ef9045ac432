"""
An echo service over bytestreams: a component that sends back whatever it is sent.
SECRET=... python examples/echo_over_bytestream.py echo.example.org tcp:localhost:5347"""

import os
import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory
from twisted.internet.task import react
from twisted.protocols.wire import Echo
from zope.interface import implementer

from xmppbytes.component import ComponentFactory, ComponentManager
from xmppbytes.interfaces import IBytestreamAcceptor
from xmppbytes.s5b.client import BytestreamsClientHandler
from xmppbytes.stream import StreamService


@implementer(IBytestreamAcceptor)
class EchoEverybody:
    """Accepts every bytestream, and tells of those that did not come about."""

    bytestreamFailed = print

    def bytestreamRequested(self, offer):
        print(f"echoing for {offer.requester}", flush=True)
        return Factory.forProtocol(Echo)


def main(reactor, jid, server):
    factory = ComponentFactory(jid, os.environ["SECRET"])
    BytestreamsClientHandler(reactor, EchoEverybody()).setHandlerParent(ComponentManager(factory, reactor))
    StreamService(clientFromString(reactor, server), factory, reactor, jid).startService()
    return Deferred()  # for ever


react(main, sys.argv[1:])
