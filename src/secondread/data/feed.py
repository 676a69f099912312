"""Stored pixels to batches for training and evaluation; the one place of tf.data."""

from collections.abc import Iterator
from math import ceil
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from secondread.config import AugmentSettings
from secondread.data.augment import Pixels, apply_affines, draw_affines

Rows: TypeAlias = npt.NDArray[np.int64]
Labels: TypeAlias = npt.NDArray[np.float32]


class PixelTable(Protocol):
    """Stored images by row number."""

    def __len__(self) -> int: ...

    def take(self, indices: Rows) -> Pixels:
        """Give images in the order asked, uint8, shape (n, size, size, stored channels)."""
        ...


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Batches in which every image comes once; the last may be smaller."""
    return ceil(images / batch_size)


def training_feed(
    pixels: PixelTable,
    rows: Rows,
    labels: Labels,
    *,
    channels: int,
    augment: AugmentSettings,
    batch_size: int,
    seed: int,
    first_epoch: int = 0,
) -> Any:
    """Feed shuffled and changed images without end: every `steps_per_epoch` batches are one epoch.

    Order and changes of an epoch depend on the seed and the epoch's number alone, so a run that is taken up at
    `first_epoch` sees what it would have seen.

    Args:
        rows: the images' places in `pixels`, shape (n,).
        labels: of those images, NaN where unknown, shape (n, labels).
        channels: of the network's input; stored gray is repeated to them.
        first_epoch: counted from 0.
    Returns:
        a tf.data.Dataset of images uint8 (batch, size, size, channels) and labels float32 (batch, labels).
    """
    size, stored = _stored_shape(pixels, rows)

    def batches() -> Iterator[tuple[Pixels, Labels]]:
        epoch = first_epoch
        while True:
            random = np.random.default_rng((seed, epoch))
            order = random.permutation(len(rows))
            for start in range(0, len(rows), batch_size):
                chosen = order[start : start + batch_size]
                images = pixels.take(rows[chosen])
                if augment != AugmentSettings():
                    images = apply_affines(images, draw_affines(augment, len(images), size, random))
                yield images, labels[chosen]
            epoch += 1

    return _dataset(batches, (size, size, stored), labels.shape[1], channels)


def ordered_feed(pixels: PixelTable, rows: Rows, labels: Labels, *, channels: int, batch_size: int) -> Any:
    """Feed every image once, unchanged and in order; arguments and result as `training_feed`."""
    size, stored = _stored_shape(pixels, rows)

    def batches() -> Iterator[tuple[Pixels, Labels]]:
        for start in range(0, len(rows), batch_size):
            chosen = slice(start, start + batch_size)
            yield pixels.take(rows[chosen]), labels[chosen]

    return _dataset(batches, (size, size, stored), labels.shape[1], channels)


def _stored_shape(pixels: PixelTable, rows: Rows) -> tuple[int, int]:
    _, size, _, channels = pixels.take(rows[:1]).shape
    return size, channels


def _dataset(batches: Any, stored_shape: tuple[int, int, int], labels: int, channels: int) -> Any:
    signature = (
        tf.TensorSpec((None, *stored_shape), tf.uint8),
        tf.TensorSpec((None, labels), tf.float32),
    )
    ds = tf.data.Dataset.from_generator(batches, output_signature=signature)
    if stored_shape[-1] != channels:
        ds = ds.map(lambda images, answers: (tf.repeat(images, channels, axis=-1), answers))
    return ds.prefetch(2)
