"""Read DICOM: who an image belongs to, and what its pixels mean."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TypeVar

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from secondread.errors import ImageRejected, OutOfScope
from secondread.imaging.dicom.bits import Stored
from secondread.imaging.dicom.colour import COLOURS, PALETTE, to_gray
from secondread.imaging.dicom.decode import decode_colour, decode_compressed, decode_gray
from secondread.imaging.dicom.deflate import inflate
from secondread.imaging.dicom.functional_groups import FUNCTIONAL_GROUPS, tell_of_only_frame
from secondread.imaging.dicom.lean import Elements, read_lean
from secondread.imaging.dicom.lean_compressed import CompressedFile, read_compressed
from secondread.imaging.dicom.leniency import leniently
from secondread.imaging.dicom.padding import padding_of
from secondread.imaging.dicom.plain import has_closed_pixels
from secondread.imaging.dicom.scope import check_scope
from secondread.imaging.dicom.values import to_display, to_hounsfield
from secondread.imaging.limits import check_size
from secondread.imaging.picture import AnyImage, Picture
from secondread.tasks import HeaderScope

Result = TypeVar("Result")

_HEADER_TAGS = [
    "PatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "Modality",
    "PatientSex",
    "PatientAge",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "NumberOfFrames",
    *FUNCTIONAL_GROUPS,
]
_AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_MODALITIES = ("CT", "CR", "DX")
_ANYTHING = HeaderScope()
_DARKEST_HU = -1024  # below air: black through any window for the head


@dataclass(frozen=True)
class Header:
    """Who and what an image is, in DICOM's words; an empty text where the file does not say.

    Args:
        sex: Patient's Sex (0010,0040).
        age: Patient's Age (0010,1010).
        order: millimetres along the normal of the slice, which sorts a series; NaN where the file does not say.
        normal: of the slice, axial where the file does not say; NaN where what it says is no orientation.
    """

    patient_id: str
    study_uid: str
    series_uid: str
    sop_uid: str
    modality: str
    sex: str
    age: str
    order: float
    normal: tuple[float, float, float]


def read_header(data: bytes) -> Header:
    """Read whose image a DICOM file is, without its pixels.

    Raises:
        ImageRejected: `dicom`, `truncated`, `too_large`.
    """
    return _guarded(_read_header, inflate(data))


def read_dicom(data: bytes, modalities: Sequence[str] = _MODALITIES, scope: HeaderScope = _ANYTHING) -> Picture:
    """Decode one CT image to Hounsfield units, or one CR or DX image to display values.

    Padding becomes the darkest value. Of X-rays that were saved as colour pictures the luma is kept.

    Args:
        data: a file that `limits.check` has let pass.
        modalities: of CT, CR and DX, those that are accepted.
        scope: what else the header may not say.
    Raises:
        ImageRejected: `dicom`, `too_large`, `no_modality`, `photometric`, `frames`, `bits`, `dimensions`, `no_pixels`,
            `transfer_syntax`, `codestream`, `truncated`, `scans`, `decode`, `rescale`, `window` or `lut`.
        OutOfScope: a rule of `dicom.scope`, `unit`, `secondary_capture`, or `constant`.
    """
    data = inflate(data)
    lean = read_lean(data)
    if lean is None and (compressed := read_compressed(data)):
        return _guarded(lambda _: _read_compressed(compressed, modalities, scope), data)
    if lean is None:
        return _guarded(lambda data: _read_dicom(data, modalities, scope), data)
    with np.errstate(all="ignore"), discreet():
        check_scope(lean.elements, modalities, scope)
        _check_attributes(lean.elements)
        return _picture(lean.elements, lean.stored)


def _guarded(read: Callable[[bytes], Result], data: bytes) -> Result:
    with leniently(), discreet():
        return read(data)


@contextmanager
def discreet() -> Iterator[None]:
    """Damaged files make a reader raise anything, with the file's values in the text: say only that it is damaged."""
    try:
        yield
    except ImageRejected:
        raise
    except Exception:
        raise ImageRejected("dicom", "the DICOM file is damaged") from None


def _read_header(data: bytes) -> Header:
    dcm = dcmread(BytesIO(data), stop_before_pixels=True, specific_tags=[*_HEADER_TAGS])
    if "TransferSyntaxUID" not in dcm.file_meta:
        raise ImageRejected(
            "dicom", "the file does not say how it is encoded: Transfer Syntax UID (0002,0010) is absent"
        )
    tell_of_only_frame(dcm)
    patient_id, study_uid, series_uid, sop_uid, modality, sex, age = (_text(dcm, tag) for tag in _HEADER_TAGS[:7])
    return Header(patient_id, study_uid, series_uid, sop_uid, modality, sex, age, *_place(dcm))


def _text(dcm: Dataset | Elements, keyword: str) -> str:
    return str(dcm.get(keyword) or "").strip()


def _place(dcm: Dataset) -> tuple[float, tuple[float, float, float]]:
    """Where a slice lies along its normal, and that normal.

    Source: DICOM PS3.3 C.7.6.2.1.1 (the normal is the cross product of the row and column directions).
    """
    position = np.asarray(dcm.get("ImagePositionPatient") or (), np.float64)
    orientation = np.asarray(dcm.get("ImageOrientationPatient") or _AXIAL, np.float64)
    if orientation.shape != (6,):
        return math.nan, (math.nan,) * 3
    normal = np.cross(orientation[:3], orientation[3:])
    x, y, z = normal.tolist()
    return float(normal @ position) if position.shape == (3,) else math.nan, (x, y, z)


def _read_dicom(data: bytes, modalities: Sequence[str], scope: HeaderScope) -> Picture:
    dcm = dcmread(BytesIO(data))
    tell_of_only_frame(dcm)
    check_scope(dcm, modalities, scope)
    _check_attributes(dcm)
    if dcm["PixelData"].is_undefined_length and not has_closed_pixels(data):
        raise ImageRejected("truncated", "the file ends within its pixels")
    if dcm.PhotometricInterpretation not in (*COLOURS, PALETTE):
        return _picture(dcm, decode_gray(dcm))
    if _text(dcm, "Modality") == "CT":
        raise OutOfScope("secondary_capture", "a colour picture of a CT image holds no Hounsfield units")
    is_palette = dcm.PhotometricInterpretation == PALETTE
    gray = to_gray(decode_gray(dcm).values if is_palette else decode_colour(dcm), dcm)
    _refuse_blank(gray)
    return Picture(gray, "display", gray, _text(dcm, "Modality"))


def _read_compressed(file: CompressedFile, modalities: Sequence[str], scope: HeaderScope) -> Picture:
    check_scope(file.elements, modalities, scope)
    _check_attributes(file.elements)
    return _picture(file.elements, decode_compressed(file))


def _picture(dcm: Dataset | Elements, stored: Stored) -> Picture:
    """What stored values of a file mean."""
    modality, numbers = _text(dcm, "Modality"), stored.values
    padding = padding_of(dcm, stored)
    shown = numbers if padding is None else numbers[~padding]
    extent = _refuse_blank(shown)
    is_ct = modality == "CT"
    values = to_hounsfield(numbers, extent, dcm) if is_ct else to_display(numbers, extent, dcm)
    if padding is not None:
        values[padding] = _DARKEST_HU if is_ct else 0
    return Picture(values, "HU" if is_ct else "display", numbers, modality, padding)


def _refuse_blank(shown: AnyImage) -> tuple[int, int]:
    """The smallest and the largest value."""
    if shown.size == 0 or shown.min() == shown.max():
        raise OutOfScope("constant", "the image is blank: every pixel has the same value")
    return int(shown.min()), int(shown.max())


def _check_attributes(dcm: Dataset | Elements) -> None:
    if isinstance(dcm, Dataset) and "PixelData" not in dcm:
        if "FloatPixelData" in dcm or "DoubleFloatPixelData" in dcm:
            raise ImageRejected("bits", "only integer pixels of 8 or 16 bits are read")
        raise ImageRejected("no_pixels", "the file has no Pixel Data (7FE0,0010)")
    colour = dcm.get("PhotometricInterpretation")
    samples = 3 if colour in COLOURS else 1
    if dcm.get("SamplesPerPixel") != samples or colour not in ("MONOCHROME1", "MONOCHROME2", PALETTE, *COLOURS):
        raise ImageRejected("photometric", "the file says no Photometric Interpretation (0028,0004) that is read")
    if int(dcm.get("NumberOfFrames") or 1) != 1:
        raise ImageRejected("frames", "the file holds several frames; make a file of each one that is to be read")
    check_size(dcm.Rows, dcm.Columns)
