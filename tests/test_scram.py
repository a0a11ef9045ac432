"""
Tests for L{xmppbytes.scram}.
"""

import base64
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.sasl import NS_XMPP_SASL, SASLNoAcceptableMechanism
from twisted.words.protocols.jabber.xmlstream import Reset
from twisted.words.xish.domish import Element

from xmppbytes.scram import MAX_ITERATIONS, AuthenticationInitializer, Scram, ServerNotTrusted


class ScramTests(SynchronousTestCase):
    """
    The exchanges that the RFCs print.
    """

    def test_rfc5802(self) -> None:
        """
        The example of RFC 5802 section 5.
        """
        scram = Scram("SCRAM-SHA-1", "user", "pencil", "fyko+d2lbbFgONRv9qkxdawL")
        self.assertEqual(scram.getInitialResponse(), b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL")
        final = scram.getResponse(b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096")
        self.assertEqual(
            final,
            b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        )
        scram.verify(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=")
        self.assertTrue(scram.verified)

    def test_rfc7677(self) -> None:
        """
        The example of RFC 7677 section 3, with the last word in a challenge, as some servers send it.
        """
        scram = Scram("SCRAM-SHA-256", "user", "pencil", "rOprNGfwEbeRWgbNEkqO")
        final = scram.getResponse(
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        )
        self.assertIn(b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", final)
        self.assertEqual(scram.getResponse(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), b"")
        self.assertTrue(scram.verified)

    def test_names(self) -> None:
        """
        Commas and equals signs in names are written so that they cannot be misread.
        """
        self.assertEqual(Scram("SCRAM-SHA-1", "a=b,c", "x", "N").getInitialResponse(), b"n,,n=a=3Db=2Cc,r=N")

    def test_badChallenges(self) -> None:
        """
        A server that breaks the rules is not trusted.
        """
        for challenge in (
            b"r=other,s=QSXCR+Q6sek8bf92,i=4096",
            b"r=N,s=QSXCR+Q6sek8bf92,i=4096",
            b"r=Nmore,s=QSXCR+Q6sek8bf92,i=0",
            b"r=Nmore,s=QSXCR+Q6sek8bf92",
            b"r=Nmore,s=QSXCR+Q6sek8bf92,i=%d" % (MAX_ITERATIONS + 1),
            b"r=Nmore,s=*,i=4096",
            b"\xff",
            b"",
        ):
            self.assertRaises(ServerNotTrusted, Scram("SCRAM-SHA-1", "u", "p", "N").getResponse, challenge)

    def test_badProof(self) -> None:
        """
        Nor is one that does not know the password, or was never asked.
        """
        scram = Scram("SCRAM-SHA-1", "user", "pencil", "N")
        self.assertRaises(ServerNotTrusted, scram.verify, b"v=")
        scram.getResponse(b"r=Nmore,s=QSXCR+Q6sek8bf92,i=4096")
        self.assertRaises(ServerNotTrusted, scram.verify, b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=")
        self.assertRaises(ServerNotTrusted, scram.verify, b"e=other-error")


class AuthenticationInitializerTests(SynchronousTestCase):
    """
    The choice, and the exchange in stanzas.
    """

    def begin(self, *mechanisms: str) -> Any:
        """
        Begin to authenticate.

        @return: the initializer, and the Deferred of its end.
        """
        offered = Element((NS_XMPP_SASL, "mechanisms"))
        for name in mechanisms:
            offered.addElement("mechanism", content=name)
        self.sent: list[Element] = []
        nothing = lambda *_: None  # noqa: E731
        stream = SimpleNamespace(
            authenticator=SimpleNamespace(jid=SimpleNamespace(user="user"), password="pencil"),
            features={(NS_XMPP_SASL, "mechanisms"): offered},
            send=self.sent.append,
            addObserver=nothing,
            addOnetimeObserver=nothing,
            removeObserver=nothing,
            reset=nothing,
            sendHeader=nothing,
        )
        initializer = AuthenticationInitializer(stream, required=True)
        return initializer, initializer.start()

    def element(self, name: str, content: bytes) -> Element:
        element = Element((NS_XMPP_SASL, name))
        element.addContent(base64.b64encode(content).decode())
        return element

    def test_best(self) -> None:
        """
        The best that both have is taken.
        """
        for offered, taken in (
            (("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"), "SCRAM-SHA-256"),
            (("PLAIN", "DIGEST-MD5", "SCRAM-SHA-1"), "SCRAM-SHA-1"),
            (("DIGEST-MD5", "PLAIN"), "PLAIN"),
        ):
            self.begin(*offered)
            self.assertEqual(self.sent[0]["mechanism"], taken)

    def test_none(self) -> None:
        """
        Without one there is no authentication.
        """
        error = self.assertRaises(SASLNoAcceptableMechanism, self.begin, "DIGEST-MD5", "GSSAPI")
        self.assertEqual(str(error), "DIGEST-MD5, GSSAPI")

    def test_plain(self) -> None:
        """
        With PLAIN the server's word is enough.
        """
        initializer, done = self.begin("PLAIN")
        initializer.onSuccess(Element((NS_XMPP_SASL, "success")))
        self.assertIs(self.successResultOf(done), Reset)

    def test_unprovenSuccess(self) -> None:
        """
        With SCRAM it is not.
        """
        initializer, done = self.begin("SCRAM-SHA-1")
        initializer.onSuccess(Element((NS_XMPP_SASL, "success")))
        self.failureResultOf(done, ServerNotTrusted)

    def test_badChallenge(self) -> None:
        """
        A bad challenge ends it.
        """
        initializer, done = self.begin("SCRAM-SHA-1")
        initializer.onChallenge(self.element("challenge", b"r=other"))
        self.failureResultOf(done, ServerNotTrusted)
        self.assertEqual(len(self.sent), 1)
