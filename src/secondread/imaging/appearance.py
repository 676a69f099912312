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
_BIN_OF = np.minimum(np.arange(256) * _BINS // 255, _BINS - 1)  # the histogram's bin of each brightness

Float32 = NDArray[np.float32]


def appearance(pixels: UInt8Image) -> NDArray[np.float64]:
    """Measure brightness, its spread and histogram, the frame, edges at five scales, and symmetry.

    Args:
        pixels: model input or stored pixels, shape (height, width, channels).
    Returns:
        shape (43,).
    """
    whole = _gray(pixels)
    gray = whole.astype(np.float32) / np.float32(255)
    measured = [*_mean_and_spread(gray), *_histogram(whole), *_frame(gray), *_edges(gray), *_symmetry(gray)]
    return np.array(measured, np.float64)


def _gray(pixels: UInt8Image) -> UInt8Image:
    """One channel, shape (128, 128); of three windows the luma, which is the gray itself where they are one."""
    channels = pixels.shape[2]
    gray = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY) if channels == 3 else pixels[..., 0]
    if gray.shape != (_SIDE, _SIDE):
        shrinks = min(gray.shape) > _SIDE
        gray = cv2.resize(gray, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.ascontiguousarray(gray)


def _histogram(gray: UInt8Image) -> NDArray[np.float64]:
    """Logarithm of each bin's share of the pixels."""
    counts = cv2.calcHist([gray], [0], None, [256], [0, 256]).ravel()
    shares: NDArray[np.float64] = np.log(np.bincount(_BIN_OF, counts) / gray.size + _RARE)
    return shares


def _frame(gray: Float32) -> list[float]:
    """Mean and spread along the four sides, and means of the four corners."""
    b, c = _BORDER, 2 * _BORDER
    sides = [_mean_and_spread(side) for side in (gray[:b], gray[-b:], gray[:, :b], gray[:, -b:])]
    corners = [cv2.mean(corner)[0] for corner in (gray[:c, :c], gray[:c, -c:], gray[-c:, :c], gray[-c:, -c:])]
    return [mean for mean, _ in sides] + [spread for _, spread in sides] + corners


def _edges(gray: Float32) -> list[float]:
    """Mean difference of neighbours across and down, and the share of strong ones, at each octave."""
    scales = [gray]
    for _ in range(_OCTAVES - 1):
        side = scales[-1].shape[0] // 2
        scales.append(cv2.resize(scales[-1], (side, side), interpolation=cv2.INTER_AREA))
    measured = []
    for scale in scales:
        across, down = cv2.absdiff(scale[:, 1:], scale[:, :-1]), cv2.absdiff(scale[1:], scale[:-1])
        strong = np.count_nonzero(across > np.float32(_EDGE)) / across.size
        measured += [cv2.mean(across)[0], cv2.mean(down)[0], strong]
    return [float(value) for value in np.log(np.array(measured) + _FLAT)]


def _symmetry(gray: Float32) -> list[float]:
    """Correlation with the mirror image, left to right and top to bottom."""
    coarse = cv2.resize(gray, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA)
    centered = coarse - np.float32(cv2.mean(coarse)[0])
    power = float((centered * centered).sum()) + _FLAT
    return [float((centered * mirrored).sum()) / power for mirrored in (centered[:, ::-1], centered[::-1])]


def _mean_and_spread(values: Float32) -> tuple[float, float]:
    mean, spread = cv2.meanStdDev(values)
    return float(mean[0, 0]), float(spread[0, 0])
