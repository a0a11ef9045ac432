"""
Files over bytestreams: stream initiation (XEP-0095), its file profile (XEP-0096), in-band fallback.
"""
