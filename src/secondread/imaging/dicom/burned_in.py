"""Whether text may be drawn into the pixels: what a header says, and what looks like a line of letters."""

import cv2
import numpy as np
from pydicom.dataset import Dataset

from secondread.imaging.picture import Picture, UInt8Image

_LETTERS = 4  # in a line: fewer are a mark of the side, such as R, or noise
_SMALLEST, _LARGEST = 0.008, 0.06  # height of a letter, of the image's
_CONTRAST = 70  # gray levels of 255 by which a stroke stands out of what is around it


def burned_in_text(dcm: Dataset, picture: Picture) -> str:
    """Say why text is suspected in the pixels, in words that quote nothing; "" where it is not.

    Source: DICOM PS3.3 C.7.6.1.1.1 (Burned In Annotation), C.8.6.1 (Conversion Type).
    """
    if dcm.get("BurnedInAnnotation") == "YES":
        return "Burned In Annotation (0028,0301) says that there is"
    if dcm.get("ConversionType"):
        return "Conversion Type (0008,0064) says a picture of a screen, a film or a document"
    if looks_written(_gray(picture)):
        return "a row of small bright or dark shapes looks like letters"
    return ""


def looks_written(gray: UInt8Image) -> bool:
    """Whether a row of small shapes, brighter or darker than all around them, looks like a line of letters.

    Args:
        gray: shape (height, width).
    """
    side = max(3, int(_LARGEST * gray.shape[0] / 2) | 1)  # wider than a stroke, narrower than most of an organ
    around = cv2.getStructuringElement(cv2.MORPH_RECT, (side, side))
    strokes = (cv2.morphologyEx(gray, how, around) for how in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT))
    return any(_has_line((found >= _CONTRAST).astype(np.uint8), gray.shape[0]) for found in strokes)


def _gray(picture: Picture) -> UInt8Image:
    """All values between the smallest and the largest, as 8 bits."""
    values = picture.values.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    gray: UInt8Image = np.rint((values - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)
    return gray


def _has_line(shown: UInt8Image, height: int) -> bool:
    """Whether so many letters stand in a row: of like height, on one line, no further apart than they are high."""
    _, _, boxes, _ = cv2.connectedComponentsWithStats(shown, connectivity=8)
    letters = [tuple(box) for box in boxes[1:] if _is_letter(box, height)]
    letters.sort()
    return any(_row_from(first, letters) >= _LETTERS for first in letters)


def _is_letter(box: "np.ndarray[tuple[int, ...], np.dtype[np.int32]]", height: int) -> bool:
    wide, tall, area = box[cv2.CC_STAT_WIDTH], box[cv2.CC_STAT_HEIGHT], box[cv2.CC_STAT_AREA]
    return bool(
        max(5, _SMALLEST * height) <= tall <= _LARGEST * height
        and 0.08 * tall <= wide <= 1.6 * tall
        and 0.15 * wide * tall <= area <= 0.9 * wide * tall + (wide < 0.35 * tall) * wide * tall
    )


def _row_from(first: tuple[int, ...], letters: list[tuple[int, ...]]) -> int:
    """How many letters follow each other from this one on, each (left, top, width, height, area), from the left."""
    count, last = 1, first
    for each in letters:
        gap = each[0] - (last[0] + last[2])
        if each[0] <= last[0] or not -0.2 * last[3] <= gap <= 1.2 * last[3]:
            continue
        same_line = abs(each[1] + each[3] - last[1] - last[3]) <= 0.25 * last[3]
        if same_line and 0.7 <= each[3] / last[3] <= 1.4:
            count, last = count + 1, each
    return count
