"""
Tests; the folders mirror the package.
"""

import os

from hypothesis import HealthCheck, settings

# A busy machine is no failure. What CI finds, everybody else finds with CI=true: the same examples.
settings.register_profile(
    "xmppbytes",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("CI") == "true",
)
settings.load_profile("xmppbytes")
