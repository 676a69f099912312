"""How bright the stored images are, split by split: what a scanner or a hospital changed shows here first."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from secondread.config import WINDOWS, Window
from secondread.data.store import Pixels
from secondread.imaging.preprocess import Preprocess

LEVELS = 256
_SAMPLED = 500  # images a split: enough for a histogram, and 750,000 images are counted in seconds
_BATCH = 50


@dataclass(frozen=True)
class Channel:
    """One stored channel.

    Args:
        name: its window, or `gray`.
        window: in HU; None where images are pictures.
        shares: a row per split, a column per gray level; a row adds up to 1.
        shift: of each split, how far its gray levels lie from the first split's: levels that a pixel would have to be
            moved by on average (the earth mover's distance).
    """

    name: str
    window: Window | None
    shares: pd.DataFrame
    shift: pd.Series

    @property
    def mean(self) -> pd.Series:
        """Of each split, the mean gray level."""
        return self.shares.dot(pd.Series(np.arange(LEVELS)))


@dataclass(frozen=True)
class Intensities:
    """What the stored pixels' gray levels are.

    Args:
        sampled: how many images of each split were looked at.
    """

    sampled: pd.Series
    channels: Sequence[Channel]


def intensities(manifest: pd.DataFrame, pixels: Pixels, preprocess: Preprocess) -> Intensities:
    """Count gray levels of at most 500 images a split, evenly spaced among its image keys.

    Args:
        manifest: split; `row` is an image's place in `pixels`, which is its own row where there is no such column.
        pixels: uint8, of shape (height, width, stored channels) each.
    """
    splits = [split for split in ("train", "val", "test") if (manifest["split"] == split).any()]
    chosen = {split: spread(manifest, manifest["split"] == split, _SAMPLED) for split in splits}
    counted = np.stack([_counts(pixels, rows, preprocess.stored_channels) for rows in chosen.values()])
    shares = counted / counted.sum(axis=-1, keepdims=True)
    channels = [
        _channel(name, window, pd.DataFrame(shares[:, place], splits))
        for place, (name, window) in enumerate(_named(preprocess))
    ]
    return Intensities(pd.Series({split: len(rows) for split, rows in chosen.items()}), channels)


def spread(manifest: pd.DataFrame, chosen: pd.Series, most: int) -> NDArray[np.int64]:
    """Rows in `pixels` of at most so many of the chosen images, evenly spaced among their image keys."""
    places = manifest["row"].to_numpy() if "row" in manifest else np.arange(len(manifest))
    order = np.argsort(manifest["image_key"].to_numpy(str)[chosen.to_numpy()], kind="stable")
    picked = np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(np.int64))
    rows: NDArray[np.int64] = np.sort(places[chosen.to_numpy()][order[picked]]).astype(np.int64)
    return rows


def _counts(pixels: Pixels, rows: NDArray[np.int64], channels: int) -> NDArray[np.int64]:
    """How often each gray level occurs, shape (channels, 256)."""
    counts = np.zeros((channels, LEVELS), np.int64)
    for start in range(0, len(rows), _BATCH):
        images = pixels.take(rows[start : start + _BATCH])
        for channel in range(channels):
            counts[channel] += np.bincount(images[..., channel].ravel(), minlength=LEVELS)
    return counts


def _channel(name: str, window: Window | None, shares: pd.DataFrame) -> Channel:
    below = shares.cumsum(axis=1)
    return Channel(name, window, shares, (below - below.iloc[0]).abs().sum(axis=1))


def _named(preprocess: Preprocess) -> list[tuple[str, Window | None]]:
    known = {window: name for name, window in WINDOWS.items()}
    if not preprocess.windows:
        return [("gray", None)] * preprocess.stored_channels
    return [
        (f"{known.get(window, 'own')} window", window) for window in preprocess.windows[: preprocess.stored_channels]
    ]
