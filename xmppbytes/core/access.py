"""
Who may use a service: allow and deny rules over XMPP addresses.
"""

from collections.abc import Iterable

from twisted.words.protocols.jabber.jid import JID, InvalidFormat
from zope.interface import implementer

from xmppbytes.errors import ConfigurationError
from xmppbytes.interfaces import IAccessPolicy
from xmppbytes.jids import prepareJID


class AddressRules:
    """
    A set of rules, each a full JID, a bare JID, a domain, C{*.domain} (its subdomains) or C{*}.
    """

    def __init__(self, rules: Iterable[str]) -> None:
        """
        @raise ConfigurationError: when a rule is none of these.
        """
        self.rules = tuple(rules)
        self._everyone = False
        self._exact: set[str] = set()
        self._parents: set[str] = set()
        for rule in self.rules:
            self._add(rule.strip())

    def _add(self, rule: str) -> None:
        if rule == "*":
            self._everyone = True
            return
        wildcard = rule.startswith("*.")
        if "*" in rule.removeprefix("*.").partition("/")[0]:
            raise ConfigurationError(f"{rule!r} is no address rule: * stands alone, or before .domain")
        try:
            jid = prepareJID(rule[2:] if wildcard else rule)
        except InvalidFormat as e:
            raise ConfigurationError(
                f"{rule!r} is no address rule ({e}): give a JID, a domain, *.domain or *"
            ) from e
        if wildcard and (jid.user or jid.resource):
            raise ConfigurationError(f"{rule!r} is no address rule: *. goes with a domain alone")
        if wildcard:
            self._parents.add(jid.host)
        else:
            self._exact.add(jid.full())

    def match(self, jid: JID) -> bool:
        """
        Tell whether one of the rules names this address.
        """
        if self._everyone or not self.rules:
            return self._everyone
        bare = f"{jid.user}@{jid.host}" if jid.user else jid.host
        if not self._exact.isdisjoint((jid.full(), bare, jid.host)):
            return True
        labels = jid.host.split(".")
        return any(".".join(labels[n:]) in self._parents for n in range(1, len(labels)))


@implementer(IAccessPolicy)
class AccessRules:
    """
    Permits who is allowed and not denied. Without an allow rule nobody is.
    """

    def __init__(self, allow: Iterable[str], deny: Iterable[str] = ()) -> None:
        """
        @raise ConfigurationError: when a rule cannot be understood.
        """
        self.allow = AddressRules(allow)
        self.deny = AddressRules(deny)

    def permits(self, jid: JID) -> bool:
        """
        See L{IAccessPolicy}.
        """
        return self.allow.match(jid) and not self.deny.match(jid)


def defaultAllow(serviceDomain: str) -> tuple[str, ...]:
    """
    The rules for a service that was told nothing: the domain that it is part of, and its subdomains.

    Of a parent without a dot the subdomains are left out: C{example.org} is not to serve all of C{org}.

    @param serviceDomain: the domain of the service, such as C{proxy.example.org}.
    """
    parent = serviceDomain.partition(".")[2] or serviceDomain
    return (parent, f"*.{parent}") if "." in parent else (parent,)
