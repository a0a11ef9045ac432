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
