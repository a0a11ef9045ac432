"""
TLS between two parties who know each other by a fingerprint rather than by an authority.

An L{Identity} is a self-signed ECDSA certificate with its key. Its fingerprint is the SHA-256 of the
public key (SubjectPublicKeyInfo), as 64 lower-case hexadecimal digits: it travels over XMPP (DTCP),
or is pinned (link-local), and outlives a certificate that is issued anew for the same key.

L{PinnedServer} and L{PinnedClient} are for C{transport.startTLS}. The client refuses a wrong server
in the handshake. A server may learn only later whom it expects: it takes any certificate, and the
application compares L{peerFingerprint} before it trusts what it hears.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from hmac import compare_digest
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from xmppbytes.errors import ConfigurationError

# A self-signed certificate is trusted for its key alone: its dates say nothing, so they are wide.
VALIDITY = timedelta(days=3650)
# Clocks of peers that compare dates nevertheless may be behind ours.
_CLOCK_SKEW = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Identity:
    """
    A certificate and its private key.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def fingerprint(self) -> str:
        """
        SHA-256 of the public key: 64 lower-case hexadecimal digits.
        """
        return fingerprintOf(self.certificate)

    def toPEM(self) -> bytes:
        """
        Write both, the key unencrypted: for a file that nobody else may read.
        """
        key = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return key + self.certificate.public_bytes(serialization.Encoding.PEM)

    @classmethod
    def fromPEM(cls, pem: bytes) -> "Identity":
        """
        Read what L{toPEM} wrote.

        @raise ConfigurationError: when it is something else.
        """
        try:
            key = serialization.load_pem_private_key(pem, None)
            certificate = x509.load_pem_x509_certificate(pem)
        except (ValueError, TypeError) as e:
            raise ConfigurationError(
                f"no certificate with its unencrypted key, in PEM ({e}); remove it to have a new one made"
            ) from e
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigurationError("the key is not for ECDSA; remove it to have a new one made")
        if key.public_key() != certificate.public_key():
            raise ConfigurationError("certificate and key do not belong together; remove both")
        return cls(certificate, key)


def createIdentity(name: str = "xmppbytes", validity: timedelta = VALIDITY) -> Identity:
    """
    Make a new key (P-256) and a certificate for it that it signs itself.

    @param name: the common name, of which peers know that it proves nothing; at most 64 characters.
    @param validity: how long it is valid, from now.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + validity)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Identity(certificate, key)


def fingerprintOf(certificate: x509.Certificate) -> str:
    """
    SHA-256 of a certificate's public key: 64 lower-case hexadecimal digits.
    """
    publicKey = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return sha256(publicKey).hexdigest()


def peerFingerprint(transport: Any) -> str | None:
    """
    The fingerprint of whoever is at the other end of a TLS connection.

    @return: C{None} when it is not a TLS connection, or the peer has shown no certificate, or none
        that can be read.
    """
    getCertificate = getattr(transport, "getPeerCertificate", None)
    certificate = getCertificate() if getCertificate is not None else None
    return None if certificate is None else _shownFingerprint(certificate)


def _shownFingerprint(certificate: X509) -> str | None:
    """
    The fingerprint of a certificate that a peer has shown.

    @return: C{None} when its key is of a kind that cannot be read: it is nobody's then. OpenSSL takes
        some that C{cryptography} does not know.
    """
    try:
        return fingerprintOf(certificate.to_cryptography())
    except (ValueError, UnsupportedAlgorithm):
        return None


def sameFingerprint(first: str | None, second: str | None) -> bool:
    """
    Compare two fingerprints, either of which may be missing: then they are not the same.
    """
    if first is None or second is None:
        return False
    return compare_digest(first.lower().encode(), second.lower().encode())


@implementer(IOpenSSLServerConnectionCreator)
class PinnedServer:
    """
    Makes the serving end of TLS. It asks for the client's certificate and takes any.
    """

    def __init__(self, identity: Identity, clientMustHaveCertificate: bool = False) -> None:
        """
        @param identity: what is shown to the peer.
        @param clientMustHaveCertificate: fail the handshake with a client that shows none.
        """
        must = SSL.VERIFY_FAIL_IF_NO_PEER_CERT if clientMustHaveCertificate else 0
        self._context = _makeContext(identity)
        self._context.set_verify(SSL.VERIFY_PEER | must, lambda *ignored: True)

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """
        See L{IOpenSSLServerConnectionCreator}.
        """
        return SSL.Connection(self._context, None)


@implementer(IOpenSSLClientConnectionCreator)
class PinnedClient:
    """
    Makes the connecting end of TLS.
    """

    def __init__(self, identity: Identity, fingerprint: str | None) -> None:
        """
        @param identity: what is shown to the peer.
        @param fingerprint: the one server that is accepted; C{None}: any, for the application to
            compare.
        """
        self._fingerprint = fingerprint
        self._context = _makeContext(identity)
        self._context.set_verify(SSL.VERIFY_PEER, self._verify)

    def _verify(self, connection: Any, certificate: X509, error: int, depth: int, ok: int) -> bool:
        # Only the certificate of the peer itself counts; what it sends beside it vouches for nothing.
        if depth > 0 or self._fingerprint is None:
            return True
        return sameFingerprint(_shownFingerprint(certificate), self._fingerprint)

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """
        See L{IOpenSSLClientConnectionCreator}.
        """
        return SSL.Connection(self._context, None)


def _makeContext(identity: Identity) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.use_certificate(X509.from_cryptography(identity.certificate))
    context.use_privatekey(PKey.from_cryptography_key(identity.key))
    return context


def tlsFailureText(reason: Failure) -> str | None:
    """
    Say why TLS failed.

    @param reason: what C{connectionLost} got.
    @return: C{None} when TLS is not the cause.
    """
    error = reason.value
    if not isinstance(error, SSL.Error):
        return None
    entries = error.args[0] if error.args else ()
    words = [entry[-1] for entry in entries] if isinstance(entries, (list, tuple)) else []
    return "TLS failed: " + (", ".join(words) or "no reason was given")
