"""What anatomy is drawn with: smooth noise, soft edges, painting, curves."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[np.float32]


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], sigma: tuple[float, float], wrap: bool = False
) -> Field:
    """Gaussian noise of unit standard deviation, smoothed.

    Args:
        shape: (height, width).
        sigma: of the smoothing, in pixels down and across.
        wrap: the first row continues the last one, as angles do.
    """
    noise = rng.standard_normal(shape, dtype=np.float32)
    modes = ("wrap" if wrap else "reflect", "reflect")
    smoothed: Field = ndimage.gaussian_filter(noise, sigma, mode=modes, truncate=3)
    return smoothed / max(float(smoothed.std()), 1e-6)


def clouds(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> Field:
    """Broad unit noise for a whole image, drawn on a coarse grid of `cells` across and enlarged; fast."""
    height = max(2, round(cells * shape[0] / shape[1]))
    coarse = rng.standard_normal((height, cells), dtype=np.float32)
    fine: Field = cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return fine / max(float(fine.std()), 1e-6)


def cover(distance: Field, softness: float) -> Field:
    """Coverage in [0, 1] of pixels at a signed distance inside (positive) an edge that is `softness` wide."""
    coverage = distance / np.float32(softness)
    coverage += np.float32(0.5)
    return between(coverage, 0, 1)


def between(values: Field, low: float, high: float) -> Field:
    """The values, those outside the limits replaced by the limits; in place."""
    limited: Field = np.clip(values, low, high, out=values)
    return limited


def paint(canvas: Field, coverage: Field, value: Field | float) -> None:
    """Lay `value` over the canvas where `coverage` is 1, and mix it at the edges."""
    change = value - canvas
    change *= coverage
    canvas += change


def length(x: Field, y: Field) -> Field:
    """Length of vectors; several times faster than np.hypot, which guards against numbers that no image holds."""
    squares = x * x
    squares += y * y
    lengths: Field = np.sqrt(squares, out=squares)
    return lengths


def segment_distance(x: Field, y: Field, start: tuple[float, float], end: tuple[float, float]) -> Field:
    """Distance of every point to a straight segment, in the unit of `x` and `y`."""
    across, along = end[0] - start[0], end[1] - start[1]
    square = across * across + along * along
    x, y = x - np.float32(start[0]), y - np.float32(start[1])
    position = x * np.float32(across / square)
    position += y * np.float32(along / square)
    between(position, 0, 1)
    x -= position * np.float32(across)
    y -= position * np.float32(along)
    return length(x, y)


def written(text: str, shape: tuple[int, int], corner: tuple[int, int], scale: float) -> Field:
    """Coverage in [0, 1] by a line of text whose lower left corner (column, row) is given."""
    canvas = np.zeros(shape, np.uint8)
    cv2.putText(canvas, text, corner, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, 1, cv2.LINE_AA)
    return canvas.astype(np.float32) / np.float32(255)
