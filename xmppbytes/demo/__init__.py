"""
C{xmppbytes demo}: an introduction to what the parts of this package do, that really does it.
"""
