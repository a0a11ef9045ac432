"""
Tests for L{xmppbytes.s5b.proxy}, with everything that a proxy answers beside it.
"""

from typing import Any

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.xish.domish import Element

from tests.fakes import lines
from tests.s5b.proxyworld import (
    PROXY,
    REQUESTER,
    SID,
    TARGET,
    ProxyWorld,
    errorOf,
    interned,
)
from xmppbytes.core.damper import PER_ORIGIN, PERIOD
from xmppbytes.core.limits import Limits
from xmppbytes.s5b.address import destinationAddress, latin1Address
from xmppbytes.s5b.proxy import MAX_SID
from xmppbytes.s5b.stanzas import NS_BYTESTREAMS, StreamHost

NS_INFO = "http://jabber.org/protocol/disco#info"
NS_ITEMS = "http://jabber.org/protocol/disco#items"


def request(kind: str, child: str, sender: str = REQUESTER, to: str = PROXY, id: str = "yx92b153") -> str:
    """
    A request.
    """
    return f"<iq from='{sender}' id='{id}' to='{to}' type='{kind}'>{child}</iq>"


def query(content: str = "", attributes: str = "", kind: str = "set", **arguments: Any) -> str:
    """
    A request about bytestreams.
    """
    return request(kind, f"<query xmlns='{NS_BYTESTREAMS}' {attributes}>{content}</query>", **arguments)


class ProxyCase(SynchronousTestCase):
    """
    The proxy of the examples.
    """

    def setUp(self) -> None:
        self.world = ProxyWorld()

    def assertResult(
        self, answer: Element, sender: str = REQUESTER, to: str = PROXY, id: str = "oqx6t1c9"
    ) -> None:
        """
        It is a result, to whoever asked, from where it was asked.
        """
        self.assertEqual(answer.name, "iq")
        self.assertEqual(
            {name: answer.getAttribute(name) for name in ("type", "to", "from", "id")},
            {"type": "result", "to": sender, "from": to, "id": id},
        )

    def assertError(self, answer: Element, condition: str, kind: str, *words: str) -> None:
        """
        It is this error, and its text has these words in it.
        """
        self.assertEqual(errorOf(answer)[:2], (condition, kind))
        text = errorOf(answer)[2]
        self.assertTrue(text)
        for word in words:
            self.assertIn(word, text)


class AddressQueryTests(ProxyCase):
    """
    Section 4: where to connect to.
    """

    def test_listings7And8(self) -> None:
        """
        The address is told, with its port.
        """
        answer = self.world.ask(query(kind="get", id="uj2c15z9"))
        self.assertResult(answer, id="uj2c15z9")
        (child,) = answer.elements()
        self.assertEqual((child.uri, child.name), (NS_BYTESTREAMS, "query"))
        self.assertEqual(
            [StreamHost.fromElement(e) for e in child.elements()], [StreamHost(PROXY, "24.24.24.1", 7625)]
        )

    def test_all(self) -> None:
        """
        All addresses are told, in their order.
        """
        hosts = (StreamHost(PROXY, "2001:db8::1", 7777), StreamHost(PROXY, "proxy.example.com", 80))
        self.world.proxy.streamHosts = hosts
        answer = self.world.ask(query(kind="get"))
        self.assertEqual(
            tuple(StreamHost.fromElement(e) for e in answer.firstChildElement().elements()), hosts
        )

    def test_withSid(self) -> None:
        """
        Clients from before version 1.8 name a sid; nothing is reserved for it.
        """
        answer = self.world.ask(query(kind="get", attributes=f"sid='{SID}'"))
        self.assertEqual(len(list(answer.firstChildElement().elements())), 1)

    def test_listing9(self) -> None:
        """
        Who may not use the proxy is told so, and a line is logged.
        """
        with capturedLogs() as events:
            answer = self.world.ask(query(kind="get", sender="tybalt@evil.example/x"))
        self.assertError(answer, "forbidden", "auth", "tybalt@evil.example/x may not use this proxy")
        self.assertEqual(
            lines(events), ["Refused tybalt@evil.example/x to ask for the address: not allowed here"]
        )

    def test_listing11(self) -> None:
        """
        While there is no address to tell, the answer is an error, never an empty query.
        """
        self.world.proxy.streamHosts = ()
        self.assertError(self.world.ask(query(kind="get")), "not-allowed", "cancel", "accepts no connections")


class ActivationTests(ProxyCase):
    """
    Section 6.3.5: beginning to relay.
    """

    def activation(self, content: str, attributes: str = f"sid='{SID}'", sender: str = REQUESTER) -> Element:
        return self.world.ask(query(content, attributes, sender=sender))

    def test_listings24And25(self) -> None:
        """
        Both parties are there: an empty result, and bytes flow both ways.
        """
        first, second = self.world.pair()
        answer = self.world.activate()
        self.assertResult(answer)
        self.assertEqual(answer.children, [])
        first.receive(b"ping")
        second.receive(b"pong")
        self.assertEqual((first.sent, second.sent), (b"pong", b"ping"))

    def test_nothingBefore(self) -> None:
        """
        Not a byte moves before the activation, and none is lost.
        """
        first, second = self.world.pair()
        first.receive(b"early")
        self.world.clock.advance(100)
        self.assertEqual((second.sent, first.unread), (b"", 5))
        self.world.activate()
        self.assertEqual(second.sent, b"early")

    def test_again(self) -> None:
        """
        To activate what is active is no error.
        """
        self.world.pair()
        self.world.activate()
        self.assertResult(self.world.activate())
        self.assertEqual(len(self.world.sessions), 1)

    def test_whitespace(self) -> None:
        """
        A target that is written on a line of its own is meant without the line.
        """
        self.world.pair()
        self.assertEqual(self.activation(f"<activate>\n {TARGET}\n</activate>")["type"], "result")

    def test_mode(self) -> None:
        """
        Psi and others name the mode.
        """
        self.world.pair()
        answer = self.activation(f"<activate>{TARGET}</activate>", f"sid='{SID}' mode='tcp'")
        self.assertEqual(answer["type"], "result")

    def test_badRequests(self) -> None:
        """
        Without sid, without <activate/>, with an empty one, or with a sid without end.
        """
        activate = f"<activate>{TARGET}</activate>"
        for content, attributes, words in (
            (activate, "", "no sid"),
            (activate, "sid=''", "no sid"),
            (activate, f"sid='{'s' * (MAX_SID + 1)}'", "longer than"),
            ("", f"sid='{SID}'", "no <activate/>"),
            ("<activate xmlns='other'>t@x</activate>", f"sid='{SID}'", "no <activate/>"),
            ("<streamhost-used jid='x'/>", f"sid='{SID}'", "no <activate/>"),
            ("<activate/>", f"sid='{SID}'", "names no target"),
            ("<activate>  </activate>", f"sid='{SID}'", "names no target"),
        ):
            self.assertError(self.activation(content, attributes), "bad-request", "modify", words)

    def test_malformed(self) -> None:
        """
        A target or a sender that is no address.
        """
        for target in ("a@b@c", "@x", "a@/r", "a@b/"):
            answer = self.activation(f"<activate>{target}</activate>")
            self.assertError(answer, "jid-malformed", "modify", "the target's address", target)
        for sender in ("@", "a@b@c"):
            answer = self.activation(f"<activate>{TARGET}</activate>", sender=sender)
            self.assertError(answer, "jid-malformed", "modify", "the sender's address")

    def test_withoutSender(self) -> None:
        """
        A request from nobody is answered, if at all, to nobody.
        """
        with capturedLogs() as events:
            answer = self.world.ask(
                f"<iq id='1' to='{PROXY}' type='get'><query xmlns='{NS_BYTESTREAMS}'/></iq>"
            )
        self.assertError(answer, "jid-malformed", "modify")
        self.assertEqual(events, [])

    def test_manyRefusals(self) -> None:
        """
        However often an account is refused, with whatever resource, it gets its share of the log, and one
        line that counts the rest; every request is answered.
        """
        with capturedLogs() as events:
            for number in range(3 * PER_ORIGIN):
                sender = f"mallory@montague.net/{number}"
                self.assertError(self.world.ask(query(kind="get", sender=sender)), "forbidden", "auth")
                self.assertError(self.world.activate(sid=f"s{number}"), "item-not-found", "cancel")
            self.world.clock.advance(PERIOD)
        *refused, first, second = lines(events)
        self.assertEqual(len(refused), 2 * PER_ORIGIN)
        self.assertIn(f"Left out {2 * PER_ORIGIN} more lines", first)
        self.assertTrue(first.endswith(f": {2 * PER_ORIGIN} of mallory@montague.net"), first)
        self.assertTrue(second.endswith(f": {2 * PER_ORIGIN} of requester@example.com"), second)

    def test_forbidden(self) -> None:
        """
        Who may not use the proxy may not activate either, and the parties go on waiting.
        """
        self.world.pair(requester="tybalt@evil.example/x")
        with capturedLogs() as events:
            answer = self.world.activate(requester="tybalt@evil.example/x")
        self.assertError(answer, "forbidden", "auth", "tybalt@evil.example/x")
        self.assertEqual(len(events), 1)
        self.assertEqual(self.world.rendezvous.pending, 2)

    def test_nobody(self) -> None:
        """
        Nobody is connected with that hash; the line in the log names both parties.
        """
        with capturedLogs() as events:
            answer = self.world.activate()
        self.assertError(answer, "item-not-found", "cancel", "nobody is connected")
        (line,) = lines(events)
        for word in (REQUESTER, TARGET, SID, "item-not-found"):
            self.assertIn(word, line)

    def test_onlyOne(self) -> None:
        """
        Only one party is.
        """
        party = self.world.party(destinationAddress(SID, REQUESTER, TARGET))
        self.assertError(self.world.activate(), "not-allowed", "cancel", "only one party")
        self.assertEqual(party.state, "open")

    def test_anotherTarget(self) -> None:
        """
        The requester already runs that sid with another target.
        """
        self.world.pair()
        self.world.activate()
        self.world.pair(target="other@example.org")
        answer = self.world.activate(target="other@example.org")
        self.assertError(answer, "not-authorized", "auth", SID, TARGET)

    def test_limit(self) -> None:
        """
        A limit is reached: it may work later, and does.
        """
        self.world = ProxyWorld(Limits(maxSessionsPerJid=1))
        first, second = self.world.pair()
        self.world.activate()
        self.world.pair("other")
        self.assertError(self.world.activate("other"), "resource-constraint", "wait", "requester@example.com")
        first.receiveEnd()
        second.receiveEnd()
        self.world.settle()
        self.assertResult(self.world.activate("other"))

    def test_internalError(self) -> None:
        """
        A fault of ours is told as such, logged, and leaves nobody waiting.
        """
        first, second = self.world.pair()
        self.world.sessions._engines[0].link = lambda *_: 1 / 0  # type: ignore[method-assign]
        answer = self.world.activate()
        self.assertError(answer, "internal-server-error", "cancel", "its log")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.world.settle()
        self.assertEqual((first.state, second.state, len(self.world.sessions)), ("closed", "closed", 0))

    def test_recorded(self) -> None:
        """
        When it has ended there is a record of who and how much.
        """
        first, second = self.world.pair()
        self.world.activate()
        first.receive(b"12345")
        first.receiveEnd()
        second.receiveEnd()
        self.world.settle()
        (record,) = self.world.usage.records
        self.assertEqual((record.requester, record.target, record.byteCounts), (REQUESTER, TARGET, (5, 0)))
        self.assertEqual((record.outcome, record.addresses), ("finished", ("192.0.2.1", "192.0.2.2")))


class AddressTests(ProxyCase):
    """
    Whose addresses are hashed, and how.
    """

    def check(self, requester: str, target: str, hashed: tuple[str, str] | None = None) -> None:
        """
        Two parties that hash these addresses meet when these are named.
        """
        self.world = ProxyWorld()
        self.world.pair("s", *(hashed or (requester, target)))
        self.assertEqual(self.world.activate("s", requester, target)["type"], "result", (requester, target))

    def test_kinds(self) -> None:
        """
        Bare, full and room addresses, and domains.
        """
        for target in (
            "target@example.org/bar",
            "target@example.org",
            "example.org",
            "example.org/service",
            "room@conference.example.net/Tget",
            "room@conference.example.net/The Third Witch",
            "room@conference.example.net/\N{PILE OF POO} at home",
        ):
            self.check(REQUESTER, target)
        for requester in ("requester@example.com", "example.com", "example.com/a@b/c"):
            self.check(requester, TARGET)

    def test_listing26(self) -> None:
        """
        In a room the requester's real and the target's room address are hashed.
        """
        self.assertEqual(
            destinationAddress(
                "yia72g3v49j7", "requester@example.com/foo", "room@conference.example.net/Tget"
            ),
            destinationAddress("yia72g3v49j7", REQUESTER, "room@conference.example.net/Tget"),
        )
        self.check(REQUESTER, "room@conference.example.net/Tget")

    def test_prepared(self) -> None:
        """
        Addresses that are written differently are the same when they are prepared.
        """
        self.check("Requester@Example.COM/foo", "TARGET@example.org/bar", (REQUESTER, TARGET))

    def test_asReceived(self) -> None:
        """
        Parties that did not prepare what they hashed are found too.
        """
        wire = ("Requester@Example.COM/foo", "TARGET@example.org/bar")
        self.check(*wire, hashed=wire)

    def test_latin1(self) -> None:
        """
        Two QXmpps, which hash in Latin-1, are found.
        """
        target = "target@example.org/K\xfcche \N{PILE OF POO}"
        key = latin1Address("s", REQUESTER, target)
        self.world.party(key), self.world.party(key, "192.0.2.2")
        self.assertResult(self.world.activate("s", REQUESTER, target))

    def test_preparedIsPreferred(self) -> None:
        """
        Where both are known, the prepared one is it.
        """
        prepared, raw = self.world.pair(), self.world.pair(target="TARGET@example.org/bar")
        self.world.activate(target="TARGET@example.org/bar")
        prepared[0].receive(b"x")
        self.assertEqual((prepared[1].sent, raw[0].state), (b"x", "open"))

    def test_anyResourceOfTheProxy(self) -> None:
        """
        Requests to the domain with any resource are answered alike, and from there.
        """
        self.world.pair()
        self.assertResult(self.world.activate(to=f"{PROXY}/node1"), to=f"{PROXY}/node1")

    def test_othersCannotActivate(self) -> None:
        """
        Who is not the requester does not find the bytestream.
        """
        self.world.pair()
        answer = self.world.activate(requester="requester@example.com/other")
        self.assertError(answer, "item-not-found", "cancel")


class ServiceTests(ProxyCase):
    """
    What else is asked of a proxy.
    """

    def features(self, answer: Element) -> set[str]:
        return {e["var"] for e in answer.firstChildElement().elements() if e.name == "feature"}

    def test_listings5And6(self) -> None:
        """
        disco#info tells what it is and all that it does.
        """
        answer = self.world.ask(request("get", f"<query xmlns='{NS_INFO}'/>"))
        (identity,) = [e for e in answer.firstChildElement().elements() if e.name == "identity"]
        self.assertEqual((identity["category"], identity["type"]), ("proxy", "bytestreams"))
        self.assertTrue(identity["name"])
        self.assertEqual(
            self.features(answer),
            {
                NS_BYTESTREAMS,
                NS_INFO,
                NS_ITEMS,
                "urn:xmpp:ping",
                "jabber:iq:version",
                "jabber:iq:last",
                "urn:xmpp:time",
                "vcard-temp",
            },
        )

    def test_items(self) -> None:
        """
        There are no items.
        """
        answer = self.world.ask(request("get", f"<query xmlns='{NS_ITEMS}'/>"))
        self.assertEqual(answer.firstChildElement().children, [])

    def test_nodes(self) -> None:
        """
        There are no nodes.
        """
        answer = self.world.ask(request("get", f"<query xmlns='{NS_INFO}' node='x'/>"))
        self.assertEqual(errorOf(answer)[:2], ("item-not-found", "cancel"))
        answer = self.world.ask(request("get", f"<query xmlns='{NS_ITEMS}' node='x'/>"))
        self.assertEqual(answer.firstChildElement().children, [])

    def test_pingAndVersion(self) -> None:
        """
        XEP-0199 and XEP-0092.
        """
        self.assertResult(self.world.ask(request("get", "<ping xmlns='urn:xmpp:ping'/>")), id="yx92b153")
        answer = self.world.ask(request("get", "<query xmlns='jabber:iq:version'/>"))
        self.assertEqual([str(e) for e in answer.firstChildElement().elements()], ["a proxy", "1"])

    def test_anythingElse(self) -> None:
        """
        Anything else is service-unavailable.
        """
        for kind, child in (
            ("get", "<query xmlns='jabber:iq:roster'/>"),
            ("set", "<ping xmlns='urn:xmpp:ping'/>"),
            ("set", f"<query xmlns='{NS_INFO}'/>"),
            ("set", "<vCard xmlns='vcard-temp'/>"),
            ("get", f"<other xmlns='{NS_BYTESTREAMS}'/>"),
            ("set", "<handled xmlns='x'/>"),
            ("get", ""),
        ):
            answer = self.world.ask(request(kind, child))
            self.assertEqual(errorOf(answer)[:2], ("service-unavailable", "cancel"), child)

    def test_severalAtOnce(self) -> None:
        """
        A request with two children is answered once, with bad-request.
        """
        ping, address = "<ping xmlns='urn:xmpp:ping'/>", f"<query xmlns='{NS_BYTESTREAMS}'/>"
        for children in (ping + address, address + ping, ping + ping, address + "<x xmlns='y'/>"):
            self.assertError(self.world.ask(request("get", children)), "bad-request", "modify", "one child")

    def test_neverAnAnswerToAnAnswer(self) -> None:
        """
        Results, errors, and what is no request at all are not answered.
        """
        for child in (
            "",
            f"<query xmlns='{NS_BYTESTREAMS}'/>",
            f"<query xmlns='{NS_INFO}'/>",
            "<ping xmlns='urn:xmpp:ping'/>",
            "<vCard xmlns='vcard-temp'/>",
            "<a xmlns='x'/><b xmlns='x'/>",
        ):
            for kind in ("result", "error"):
                self.assertEqual(self.world.send(request(kind, child)), [], (kind, child))
        for other in ("<presence from='a@b' />", "<message from='a@b' ><body>hi</body></message>"):
            self.assertEqual(self.world.send(other), [])

    def test_malformedSender(self) -> None:
        """
        An address that cannot be prepared never ends in a traceback.
        """
        for child in (f"<query xmlns='{NS_INFO}'/>", f"<query xmlns='{NS_ITEMS}'/>"):
            for sender in ("a@b@c", "@", "x@\N{SOFT HYPHEN}"):
                answer = self.world.ask(request("get", child, sender=sender))
                self.assertError(answer, "jid-malformed", "modify")

    def test_nothingIsKept(self) -> None:
        """
        Twisted's table of addresses, which is never emptied, does not grow by what strangers send.
        """
        before = interned()
        children = (
            f"<query xmlns='{NS_INFO}'/>",
            f"<query xmlns='{NS_ITEMS}'/>",
            f"<query xmlns='{NS_BYTESTREAMS}'/>",
            "<ping xmlns='urn:xmpp:ping'/>",
            "<query xmlns='jabber:iq:version'/>",
            "<query xmlns='jabber:iq:last'/>",
            "<time xmlns='urn:xmpp:time'/>",
            "<vCard xmlns='vcard-temp'/>",
            "<query xmlns='jabber:iq:roster'/>",
        )
        for number, child in enumerate(children):
            self.world.ask(
                request("get", child, sender=f"stranger@evil.example/{number}", to=f"{PROXY}/{number}")
            )
        for number in range(5):
            self.world.activate(f"sid{number}", f"requester@example.com/{number}", f"t{number}@example.org/x")
            self.world.send(f"<presence from='p{number}@x' to='{PROXY}' type='subscribe'/>")
            self.world.send(f"<message from='p{number}@x' to='{PROXY}'><body/></message>")
        self.assertEqual(interned(), before)


class StreamTests(ProxyCase):
    """
    Where answers go.
    """

    def test_afterARestart(self) -> None:
        """
        Who is connected when the server restarts can be activated over the next stream.
        """
        self.world.pair()
        self.world.closeStream()
        self.world.openStream()
        self.assertResult(self.world.activate())

    def test_accessIsReplaced(self) -> None:
        """
        Who may use the proxy can change at any time.
        """
        self.assertEqual(self.world.ask(query(kind="get"))["type"], "result")
        self.world.proxy.access = ProxyWorld(allow=()).proxy.access
        self.assertEqual(self.world.ask(query(kind="get"))["type"], "error")
