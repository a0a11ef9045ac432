"""
Tests for L{xmppbytes.servertls}; L{tests.loopback.test_account} has those with real connections.
"""

import datetime
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL.crypto import X509
from twisted.trial.unittest import SynchronousTestCase

from xmppbytes.servertls import checkName


def certificate(*names: x509.GeneralName) -> X509:
    """
    A certificate for these names, or for none.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "example.org")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1, now, now)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return X509.from_cryptography(builder.sign(key, hashes.SHA256()))


class NameTests(SynchronousTestCase):
    """
    Whom a certificate is for.
    """

    def assertFor(self, domain: str, *names: x509.GeneralName) -> None:
        self.assertIsNone(checkName(certificate(*names), domain))

    def assertNotFor(self, domain: str, *names: x509.GeneralName) -> None:
        self.assertIsNotNone(checkName(certificate(*names), domain))

    def test_right(self) -> None:
        """
        The name itself, one among several, a wildcard, an IP address.
        """
        self.assertFor("example.org", x509.DNSName("example.org"))
        self.assertFor("example.org", x509.DNSName("example.com"), x509.DNSName("example.org"))
        self.assertFor("xmpp.example.org", x509.DNSName("*.example.org"))
        self.assertFor("192.0.2.1", x509.IPAddress(ip_address("192.0.2.1")))
        self.assertFor("2001:db8::1", x509.IPAddress(ip_address("2001:db8::1")))

    def test_wrong(self) -> None:
        """
        Another name, a wildcard for another level, another IP address.
        """
        self.assertNotFor("example.org", x509.DNSName("example.com"))
        self.assertNotFor("a.b.example.org", x509.DNSName("*.example.org"))
        self.assertNotFor("192.0.2.1", x509.IPAddress(ip_address("192.0.2.2")))
        self.assertNotFor("192.0.2.1", x509.DNSName("192.0.2.1"))

    def test_noName(self) -> None:
        """
        A certificate without a name is for nobody, whatever its common name says.
        """
        self.assertNotFor("example.org")

    def test_nonsense(self) -> None:
        """
        A name that makes no sense is no name, and does not spoil the others.
        """
        self.assertNotFor("example.org", x509.DNSName("*.org"))
        self.assertFor("example.org", x509.DNSName("*.org"), x509.DNSName("example.org"))

    def test_badDomain(self) -> None:
        """
        A domain that cannot be in a certificate is in none.
        """
        self.assertNotFor("", x509.DNSName("example.org"))
