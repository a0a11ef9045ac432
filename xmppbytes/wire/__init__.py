"""
Floor 0: pure codecs. Bytes in, values out, and back. No socket, no clock, no stanza.
"""
