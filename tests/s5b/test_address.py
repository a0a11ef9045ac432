"""
Tests for L{xmppbytes.s5b.address}.
"""

from hashlib import sha1

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.jid import InvalidFormat

from xmppbytes.s5b.address import destinationAddress, isDestinationAddress, latin1Address, preparedAddress


class DestinationAddressTests(SynchronousTestCase):
    """
    The hash by which the parties meet.
    """

    def test_examplesOfTheSpecification(self) -> None:
        """
        SHA1(SID + Requester JID + Target JID), in lower-case hexadecimal digits (5.3.2 rule 1).
        """
        sid, requester, target = "vxf9n471bn46", "requester@example.com/foo", "target@example.org/bar"
        expected = sha1(b"vxf9n471bn46requester@example.com/footarget@example.org/bar").hexdigest()
        self.assertEqual(destinationAddress(sid, requester, target), expected)
        self.assertEqual(preparedAddress(sid, requester, target), expected)

    def test_notPrepared(self) -> None:
        """
        The plain hash takes addresses as they are, non-ASCII ones in UTF-8.
        """
        self.assertEqual(
            destinationAddress("s", "Bj\xf6rn@x", "T"), sha1("sBj\xf6rn@xT".encode()).hexdigest()
        )

    def test_prepared(self) -> None:
        """
        Upper case makes no difference once it is prepared (5.3.2 rule 4).
        """
        self.assertEqual(
            preparedAddress("s", "BJ\xd6RN@X.org/R", "T@y"),
            destinationAddress("s", "bj\xf6rn@x.org/R", "t@y"),
        )

    def test_latin1(self) -> None:
        """
        QXmpp hashes Latin-1, with question marks for what that has not; ASCII is the same for all.
        """
        for requester, hashed in (
            ("bj\xf6rn@x/K\xfcche", b"sbj\xf6rn@x/K\xfcchet@y"),
            ("x@x/\u043a\u0443\u0445\u043d\u044f", b"sx@x/?????t@y"),
            ("x@x/k\U0001f600", b"sx@x/k??t@y"),
        ):
            self.assertEqual(latin1Address("s", requester, "t@y"), sha1(hashed).hexdigest())
        self.assertEqual(latin1Address("s", "r@x", "t@y"), destinationAddress("s", "r@x", "t@y"))

    def test_notAnAddress(self) -> None:
        """
        What is no address cannot be prepared.
        """
        self.assertRaises(InvalidFormat, preparedAddress, "s", "", "t@y")

    @given(st.text(max_size=20).filter(lambda text: text.isprintable()))
    def test_looksLikeOne(self, text: str) -> None:
        """
        Whatever is hashed, the outcome can be told for one.
        """
        address = destinationAddress(text, text, text).encode("ascii")
        self.assertTrue(isDestinationAddress(address))
        self.assertTrue(isDestinationAddress(address.upper()))

    def test_looksNotLikeOne(self) -> None:
        """
        Other lengths and other characters are none.
        """
        for text in (b"", b"a" * 39, b"a" * 41, b"g" * 40, b"a" * 39 + b"\0", b"\xe9" * 40):
            self.assertFalse(isDestinationAddress(text), text)
