"""
Floor 1: the core that every kind of bytestream shares: pairing, relaying, limits, access, usage.

Opens no socket and knows no stanza.
"""
