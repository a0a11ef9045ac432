"""
The exception tree.

Local misuse (a bad argument) is a C{ValueError} or C{TypeError} as usual. What a remote party or
the network did wrong is a L{BytestreamError}: its text says what happened, why, and what to do next,
and is fit to be shown to a person.
"""


class BytestreamError(Exception):
    """
    Anything that kept a bytestream from being made or finished.
    """


class WireError(BytestreamError):
    """
    The bytes of a peer break the protocol; the connection cannot be used any further.
    """


class ConfigurationError(BytestreamError):
    """
    An option or a configuration file asks for something that cannot be done.
    """


class LimitReached(BytestreamError):
    """
    A limit would be passed by what was asked for. It may work later.
    """


class KeyTaken(BytestreamError):
    """
    A connection asks for a place that is not free: both parties are there already,
    or the other party asked for another kind of bytestream.
    """


class ActivationError(BytestreamError):
    """
    A bytestream cannot be activated. Subclasses say why.
    """


class NobodyConnected(ActivationError):
    """
    Nobody is connected under the key of this bytestream.
    """


class PartyMissing(ActivationError):
    """
    One of the two parties is not (or not completely) connected yet.
    """


class PartyMismatch(ActivationError):
    """
    The bytestream belongs to other parties than those who ask for it.
    """


class NegotiationError(BytestreamError):
    """
    Requester and Target could not agree on, or not connect, a bytestream.
    """


class Refused(NegotiationError):
    """
    The other side said no.
    """


class NotReachable(NegotiationError):
    """
    No way to connect the two sides was found.
    """


class TransferError(BytestreamError):
    """
    A file did not arrive whole.
    """
