"""
What the settings of the proxy service mean to the core.
"""

from typing import Any

from xmppbytes.core.access import AccessRules, defaultAllow
from xmppbytes.core.limits import Limits

# What SIGHUP changes.
RELOADED = frozenset(
    (
        "allow",
        "deny",
        "max-pending",
        "max-pending-per-address",
        "max-sessions",
        "max-sessions-per-jid",
        "rate-limit",
    )
)


def limitsFrom(values: dict[str, Any]) -> Limits:
    """
    Take the limits out of the settings.
    """
    pending = values["pending-timeout"]
    return Limits(
        handshakeTimeout=min(values["handshake-timeout"], pending),
        pendingTimeout=pending,
        idleTimeout=values["idle-timeout"],
        maxPending=values["max-pending"],
        maxPendingPerAddress=values["max-pending-per-address"],
        maxSessions=values["max-sessions"],
        maxSessionsPerJid=values["max-sessions-per-jid"],
        rateLimit=values["rate-limit"],
    )


def accessFrom(values: dict[str, Any]) -> AccessRules:
    """
    Take the access rules out of the settings.

    @raise ConfigurationError: when a rule cannot be understood.
    """
    return AccessRules(values["allow"] or defaultAllow(values["jid"] or ""), values["deny"])
