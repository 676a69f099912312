"""Near duplicates: images whose thumbnails correlate, in groups; exact, whatever the number of images."""

import math
from collections.abc import Iterator
from hashlib import blake2b
from itertools import chain

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

CORRELATION = 0.99
# Below one gray level of deviation a picture is blank, such as air above the head; blank slices of many patients are
# alike without being copies.
_BLANK = 1.0
_BLOCK = 2048
_FEW = 8192  # up to so many, every pair is looked at: it takes two seconds
_AXES = 47  # of 1,024; what is left over is one number more
_SAMPLE = 8192  # thumbnails that the axes are found from
# Of the squared distance: far above the rounding of float32, far below what would let many pairs through.
_SLACK = 1e-4
_PAIRS = 1 << 20  # that wait before their groups are joined

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


def near_duplicate_groups(thumbnails: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Group images that are near duplicates: Pearson correlation of their thumbnails >= .99, and chains of such.

    Measured on real data, it needs no second check: in chest_xray (5,856) it finds the 34 pairs of equal bytes and no
    other, none across train and test; in head_ct (200) the three known pairs; in ct_ich (2,471 slices) 151 pairs, every
    one inside one patient. A blank image is alone. The groups are exact and depend on no thread count: many images
    are first compared in 48 numbers each, in which no distance is larger than in all 1,024, so that no pair is missed.

    Args:
        thumbnails: gray, shape (n, 32, 32); may be memory-mapped.
    Returns:
        Group of each image, shape (n,), numbered by first appearance.
    """
    return _joined(np.arange(len(thumbnails)), thumbnails)


def join_groups(
    groups: NDArray[np.int64],
    thumbnails: NDArray[np.uint8],
    others: NDArray[np.int64],
    other_thumbnails: NDArray[np.uint8],
) -> NDArray[np.int64]:
    """Number the groups of two sets of images together, joining those between which there is a near duplicate.

    Args:
        groups: of the first set, shape (n,), from `near_duplicate_groups`.
        thumbnails: of the first set, shape (n, 32, 32).
        others: of the second set, shape (m,).
        other_thumbnails: of the second set, shape (m, 32, 32).
    Returns:
        Group of each image of the first set, then of the second, shape (n + m,), numbered by first appearance.
    """
    both = pd.factorize(np.concatenate([groups, others + groups.max(initial=-1) + 1]))[0].astype(np.int64)
    return _joined(both, np.concatenate([thumbnails, other_thumbnails]))


def _joined(groups: NDArray[np.int64], thumbnails: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Join the groups between which there is a near duplicate."""
    flat = thumbnails.reshape(len(thumbnails), math.prod(thumbnails.shape[1:]))
    gray = np.flatnonzero(~_blank(flat))
    firsts, copies = _copies(flat, gray)
    groups = _merged(groups, gray, firsts[copies])
    waiting: list[Pairs] = []
    for left, right in _candidates(flat, firsts):
        apart = groups[left] != groups[right]
        waiting.append(_verified(flat, left[apart], right[apart]))
        if sum(len(pair[0]) for pair in waiting) >= _PAIRS:
            groups, waiting = _merged(groups, *_together(waiting)), []
    return pd.factorize(_merged(groups, *_together(waiting)))[0].astype(np.int64)


def _copies(flat: NDArray[np.uint8], rows: NDArray[np.int64]) -> Pairs:
    """Rows without those that equal an earlier one, and for each row the place of its like among them.

    A thousand copies of a picture would be a million pairs.
    """
    digests = [blake2b(flat[row].tobytes(), digest_size=16).digest() for row in rows]
    like, _ = pd.factorize(np.array(digests, object))
    return rows[np.unique(like, return_index=True)[1]], like.astype(np.int64)


def _candidates(flat: NDArray[np.uint8], rows: NDArray[np.int64]) -> Iterator[Pairs]:
    """Every pair of rows that may correlate so, and some that do not."""
    if len(rows) <= _FEW:
        return _every_pair(flat, rows)
    from secondread.data.neighbours import close_pairs

    # Of standardised rows the squared distance is 2 - 2 x correlation.
    pairs = close_pairs(_projected(flat, rows), 2 - 2 * CORRELATION + _SLACK)
    return ((rows[left], rows[right]) for left, right in pairs)


def _every_pair(flat: NDArray[np.uint8], rows: NDArray[np.int64]) -> Iterator[Pairs]:
    for first in range(0, len(rows), _BLOCK):
        block = _standardised(flat[rows[first : first + _BLOCK]])
        for second in range(first, len(rows), _BLOCK):
            others = block if second == first else _standardised(flat[rows[second : second + _BLOCK]])
            left, right = np.nonzero(block @ others.T >= CORRELATION - _SLACK)
            later = left + first < right + second
            yield rows[left[later] + first], rows[right[later] + second]


def _projected(flat: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Standardised rows in few numbers, between which no distance is larger than between the rows themselves.

    Coordinates along orthonormal axes, those of most variance, then the length of what they leave over: the difference
    of two lengths is at most the length of the difference.

    Returns:
        shape (n, axes + 1), the widest coordinate first.
    """
    sample = _standardised(flat[rows[:: -(-len(rows) // _SAMPLE)]])
    axes = np.linalg.eigh(sample.T @ sample)[1][:, : -_AXES - 1 : -1].astype(np.float32)
    projected = np.empty((len(rows), _AXES + 1), np.float32)
    for start in range(0, len(rows), _BLOCK):
        block = _standardised(flat[rows[start : start + _BLOCK]])
        found = projected[start : start + _BLOCK]
        found[:, :-1] = block @ axes
        found[:, -1] = np.linalg.norm(block - found[:, :-1] @ axes.T, axis=1)
    return projected[:, np.argsort(-projected.std(axis=0), kind="stable")]


def _verified(flat: NDArray[np.uint8], left: NDArray[np.int64], right: NDArray[np.int64]) -> Pairs:
    """The pairs that do correlate, by whole numbers, which no machine rounds in its own way."""
    kept = [
        _correlate(flat[left[start : start + _BLOCK]], flat[right[start : start + _BLOCK]])
        for start in range(0, len(left), _BLOCK)
    ]
    chosen = np.fromiter(chain.from_iterable(kept), bool, len(left))
    return left[chosen], right[chosen]


def _correlate(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.bool_]:
    x, y, pixels = left.astype(np.int32), right.astype(np.int32), left.shape[1]
    x_sum, y_sum = x.sum(axis=1, dtype=np.int64), y.sum(axis=1, dtype=np.int64)
    both, x_own, y_own = (np.einsum("ij,ij->i", a, b).astype(np.int64) for a, b in ((x, y), (x, x), (y, y)))
    covariance = pixels * both - x_sum * y_sum
    x_variance, y_variance = pixels * x_own - x_sum**2, pixels * y_own - y_sum**2
    found: NDArray[np.bool_] = covariance >= CORRELATION * np.sqrt(x_variance * y_variance.astype(np.float64))
    return found


def _blank(flat: NDArray[np.uint8]) -> NDArray[np.bool_]:
    blocks = [flat[start : start + _BLOCK].std(axis=1, dtype=np.float32) for start in range(0, len(flat), _BLOCK)]
    found: NDArray[np.bool_] = np.concatenate([np.empty(0, np.float32), *blocks]) < _BLANK
    return found


def _standardised(flat: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Rows whose dot products are correlations; none of them is blank."""
    rows = flat.astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def _together(waiting: list[Pairs]) -> Pairs:
    left = [pair[0] for pair in waiting]
    right = [pair[1] for pair in waiting]
    return np.concatenate([np.empty(0, np.int64), *left]), np.concatenate([np.empty(0, np.int64), *right])


def _merged(groups: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Join the groups of images `left` with those of images `right`."""
    links = coo_array((np.ones(len(left), bool), (groups[left], groups[right])), shape=(len(groups), len(groups)))
    component = connected_components(links, directed=False)[1]
    merged: NDArray[np.int64] = component[groups].astype(np.int64)
    return merged
