"""
Strangers may send anything: whatever it is, they get an answer, and we have no traceback in the log.
"""

import string
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish.domish import Element

from tests.s5b.world import REQUESTER, TARGET, TARGET_IP, Acceptor, Canned, RecorderFactory, World
from xmppbytes.errors import NegotiationError
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS, queryElement
from xmppbytes.stanza import RequestHandler

HOSTS = [
    ".",
    "..",
    "@",
    "%",
    "[",
    "[]",
    "[::1]",
    "::",
    "fe80::1%",
    "fe80::1%x",
    "2001:db8::1%9",
    "127.1",
    "0x7f000001",
    "::ffff:127.0.0.1",
    "xn--",
    "xn--a",
    "-",
    "_",
    "proxy.example",
    "a@b/c",
    "@b",
    "a@",
    "a/",
    "ß@İ/ü",
]
VALUES = ["²", "0", "-1", "65536", "1e3", "99999999999", "1080", "tcp", "udp"]
LONG = ["", " ", "a" * 64 + ".x", "x" * 300, "a" * 40, "A" * 40]
TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=80),
    st.sampled_from([*HOSTS, *VALUES, *LONG, REQUESTER, TARGET, TARGET_IP]),
)
NAMES = st.sampled_from(["streamhost", "streamhost-used", "activate", "fast", "udpsuccess", "query"])
ATTRIBUTES = st.dictionaries(st.sampled_from(["jid", "host", "port", "sid", "mode", "dstaddr"]), TEXTS)
CHILDREN = st.lists(st.tuples(NAMES, ATTRIBUTES), max_size=4)


def build(attributes: dict[str, str], children: list[tuple[str, dict[str, str]]]) -> Element:
    """
    Make a query.
    """
    query = queryElement()
    query.attributes.update(attributes)
    for name, attributesOfChild in children:
        child = Element((NS_BYTESTREAMS, name))
        child.attributes.update(attributesOfChild)
        query.addChild(child)
    return query


class HostileTests(SynchronousTestCase):
    """
    Arbitrary stanzas.
    """

    @settings(max_examples=150, deadline=None)
    @given(ATTRIBUTES, CHILDREN)
    def test_requests(self, attributes: dict[str, str], children: list[Any]) -> None:
        """
        Every request is answered, and every address that is tried is one.
        """
        world = World()
        asker = RequestHandler()
        world.connect(REQUESTER, asker)
        world.client(TARGET, Acceptor())
        answered = asker.ask(TARGET, "set", build({"sid": "s", **attributes}, children), 100)
        answered.addErrback(lambda failure: failure.trap(StanzaError))
        world.tick(40)
        self.successResultOf(answered)
        self.assertEqual(self.flushLoggedErrors(), [])
        for _, host, _ in world.internet.attempts:
            self.assertFalse(set(host) - set(string.hexdigits + ".:"), host)
        self.assertEqual(world.leftOvers(), [])

    @settings(max_examples=150, deadline=None)
    @given(ATTRIBUTES, CHILDREN)
    def test_answers(self, attributes: dict[str, str], children: list[Any]) -> None:
        """
        Every answer of a target that is not connected ends the negotiation with an error that says why.
        """
        world = World()
        requester = world.client(REQUESTER)
        world.connect(TARGET, Canned(set=build(attributes, children)))
        opened = requester.requestBytestream(TARGET, RecorderFactory())
        world.tick(40)
        error = self.failureResultOf(opened, NegotiationError).value
        self.assertTrue(str(error))
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(world.leftOvers(), [])
