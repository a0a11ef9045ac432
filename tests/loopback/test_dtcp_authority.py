"""
DTCP with TLS contexts that the application brings: an authority, and names that are verified.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL.crypto import X509, PKey
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.trial.unittest import TestCase
from twisted.words.protocols.jabber.jid import JID

from tests.dtcp.lab import REQUESTER, TARGET, Acceptor, Lab, RecorderFactory
from tests.loopback.test_dtcp import talk
from xmppbytes.dtcp.channel import ChannelTLS, TLSMode
from xmppbytes.errors import NotReachable


class Authority:
    """
    Certifies domains.
    """

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "The Prince of Verona")])
        self.certificate = self._sign(self.name, self.key, True, "authority.example")

    def _sign(self, subject: x509.Name, key: Any, authority: bool, domain: str) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def tls(self, domain: str) -> ChannelTLS:
        """
        What somebody of this domain gives to a client.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domain)])
        certificate = self._sign(subject, key, False, domain)
        root = trustRootFromCertificates([Certificate(X509.from_cryptography(self.certificate))])
        return ChannelTLS(
            TLSMode.REQUIRED,
            serverContext=CertificateOptions(
                PKey.from_cryptography_key(key), X509.from_cryptography(certificate)
            ),
            clientContext=lambda peer: optionsForClientTLS(JID(peer).host, trustRoot=root),
        )


class AuthorityTests(TestCase):
    """
    Certificates are verified by their authority, and by the domain of the peer's JID.
    """

    timeout = 300

    def setUp(self) -> None:
        self.lab = Lab()
        self.acceptor = Acceptor()
        self.authority = Authority()

    def connect(self, domain: str, authority: Authority) -> Any:
        """
        @param domain: for which the target has a certificate.
        """
        self.lab.join(TARGET, self.acceptor, True, None, authority.tls(domain))
        client = self.lab.join(REQUESTER, None, False, None, self.authority.tls("montague.example"))
        self.factory = RecorderFactory()
        return client.connect(TARGET, self.factory)

    async def test_right(self) -> None:
        """
        The right certificate; no fingerprint is told.
        """
        await self.connect("capulet.example", self.authority)
        await self.acceptor.recorder.made
        self.assertNotIn("fingerprint", "".join(stanza.toXml() for stanza in self.lab.stanzas))
        await talk(self.factory.recorder, self.acceptor.recorder)

    async def test_wrongDomain(self) -> None:
        """
        A certificate for another domain is refused by service_identity.
        """
        await self.assertFailure(self.connect("tybalt.example", self.authority), NotReachable)
        await self.acceptor.failed

    async def test_wrongAuthority(self) -> None:
        """
        A certificate of another authority.
        """
        error = await self.assertFailure(self.connect("capulet.example", Authority()), NotReachable)
        self.assertIn("certificate verify failed", str(error))
        await self.acceptor.failed
