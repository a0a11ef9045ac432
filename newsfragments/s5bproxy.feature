`twistd s5bproxy`: a SOCKS5 bytestreams proxy (XEP-0065), attached to an XMPP server as an external component.
