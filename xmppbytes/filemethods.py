"""
Which kinds of bytestream C{xmppbytes send} and C{xmppbytes receive} use, by their options.
"""

import argparse
from collections.abc import Sequence

from xmppbytes.dtcp.channel import TLSMode
from xmppbytes.dtcp.options import DTCPOptions
from xmppbytes.errors import ConfigurationError

# What C{--method} can be.
METHODS = ("s5b", "dtcp", "in-band")


def methodsOf(options: argparse.Namespace, default: Sequence[str] = METHODS) -> frozenset[str]:
    """
    Find out which kinds of bytestream the options permit.

    @param default: without C{--method}.
    @raise ConfigurationError: when one option contradicts another.
    """
    method = getattr(options, "method", None)
    _refuseContradictions(options, method)
    permitted = set(default if method is None else (method,))
    if options.in_band_only:
        permitted &= {"in-band"}
    if options.direct_only or options.proxy_only:
        permitted -= {"in-band"}
    if not permitted:
        raise ConfigurationError(f"--method {method} contradicts the other options; leave one of them out")
    return frozenset(permitted)


def _refuseContradictions(options: argparse.Namespace, method: str | None) -> None:
    given = {name: getattr(options, name, None) for name in ("proxy", "relay", "no_tls", "ca")}
    for first, second, both in (
        ("--proxy", "--direct-only", given["proxy"] and options.direct_only),
        ("--proxy", "--in-band-only", given["proxy"] and options.in_band_only),
        ("--relay", "--direct-only", given["relay"] and options.direct_only),
        ("--ca", "--no-tls", given["ca"] and given["no_tls"]),
    ):
        if both:
            raise ConfigurationError(f"{first} contradicts {second}; leave one of them out")
    if given["relay"] and method != "dtcp":
        raise ConfigurationError("--relay is of use with --method dtcp only")


def dtcpOptionsOf(options: argparse.Namespace) -> DTCPOptions:
    """
    Make the choices about DTCP out of the options.
    """
    return DTCPOptions(
        direct=not options.proxy_only,
        relays=() if options.direct_only else tuple(jid.full() for jid in getattr(options, "relay", ())),
        allowAddresses=tuple(options.allow_address),
        tls=TLSMode(options.dtcp_tls),
    )
