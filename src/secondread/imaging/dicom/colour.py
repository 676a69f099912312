"""X-rays that were saved as colour pictures become gray."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from secondread.imaging.picture import UInt8Image

PALETTE = "PALETTE COLOR"
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")  # PS3.3 C.7.6.3.1.2


def to_gray(pixels: NDArray[Any], dcm: Dataset) -> UInt8Image:
    """Keep the luma of a colour picture; three equal channels give exactly their value.

    Args:
        pixels: red, green and blue, shape (rows, columns, 3), uint8; or indices of a palette, shape (rows, columns).
    Returns:
        uint8, shape (rows, columns). No window applies to a colour picture (PS3.3 C.11.2.1).
    Source: ITU-R BT.601, as PS3.3 C.7.6.3.1.2 (YBR_FULL); PS3.3 C.7.6.3.1.5 and C.7.9 (palettes).
    """
    if pixels.ndim == 2:
        pixels = apply_color_lut(pixels, dcm)[..., :3]
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    gray: UInt8Image = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    return gray
