"""
Tests for L{xmppbytes.core.limits}.
"""

from dataclasses import FrozenInstanceError

from twisted.trial.unittest import SynchronousTestCase

from xmppbytes.core.limits import Limits


class LimitsTests(SynchronousTestCase):
    """
    The table of limits.
    """

    def test_defaults(self) -> None:
        """
        The defaults are those that are documented.
        """
        limits = Limits()
        self.assertEqual(
            (limits.handshakeTimeout, limits.pendingTimeout, limits.idleTimeout), (10.0, 300.0, 900.0)
        )
        self.assertEqual((limits.maxPending, limits.maxPendingPerAddress), (5000, 100))
        self.assertEqual((limits.maxSessions, limits.maxSessionsPerJid), (10000, 100))
        self.assertIsNone(limits.rateLimit)

    def test_frozen(self) -> None:
        """
        Limits are replaced, never changed.
        """
        self.assertRaises(FrozenInstanceError, setattr, Limits(), "maxPending", 1)
