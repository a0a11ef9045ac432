"""
Out-of-band bytestreams for XMPP, on Twisted.

    - L{xmppbytes.s5b}: XEP-0065 SOCKS5 Bytestreams: Requester, Target and Proxy.
    - L{xmppbytes.dtcp}: XEP-0046 DTCP and its relay.
    - L{xmppbytes.linklocal}: XEP-0174 serverless messaging.
    - L{xmppbytes.filetransfer}: files over any of them.

docs/architecture.md tells how the parts fit together, docs/library.md how to embed them.
"""

__version__ = "0.1.0"
