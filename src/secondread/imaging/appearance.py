"""How an image looks at a glance, in 43 numbers: by them a photograph is told from an X-ray without a network."""

import cv2
import numpy as np
from numpy.typing import NDArray

from secondread.imaging.picture import UInt8Image

_SIDE = 128
_BINS = 12  # of the histogram of brightness
_BORDER = 8  # pixels of the frame whose brightness counts; corners are twice as large
_OCTAVES = 5
_EDGE = 0.1  # of full brightness between neighbouring pixels
_COARSE = 32  # pixels a side on which symmetry is measured
_RARE = 0.005  # added before logarithms of shares, so that an empty bin is not infinitely far from a rare one
_FLAT = 0.001  # added before logarithms of differences

Float32 = NDArray[np.float32]


def appearance(pixels: UInt8Image) -> NDArray[np.float64]:
    """Measure brightness, its spread and histogram, the frame, edges at five scales, and symmetry.

    Args:
        pixels: model input or stored pixels, shape (height, width, channels).
    Returns:
        shape (43,).
    """
    gray = _gray(pixels)
    measured = [gray.mean(), gray.std(), *_histogram(gray), *_frame(gray), *_edges(gray), *_symmetry(gray)]
    return np.array(measured, np.float64)


def _gray(pixels: UInt8Image) -> Float32:
    """One channel, 0 to 1, shape (128, 128); of three windows the luma, which is the gray itself where they are one."""
    channels = pixels.shape[2]
    gray = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY) if channels == 3 else pixels[..., 0]
    if gray.shape != (_SIDE, _SIDE):
        shrinks = min(gray.shape) > _SIDE
        gray = cv2.resize(gray, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return gray.astype(np.float32) / np.float32(255)


def _histogram(gray: Float32) -> NDArray[np.float64]:
    places = np.minimum((gray * _BINS).astype(np.int64), _BINS - 1)
    counts = np.bincount(places.ravel(), minlength=_BINS)
    shares: NDArray[np.float64] = np.log(counts / gray.size + _RARE)
    return shares


def _frame(gray: Float32) -> list[np.float32]:
    """Mean and spread along the four sides, and means of the four corners."""
    b, c = _BORDER, 2 * _BORDER
    sides = [gray[:b], gray[-b:], gray[:, :b], gray[:, -b:]]
    corners = [gray[:c, :c], gray[:c, -c:], gray[-c:, :c], gray[-c:, -c:]]
    return [side.mean() for side in sides] + [side.std() for side in sides] + [corner.mean() for corner in corners]


def _edges(gray: Float32) -> list[float]:
    """Mean difference of neighbours across and down, and the share of strong ones, at each octave."""
    scales = [gray]
    for _ in range(_OCTAVES - 1):
        side = scales[-1].shape[0] // 2
        scales.append(cv2.resize(scales[-1], (side, side), interpolation=cv2.INTER_AREA))
    measured = []
    for scale in scales:
        across, down = np.abs(np.diff(scale, axis=1)), np.abs(np.diff(scale, axis=0))
        measured += [across.mean(), down.mean(), np.count_nonzero(across > _EDGE) / across.size]
    return [float(value) for value in np.log(np.array(measured) + _FLAT)]


def _symmetry(gray: Float32) -> list[float]:
    """Correlation with the mirror image, left to right and top to bottom."""
    coarse = cv2.resize(gray, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA)
    centered = coarse - coarse.mean()
    power = float((centered * centered).sum()) + _FLAT
    return [float((centered * mirrored).sum()) / power for mirrored in (centered[:, ::-1], centered[::-1])]
