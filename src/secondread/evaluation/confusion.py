"""Four counts of right and wrong decisions, and the proportions made of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from secondread.evaluation.intervals import Estimate, wilson_interval


@dataclass(frozen=True)
class Confusion:
    """How many images were decided rightly and wrongly, of those whose label is known."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @classmethod
    def count(cls, truth: ArrayLike, positive: ArrayLike) -> "Confusion":
        """Count decisions: truth is 1, 0 or NaN for unknown, positive is the decision, both of shape (n,)."""
        present, called = np.asarray(truth, np.float64), np.asarray(positive, bool)
        return cls(
            int(np.sum((present == 1) & called)),
            int(np.sum((present == 0) & called)),
            int(np.sum((present == 1) & ~called)),
            int(np.sum((present == 0) & ~called)),
        )

    @property
    def swapped(self) -> "Confusion":
        """The same decisions with the label's absence as what is looked for."""
        return Confusion(self.true_negatives, self.false_negatives, self.false_positives, self.true_positives)

    @property
    def positives(self) -> int:
        """Images with the label."""
        return self.true_positives + self.false_negatives

    @property
    def negatives(self) -> int:
        """Images without the label."""
        return self.false_positives + self.true_negatives

    def estimates(self) -> dict[str, Estimate]:
        """Sensitivity, specificity, precision, f1 and accuracy with Wilson intervals; what is undefined is left out."""
        right = self.true_positives + self.true_negatives
        proportions = {
            "sensitivity": (self.true_positives, self.positives),
            "specificity": (self.true_negatives, self.negatives),
            "precision": (self.true_positives, self.true_positives + self.false_positives),
            "accuracy": (right, self.positives + self.negatives),
        }
        found = {name: _proportion(*counts) for name, counts in proportions.items() if counts[1]}
        union = self.true_positives + self.false_positives + self.false_negatives
        return found | ({"f1": _f1(self.true_positives, union)} if union else {})


def _proportion(successes: int, trials: int) -> Estimate:
    return Estimate(successes / trials, *wilson_interval(successes, trials))


def _f1(found: int, union: int) -> Estimate:
    """F1 by its overlap J = TP / (TP + FP + FN), a true proportion of images, through F1 = 2J / (1 + J).

    F1 itself counts each true positive twice, so Wilson's interval on 2TP of 2TP + FP + FN trials would be too narrow;
    the map from J is rising, so the interval of J keeps its coverage.
    """
    return Estimate(*(2 * share / (1 + share) for share in _proportion(found, union)))
