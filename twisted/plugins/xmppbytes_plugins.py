"""
The twistd plugins of xmppbytes.
"""

from twisted.application.service import ServiceMaker

s5bproxy = ServiceMaker(
    "SOCKS5 bytestreams proxy",
    "xmppbytes.proxytap",
    "A SOCKS5 bytestreams (XEP-0065) proxy for XMPP file transfers",
    "s5bproxy",
)

linklocal = ServiceMaker(
    "Serverless messaging",
    "xmppbytes.linklocaltap",
    "Messages and files on the local network without a server (XEP-0174)",
    "linklocal",
)
