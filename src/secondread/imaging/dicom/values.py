"""What stored numbers mean: the modality's unit, then how bright they are shown."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID

from secondread.config import Window
from secondread.errors import ImageRejected, OutOfScope
from secondread.imaging.dicom.lean import Elements
from secondread.imaging.dicom.lut import look_up
from secondread.imaging.picture import HounsfieldImage, UInt8Image
from secondread.imaging.window import apply_window

_Stored = NDArray[Any]  # integers of up to 16 bits
_Numbers = NDArray[np.float64]

_STEEPEST_SLOPE = 100.0
_LINE = "RescaleSlope (0028,1053) and RescaleIntercept (0028,1052)"
_OTHER_UNITS = ("OD", "MGML", "Z_EFF", "ED", "EDW", "PCT")  # PS3.3 C.11.1.1.2, beside HU, HU_MOD and US (unspecified)


def to_hounsfield(stored: _Stored, extent: tuple[int, int], dcm: Dataset | Elements) -> HounsfieldImage:
    """Give a CT image its Hounsfield units: by slope and intercept, else by a modality LUT that says HU.

    Args:
        stored: shape (height, width).
        extent: its smallest and largest value that is no padding.
    Returns:
        shape (height, width); int16 where slope and intercept are whole numbers and it holds the result, else float32.
    Raises:
        ImageRejected: `rescale` or `lut`.
        OutOfScope: `unit` or `secondary_capture`.
    Source: DICOM PS3.3 C.8.2.1 (CT has slope and intercept), C.11.1 (or, in other objects, a LUT instead of them).
    """
    if _word(dcm, "RescaleType") in _OTHER_UNITS:
        raise OutOfScope("unit", "Rescale Type (0028,1054) says that the pixels are no Hounsfield units")
    line = _rescale(dcm)
    if line is None:
        return _hounsfield_of_lut(stored, dcm)
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


def _hounsfield_of_lut(stored: _Stored, dcm: Dataset | Elements) -> HounsfieldImage:
    """Source: DICOM PS3.3 C.11.1.1 and C.11.1.1.2 (Modality LUT Type (0028,3004): HU)."""
    if dcm.get("ModalityLUTSequence") and _word(dcm.ModalityLUTSequence[0], "ModalityLUTType") == "HU":
        return _look_up(stored, dcm.ModalityLUTSequence[0], dcm).astype(np.float32)
    if "Secondary Capture" in UID(_word(dcm, "SOPClassUID")).name:
        raise OutOfScope("secondary_capture", "a secondary capture of a CT image that holds no Hounsfield units")
    raise ImageRejected("rescale", f"a CT image needs {_LINE} to be in Hounsfield units")


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
    if share.min() == share.max():
        raise ImageRejected("window", "the file's VOI LUT or window shows every pixel alike")
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
    if dcm.get("ModalityLUTSequence"):
        return _look_up(numbers, dcm.ModalityLUTSequence[0], dcm)
    slope, intercept = _rescale(dcm) or (1.0, 0.0)
    return numbers * slope + intercept


def _voi(numbers: _Numbers, dcm: Dataset | Elements) -> _Numbers:
    """Share of full brightness, 0 to 1: by the first VOI LUT, else the first window, else from darkest to brightest.

    Source: DICOM PS3.3 C.11.2.1.1 (a LUT or a window, not both), C.11.2.1.2 (several of them are alternatives).
    """
    if dcm.get("VOILUTSequence"):
        lut = dcm.VOILUTSequence[0]
        brightest: int = 2 ** int(lut.LUTDescriptor[2]) - 1
        shown: _Numbers = (_look_up(numbers, lut, dcm) / brightest).clip(0, 1)
        return shown
    center, width = _given(dcm, "WindowCenter"), _given(dcm, "WindowWidth")
    if center is not None and width is not None:
        return _windowed(numbers, _first(center), _first(width), _word(dcm, "VOILUTFunction"))
    lowest, highest = numbers.min(), numbers.max()
    if lowest == highest:
        raise ImageRejected("constant", "the modality LUT gives every pixel the same value")
    share: _Numbers = (numbers - lowest) / (highest - lowest)
    return share


def _windowed(numbers: _Numbers, center: float, width: float, function: str) -> _Numbers:
    """Source: DICOM PS3.3 C.11.2.1.2.1 (LINEAR, also where the file names no function), C.11.2.1.3."""
    is_linear = function not in ("SIGMOID", "LINEAR_EXACT")
    if not (math.isfinite(center) and (1 if is_linear else 0) < width < math.inf):
        raise ImageRejected("window", "WindowCenter (0028,1050) or WindowWidth (0028,1051) is out of range")
    if is_linear:
        return apply_window(numbers, Window(center=center, width=width)).astype(np.float64)
    if function == "SIGMOID":
        share: _Numbers = 1 / (1 + np.exp(-4 * (numbers - center) / width))
        return share
    exact: _Numbers = ((numbers - center) / width + 0.5).clip(0, 1)
    return exact


def _look_up(numbers: _Stored, lut: Dataset, dcm: Dataset | Elements) -> _Numbers:
    is_signed = dcm.PixelRepresentation == 1 or bool(numbers.min() < 0)
    return look_up(numbers, lut, is_signed=is_signed, is_little_endian=bool(dcm.original_encoding[1]))


def _given(dcm: Dataset | Elements, keyword: str) -> Any:
    """The value, or None where the element is absent or empty."""
    value = dcm.get(keyword)
    return None if value == "" else value


def _word(dcm: Dataset | Elements, keyword: str) -> str:
    """The first value in capitals, "" where there is none."""
    value = dcm.get(keyword)
    first = value[0] if isinstance(value, Sequence) and not isinstance(value, str) and value else value
    return str(first or "").strip().upper()


def _first(value: Any) -> float:
    """A DICOM window may list alternatives; the first is the one to show."""
    return _number(value[0] if isinstance(value, Sequence) and not isinstance(value, str) and value else value)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
