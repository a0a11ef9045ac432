"""
TLS with a server that an authority has certified: RFC 6120 section 13.7.2, by the rules of RFC 6125.

Twisted's own options check the chain, and are kept for that. But where a certificate holds no name at all,
or one that makes no sense, some versions of Twisted log the error and accept the certificate for B{any}
server. Here what cannot be matched is refused; a name that makes no sense is passed over, for the others
may be right.
"""

from collections.abc import Iterator
from typing import Any
from weakref import ref

from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509
from service_identity import CertificateError
from service_identity.hazmat import (
    DNS_ID,
    DNSPattern,
    IPAddress_ID,
    IPAddressPattern,
    verify_service_identity,
)
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.failure import Failure
from zope.interface import implementer

_DEMANDED = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT


@implementer(IOpenSSLClientConnectionCreator)
class CertifiedServer:
    """
    Makes the connecting end of TLS; the handshake fails with who is not certified for a domain.
    """

    def __init__(self, domain: str, trustRoot: Any) -> None:
        """
        @param domain: whom the certificate must be for: a name in ASCII, or an IP address.
        @param trustRoot: the authorities, an C{IOpenSSLTrustRoot}.
        """
        self._domain = domain
        self._options: Any = optionsForClientTLS(domain, trustRoot=trustRoot)

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """
        See L{IOpenSSLClientConnectionCreator}.
        """
        connection: SSL.Connection = self._options.clientConnectionForTLS(tlsProtocol)
        # Weak: the protocol owns the connection, which owns this.
        protocol = ref(tlsProtocol)

        def verify(_: Any, certificate: X509, error: int, depth: int, ok: int) -> bool:
            trouble = checkName(certificate, self._domain) if ok and depth == 0 else None
            owner = protocol()
            if trouble is not None and owner is not None:
                owner.failVerification(Failure(trouble))
            return bool(ok) and trouble is None

        connection.set_verify(_DEMANDED, verify)
        return connection


def checkName(certificate: X509, domain: str) -> Exception | None:
    """
    Check whom a certificate is for.

    @param domain: see L{CertifiedServer}.
    @return: what is wrong; C{None}: nothing.
    """
    isAddress = isIPAddress(domain) or isIPv6Address(domain)
    try:
        wanted = IPAddress_ID(domain) if isAddress else DNS_ID(domain)
        verify_service_identity(list(_names(certificate.to_cryptography())), [wanted], [])
    except Exception as e:
        # Whatever it is: what was not verified is not accepted, and OpenSSL would lose the exception.
        return e
    return None


def _names(certificate: x509.Certificate) -> Iterator[Any]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    yield from (IPAddressPattern(address) for address in names.get_values_for_type(x509.IPAddress))  # type: ignore[arg-type]
    for name in names.get_values_for_type(x509.DNSName):
        try:
            yield DNSPattern.from_bytes(name.encode())
        except CertificateError:
            continue
