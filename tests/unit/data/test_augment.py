"""Augmentation means what Keras' ImageDataGenerator means."""

import numpy as np
import pytest
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from secondread.config import AugmentSettings
from secondread.data.augment import Affines, apply_affines, compose_affines, draw_affines

SIZE = 60


def smooth_image(channels: int = 1) -> np.ndarray:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    planes = [127 + 60 * np.sin(columns / (7 + c)) + 60 * np.cos(rows / (5 + c)) for c in range(channels)]
    return np.stack(planes, -1).round().astype(np.uint8)


def affine(
    degrees: float = 0,
    shift: tuple[float, float] = (0, 0),
    shear: float = 0,
    zoom: tuple[float, float] = (1, 1),
    flip: tuple[bool, bool] = (False, False),
) -> Affines:
    return compose_affines(
        np.deg2rad([degrees]),
        np.array([shift], np.float64),
        np.deg2rad([shear]),
        np.array([zoom], np.float64),
        np.array([flip]),
        SIZE,
    )


@pytest.mark.filterwarnings("ignore:Please import `affine_transform`:DeprecationWarning")  # inside Keras
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("degrees", "shift", "shear", "zoom", "flip"),
    [
        (25, (0, 0), 0, (1, 1), (False, False)),
        (0, (5.5, -3.25), 0, (1, 1), (False, False)),
        (0, (0, 0), 20, (1, 1), (False, False)),
        (0, (0, 0), 0, (0.7, 1.3), (False, True)),
        (-30, (4, 6), 15, (1.2, 0.8), (True, False)),
        (10, (-6, 2), -20, (0.75, 0.9), (True, True)),
    ],
)
def test_a_change_equals_image_data_generators(
    degrees: float,
    shift: tuple[float, float],
    shear: float,
    zoom: tuple[float, float],
    flip: tuple[bool, bool],
    channels: int,
) -> None:
    image = smooth_image(channels)
    expected = ImageDataGenerator(fill_mode="nearest").apply_transform(
        image.astype(np.float32),
        {
            **{"theta": degrees, "tx": shift[0], "ty": shift[1], "shear": shear, "zx": zoom[0], "zy": zoom[1]},
            **{"flip_horizontal": flip[0], "flip_vertical": flip[1]},
        },
    )
    found = apply_affines(image[None], affine(degrees, shift, shear, zoom, flip))[0]
    assert np.abs(found - expected).max() <= 0.51  # theirs are not rounded


def test_no_change_keeps_every_pixel() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    settings = AugmentSettings()
    assert np.array_equal(apply_affines(images, draw_affines(settings, 2, SIZE, np.random.default_rng(0))), images)


def test_a_left_right_flip_mirrors_the_columns_exactly() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 1), dtype=np.uint8)
    assert np.array_equal(apply_affines(image, affine(flip=(True, False))), image[:, :, ::-1])


def test_what_comes_from_outside_repeats_the_nearest_pixel() -> None:
    image = np.zeros((1, SIZE, SIZE, 1), np.uint8)
    image[:, :, -1] = 200
    shifted = apply_affines(image, affine(shift=(10, 0)))[0, :, :, 0]
    assert (shifted[:, -11:] == 200).all()
    assert (shifted[:, :-11] == 0).all()


def test_draws_stay_in_their_ranges_and_reach_for_their_ends() -> None:
    settings = AugmentSettings(zoom=0.3, shift=0.1, vertical_flip=True)
    drawn = draw_affines(settings, 2000, SIZE, np.random.default_rng(0))
    columns, rows = drawn[:, 0, 0], drawn[:, 1, 1]
    assert columns.min() >= 0.7
    assert columns.max() <= 1.3
    assert columns.max() - columns.min() > 0.59
    assert 0.45 < (rows < 0).mean() < 0.55
    assert np.abs(np.abs(rows) - columns).max() > 0.1  # each axis is zoomed by itself
    center = (SIZE - 1) / 2
    moved = drawn[:, :, :2] @ [center, center] + drawn[:, :, 2] - center
    assert np.abs(moved).max() == pytest.approx(0.1 * SIZE, rel=0.02)


def test_the_same_generator_draws_the_same() -> None:
    settings = AugmentSettings(rotation=20, shear=5, horizontal_flip=True)
    first, second = (draw_affines(settings, 5, SIZE, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first, second)
