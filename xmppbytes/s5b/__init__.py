"""
XEP-0065 SOCKS5 Bytestreams.
"""
