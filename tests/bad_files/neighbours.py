"""Sound files that stand between bad ones, each unlike the others."""

from collections.abc import Iterator

import cv2
import numpy as np
from openjpeg.utils import encode_array
from pydicom import uid

from bad_files.sound import PIXELS, compressed, xray


def neighbours(count: int) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes: plain DICOM files, compressed ones, PNGs and JPEGs in turns."""
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 900, (8, 8)).astype(np.uint16)
        pixels = PIXELS + cv2.resize(noise, (64, 64), interpolation=cv2.INTER_CUBIC)
        if number % 4 == 0:
            yield f"sound_{number}.dcm", xray(pixels)
        elif number % 4 == 1:
            yield f"sound_{number}.dcm", compressed(encode_array(pixels), uid.JPEG2000Lossless)
        else:
            suffix = ".png" if number % 4 == 2 else ".jpg"
            yield f"sound_{number}{suffix}", cv2.imencode(suffix, pixels >> 4)[1].tobytes()
