"""
Why an account has no connection, in one line for a person.
"""

import os

from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError, TimeoutError
from twisted.words.protocols.jabber import xmlstream
from twisted.words.protocols.jabber.error import StanzaError, StreamError
from twisted.words.protocols.jabber.sasl import SASLAuthError, SASLNoAcceptableMechanism

from xmppbytes.errors import BytestreamError
from xmppbytes.filetransfer.names import printable
from xmppbytes.scram import ServerNotTrusted
from xmppbytes.xmlparser import StreamBroken

# Why a server refuses a stream or a resource -> what to do.
_ADVICE = {
    "host-unknown": "check the domain of the JID, and --server",
    "host-gone": "check the domain of the JID, and --server",
    "conflict": "the resource is in use: give another one, or none",
    "resource-constraint": "end another client of the account first",
}


def explain(where: str, account: str, domain: str, error: BaseException) -> str:
    """
    Say in one line why there is no connection, and what to do.

    @param where: the server.
    @param account: the bare JID.
    @param domain: what the server's certificate should be for.
    """
    if isinstance(error, SASLAuthError):
        return f"{where} does not accept the password of {account} ({error.condition}); check both"
    if isinstance(error, SASLNoAcceptableMechanism):
        return (
            f"{where} offers no authentication that we know ({error}); SCRAM or PLAIN must be enabled there"
        )
    if isinstance(error, ServerNotTrusted):
        return f"{where} is not to be trusted: {error}"
    if isinstance(error, VerificationError | CertificateError):
        return f"the certificate of {where} is not for {domain}: is this the right server?"
    if isinstance(error, SSL.Error):
        return f"the certificate of {where} is not trusted ({_sslText(error)}); give its authority with --ca"
    if isinstance(error, xmlstream.FeatureNotAdvertized):
        return f"{where} offers no encryption (STARTTLS); --no-tls goes without, if you trust the network"
    if isinstance(error, xmlstream.TLSRequired):
        return f"{where} insists on encryption; leave --no-tls away"
    if isinstance(error, StreamError | StanzaError):
        text = printable(str(error.text or "no text"))
        advice = _ADVICE.get(error.condition, "try again later, or ask who runs the server")
        return f"{where} refuses the connection: {error.condition} ({text}); {advice}"
    if isinstance(error, DNSLookupError):
        advice = "check the JID, or give --server HOST:PORT" if where == domain else "check --server"
        return f"there is no address of {where}; {advice}"
    if isinstance(error, ConnectError):
        return f"cannot connect to {where} ({_connectText(error)}); is the server running there?"
    if isinstance(error, BytestreamError) and not isinstance(error, StreamBroken):
        return str(error)
    return f"the connection to {where} failed ({error or type(error).__name__}); is an XMPP server there?"


def _connectText(error: ConnectError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, TimeoutError):
        return "no answer"
    return os.strerror(error.osError) if error.osError else str(error).rstrip(".")


def _sslText(error: SSL.Error) -> str:
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return ", ".join(reason[-1] for reason in reasons if reason and reason[-1]) or "TLS failed"
