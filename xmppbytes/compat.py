"""
The one place that makes wokkel 18.0.0 usable on today's Twisted. Nothing else imports these modules.

Two things are mended:

    - C{wokkel.data_form}, and with it disco, ping and generic, import C{twisted.python.compat._PY3},
      which Twisted 21.2 removed. It is lent to them around the import only.
    - C{wokkel.generic} interns every address that it parses, and the table of
      L{twisted.words.protocols.jabber.jid.internJID} is never emptied: strangers could make it grow
      without bound. It gets L{prepareJID}, whose memory is bounded.
"""

from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any

from twisted.python import compat as _twistedCompat
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.protocols.jabber.jid import JID, InvalidFormat

from xmppbytes.jids import prepareJID


def _stanzaJID(text: str) -> JID:
    # wokkel parses addresses where a StanzaError becomes an answer, and anything else a traceback.
    try:
        return prepareJID(text)
    except InvalidFormat as e:
        raise StanzaError("jid-malformed", text=f"{text[:100]!r} is not a valid address: {e}") from e


def _importWokkel(*names: str) -> list[ModuleType]:
    # twisted.python.compat is wrapped by a proxy for deprecations; names are looked up on the real module.
    module: Any
    try:
        module = object.__getattribute__(_twistedCompat, "_module")
    except AttributeError:
        module = _twistedCompat
    lent = not hasattr(module, "_PY3")
    if lent:
        module._PY3 = True
    try:
        return [import_module(f"wokkel.{name}") for name in names]
    finally:
        if lent:
            del module._PY3


data_form, disco, generic, iwokkel, ping = _importWokkel("data_form", "disco", "generic", "iwokkel", "ping")
generic.jid = SimpleNamespace(JID=JID, internJID=_stanzaJID)  # type: ignore[attr-defined]

__all__ = ["data_form", "disco", "generic", "iwokkel", "ping"]
