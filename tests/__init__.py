"""
Tests; the folders mirror the package.
"""

from hypothesis import settings

# A busy machine is no failure.
settings.register_profile("xmppbytes", deadline=None)
settings.load_profile("xmppbytes")
