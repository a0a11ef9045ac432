"""
The short code that two people compare, by voice, to be sure that nobody sits between them.
"""

import base64
import hashlib
from typing import Any

# RFC 5705 keying material is the same at both ends of one TLS session, and at no others: whoever sits
# between has two sessions with two codes. 40 bits cannot be met by trying, since each try is a handshake
# with one of the two people.
_LABEL = b"EXPORTER-xmppbytes-link-local"
_BYTES = 5


def verificationCode(transport: Any) -> str:
    """
    Give the code of a TLS connection.

    @param transport: after the handshake.
    @return: eight letters and digits, C{ABCD-EFGH}.
    """
    material = transport.getHandle().export_keying_material(_LABEL, 32)
    text = base64.b32encode(hashlib.sha256(material).digest()[:_BYTES]).decode()
    return f"{text[:4]}-{text[4:]}"
