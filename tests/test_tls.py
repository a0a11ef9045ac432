"""
Tests for L{xmppbytes.tls}.
"""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL, crypto
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, IOPump
from twisted.trial.unittest import TestCase

from xmppbytes.errors import ConfigurationError
from xmppbytes.tls import (
    Identity,
    PinnedClient,
    PinnedServer,
    createIdentity,
    fingerprintOf,
    peerFingerprint,
    sameFingerprint,
    tlsFailureText,
)

# On the curve secp224k1, which OpenSSL knows and cryptography does not.
STRANGE_CERTIFICATE = b"""\
-----BEGIN CERTIFICATE-----
MIIBXTCCAQqgAwIBAgIUNOAMWmpLKmFRdIZ/jxBv5YQ4ljUwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBeDAgFw0yNjExMjAxMTM3MDlaGA8yMDgxMDgyMzExMzcwOVow
DDEKMAgGA1UEAwwBeDBOMBAGByqGSM49AgEGBSuBBAAgAzoABHbzF2nW6Fz7vIVg
sv0Uu6ywuit9ZapCsQFrh3YSmAINhQSsKz263TcGbn2O4uo3Iev3ejG34JF1o1Mw
UTAdBgNVHQ4EFgQUMnEK1mhyj+xsxQ25tA9ZGWG+URQwHwYDVR0jBBgwFoAUMnEK
1mhyj+xsxQ25tA9ZGWG+URQwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNB
ADA+Ah0A+99cm7hQJP5KslNjqnnheCoWHIevQgo84SydkgIdAKO6rZ5q+rYOE49M
vEMIpDR8NKqDn6+9magFkhg=
-----END CERTIFICATE-----
"""
STRANGE_KEY = b"""\
-----BEGIN EC PRIVATE KEY-----
MGkCAQEEHQCULL0a/fSo2KE8O1FeNO/IziWo0K6gKpGhjqLUoAcGBSuBBAAgoTwD
OgAEdvMXadboXPu8hWCy/RS7rLC6K31lqkKxAWuHdhKYAg2FBKwrPbrdNwZufY7i
6jch6/d6MbfgkXU=
-----END EC PRIVATE KEY-----
"""


class Strange(PinnedClient, PinnedServer):
    """
    Shows a certificate with a key of a rare kind, and takes any.
    """

    def __init__(self) -> None:
        self._context = SSL.Context(SSL.TLS_METHOD)
        self._context.use_certificate(crypto.load_certificate(crypto.FILETYPE_PEM, STRANGE_CERTIFICATE))
        self._context.use_privatekey(crypto.load_privatekey(crypto.FILETYPE_PEM, STRANGE_KEY))
        self._context.set_max_proto_version(SSL.TLS1_2_VERSION)
        self._context.set_cipher_list(b"ALL:@SECLEVEL=0")


class Recorder(Protocol):
    """
    Keeps what arrives, and why the connection ended.
    """

    def __init__(self) -> None:
        self.received = b""
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.lost = reason


class NoCertificateClient(PinnedClient):
    """
    A client that shows no certificate.
    """

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        context = SSL.Context(SSL.TLS_METHOD)
        return SSL.Connection(context, None)


def connect(client: PinnedClient, server: PinnedServer) -> tuple[Recorder, Recorder]:
    """
    Let a client and a server handshake in memory.
    """
    clock = Clock()
    ends: list[Recorder] = []
    wrapped: list[Any] = []
    for creator, isClient in ((client, True), (server, False)):
        factory = TLSMemoryBIOFactory(creator, isClient, Factory.forProtocol(Recorder), clock)
        protocol = factory.buildProtocol(None)
        wrapped.append(protocol)
        ends.append(protocol.wrappedProtocol)
    transports = [FakeTransport(wrapped[0], False), FakeTransport(wrapped[1], True)]
    pump = IOPump(wrapped[0], wrapped[1], transports[0], transports[1], False)
    wrapped[0].makeConnection(transports[0])
    wrapped[1].makeConnection(transports[1])
    ends[0].transport.write(b"from the client")
    clock.advance(0)
    pump.flush()
    return ends[0], ends[1]


class IdentityTests(TestCase):
    """
    Self-signed certificates.
    """

    def test_fingerprintIsOfTheKey(self) -> None:
        """
        A new certificate for the same key has the same fingerprint.
        """
        identity = createIdentity("juliet@pronto")
        again = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(x509.Name([]))
            .public_key(identity.key.public_key())
            .serial_number(1)
            .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2040, 1, 1, tzinfo=UTC))
            .sign(identity.key, hashes.SHA256())
        )
        self.assertEqual(fingerprintOf(again), identity.fingerprint)
        self.assertRegex(identity.fingerprint, "^[0-9a-f]{64}$")

    def test_eachIsNew(self) -> None:
        """
        Two identities have two keys.
        """
        self.assertNotEqual(createIdentity().fingerprint, createIdentity().fingerprint)

    def test_validNow(self) -> None:
        """
        A certificate is valid from a little before now for years, and signed by its own key.
        """
        certificate = createIdentity().certificate
        now = datetime.now(UTC)
        self.assertLess(certificate.not_valid_before_utc, now)
        self.assertGreater((certificate.not_valid_after_utc - now).days, 3000)
        certificate.verify_directly_issued_by(certificate)

    def test_pem(self) -> None:
        """
        What was written as PEM is read again.
        """
        identity = createIdentity("romeo")
        again = Identity.fromPEM(identity.toPEM())
        self.assertEqual(again.fingerprint, identity.fingerprint)
        self.assertEqual(again.key.private_numbers(), identity.key.private_numbers())

    def test_brokenPEM(self) -> None:
        """
        Something else is refused with words.
        """
        for pem in (b"", b"nonsense", createIdentity().toPEM()[:200]):
            self.assertRaisesRegex(ConfigurationError, "PEM", Identity.fromPEM, pem)

    def test_keyOfAnotherKind(self) -> None:
        """
        An RSA key is refused with words.
        """
        key = rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        pem = key + createIdentity().certificate.public_bytes(serialization.Encoding.PEM)
        self.assertRaisesRegex(ConfigurationError, "ECDSA", Identity.fromPEM, pem)

    def test_keyOfAnotherCertificate(self) -> None:
        """
        A key that does not belong to the certificate is refused.
        """
        mixed = Identity(createIdentity().certificate, ec.generate_private_key(ec.SECP256R1()))
        self.assertRaisesRegex(ConfigurationError, "together", Identity.fromPEM, mixed.toPEM())

    def test_sameFingerprint(self) -> None:
        """
        Case does not count; what is missing is never the same.
        """
        self.assertTrue(sameFingerprint("AB12", "ab12"))
        self.assertFalse(sameFingerprint("ab12", "ab13"))
        self.assertFalse(sameFingerprint(None, None))
        self.assertFalse(sameFingerprint("ab12", None))


class PinnedTests(TestCase):
    """
    TLS between two identities.
    """

    def setUp(self) -> None:
        self.juliet = createIdentity("juliet")
        self.romeo = createIdentity("romeo")

    def test_rightServer(self) -> None:
        """
        With the fingerprint that is expected both ends know each other's key, and data passes.
        """
        client, server = connect(PinnedClient(self.juliet, self.romeo.fingerprint), PinnedServer(self.romeo))
        self.assertEqual(server.received, b"from the client")
        self.assertEqual(peerFingerprint(client.transport), self.romeo.fingerprint)
        self.assertEqual(peerFingerprint(server.transport), self.juliet.fingerprint)

    def test_wrongServer(self) -> None:
        """
        Another server than the expected one fails the handshake; it gets no byte of ours.
        """
        client, server = connect(PinnedClient(self.juliet, self.juliet.fingerprint), PinnedServer(self.romeo))
        self.assertEqual(server.received, b"")
        assert client.lost is not None
        self.assertIn("certificate verify failed", tlsFailureText(client.lost) or "")

    def test_anyServer(self) -> None:
        """
        Without an expectation any server is taken, and can be recognised.
        """
        client, server = connect(PinnedClient(self.juliet, None), PinnedServer(self.romeo))
        self.assertEqual(server.received, b"from the client")
        self.assertEqual(peerFingerprint(client.transport), self.romeo.fingerprint)

    def test_clientWithoutCertificate(self) -> None:
        """
        A client that shows no certificate has no fingerprint.
        """
        _, server = connect(NoCertificateClient(self.juliet, None), PinnedServer(self.romeo))
        self.assertEqual(server.received, b"from the client")
        self.assertIsNone(peerFingerprint(server.transport))

    def test_clientMustHaveCertificate(self) -> None:
        """
        A server can insist on a certificate.
        """
        _, server = connect(NoCertificateClient(self.juliet, None), PinnedServer(self.romeo, True))
        self.assertEqual(server.received, b"")
        self.assertIsNotNone(server.lost)

    def test_strangeKey(self) -> None:
        """
        A key that cannot be read is not the expected one; nothing breaks.
        """
        client, server = connect(PinnedClient(self.juliet, self.romeo.fingerprint), Strange())
        self.assertEqual(server.received, b"")
        assert client.lost is not None
        self.assertIsNotNone(tlsFailureText(client.lost))
        shown = crypto.load_certificate(crypto.FILETYPE_PEM, STRANGE_CERTIFICATE)
        self.assertFalse(PinnedClient(self.juliet, self.romeo.fingerprint)._verify(None, shown, 0, 0, 1))
        transport = SimpleNamespace(getPeerCertificate=lambda: shown)
        self.assertIsNone(peerFingerprint(transport))

    def test_plainTransport(self) -> None:
        """
        A connection without TLS has no fingerprint.
        """
        self.assertIsNone(peerFingerprint(object()))

    def test_failureTexts(self) -> None:
        """
        Only TLS errors have a text, even when OpenSSL gave no reason.
        """
        self.assertIsNone(tlsFailureText(Failure(ValueError("x"))))
        self.assertIn("no reason", tlsFailureText(Failure(SSL.Error())) or "")
        self.assertIn("no reason", tlsFailureText(Failure(SSL.SysCallError(-1, "Unexpected EOF"))) or "")
        text = tlsFailureText(Failure(SSL.Error([("SSL routines", "", "wrong version number")])))
        self.assertEqual(text, "TLS failed: wrong version number")
