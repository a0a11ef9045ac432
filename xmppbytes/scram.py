"""
SCRAM (RFC 5802, RFC 7677) for Twisted's SASL, and the choice among what a server offers.

With SCRAM the password does not leave the machine, and the server has to prove that it knows it, too.
"""

import base64
import hashlib
import hmac
import secrets
import unicodedata
from typing import Any

from twisted.python.failure import Failure
from twisted.words.protocols.jabber.sasl import (
    SASLError,
    SASLInitiatingInitializer,
    SASLNoAcceptableMechanism,
    fromBase64,
    get_mechanisms,
)
from twisted.words.protocols.jabber.sasl_mechanisms import ISASLMechanism, Plain
from zope.interface import implementer

# mechanism -> hash, the best first.
HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}
# More would only keep us busy.
MAX_ITERATIONS = 1_000_000


class ServerNotTrusted(SASLError):
    """
    The server broke SCRAM, or did not prove that it knows the password.
    """


@implementer(ISASLMechanism)
class Scram:
    """
    One authentication by SCRAM, without channel binding.
    """

    def __init__(self, name: str, user: str, password: str, nonce: str | None = None) -> None:
        """
        @param name: a key of L{HASHES}.
        @param user: the node of the JID.
        @param password: the password.
        @param nonce: for tests; C{None}: a new one.
        """
        self.name = name
        self.verified = False
        self._hash = HASHES[name]
        self._password = unicodedata.normalize("NFKC", password).encode()
        self._nonce = nonce or secrets.token_urlsafe(24)
        name = unicodedata.normalize("NFKC", user).replace("=", "=3D").replace(",", "=2C")
        self._first = f"n={name},r={self._nonce}"
        self._signature = b""

    def getInitialResponse(self) -> bytes:
        """
        See L{ISASLMechanism}.
        """
        return f"n,,{self._first}".encode()

    def getResponse(self, challenge: bytes) -> bytes:
        """
        See L{ISASLMechanism}.

        @raise ServerNotTrusted: when the server breaks the rules.
        """
        if self._signature:
            self.verify(challenge)
            return b""
        fields = _fields(challenge)
        nonce, iterations = fields.get("r", ""), fields.get("i", "")
        if not nonce.startswith(self._nonce) or len(nonce) <= len(self._nonce):
            raise ServerNotTrusted("its nonce does not continue ours")
        if not iterations.isdigit() or not 0 < int(iterations[:9]) <= MAX_ITERATIONS:
            raise ServerNotTrusted(f"it asks for {iterations[:20]!r} iterations")
        try:
            salt = base64.b64decode(fields.get("s", ""), validate=True)
        except ValueError as e:
            raise ServerNotTrusted("its salt is not Base64") from e
        salted = hashlib.pbkdf2_hmac(self._hash, self._password, salt, int(iterations))
        final = f"c=biws,r={nonce}"
        return f"{final},p={self._prove(salted, challenge.decode(), final)}".encode()

    def _prove(self, salted: bytes, challenge: str, final: str) -> str:
        message = f"{self._first},{challenge},{final}".encode()
        clientKey = self._hmac(salted, b"Client Key")
        stored = hashlib.new(self._hash, clientKey).digest()
        signature = self._hmac(stored, message)
        self._signature = self._hmac(self._hmac(salted, b"Server Key"), message)
        return base64.b64encode(bytes(a ^ b for a, b in zip(clientKey, signature, strict=True))).decode()

    def _hmac(self, key: bytes, message: bytes) -> bytes:
        return hmac.digest(key, message, self._hash)

    def verify(self, final: bytes) -> None:
        """
        Check the server's last word.

        @raise ServerNotTrusted: when it does not prove that the server knows the password.
        """
        proof = base64.b64encode(self._signature).decode()
        if not self._signature or not hmac.compare_digest(_fields(final).get("v", ""), proof):
            raise ServerNotTrusted("it does not prove that it knows the password")
        self.verified = True


def _fields(message: bytes) -> dict[str, str]:
    try:
        text = message.decode()
    except UnicodeDecodeError as e:
        raise ServerNotTrusted("it sent something that is not text") from e
    return {part[0]: part[2:] for part in text.split(",") if part[1:2] == "="}


class AuthenticationInitializer(SASLInitiatingInitializer):
    """
    Authenticates by the best mechanism that both sides have.
    """

    _deferred: Any

    def setMechanism(self) -> None:
        """
        See L{SASLInitiatingInitializer}.
        """
        authenticator: Any = self.xmlstream.authenticator
        user, password = authenticator.jid.user or "", authenticator.password
        offered = get_mechanisms(self.xmlstream)
        for name in HASHES:
            if name in offered:
                self.mechanism: Any = Scram(name, user, password)
                return
        if "PLAIN" not in offered:
            raise SASLNoAcceptableMechanism(", ".join(offered))
        self.mechanism = Plain(None, user, password)

    def onChallenge(self, element: Any) -> None:
        """
        See L{SASLInitiatingInitializer}.
        """
        try:
            response = self.mechanism.getResponse(fromBase64(str(element)))
        except SASLError:
            self._deferred.errback(Failure())
        else:
            self.sendResponse(response)

    def onSuccess(self, success: Any) -> None:
        """
        See L{SASLInitiatingInitializer}.
        """
        try:
            if isinstance(self.mechanism, Scram) and not self.mechanism.verified:
                self.mechanism.verify(fromBase64(str(success)))
        except SASLError:
            self._deferred.errback(Failure())
        else:
            super().onSuccess(success)
