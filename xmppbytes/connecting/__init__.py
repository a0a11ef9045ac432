"""
Floor 2, shared by all kinds of bytestream: which addresses to connect to, racing several attempts,
this machine's own addresses, and listening while it is needed. Knows no stanza.
"""
