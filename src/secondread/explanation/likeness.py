"""How much two maps of one image look alike."""

import numpy as np
from scipy.stats import rankdata

from secondread.explanation.method import Maps


def likeness(one: Maps, other: Maps) -> float:
    """Spearman's rank correlation of two maps' pixels; 1 for equal maps, 0 where one of two is the same everywhere.

    Args:
        one, other: of equal shape, (height, width).
    """
    if np.array_equal(one, other):
        return 1.0
    first, second = (_centered(rankdata(each)) for each in (one.ravel(), other.ravel()))
    scale = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / scale) if scale > 0 else 0.0


def _centered(ranks: np.ndarray) -> np.ndarray:
    return ranks - ranks.mean()
