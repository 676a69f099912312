"""How much two maps of one image look alike."""

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from secondread.explanation.method import Maps


def rank_correlation(one: Maps, other: Maps) -> float:
    """Spearman's correlation of two maps' pixels, which asks for their order alone; as `correlation`."""
    first, second = (np.asarray(rankdata(each.ravel()), np.float64) for each in (one, other))
    return correlation(first, second)


def correlation(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> float:
    """Pearson's correlation of two maps' pixels.

    Two maps that are the same everywhere say the same, nothing: 1. Such a one and another have nothing in common: 0.

    Args:
        one, other: of equal shape.
    """
    first, second = (each.ravel() - each.mean(dtype=np.float64) for each in (one, other))
    if not first.any() or not second.any():
        return float(first.any() == second.any())
    return float(first @ second / np.sqrt((first @ first) * (second @ second)))
