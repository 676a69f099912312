"""Deletion and insertion: what the network answers while the places of an image go, or come, one after another."""

from typing import NamedTuple

import keras
import numpy as np
import numpy.typing as npt
from scipy.special import expit

from secondread.explanation.method import Maps
from secondread.explanation.target import logits_of
from secondread.imaging.picture import UInt8Image

Curves = npt.NDArray[np.float64]
_CELLS = 16  # a side; a cell of a few pixels is the smallest place that can hold a finding
_SEED = 2
STEPS = 15  # in which all cells go: with the whole image, and both ways, 32 answers


class Removed(NamedTuple):
    """Probabilities while more and more cells are covered, or shown; each of shape (n, STEPS + 1)."""

    deletion: Curves
    insertion: Curves


def removed(network: keras.Model, images: UInt8Image, label: int, ranks: Maps, nothing: Maps) -> Removed:
    """Cover, and show, the cells of every image in falling order of their ranks.

    Args:
        images: model input, shape (n, height, width, channels).
        label: by place.
        ranks: of a cell, shape (n, cells), from `of_maps` or `by_lot`.
        nothing: what a covered place shows, shape (height, width, channels).
    Returns:
        the label's probabilities, not calibrated.
    Source: Petsiuk et al., RISE: Randomized Input Sampling for Explanation of Black-box Models, 2018.
    """
    parts = [_of_image(network, image, label, rank, nothing) for image, rank in zip(images, ranks, strict=True)]
    found = np.array(parts).reshape(len(images), 2, STEPS + 1)
    return Removed(found[:, 0], found[:, 1])


def of_maps(maps: Maps) -> Maps:
    """The mean of each cell of maps of shape (n, height, width)."""
    cells = _cells(*maps.shape[1:])
    sizes = np.bincount(cells.ravel())
    return np.array([np.bincount(cells.ravel(), each.ravel()) / sizes for each in maps], np.float32)


def by_lot(images: int, seed: int) -> Maps:
    """Ranks that say nothing."""
    return np.random.default_rng(seed).random((images, _CELLS**2), np.float32)


def area(curves: Curves) -> Curves:
    """The area under each curve, between 0 and 1, shape (n,)."""
    return np.asarray((curves[:, 1:] + curves[:, :-1]).mean(axis=1) / 2, np.float64)


def _of_image(network: keras.Model, image: UInt8Image, label: int, ranks: Maps, nothing: Maps) -> Curves:
    """Both curves of one image, shape (2, STEPS + 1)."""
    turn = np.empty(_CELLS**2, np.int64)  # the step in which a cell goes; which of equals is first, the lot decides
    by_lot = np.random.default_rng(_SEED).random(_CELLS**2)
    turn[np.lexsort((by_lot, -ranks))] = np.arange(_CELLS**2) * STEPS // _CELLS**2
    step = turn[_cells(*image.shape[:2])]
    gone = step < np.arange(STEPS + 1)[:, None, None]
    covered = np.where(gone[..., None], nothing, image)
    shown = np.where(gone[..., None], image, nothing)
    answers: Curves = expit(logits_of(network, np.concatenate([covered, shown]), label)).reshape(2, STEPS + 1)
    return answers


def _cells(height: int, width: int) -> npt.NDArray[np.int64]:
    """Which cell a pixel belongs to, shape (height, width)."""
    rows, columns = (np.arange(length) * _CELLS // length for length in (height, width))
    return rows[:, None] * _CELLS + columns
