"""Lookup tables that a file brings along."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from secondread.errors import ImageRejected


def look_up(numbers: NDArray[Any], lut: Dataset, *, is_signed: bool, is_little_endian: bool) -> NDArray[np.float64]:
    """Send numbers through a modality or VOI LUT; those outside it become its first or last entry.

    Args:
        numbers: any shape.
        lut: an item of a Modality LUT or VOI LUT Sequence.
        is_signed: whether numbers may be negative.
        is_little_endian: how the file writes words.
    Raises:
        ImageRejected: `lut`.
    Source: DICOM PS3.3 C.11.1.1 and C.11.2.1.1 (LUT Descriptor (0028,3002): entries, first number mapped, bits).
    """
    descriptor = lut.get("LUTDescriptor")
    if not lut.get("LUTData") or descriptor is None or len(descriptor) != 3:
        raise ImageRejected("lut", "LUT Descriptor (0028,3002) or LUT Data (0028,3006) is empty")
    count, first, _ = (int(number) for number in descriptor)
    entries = _entries(lut.LUTData, count or 2**16, is_little_endian)
    if is_signed and first >= 2**15:  # many files write a negative number as if it had no sign
        first -= 2**16
    return entries.take(np.rint(numbers - float(first)).astype(np.int64), mode="clip").astype(np.float64)


def _entries(data: Any, count: int, is_little_endian: bool) -> NDArray[Any]:
    if not isinstance(data, bytes):
        return np.atleast_1d(np.asarray(data))[:count]
    if len(data) < 2 * count:  # entries of 8 bits, two to a word
        return np.frombuffer(data, np.uint8)[:count]
    return np.frombuffer(data, "<u2" if is_little_endian else ">u2")[:count]
