"""Rows ordered by falling probability: the counts behind every threshold, for many resamples at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from secondread.evaluation.intervals import FloatArray, IntArray


@dataclass(frozen=True)
class Ranking:
    """Where a threshold can be put.

    Args:
        order: rows by falling probability, shape (n,).
        positive: 1.0 where the label is present, in that order, shape (n,).
        ends: the last position of each run of equal probabilities, shape (k,).
        cuts: the distinct probabilities, falling, shape (k,).
    """

    order: IntArray
    positive: FloatArray
    ends: IntArray
    cuts: FloatArray

    @classmethod
    def of(cls, truth: ArrayLike, probabilities: ArrayLike) -> "Ranking":
        """Order rows: truth is 0 or 1, shape (n,)."""
        scores = np.asarray(probabilities, np.float64)
        order = np.argsort(-scores, kind="stable")
        falling = scores[order]
        ends = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
        return cls(order, np.asarray(truth, np.float64)[order], ends, falling[ends])

    def counts(self, weights: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
        """True and false positives when every probability from `cuts[k]` upward is called positive.

        Args:
            weights: how often each row counts, shape (resamples, n), in the rows' own order; once each by default.
        Returns:
            two arrays of shape (resamples, k); the last column holds all positives and all negatives.
        """
        drawn = np.ones((1, len(self.order))) if weights is None else weights[:, self.order]
        true = np.cumsum(drawn * self.positive, axis=1)[:, self.ends]
        return true, np.cumsum(drawn, axis=1)[:, self.ends] - true


def auroc(true: FloatArray, false: FloatArray) -> FloatArray:
    """Area under the ROC curve from `Ranking.counts`, shape (resamples,); NaN where a class is missing."""
    steps = np.diff(false, axis=1, prepend=0)
    heights = true - np.diff(true, axis=1, prepend=0) / 2
    return divide((steps * heights).sum(axis=1), true[:, -1] * false[:, -1])


def average_precision(true: FloatArray, false: FloatArray) -> FloatArray:
    """Area under the precision-recall steps from `Ranking.counts`, shape (resamples,); NaN without both classes."""
    # Above the first row that was drawn nothing is called positive; the recall's step is 0 there.
    precision = true / np.maximum(true + false, 1)
    area = (np.diff(true, axis=1, prepend=0) * precision).sum(axis=1)
    return divide(area, np.where(false[:, -1] > 0, true[:, -1], 0))


def divide(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Divide, with NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)
