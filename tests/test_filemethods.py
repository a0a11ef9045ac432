"""
Tests for L{xmppbytes.filemethods}.
"""

import argparse
from typing import Any

from twisted.trial.unittest import TestCase
from twisted.words.protocols.jabber.jid import JID

from xmppbytes.dtcp.channel import TLSMode
from xmppbytes.errors import ConfigurationError
from xmppbytes.filemethods import METHODS, dtcpOptionsOf, methodsOf


def options(**given: Any) -> argparse.Namespace:
    """
    What a command line gives.
    """
    defaults: dict[str, Any] = {
        "direct_only": False,
        "proxy_only": False,
        "in_band_only": False,
        "allow_address": [],
        "dtcp_tls": "optional",
    }
    return argparse.Namespace(**{**defaults, **given})


class MethodTests(TestCase):
    """
    Kinds of bytestream.
    """

    def test_default(self) -> None:
        """
        Without --method those that the command uses.
        """
        self.assertEqual(methodsOf(options()), set(METHODS))
        self.assertEqual(methodsOf(options(method=None), ("s5b", "in-band")), {"s5b", "in-band"})

    def test_one(self) -> None:
        """
        With --method this one only.
        """
        for method in METHODS:
            self.assertEqual(methodsOf(options(method=method)), {method})

    def test_ways(self) -> None:
        """
        What may not go in-band does not; what has to does.
        """
        self.assertEqual(methodsOf(options(in_band_only=True)), {"in-band"})
        for way in ("direct_only", "proxy_only"):
            self.assertEqual(methodsOf(options(**{way: True})), {"s5b", "dtcp"})

    def test_contradiction(self) -> None:
        """
        What leaves nothing is a mistake.
        """
        given: dict[str, Any]
        for given in (
            {"method": "dtcp", "in_band_only": True},
            {"method": "in-band", "proxy_only": True},
            {"proxy": [JID("p.example")], "direct_only": True},
            {"proxy": [JID("p.example")], "in_band_only": True},
            {"relay": [JID("r.example")], "direct_only": True, "method": "dtcp"},
            {"relay": [JID("r.example")]},
            {"ca": "authority.pem", "no_tls": True},
        ):
            self.assertRaises(ConfigurationError, methodsOf, options(**given))


class DTCPTests(TestCase):
    """
    The choices about DTCP.
    """

    def test_all(self) -> None:
        """
        Relays, networks and TLS.
        """
        made = dtcpOptionsOf(
            options(relay=[JID("r.example")], allow_address=["10.0.0.0/8"], dtcp_tls="required")
        )
        self.assertEqual((made.relays, made.direct, made.tls), (("r.example",), True, TLSMode.REQUIRED))
        self.assertEqual(made.allowAddresses, ("10.0.0.0/8",))

    def test_ways(self) -> None:
        """
        Through relays only, or through none.
        """
        relay = [JID("r.example")]
        self.assertFalse(dtcpOptionsOf(options(relay=relay, proxy_only=True)).direct)
        self.assertEqual(dtcpOptionsOf(options(relay=relay, direct_only=True)).relays, ())
        self.assertEqual(dtcpOptionsOf(options()).relays, ())
