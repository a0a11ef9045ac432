"""
Tests for L{xmppbytes.core.access} and L{xmppbytes.jids}.
"""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.jid import InvalidFormat

from xmppbytes.core.access import AccessRules, AddressRules, defaultAllow
from xmppbytes.errors import ConfigurationError
from xmppbytes.jids import prepareJID


def matches(rule: str, address: str) -> bool:
    """
    Whether one rule names an address.
    """
    return AddressRules([rule]).match(prepareJID(address))


class AddressRulesTests(SynchronousTestCase):
    """
    Whom a rule means.
    """

    def check(self, rule: str, yes: str, no: str) -> None:
        for address in yes.split():
            self.assertTrue(matches(rule, address), f"{rule} should match {address}")
        for address in no.split():
            self.assertFalse(matches(rule, address), f"{rule} should not match {address}")

    def test_domain(self) -> None:
        """
        A domain means itself and everybody there, and no other domain.
        """
        self.check(
            "example.org",
            "example.org a@example.org a@example.org/r example.org/r",
            "sub.example.org a@sub.example.org a@xample.org a@badexample.org example.org.evil",
        )

    def test_subdomains(self) -> None:
        """
        C{*.domain} means the subdomains at any depth, and not the domain.
        """
        self.check(
            "*.example.org",
            "a.example.org x@a.b.example.org/r",
            "example.org x@example.org x@badexample.org",
        )

    def test_bareJID(self) -> None:
        """
        A bare JID means all of its resources.
        """
        self.check(
            "a@example.org", "a@example.org a@example.org/r", "example.org b@example.org example.org/a"
        )

    def test_fullJID(self) -> None:
        """
        A full JID means just that.
        """
        self.check("a@example.org/r", "a@example.org/r", "a@example.org a@example.org/R a@example.org/r2")

    def test_domainWithResource(self) -> None:
        """
        A resource of a domain is an address too.
        """
        self.check("example.org/r", "example.org/r", "example.org a@example.org/r")

    def test_everyone(self) -> None:
        """
        C{*} means all.
        """
        self.check("*", "a a@b a@b/c", "")

    def test_rulesArePrepared(self) -> None:
        """
        Upper case in a rule means the same as lower case, where addresses have no case.
        """
        self.check(" Romeo@Example.ORG ", "romeo@example.org", "juliet@example.org")

    def test_notARule(self) -> None:
        """
        What cannot mean anything is refused, with words that help.
        """
        for rule in (
            "",
            " ",
            "@example.org",
            "a@b@c",
            "*.",
            "*@example.org",
            "a@*.org",
            "*.a@b",
            "*.b/r",
            "a/",
        ):
            error = self.assertRaises(ConfigurationError, AddressRules, [rule])
            self.assertIn("is no address rule", str(error), rule)


class AccessRulesTests(SynchronousTestCase):
    """
    Allow and deny.
    """

    def test_closedByDefault(self) -> None:
        """
        Without a rule nobody may.
        """
        self.assertFalse(AccessRules([]).permits(prepareJID("a@b")))

    def test_denyWins(self) -> None:
        """
        Who is denied may not, even if allowed by a narrower rule.
        """
        rules = AccessRules(["*", "a@example.org/r"], ["example.org"])
        self.assertFalse(rules.permits(prepareJID("a@example.org/r")))
        self.assertTrue(rules.permits(prepareJID("a@example.com")))

    def test_defaultIsTheParentDomain(self) -> None:
        """
        A service that was told nothing serves the domain that it is part of, with subdomains.
        """
        rules = AccessRules(defaultAllow("proxy.example.org"))
        for address, expected in (
            ("a@example.org/r", True),
            ("a@chat.example.org", True),
            ("a@org", False),
            ("a@example.com", False),
        ):
            self.assertEqual(rules.permits(prepareJID(address)), expected, address)

    def test_defaultIsNoTopLevelDomain(self) -> None:
        """
        A component called example.org does not serve all of org; one called proxy.localhost serves
        localhost, and one without any dot itself.
        """
        self.assertFalse(AccessRules(defaultAllow("example.org")).permits(prepareJID("a@evil.org")))
        self.assertTrue(AccessRules(defaultAllow("proxy.localhost")).permits(prepareJID("a@localhost")))
        self.assertTrue(AccessRules(defaultAllow("proxy")).permits(prepareJID("a@proxy")))


class PrepareJIDTests(SynchronousTestCase):
    """
    Addresses from outside.
    """

    def test_prepared(self) -> None:
        """
        Node and domain lose their case, the resource keeps it.
        """
        self.assertEqual(prepareJID("ROMEO@Example.ORG/Orchard").full(), "romeo@example.org/Orchard")

    def test_shapes(self) -> None:
        """
        Bare, full, domain; a resource may hold the separators.
        """
        for address in ("example.org", "a@example.org", "a@example.org/r", "example.org/r", "a.org/x@y/z"):
            self.assertEqual(prepareJID(address).full(), address)

    def test_charactersNewerThan2002(self) -> None:
        """
        What Unicode has gained since stringprep was written is no error.
        """
        for address in ("room@conference.example.org/\N{PILE OF POO}", "\u0221@example.org"):
            self.assertEqual(prepareJID(address).full(), address)

    def test_noAddress(self) -> None:
        """
        Whatever is no address is InvalidFormat and nothing else.
        """
        for address in (
            "",
            "@",
            "/",
            "@a",
            "a@",
            "a@/r",
            "a@b/",
            "a@b@c",
            "a@b/\n",
            "\xad@b",
            "a@\xad",
            " ",
            "a@-b",
        ):
            self.assertRaises(InvalidFormat, prepareJID, address)

    def test_partsAreBounded(self) -> None:
        """
        A part of more than 1023 bytes is refused.
        """
        self.assertEqual(len(prepareJID("a@b/" + "r" * 1023).resource), 1023)
        self.assertRaises(InvalidFormat, prepareJID, "a@b/" + "r" * 1024)

    @given(st.text(max_size=30))
    def test_anyText(self, text: str) -> None:
        """
        Any text is an address, or InvalidFormat; and what is prepared stays as it is.
        """
        try:
            jid = prepareJID(text)
        except InvalidFormat:
            return
        self.assertTrue(jid.host)
        self.assertNotIn("\n", jid.full())
