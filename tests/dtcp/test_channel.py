"""
Tests for L{xmppbytes.dtcp.channel}.
"""

from typing import Any

from cryptography.x509 import Certificate
from OpenSSL.crypto import X509
from twisted.trial.unittest import TestCase

from xmppbytes.dtcp.channel import ChannelTLS, TLSMode
from xmppbytes.tls import PinnedClient, PinnedServer, createIdentity

JULIET = createIdentity("juliet")
ROMEO = createIdentity("romeo")


class Shown:
    """
    A TLS transport whose peer has shown a certificate.
    """

    def __init__(self, certificate: Certificate | None) -> None:
        self._certificate = certificate

    def getPeerCertificate(self) -> X509 | None:
        return X509.from_cryptography(self._certificate) if self._certificate is not None else None


def channel(mode: TLSMode, **more: Any) -> ChannelTLS:
    """
    Juliet's side.
    """
    return ChannelTLS(mode, JULIET, **more)


class FingerprintTests(TestCase):
    """
    The default: certificates are known by what was told over XMPP.
    """

    def test_told(self) -> None:
        """
        The fingerprint is told unless TLS is off.
        """
        self.assertEqual(channel(TLSMode.OPTIONAL).fingerprint, JULIET.fingerprint)
        self.assertIsNone(channel(TLSMode.OFF).fingerprint)
        self.assertFalse(channel(TLSMode.OFF).wanted)

    def test_madeWhenNeeded(self) -> None:
        """
        Without an identity one is made, once.
        """
        tls = ChannelTLS()
        self.assertIs(tls.identity, tls.identity)

    def test_contexts(self) -> None:
        """
        Both ends are pinned.
        """
        tls = channel(TLSMode.OPTIONAL)
        self.assertIsInstance(tls.forServing(), PinnedServer)
        self.assertIsInstance(tls.forConnecting("romeo@x", ROMEO.fingerprint), PinnedClient)

    def test_plain(self) -> None:
        """
        Plain text will do only where TLS is not required and the peer has told no fingerprint: who
        tells one has TLS, and whoever says otherwise stands in between.
        """
        for mode, told, allowed in (
            (TLSMode.OFF, None, True),
            (TLSMode.OFF, ROMEO.fingerprint, True),
            (TLSMode.OPTIONAL, None, True),
            (TLSMode.OPTIONAL, ROMEO.fingerprint, False),
            (TLSMode.REQUIRED, None, False),
            (TLSMode.REQUIRED, ROMEO.fingerprint, False),
        ):
            objection = channel(mode).objectionTo(object(), False, told)
            self.assertEqual(objection is None, allowed, (mode, told))

    def test_certificate(self) -> None:
        """
        The certificate must be the one whose fingerprint was told; where none was, any will do
        unless TLS is required.
        """
        for mode, told, shown, allowed in (
            (TLSMode.OPTIONAL, ROMEO, ROMEO, True),
            (TLSMode.OPTIONAL, ROMEO, JULIET, False),
            (TLSMode.OPTIONAL, ROMEO, None, False),
            (TLSMode.OPTIONAL, None, JULIET, True),
            (TLSMode.REQUIRED, ROMEO, ROMEO, True),
            (TLSMode.REQUIRED, None, ROMEO, False),
        ):
            transport = Shown(shown.certificate if shown is not None else None)
            fingerprint = told.fingerprint if told is not None else None
            objection = channel(mode).objectionTo(transport, True, fingerprint)
            self.assertEqual(objection is None, allowed, (mode, told, shown))

    def test_peerWithoutFingerprint(self) -> None:
        """
        Only where TLS is required a peer without a fingerprint is of no use.
        """
        self.assertIsNone(channel(TLSMode.OPTIONAL).objectionToPeer(None))
        self.assertIsNone(channel(TLSMode.REQUIRED).objectionToPeer(ROMEO.fingerprint))
        self.assertIn("required", channel(TLSMode.REQUIRED).objectionToPeer(None) or "")


class ContextTests(TestCase):
    """
    The application brings contexts of its own.
    """

    def setUp(self) -> None:
        self.server: Any = object()
        self.asked: list[str] = []
        self.tls = channel(TLSMode.REQUIRED, serverContext=self.server, clientContext=self.makeClientContext)

    def makeClientContext(self, peer: str) -> Any:
        self.asked.append(peer)
        return self.server

    def test_used(self) -> None:
        """
        They are used, the client's with the peer's JID to verify.
        """
        self.assertIs(self.tls.forServing(), self.server)
        self.assertIs(self.tls.forConnecting("romeo@x", None), self.server)
        self.assertEqual(self.asked, ["romeo@x"])

    def test_decide(self) -> None:
        """
        No fingerprint is told or compared; what is required is that there is TLS.
        """
        self.assertIsNone(self.tls.fingerprint)
        self.assertIsNone(self.tls.objectionToPeer(None))
        self.assertIsNone(self.tls.objectionTo(Shown(None), True, None))
        self.assertIsNotNone(self.tls.objectionTo(Shown(None), False, None))

    def test_both(self) -> None:
        """
        One context alone is a mistake: either side may have to connect.
        """
        self.assertRaises(ValueError, ChannelTLS, serverContext=self.server)
        self.assertRaises(ValueError, ChannelTLS, clientContext=self.makeClientContext)
