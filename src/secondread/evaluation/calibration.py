"""Do probabilities mean what they say: bins of equal size along the probability."""

import numpy as np
from numpy.typing import ArrayLike

from secondread.evaluation.intervals import FloatArray, IntArray

BINS = 10


def quantile_bins(probabilities: ArrayLike, count: int = BINS) -> IntArray:
    """Number each row's bin, of bins that hold about equally many rows; equal probabilities share a bin.

    Returns:
        int64, shape (n,), from 0 without gaps, at most `count` bins.
    """
    values = np.asarray(probabilities, np.float64)
    inner = np.quantile(values, np.arange(1, count) / count, method="lower") if len(values) else values
    # side="left" keeps a value that equals an edge below it, so that a run of equal values is never parted.
    return np.unique(np.searchsorted(np.unique(inner), values, side="left"), return_inverse=True)[1].astype(np.int64)


def calibration_gaps(truth: FloatArray, probabilities: FloatArray) -> FloatArray:
    """Each row's share of its bin's gap, such that the gaps' sums by bin, made positive and divided by n, are the ECE.

    Args:
        truth: 0 or 1, shape (n,).
        probabilities: shape (n,).
    Returns:
        truth minus probability in the column of the row's bin, 0 elsewhere, shape (n, bins).
    Source: Naeini et al., AAAI 2015, with bins of equal mass (Nixon et al., CVPR workshops 2019).
    """
    bins = quantile_bins(probabilities)
    return np.where(bins[:, None] == np.arange(BINS), (truth - probabilities)[:, None], 0.0)


def calibration_error(truth: FloatArray, probabilities: FloatArray) -> float:
    """The mean distance between a bin's positive share and its mean probability (ECE), weighted by images."""
    return float(np.abs(calibration_gaps(truth, probabilities).sum(axis=0)).sum() / len(truth))
