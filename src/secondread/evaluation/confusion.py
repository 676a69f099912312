"""Four counts of right and wrong decisions, and the proportions made of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secondread.evaluation.intervals import Estimate, FloatArray, IntArray, owners, share_interval

_SWAPPED = {  # what each proportion is called when the label's absence is what is looked for
    "sensitivity": "specificity",
    "specificity": "sensitivity",
    "precision": "negative_predictive_value",
    "negative_predictive_value": "precision",
    "accuracy": "accuracy",
    "overlap": "overlap_of_absence",
    "overlap_of_absence": "overlap",
}


@dataclass(frozen=True)
class Confusion:
    """How many images were decided rightly and wrongly, of those whose label is known.

    Args:
        shares: proportions with their intervals by patient; one of no image is left out.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    shares: Mapping[str, Estimate] = field(default_factory=dict, compare=False)

    @classmethod
    def count(cls, truth: ArrayLike, positive: ArrayLike, patients: ArrayLike | None = None) -> "Confusion":
        """Count decisions.

        Args:
            truth: 1, 0 or NaN for unknown, shape (n,).
            positive: the decision, shape (n,).
            patients: patient keys, shape (n,); None counts every image as a patient of its own.
        """
        known = ~np.isnan(np.asarray(truth, np.float64))
        present, called = np.asarray(truth, np.float64)[known] == 1, np.asarray(positive, bool)[known]
        owner = np.arange(len(present)) if patients is None else owners(np.asarray(patients, dtype=object)[known])
        return cls(
            int(np.sum(present & called)),
            int(np.sum(~present & called)),
            int(np.sum(present & ~called)),
            int(np.sum(~present & ~called)),
            _shares(present, called, owner),
        )

    @property
    def swapped(self) -> "Confusion":
        """The same decisions with the label's absence as what is looked for."""
        shares = {_SWAPPED[name]: estimate for name, estimate in self.shares.items()}
        return Confusion(self.true_negatives, self.false_negatives, self.false_positives, self.true_positives, shares)

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
        names = ("sensitivity", "specificity", "precision", "accuracy")
        found = {name: self.shares[name] for name in names if name in self.shares}
        return found | ({"f1": _f1(self.shares["overlap"])} if "overlap" in self.shares else {})


def _shares(present: NDArray[np.bool_], called: NDArray[np.bool_], owner: IntArray) -> dict[str, Estimate]:
    """Each proportion is the share of right decisions among some of the images."""
    right: FloatArray = (present == called).astype(np.float64)
    among = {
        "sensitivity": present,
        "specificity": ~present,
        "precision": called,
        "negative_predictive_value": ~called,
        "accuracy": np.full(len(right), True),
        "overlap": present | called,
        "overlap_of_absence": ~(present & called),
    }
    return {name: share_interval(right[rows], owner[rows]) for name, rows in among.items() if rows.any()}


def _f1(overlap: Estimate) -> Estimate:
    """F1 by its overlap J = TP / (TP + FP + FN), a true proportion of images, through F1 = 2J / (1 + J).

    F1 itself counts each true positive twice, so Wilson's interval on 2TP of 2TP + FP + FN trials would be too narrow;
    the map from J is rising, so the interval of J keeps its coverage.
    """
    return Estimate(*(2 * share / (1 + share) for share in overlap))
