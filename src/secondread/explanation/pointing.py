"""The pointing game: does the highest place of a map lie in the lesion?"""

import cv2
import numpy as np
import numpy.typing as npt

from secondread.explanation.method import Maps

Masks = npt.NDArray[np.bool_]
_TOLERANCE = 0.03  # of the side: 15 pixels of about 500 in the original


def tolerance(side: int) -> int:
    """How many pixels beside the lesion still count, of an image with this many rows."""
    return max(1, round(_TOLERANCE * side))


def hits(maps: Maps, masks: Masks) -> npt.NDArray[np.float64]:
    """Tell of every map whether it points at the lesion, with `tolerance`: 1 or 0, shape (n,).

    A map points where it is highest once it is blurred by a Gaussian as wide as the tolerance: no one sees a pixel.

    Args:
        maps: shape (n, height, width).
        masks: where the lesion is, of the same shape.
    Source: Zhang et al., Top-down Neural Attention by Excitation Backprop, 2016.
    """
    near = grown(masks)
    return np.array([mask[point(each)] for each, mask in zip(maps, near, strict=True)], np.float64)


def point(one: Maps) -> tuple[int, int]:
    """Where one map, shape (height, width), is highest: row and column."""
    row, column = divmod(int(np.argmax(smoothed(one))), one.shape[1])
    return row, column


def smoothed(one: Maps) -> Maps:
    """The map as one sees it."""
    found: Maps = cv2.GaussianBlur(one, (0, 0), tolerance(one.shape[0]))
    return found


def grown(masks: Masks) -> Masks:
    """The masks and whatever lies within the tolerance."""
    reach = tolerance(masks.shape[1])
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return np.array([cv2.dilate(mask.astype(np.uint8), disc) > 0 for mask in masks], bool)


def chance(masks: Masks) -> float:
    """How often a place that is drawn by lot would count."""
    return float(grown(masks).mean())
