"""Batches: every image once an epoch, in an order and with changes that the seed and the epoch alone decide."""

from itertools import islice

import numpy as np
import numpy.typing as npt

from secondread.config import AugmentSettings
from secondread.data.augment import Pixels
from secondread.data.feed import Labels, Rows, ordered_feed, steps_per_epoch, training_feed

SIZE = 8
NO_CHANGE = AugmentSettings()
CHANGE = AugmentSettings(rotation=20, zoom=0.2, horizontal_flip=True)


class Table:
    """Images in memory, each of one gray value: its row number; the last may be drawn at random."""

    def __init__(self, count: int, channels: int = 1, random: bool = False) -> None:
        numbers = np.arange(count, dtype=np.uint8)[:, None, None, None]
        self.images = np.broadcast_to(numbers, (count, SIZE, SIZE, channels)).copy()
        if random:
            self.images = np.random.default_rng(0).integers(0, 256, self.images.shape, dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Rows) -> Pixels:
        return self.images[indices]


def labels_of(rows: Rows) -> Labels:
    return rows[:, None].astype(np.float32)


def epochs(
    table: Table, rows: Rows, augment: AugmentSettings, *, first_epoch: int, count: int, seed: int = 0
) -> list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]]:
    ds = training_feed(
        table,
        rows,
        labels_of(rows),
        channels=1,
        augment=augment,
        batch_size=4,
        seed=seed,
        first_epoch=first_epoch,
    )
    steps = steps_per_epoch(len(rows), 4)
    batches = list(islice(ds.as_numpy_iterator(), steps * count))
    joined = []
    for start in range(0, len(batches), steps):
        images, labels = zip(*batches[start : start + steps], strict=True)
        joined.append((np.concatenate(images), np.concatenate(labels)))
    return joined


def test_every_image_of_the_rows_comes_once_an_epoch_with_its_label() -> None:
    rows = np.array([3, 5, 6, 7, 9, 11])
    for images, labels in epochs(Table(12), rows, NO_CHANGE, first_epoch=0, count=3):
        assert images.dtype == np.uint8
        assert labels.dtype == np.float32
        assert sorted(labels[:, 0]) == rows.tolist()
        assert np.array_equal(images[:, 0, 0, 0], labels[:, 0])


def test_a_resumed_feed_continues_exactly_as_the_one_that_never_stopped() -> None:
    table, rows = Table(10, random=True), np.arange(10)
    whole = epochs(table, rows, CHANGE, first_epoch=0, count=4)
    resumed = epochs(table, rows, CHANGE, first_epoch=2, count=2)
    for (images, labels), (again, labels_again) in zip(whole[2:], resumed, strict=True):
        assert np.array_equal(images, again)
        assert np.array_equal(labels, labels_again)


def test_epochs_and_seeds_differ_in_order_and_in_changes() -> None:
    table, rows = Table(10, random=True), np.arange(10)
    first, second = epochs(table, rows, CHANGE, first_epoch=0, count=2)
    ((other_images, other_labels),) = epochs(table, rows, CHANGE, first_epoch=0, count=1, seed=1)
    for images, labels in (second, (other_images, other_labels)):
        assert not np.array_equal(first[1], labels)
        same = np.argsort(first[1][:, 0]), np.argsort(labels[:, 0])
        assert not np.array_equal(first[0][same[0]], images[same[1]])


def test_stored_gray_is_repeated_over_the_channels() -> None:
    table, rows = Table(3, random=True), np.arange(3)
    ((images, _),) = ordered_feed(table, rows, labels_of(rows), channels=3, batch_size=3).as_numpy_iterator()
    assert images.shape == (3, SIZE, SIZE, 3)
    for channel in range(3):
        assert np.array_equal(images[..., channel], table.images[..., 0])


def test_stored_windows_pass_as_they_are() -> None:
    table, rows = Table(3, channels=3, random=True), np.arange(3)
    ((images, _),) = ordered_feed(table, rows, labels_of(rows), channels=3, batch_size=3).as_numpy_iterator()
    assert np.array_equal(images, table.images)


def test_the_ordered_feed_gives_every_image_once_in_order_unknown_labels_too() -> None:
    table, rows = Table(9), np.array([8, 2, 4, 0, 1])
    labels = np.array([[1], [0], [np.nan], [1], [0]], np.float32)
    for _ in range(2):  # it can be read again
        batches = list(ordered_feed(table, rows, labels, channels=1, batch_size=2).as_numpy_iterator())
        assert [len(images) for images, _ in batches] == [2, 2, 1]
        assert np.concatenate([images for images, _ in batches])[:, 0, 0, 0].tolist() == rows.tolist()
        assert np.array_equal(np.concatenate([answers for _, answers in batches]), labels, equal_nan=True)


def test_the_last_batch_of_an_epoch_may_be_smaller() -> None:
    assert [steps_per_epoch(images, 32) for images in (1, 32, 33, 64)] == [1, 1, 2, 2]
