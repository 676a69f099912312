"""What stored numbers mean: the modality's unit, then how bright they are shown."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from secondread.config import Window
from secondread.errors import ImageRejected
from secondread.imaging.dicom.lean import Elements
from secondread.imaging.picture import HounsfieldImage, UInt8Image
from secondread.imaging.window import apply_window

_Stored = NDArray[Any]  # integers of up to 16 bits
_Numbers = NDArray[np.float64]

_STEEPEST_SLOPE = 100.0
_LINE = "RescaleSlope (0028,1053) and RescaleIntercept (0028,1052)"


def to_hounsfield(stored: _Stored, extent: tuple[int, int], dcm: Dataset | Elements) -> HounsfieldImage:
    """Rescale a CT image to Hounsfield units.

    Args:
        stored: shape (height, width).
        extent: its smallest and largest value that is no padding.
    Returns:
        shape (height, width); int16 where slope and intercept are whole numbers and it holds the result, else float32.
    Raises:
        ImageRejected: `rescale`.
    Source: DICOM PS3.3 C.11.1 and C.8.2.1.
    """
    line = _rescale(dcm)
    if line is None or "ModalityLUTSequence" in dcm:
        raise ImageRejected("rescale", f"a CT image needs {_LINE} to be in Hounsfield units")
    slope, intercept = line
    if _is_wrapped(dcm, slope, intercept):
        return ((stored.astype(np.int16) + 1000) % 4096 - 1000).astype(np.int16)
    ends = [value * slope + intercept for value in extent]
    if slope.is_integer() and intercept.is_integer() and -(2**15) <= min(ends) <= max(ends) < 2**15:
        # Modulo 2**16 on the way, as int16 is: what fits at the end is right.
        factor, offset = np.array(line).astype(np.int64).astype(np.int16)
        hounsfield = stored.astype(np.int16)
        hounsfield *= factor
        hounsfield += offset
        return hounsfield
    return (stored * slope + intercept).astype(np.float32)


def to_display(stored: _Stored, extent: tuple[int, int], dcm: Dataset | Elements) -> UInt8Image:
    """Show an X-ray as its file asks: modality LUT, then VOI, then inversion if it is MONOCHROME1.

    Args:
        stored: shape (height, width).
        extent: its smallest and largest value that is no padding; all of it is shown where the file names no window.
    Returns:
        uint8, shape (height, width), bone bright.
    Raises:
        ImageRejected: `rescale`, `window`, `lut` or `constant`.
    Source: DICOM PS3.4 N.2, PS3.3 C.11.1, C.11.2.
    """
    lowest, highest = extent
    # Every value that occurs goes through the pipeline once, and the image through the resulting table.
    share = _voi(_modality(np.arange(lowest, highest + 1, dtype=np.float64), dcm), dcm)
    if dcm.PhotometricInterpretation == "MONOCHROME1":
        share = 1 - share  # MONOCHROME1 stores bone dark; the model learned bone bright.
    table = np.rint(share * 255).astype(np.uint8)
    return table.take(stored.astype(np.int32) - lowest, mode="clip")


def _is_wrapped(dcm: Dataset | Elements, slope: float, intercept: float) -> bool:
    """RSNA 2019 has 12-bit files that lost their sign: air, below zero, came round to the top of the range.

    Source: the files themselves; a CT image of 12 unsigned bits without an offset has no way to hold air.
    """
    return dcm.BitsStored == 12 and dcm.PixelRepresentation == 0 and slope == 1 and intercept > -100


def _rescale(dcm: Dataset | Elements) -> tuple[float, float] | None:
    """Slope and intercept, or None where the file gives neither."""
    slope, intercept = _given(dcm, "RescaleSlope"), _given(dcm, "RescaleIntercept")
    if slope is None and intercept is None:
        return None
    line = _number(slope), _number(intercept)
    if not (math.isfinite(line[1]) and 0 < abs(line[0]) <= _STEEPEST_SLOPE):
        raise ImageRejected("rescale", f"{_LINE} must both be numbers, the slope neither 0 nor beyond 100")
    return line


def _modality(numbers: _Numbers, dcm: Dataset | Elements) -> _Numbers:
    if "ModalityLUTSequence" in dcm:
        return _look_up(numbers, dcm.ModalityLUTSequence[0], dcm)
    slope, intercept = _rescale(dcm) or (1.0, 0.0)
    return numbers * slope + intercept


def _voi(numbers: _Numbers, dcm: Dataset | Elements) -> _Numbers:
    """Share of full brightness, 0 to 1: by the first VOI LUT, else the first window, else from darkest to brightest."""
    if dcm.get("VOILUTSequence"):
        lut = dcm.VOILUTSequence[0]
        brightest: int = 2 ** int(lut.LUTDescriptor[2]) - 1
        return _look_up(numbers, lut, dcm) / brightest
    center, width = _given(dcm, "WindowCenter"), _given(dcm, "WindowWidth")
    if center is not None and width is not None:
        return _windowed(numbers, _first(center), _first(width), dcm.get("VOILUTFunction"))
    lowest, highest = numbers.min(), numbers.max()
    if lowest == highest:
        raise ImageRejected("constant", "the modality LUT gives every pixel the same value")
    share: _Numbers = (numbers - lowest) / (highest - lowest)
    return share


def _windowed(numbers: _Numbers, center: float, width: float, function: str | None) -> _Numbers:
    """Source: DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    if not (math.isfinite(center) and 1 < width < math.inf):
        raise ImageRejected("window", "WindowCenter (0028,1050) or WindowWidth (0028,1051) is out of range")
    if function == "SIGMOID":
        share: _Numbers = 1 / (1 + np.exp(-4 * (numbers - center) / width))
        return share
    if function == "LINEAR_EXACT":
        exact: _Numbers = ((numbers - center) / width + 0.5).clip(0, 1)
        return exact
    return apply_window(numbers, Window(center=center, width=width)).astype(np.float64)


def _look_up(numbers: _Numbers, lut: Dataset, dcm: Dataset | Elements) -> _Numbers:
    """Source: DICOM PS3.3 C.11.1.1 (LUT Descriptor: entries, first value mapped, bits an entry)."""
    if not lut.get("LUTData"):
        raise ImageRejected("lut", "LUTData (0028,3006) is empty")
    count, first, _ = (int(number) for number in lut.LUTDescriptor)
    entries = _lut_entries(lut.LUTData, count or 2**16, bool(dcm.is_little_endian))
    return entries.take(np.rint(numbers - first).astype(np.int64), mode="clip").astype(np.float64)


def _lut_entries(entries: Any, count: int, little_endian: bool) -> NDArray[Any]:
    if not isinstance(entries, bytes):
        return np.asarray(entries)
    if len(entries) < 2 * count:
        return np.frombuffer(entries, np.uint8)
    return np.frombuffer(entries, "<u2" if little_endian else ">u2")


def _given(dcm: Dataset | Elements, keyword: str) -> Any:
    """The value, or None where the element is absent or empty."""
    value = dcm.get(keyword)
    return None if value == "" else value


def _first(value: Any) -> float:
    """A DICOM window may list alternatives; the first is the one to show."""
    return _number(value[0] if isinstance(value, Sequence) and not isinstance(value, str) and value else value)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
