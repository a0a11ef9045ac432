"""
How safe a stream must be, and how safe it is.
"""

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from xmppbytes.errors import Refused
from xmppbytes.linklocal.pins import Pin, PinStore
from xmppbytes.tls import Identity

if TYPE_CHECKING:
    from xmppbytes.linklocal.stream import PeerStream


class PolicyViolation(Refused):
    """
    A stream would not be as safe as we demand.
    """


class TLSPolicy(Enum):
    """
    Whether streams are encrypted.

    @cvar OFF: never.
    @cvar OPTIONAL: with everybody who can, and with everybody whose key is pinned.
    @cvar REQUIRED: no stream without.
    """

    OFF = "off"
    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True)
class Security:
    """
    How streams are secured.

    @ivar identity: our own key and certificate.
    @ivar pins: the keys of others.
    """

    policy: TLSPolicy
    identity: Identity
    pins: PinStore

    def permitPlain(self, peer: str) -> None:
        """
        Decide about a stream that is not encrypted.

        @raise PolicyViolation: when it is not good enough; says why.
        """
        if self.policy is TLSPolicy.REQUIRED:
            raise PolicyViolation(f"{peer} does not encrypt, and --tls=required is set: no word was sent")
        if self.policy is TLSPolicy.OPTIONAL and self.pins.get(peer) is not None:
            raise PolicyViolation(
                f"{peer} has encrypted before and does not now: somebody may be between you. "
                "If the person confirms that it is so, remove the pin"
            )


def safetyText(stream: "PeerStream") -> str:
    """
    Say how safe a stream is.
    """
    if not stream.tls:
        return "NOT encrypted"
    return f"encrypted, {'key known' if stream.pin is Pin.SAME else 'key seen for the FIRST time'}"


def safety(stream: "PeerStream | None") -> dict[str, Any]:
    """
    Tell how safe a stream is: whether it is encrypted, and whether the key is the one known from before.
    """
    if stream is None:
        return {"tls": False, "pinned": False}
    return {"tls": stream.tls, "pinned": stream.pin is Pin.SAME}
