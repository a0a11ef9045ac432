"""
The verdicts of the benchmarks: what is compared with what.
"""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.soak import MAY_GROW, complaints
from benchmarks.suites import GROUPS
from benchmarks.verdicts import EXACT, Target, exactRows, fraction, targets


def results(case: str, metric: str, **figures: list[float]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """
    Raw results of one case.
    """
    peers = {
        peer.replace("_", "-"): [{metric: figure} for figure in found] for peer, found in figures.items()
    }
    return {case: peers}


class TargetTests(SynchronousTestCase):
    """
    A target's line in the table.
    """

    def test_medians(self) -> None:
        """
        Medians are compared, not what happened once.
        """
        found = results("case", "mibs", ours=[100, 210, 200], prosody=[10, 11, 90])
        self.assertTrue(Target("case", "mibs", "prosody", False, 18).row(found).endswith("| reached |"))
        self.assertTrue(Target("case", "mibs", "prosody", False, 19).row(found).endswith("| MISSED |"))

    def test_atMost(self) -> None:
        """
        A cost is to be at most a part of the peer's.
        """
        found = results("case", "cpu", ours=[0.25], ejabberd=[0.5])
        self.assertIn("| reached |", Target("case", "cpu", "ejabberd", True, 0.5).row(found))
        self.assertIn("| MISSED |", Target("case", "cpu", "ejabberd", True, 0.49).row(found))

    def test_bestInC(self) -> None:
        """
        Beside the relays in C, the better one counts: the cheaper, or the faster.
        """
        found = results("case", "x", ours=[2], c_splice=[1], c_copy=[4])
        self.assertEqual(Target("case", "x", "c", True, 1).reference(found), 1)
        self.assertEqual(Target("case", "x", "c", False, 1).reference(found), 4)

    def test_absolute(self) -> None:
        """
        Some figures are bounded by themselves.
        """
        found = results("case", "kib", ours=[1.4])
        self.assertIn("| reached |", Target("case", "kib", "", True, 1.5).row(found))

    def test_notMeasured(self) -> None:
        """
        What failed, or did not run, is neither reached nor missed.
        """
        found = {"case": {"ours": [{"mibs": 5}], "prosody": [{"error": "closed", "mibs": 3}]}}
        for peer in ("prosody", "ejabberd", "c"):
            self.assertIn("| not measured |", Target("case", "mibs", peer, False, 1).row(found))

    def test_everyTargetIsMeasured(self) -> None:
        """
        Each target names a case that is run, with both peers and the figure in it.
        """
        cases = {case.name: case for group in GROUPS.values() for case in group}
        for target in targets():
            case = cases[target.case]
            self.assertIn(target.ours, case.peers)
            self.assertIn(target.metric, case.metrics)
            if target.peer not in ("", "c"):
                self.assertIn(target.peer, case.peers)
        self.assertLessEqual(set(EXACT), set(cases))

    def test_exact(self) -> None:
        """
        A peer that loses a byte, an end or the other half is not exact.
        """
        good = {"received": 5, "wanted": 5, "bad": 0, "ends": 2, "ends_wanted": 2, "half_closed": 2}
        found = {
            "exact, one way, then half-closed": {"ours": [good], "prosody": [{**good, "half_closed": 0}]}
        }
        mine, theirs = exactRows(found)
        self.assertIn("| reached |", mine)
        self.assertIn("| 0% |", theirs)
        (worse,) = exactRows({"exact, both ways": {"ours": [good, {**good, "received": 4}]}})
        self.assertIn("| MISSED |", worse)

    def test_fractions(self) -> None:
        """
        Small ratios are said as one part in so many.
        """
        self.assertEqual((fraction(0.05), fraction(0.5), fraction(14)), ("1/20.0", "0.50", "14.00"))


class SoakTests(SynchronousTestCase):
    """
    What a soak concludes.
    """

    def test_flat(self) -> None:
        """
        The first rounds may grow, later ones by little.
        """
        self.assertEqual(complaints([(1000, 10), (5000, 12), (5100, 12)], []), [])

    def test_complaints(self) -> None:
        """
        Growth after the second round, an open descriptor, or a load that was not served is told.
        """
        for last, failures, word in (
            ((5001 + MAY_GROW, 12), [], "memory"),
            ((5000, 13), [], "1 descriptors"),
            ((5000, 12), ["--mode bulk"], "--mode bulk"),
        ):
            [wrong] = complaints([(1000, 10), (5000, 12), last], failures)
            self.assertIn(word, wrong)
