"""Stored pixels to batches for training and evaluation; the one place of tf.data."""

from collections.abc import Callable, Iterator
from math import ceil
from typing import Any, Protocol, TypeAlias

import cv2
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
    size = _size(pixels, rows)

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
                yield _repeat_gray(images, channels), labels[chosen]
            epoch += 1

    return _dataset(batches, (size, size, channels), labels.shape[1])


def ordered_feed(pixels: PixelTable, rows: Rows, labels: Labels, *, channels: int, batch_size: int) -> Any:
    """Feed every image once, unchanged and in order; arguments and result as `training_feed`."""
    size = _size(pixels, rows)

    def batches() -> Iterator[tuple[Pixels, Labels]]:
        for start in range(0, len(rows), batch_size):
            chosen = slice(start, start + batch_size)
            yield _repeat_gray(pixels.take(rows[chosen]), channels), labels[chosen]

    ds = _dataset(batches, (size, size, channels), labels.shape[1])
    return ds.apply(tf.data.experimental.assert_cardinality(steps_per_epoch(len(rows), batch_size)))


def _size(pixels: PixelTable, rows: Rows) -> int:
    size: int = pixels.take(rows[:1]).shape[1]
    return size


def _repeat_gray(images: Pixels, channels: int) -> Pixels:
    """Repeat stored gray over three channels; other images pass as they are."""
    count, rows, columns, stored = images.shape
    if stored == channels:
        return images
    # OpenCV takes the batch as one tall picture and is five times as fast as tf.repeat.
    repeated = cv2.cvtColor(images.reshape(count * rows, columns), cv2.COLOR_GRAY2RGB)
    return np.asarray(repeated, np.uint8).reshape(count, rows, columns, channels)


def _dataset(batches: Callable[[], Iterator[tuple[Pixels, Labels]]], image: tuple[int, int, int], labels: int) -> Any:
    signature = (tf.TensorSpec((None, *image), tf.uint8), tf.TensorSpec((None, labels), tf.float32))
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(2)
