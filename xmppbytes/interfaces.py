"""
The interfaces between the floors. docs/architecture.md shows who implements what.
"""

from typing import Any

from zope.interface import Attribute, Interface


class ILeg(Interface):
    """
    One connected party of a bytestream that is not relayed yet.
    """

    kind = Attribute("L{xmppbytes.core.leg.LegKind}: only legs of one kind are paired")
    transport = Attribute("the transport of the party's connection, not being read")
    address = Attribute("C{str}: the party's IP address, for limits and the log")
    early = Attribute("C{bytes}: what came glued behind the handshake; belongs to the other party")
    ready = Attribute("C{bool}: false while the party still has to do something before activation")

    def speaksFor(parties: Any) -> bool:
        """
        Tell whether this leg may take part in a bytestream of these parties.

        @param parties: the L{xmppbytes.core.sessions.Parties} named by the activation.
        """

    def handOver(protocol: Any) -> None:
        """
        Let another protocol have the connection. Its C{makeConnection} is called; reading stays
        paused, and C{early} is for the caller to deliver.
        """

    def close(reason: str) -> None:
        """
        Close the connection: the bytestream will not happen.

        @param reason: why, in words for the log.
        """


class IDatagramLeg(ILeg):
    """
    One party of a UDP bytestream. Its transport is the TCP connection that it lasts as long as, and
    that is read meanwhile, so that its end shows at once.
    """

    channel = Attribute("the L{xmppbytes.core.channel.Channel}; C{None} until the party is C{ready}")


class IStreamHost(Interface):
    """
    What a connection joins once its handshake has named the bytestream it is for: the proxy's
    L{xmppbytes.core.pairing.Rendezvous}, or the Requester's own LocalStreamHost.
    """

    def admit(leg: Any) -> None:
        """
        Take notice of a connection that was accepted and may ask for anything yet.

        @raise xmppbytes.errors.LimitReached: when it is one too many; nothing was changed.
        """

    def join(key: bytes, leg: Any) -> None:
        """
        Give an admitted leg its place under C{key}.

        @param key: what names the bytestream: lower case.
        @raise xmppbytes.errors.KeyTaken: when there is no free place; those who have one keep it.
        """

    def leave(leg: Any) -> None:
        """
        Forget a leg, whether it joined or not. Does nothing when it is not known (any more).
        """


class IRelayEngine(Interface):
    """
    Moves bytes between two legs.
    """

    name = Attribute("C{str}: how the log calls it")

    def accepts(first: Any, second: Any) -> bool:
        """
        Tell whether this engine can relay these two L{ILeg}s.
        """

    def link(first: Any, second: Any, rate: int | None, ended: Any) -> Any:
        """
        Relay between two legs until both directions have ended, or one of them broke.

        The legs' transports, and what they hold in C{early}, belong to the engine from now on.
        A direction that ends is half-closed at the other end after everything was delivered; when
        both have ended both connections are closed. A connection that breaks resets the other, so
        that nobody takes a truncated stream for a whole one.

        @param rate: bytes a second of this session, both directions together; C{None}: no limit.
        @param ended: called once with an L{xmppbytes.core.outcome.Outcome}, never before this returns.
        @return: an L{IRelayedSession}.
        """


class IRelayedSession(Interface):
    """
    A bytestream that is being relayed.
    """

    def counts() -> tuple[int, int]:
        """
        Tell how many bytes were delivered from the first leg to the second, and back, so far.
        """

    def setRate(rate: int | None) -> None:
        """
        Change the rate limit, in bytes a second, of both directions together.
        """

    def abort(outcome: Any) -> None:
        """
        End the session now, resetting both connections.

        @param outcome: the L{xmppbytes.core.outcome.Outcome} that C{ended} is called with.
        """


class IHangupWatch(Interface):
    """
    Notices that the peer of a connection, which is not read at present, has gone.
    """

    def watch(transport: Any, gone: Any) -> None:
        """
        Call C{gone()} once when the peer has closed without leaving unread bytes, or has reset.
        """

    def unwatch(transport: Any) -> None:
        """
        Stop watching; does nothing for a transport that is not watched.
        """


class IAccessPolicy(Interface):
    """
    Who may use a service.
    """

    def permits(jid: Any) -> bool:
        """
        Decide about one address.

        @param jid: a prepared L{twisted.words.protocols.jabber.jid.JID}.
        """


class IUsage(Interface):
    """
    Takes note of bytestreams that have ended.
    """

    def record(usage: Any) -> None:
        """
        Note one L{xmppbytes.core.usage.UsageRecord}.
        """


class IBytestreamAcceptor(Interface):
    """
    Decides about the bytestreams that others ask us for. The application implements it.
    """

    def bytestreamRequested(offer: Any) -> Any:
        """
        Accept or refuse a bytestream.

        What is returned makes the protocol of the connection: C{buildProtocol} is called once, as
        soon as there is one, with a L{xmppbytes.core.bytestream.BytestreamAddress} that tells who
        the peer is and which way the bytes go. The protocol then lives on the connection as over
        TCP. C{None} from C{buildProtocol} closes the connection.

        @param offer: the L{xmppbytes.core.bytestream.BytestreamOffer}.
        @return: an L{IProtocolFactory<twisted.internet.interfaces.IProtocolFactory>}, or a Deferred
            of one. The Deferred is cancelled when the requester, or the time, is gone.
        @raise xmppbytes.errors.Refused: to say no. The text stays here: the peer is told
            C{not-acceptable} only.
        """

    def bytestreamFailed(offer: Any, error: Any) -> None:
        """
        A bytestream that was accepted did not come about. The requester knows; it may ask again
        under the same sid, or go another way.

        @param offer: the L{xmppbytes.core.bytestream.BytestreamOffer}.
        @param error: the L{xmppbytes.errors.BytestreamError}: L{NotReachable
            <xmppbytes.errors.NotReachable>} when no way to connect was found.
        """


class IAddressPolicy(Interface):
    """
    Which network addresses, named by others, may be connected to.
    """

    def admit(address: str) -> str:
        """
        Decide about one address.

        @param address: an IPv4 or IPv6 address as text; never a name.
        @return: the address to connect to: the same, or with the scope that it needs.
        @raise xmppbytes.errors.NotReachable: when it may not be connected to; says why.
        """


class IBytestreamSurroundings(Interface):
    """
    What a bytestream client must know of the kind of XMPP stream that it runs on: how entities are
    named, and which network addresses make sense there. Through a server:
    L{xmppbytes.s5b.surroundings.ServerSurroundings}; without one, linklocal brings its own.
    """

    def attached(stream: Any) -> None:
        """
        There is a new XML stream.

        @param stream: the L{XmlStream<twisted.words.xish.xmlstream.XmlStream>}, or C{None} when it
            has ended.
        """

    def ownName() -> str:
        """
        Our own address, as it goes into the hash.

        @raise xmppbytes.errors.NegotiationError: while there is no stream.
        """

    def nameOf(address: str) -> str:
        """
        Bring an entity's address into the form in which it is compared and hashed.

        @param address: as it stands in a stanza, or as a user gave it.
        @raise InvalidFormat: when it is none.
        """

    def hashesOf(sid: str, requester: str, target: str) -> Any:
        """
        The possible values of DST.ADDR, the right one first.

        @param requester: the requester's address, as received or as L{ownName} tells it.
        @param target: the target's address.
        @return: a tuple of C{str}.
        """

    def streamHostJID(sid: str) -> str:
        """
        What stands in the C{jid} of our own streamhosts.
        """

    def isRequesters(streamHostJID: str, requester: str, sid: str) -> bool:
        """
        Tell whether a streamhost is the requester itself; a proxy otherwise.
        """

    def proxyServer() -> Any:
        """
        Whose services are searched for proxies.

        @return: the address of a server, or C{None} when there is none.
        """

    def offeredAddresses(peer: str) -> Any:
        """
        Our network addresses that are worth to be offered to this peer.

        @return: a list of C{str}, the best first.
        """

    def policyFor(peer: str) -> Any:
        """
        Which addresses may be connected to at this peer's wish.

        @return: an L{IAddressPolicy}.
        """


class IDatagramAcceptor(Interface):
    """
    Decides about the UDP bytestreams that others ask us for. The application implements it.
    """

    def datagramsRequested(offer: Any) -> Any:
        """
        Accept or refuse a UDP bytestream.

        @param offer: the L{xmppbytes.core.bytestream.BytestreamOffer}.
        @return: an L{IDatagramProtocol}, or a Deferred of one. The Deferred is cancelled when the
            requester, or the time, is gone.
        @raise xmppbytes.errors.Refused: to say no. The text stays here: the peer is told
            C{not-acceptable} only.
        """

    def datagramsFailed(offer: Any, error: Any) -> None:
        """
        A UDP bytestream that was accepted did not come about. The requester knows.

        @param offer: the L{xmppbytes.core.bytestream.BytestreamOffer}.
        @param error: the L{xmppbytes.errors.BytestreamError}.
        """


class IDatagramTransport(Interface):
    """
    A UDP bytestream, as its application sees it (XEP-0065 section 8.4). Datagrams may be lost, come
    twice, or in another order.
    """

    peer = Attribute("the L{xmppbytes.core.bytestream.BytestreamAddress} of the other end")
    maxDatagramSize = Attribute(
        "how many bytes L{send} takes: what fits into one packet on the way to the other end of our "
        "connection, less all headers. May change with the way"
    )
    dropped = Attribute("how many datagrams could not be sent")

    def send(data: bytes, destPort: int, sourcePort: int = 0) -> bool:
        """
        Send one datagram.

        @param data: at most C{maxDatagramSize} bytes.
        @param destPort: the virtual port at the other side.
        @param sourcePort: the virtual port that it comes from.
        @return: false when it was dropped at once: no room at present, or the bytestream has ended.
        @raise ValueError: when it is too large, or a port is none.
        """

    def close() -> None:
        """
        End the bytestream, for both sides.
        """


class IDatagramProtocol(Interface):
    """
    What an application does with a UDP bytestream.
    """

    def makeConnection(transport: Any) -> None:
        """
        The bytestream is there.

        @param transport: the L{IDatagramTransport}.
        """

    def datagramReceived(data: bytes, sourcePort: int, destPort: int) -> None:
        """
        A datagram has come.

        @param sourcePort: the virtual port that it comes from.
        @param destPort: the virtual port that it is for.
        """

    def connectionLost(reason: Any) -> None:
        """
        The bytestream has ended.

        @param reason: a L{Failure<twisted.python.failure.Failure>}: C{ConnectionDone} when one of the
            two sides has closed it.
        """
