"""Vectors close to each other among a million; the only door to faiss."""

from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray

# A search answers with 12 bytes a pair: if all vectors were alike, one of 1,024 among 16,384 would take 200 MB.
_QUERIES = 1024
_ROWS = 16_384


def close_pairs(
    vectors: NDArray[np.float32], squared_distance: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Every pair of vectors at most so far apart, each once, some at a time.

    Vectors are sorted by their first coordinate: those that differ by more than the distance in it alone are not
    compared.

    Args:
        vectors: shape (n, d), C order or not; the first coordinate should be the one of most variance.
        squared_distance: Euclidean, of float32's precision.
    Returns:
        places in `vectors` of the one and the other.
    """
    order = np.argsort(vectors[:, 0], kind="stable")
    ordered = np.ascontiguousarray(vectors[order])
    ends = np.searchsorted(ordered[:, 0], ordered[:, 0] + np.float32(np.sqrt(squared_distance)), side="right")
    for first in range(0, len(ordered), _QUERIES):
        queries = ordered[first : first + _QUERIES]
        for second in range(first, int(ends[first + len(queries) - 1]), _ROWS):
            left, right = _within(queries, ordered[second : second + _ROWS], squared_distance)
            later = left + first < right + second
            if later.any():
                yield order[left[later] + first], order[right[later] + second]


def _within(
    queries: NDArray[np.float32], rows: NDArray[np.float32], squared_distance: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(rows)
    ends, _, found = index.range_search(queries, squared_distance)
    return np.repeat(np.arange(len(queries)), np.diff(ends.astype(np.int64))), found
