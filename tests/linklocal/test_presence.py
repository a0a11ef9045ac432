"""
Tests for L{xmppbytes.linklocal.presence}.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from xmppbytes.linklocal.presence import STATUSES, Presence
from xmppbytes.wire.txt import decodePairs, encodePairs

# XEP-0174 2.0.1 section 3.
EXAMPLE = [
    ("txtvers", "1"),
    ("1st", "Juliet"),
    ("email", "juliet@capulet.lit"),
    ("hash", "sha-1"),
    ("jid", "juliet@capulet.lit"),
    ("last", "Capulet"),
    ("msg", "Hanging out downtown"),
    ("nick", "JuliC"),
    ("node", "http://www.adiumx.com"),
    ("phsh", "a3839614e1a382bcfebbcf20464f519e81770813"),
    ("port.p2pj", "5562"),
    ("status", "avail"),
    ("vc", "CA!"),
    ("ver", "QgayPKawpkPSDYmwT/WM94uAlu0="),
]
texts = st.text(st.characters(codec="utf-8", categories=["L", "N"]), max_size=20)


class PresenceTests(TestCase):
    """
    Presence to a TXT record and back.
    """

    def test_example(self):
        """
        The example of the specification is read, and written with every pair.
        """
        presence = Presence.fromText(encodePairs(EXAMPLE))
        self.assertEqual(presence.message, "Hanging out downtown")
        self.assertEqual(presence.phsh, "a3839614e1a382bcfebbcf20464f519e81770813")
        self.assertEqual(presence.displayName, "JuliC")
        self.assertEqual(decodePairs(presence.toText()), dict(EXAMPLE))

    @given(st.sampled_from(STATUSES), texts, texts, texts)
    def test_roundTrip(self, status, message, first, jid):
        """
        What is written is read.
        """
        presence = Presence(status, message, first, jid=jid)
        self.assertEqual(Presence.fromText(presence.toText()), presence)

    def test_versionFirst(self):
        """
        txtvers=1 stands first; what old clients need is there though it is empty.
        """
        self.assertEqual(Presence().toText(), b"\x09txtvers=1\x041st=\x05last=\x0cstatus=avail\x04vc=!")

    def test_anyOrder(self):
        """
        libpurple writes the pairs in reverse.
        """
        self.assertEqual(
            Presence.fromText(encodePairs(EXAMPLE[::-1])), Presence.fromText(encodePairs(EXAMPLE))
        )

    def test_nothing(self):
        """
        An empty record, one zero byte, and one that cannot be read tell nothing.
        """
        for data in (b"", b"\0", b"\x09short", encodePairs([("status", "sleeping")])):
            self.assertEqual(Presence.fromText(data).status, "avail")

    def test_withoutPersonal(self):
        """
        Nothing is left that tells who it is about.
        """
        presence = Presence.fromText(encodePairs(EXAMPLE)).withoutPersonal()
        left = decodePairs(presence.toText())
        for key in ("email", "jid", "nick", "phsh"):
            self.assertNotIn(key, left)
        self.assertEqual((left["1st"], left["last"], left["msg"]), ("", "", "Hanging out downtown"))

    def test_controlCharacters(self):
        """
        What could steer a terminal is made a space.
        """
        self.assertEqual(Presence.fromText(encodePairs([("msg", "a\x1b[2Jb\n")])).message, "a [2Jb")

    def test_displayName(self):
        """
        Without a nickname the first and last name are shown.
        """
        self.assertEqual(Presence(first="Juliet", last="Capulet").displayName, "Juliet Capulet")
        self.assertEqual(Presence().displayName, "")

    def test_wrongStatus(self):
        """
        There are three statuses.
        """
        self.assertRaises(ValueError, Presence, "chatty")
