"""Fewer images than there are: a small trial, or a training set with another share of positive images."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from secondread.data.manifest import label_columns
from secondread.errors import AuditError


def limit(frame: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """Draw at most `n` images, in the proportions of split and primary label.

    Args:
        frame: a source's entries or a manifest; its first label is the primary one.
        n: at least 1. When it allows, every combination of split and label keeps an image.
    Returns:
        The drawn rows in their order.
    """
    if n >= len(frame):
        return frame
    primary = frame[label_columns(frame)[0]].fillna(-1)
    stratum = frame.groupby(["split", primary], sort=True).ngroup().to_numpy()
    counts = np.bincount(stratum)
    random = np.random.default_rng(seed)
    kept = [
        random.choice(np.flatnonzero(stratum == number), size, replace=False)
        for number, size in enumerate(_shares(counts, n))
    ]
    return frame.iloc[np.sort(np.concatenate(kept))]


def positive_fraction(manifest: pd.DataFrame, fraction: float, label: str, seed: int) -> pd.DataFrame:
    """Draw train anew, without replacement, so that `fraction` of its images have the label.

    Args:
        manifest: split; val and test stay as they are.
        fraction: between 0 and 1.
        label: a label's name. Training images of unknown label are left out, as they are neither.
    Returns:
        The largest such subset, in the manifest's order.
    Raises:
        AuditError: train has no image with, or none without the label.
    """
    train = (manifest["split"] == "train").to_numpy(bool)
    value = manifest[f"label_{label}"].to_numpy(np.float64)
    present, absent = np.flatnonzero(train & (value == 1)), np.flatnonzero(train & (value == 0))
    if not present.size or not absent.size:
        raise AuditError(
            f"data.positive_fraction={fraction}: train has {present.size} images with and {absent.size} without "
            f"{label}; it needs both"
        )
    most = min(present.size / fraction, absent.size / (1 - fraction))
    random = np.random.default_rng(seed)
    kept = [
        _draw(present, most * fraction, random),
        _draw(absent, most * (1 - fraction), random),
        np.flatnonzero(~train),
    ]
    return manifest.iloc[np.sort(np.concatenate(kept))]


def _draw(rows: NDArray[np.int64], size: float, random: np.random.Generator) -> NDArray[np.int64]:
    return random.choice(rows, max(1, min(len(rows), round(size))), replace=False)


def _shares(counts: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Divide `n` in proportion to counts, by largest remainders, at least one for each where `n` allows."""
    exact = counts * (n / counts.sum())
    shares: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    shares[np.argsort(shares - exact, kind="stable")[: n - int(shares.sum())]] += 1
    if n >= len(counts):
        for empty in np.flatnonzero(shares == 0):
            shares[shares.argmax()] -= 1
            shares[empty] = 1
    return shares
