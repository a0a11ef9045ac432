"""
The choice of relay engines.
"""

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from xmppbytes.core import engines, rawsocket
from xmppbytes.core.engines import makeEngines
from xmppbytes.errors import ConfigurationError


class MakeEnginesTests(SynchronousTestCase):
    """
    What an operator asks for, and gets.
    """

    def names(self, *arguments: object) -> list[str]:
        reactor = MemoryReactorClock()
        made = makeEngines(reactor, *arguments)  # type: ignore[arg-type]
        return [engine.name for engine in made]

    def test_auto(self) -> None:
        """
        By default splice is used, and copy for what cannot be spliced.
        """
        self.assertEqual(self.names(), ["splice", "copy"])

    def test_copy(self) -> None:
        """
        Copy means copy alone.
        """
        self.assertEqual(self.names("copy"), ["copy"])

    def test_workers(self) -> None:
        """
        With workers, they come first.
        """
        self.assertEqual(self.names("auto", 2), ["splice in workers", "splice", "copy"])

    def test_autoWithoutSplice(self) -> None:
        """
        Where the platform has no splice, everything is copied, with and without workers.
        """
        self.patch(engines, "spliceWorks", lambda: False)
        self.assertEqual(self.names("auto"), ["copy"])
        self.assertEqual(self.names("auto", 2), ["copy"])

    def test_spliceThatIsNotThere(self) -> None:
        """
        To insist on splice where there is none is an error that says what to do.
        """
        self.patch(engines, "spliceWorks", lambda: False)
        error = self.assertRaises(ConfigurationError, self.names, "splice")
        self.assertIn("choose auto or copy", str(error))

    def test_nonsense(self) -> None:
        """
        What cannot be had together, or does not exist, is refused.
        """
        for arguments in (("fast",), ("copy", 1), ("auto", -1)):
            self.assertRaises(ConfigurationError, self.names, *arguments)

    def test_platformWithoutSplice(self) -> None:
        """
        A Python without os.splice, and a kernel that refuses it, are both noticed.
        """
        self.assertTrue(engines.spliceWorks())

        def refuse(*arguments: object) -> int:
            raise OSError(38, "Function not implemented")

        self.patch(rawsocket.os, "splice", refuse)
        self.assertFalse(engines.spliceWorks())
        self.patch(rawsocket, "os", object())
        self.assertFalse(engines.spliceWorks())
