"""Near duplicates: what counts as one, chains, and that many images are answered as few are."""

import cv2
import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from secondread.data import near_duplicates, neighbours
from secondread.data.near_duplicates import join_groups, near_duplicate_groups

UInt8 = NDArray[np.uint8]


def noise(count: int, seed: int = 0) -> UInt8:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32), np.uint8)


def at_correlation(image: UInt8, correlation: float) -> UInt8:
    """An image of a given Pearson correlation with another: its standardised values mixed with orthogonal noise."""
    values = image.ravel().astype(np.float64)
    along = (values - values.mean()) / values.std()
    across = np.random.default_rng(1).normal(size=values.size)
    across -= across.mean() + along * (along @ across) / values.size
    mixed = correlation * along + np.sqrt(1 - correlation**2) * across / across.std()
    pixels: UInt8 = np.clip(mixed * 30 + 128, 0, 255).round().astype(np.uint8).reshape(32, 32)
    return pixels


def test_different_images_are_groups_of_their_own() -> None:
    assert near_duplicate_groups(noise(5)).tolist() == [0, 1, 2, 3, 4]


def test_copies_of_other_brightness_and_contrast_are_duplicates() -> None:
    image = noise(1)[0]
    brighter = (image * 0.5 + 60).round().astype(np.uint8)
    assert near_duplicate_groups(np.stack([image, noise(1, 7)[0], brighter])).tolist() == [0, 1, 0]


@pytest.mark.parametrize(("correlation", "groups"), [(0.985, [0, 1]), (0.995, [0, 0])])
def test_the_limit_is_a_correlation_of_99_percent(correlation: float, groups: list[int]) -> None:
    image = noise(1)[0]
    assert near_duplicate_groups(np.stack([image, at_correlation(image, correlation)])).tolist() == groups


def test_a_chain_of_duplicates_is_one_group() -> None:
    first = noise(1)[0]
    second = at_correlation(first, 0.993)
    third = at_correlation(second, 0.993)
    groups = near_duplicate_groups(np.stack([third, noise(1, 3)[0], first, second]))
    assert groups.tolist() == [0, 1, 0, 0]


def test_blank_images_are_no_duplicates_of_each_other() -> None:
    blank = np.zeros((3, 32, 32), np.uint8)
    blank[1] = 200
    blank[2, 0, 0] = 9
    assert near_duplicate_groups(np.concatenate([blank, np.zeros_like(blank)])).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat a few images as many are, in small blocks."""
    monkeypatch.setattr(near_duplicates, "_FEW", 0)
    monkeypatch.setattr(near_duplicates, "_BLOCK", 64)
    monkeypatch.setattr(near_duplicates, "_PAIRS", 50)
    monkeypatch.setattr(neighbours, "_QUERIES", 32)
    monkeypatch.setattr(neighbours, "_ROWS", 48)


def smooth(count: int, seed: int = 0) -> UInt8:
    """Blurred noise, as alike as X-rays are: few numbers tell most of it."""
    coarse = np.random.default_rng(seed).normal(size=(count, 6, 6))
    images = np.stack([cv2.resize(each, (32, 32), interpolation=cv2.INTER_CUBIC) for each in coarse])
    pixels: UInt8 = np.clip(images * 40 + 128, 0, 255).astype(np.uint8)
    return pixels


def altered(images: UInt8, seed: int) -> UInt8:
    """What compression, exposure and another scanner do to a copy."""
    noisy = images * 0.9 + 9 + np.random.default_rng(seed).normal(scale=1.5, size=images.shape)
    pixels: UInt8 = np.clip(noisy, 0, 255).round().astype(np.uint8)
    return pixels


def test_groups_are_found_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.concatenate([noise(6), noise(6)[::-1] // 2])
    monkeypatch.setattr(near_duplicates, "_BLOCK", 4)
    assert near_duplicate_groups(images).tolist() == [0, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 0]


def test_copies_among_many_images_are_found_in_whatever_order(many: None) -> None:
    images = smooth(100)
    order = np.random.default_rng(5).permutation(200)
    groups = near_duplicate_groups(np.concatenate([images, altered(images, 1)])[order])
    first, second = np.argsort(order).reshape(2, 100)
    assert groups[first].tolist() == groups[second].tolist()
    assert len(set(groups)) == 100


def test_many_images_are_grouped_exactly_as_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    # A walk whose steps are sometimes just below and sometimes just above the limit.
    steps = np.random.default_rng(2).normal(size=(200, 32, 32)).cumsum(axis=0)
    images: UInt8 = np.clip(steps * 5 + 128, 0, 255).astype(np.uint8)
    few = near_duplicate_groups(images)
    assert 20 < len(set(few)) < 180
    monkeypatch.setattr(near_duplicates, "_FEW", 0)
    assert near_duplicate_groups(images).tolist() == few.tolist()


def test_many_images_are_grouped_alike_by_one_thread_and_by_two(many: None) -> None:
    images = np.concatenate([smooth(60), altered(smooth(60), 3)])
    found = []
    for threads in (1, 2):
        faiss.omp_set_num_threads(threads)
        found.append(near_duplicate_groups(images).tolist())
    assert found[0] == found[1]


def test_many_blank_images_and_many_equal_ones_are_told_apart(many: None) -> None:
    images = np.concatenate([np.zeros((100, 32, 32), np.uint8), np.repeat(noise(1), 100, axis=0)])
    assert near_duplicate_groups(images).tolist() == [*range(100), *[100] * 100]


def test_a_series_of_slices_that_hardly_differ_is_one_group(many: None) -> None:
    between = np.linspace(0, 1, 90)[:, None, None]
    first, last = smooth(2)
    series = np.rint(first * (1 - between) + last * between).astype(np.uint8)
    assert set(near_duplicate_groups(series)) == {0}


def test_two_sets_are_joined_where_one_holds_a_copy_of_the_other() -> None:
    first, second = noise(3), np.concatenate([noise(2, 9), noise(3)[1:2] // 2])
    groups = join_groups(near_duplicate_groups(first), first, near_duplicate_groups(second), second)
    assert groups.tolist() == [0, 1, 2, 3, 4, 1]


def test_a_group_stays_whole_when_two_sets_are_joined() -> None:
    """A set that is a part of a larger one may lack the image that links two others."""
    groups = join_groups(np.array([0, 0]), noise(2), np.array([0]), noise(1, 9))
    assert groups.tolist() == [0, 0, 1]


def test_no_image_has_no_group() -> None:
    assert near_duplicate_groups(noise(0)).shape == (0,)
