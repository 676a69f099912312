"""A map of single pixels as a map of places."""

import cv2

from secondread.explanation.method import Maps

_WIDTH = 0.08  # of the side, a Gaussian's standard deviation; chosen on val of both phantoms (docs/LOG.md)


def smooth(one: Maps) -> Maps:
    """Spread each pixel's share over its surroundings; the sum stays.

    Slopes of neighbouring pixels alternate in sign: as they are, nothing can be read from them, and the highest of them
    is an accident.

    Args:
        one: shape (height, width).
    """
    # Reflecting the edge is what keeps the sum.
    spread: Maps = cv2.GaussianBlur(one, (0, 0), _WIDTH * one.shape[0], borderType=cv2.BORDER_REFLECT)
    return spread
