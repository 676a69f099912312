"""An image at a glance: numbers that can be worked out by hand for flat and striped ones."""

import numpy as np
import pytest

from secondread.imaging.appearance import appearance


def stripes() -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """Columns black and white in turn."""
    pixels = np.zeros((128, 128, 1), np.uint8)
    pixels[:, ::2] = 255
    return pixels


def test_a_flat_image_has_its_brightness_and_no_edges() -> None:
    looks = appearance(np.full((128, 128, 1), 51, np.uint8))
    assert looks.shape == (43,)
    assert looks[:2] == pytest.approx([0.2, 0], abs=1e-6)
    assert looks[2:14].argmax() == 2  # .2 lies in the third of twelve bins
    assert looks[14:26] == pytest.approx([0.2] * 4 + [0] * 4 + [0.2] * 4, abs=1e-6)
    assert looks[26:41] == pytest.approx(np.log(0.001))
    assert looks[41:] == pytest.approx([0, 0], abs=1e-6)


def test_stripes_are_edges_across_at_the_finest_scale_alone() -> None:
    looks = appearance(stripes())
    assert looks[26:29] == pytest.approx(np.log([1.001, 0.001, 1.001]))
    assert looks[29:41] == pytest.approx(np.log(0.001))  # half the size: all gray


def test_a_mirror_image_counts_as_symmetry() -> None:
    left_to_right = np.zeros((128, 128, 1), np.uint8)
    left_to_right[:, 32:96] = 255
    left_to_right[:64] //= 2
    across, down = appearance(left_to_right)[41:]
    assert across == pytest.approx(1, abs=1e-3)
    assert down < 0.9


@pytest.mark.parametrize("shape", [(50, 50), (128, 128), (224, 224)])
def test_every_size_is_seen_alike_and_repeated_gray_as_gray(shape: tuple[int, int]) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, shape[1]).astype(np.uint8), shape)[..., None]
    looks = appearance(ramp)
    np.testing.assert_allclose(appearance(np.broadcast_to(ramp, (*shape, 3))), looks, atol=1e-6)
    assert looks[:2] == pytest.approx([0.5, 0.29], abs=0.01)
