"""Read DICOM: who an image belongs to, and what its pixels mean."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom import uid as syntaxes
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame

from secondread.errors import ImageRejected, OutOfScope
from secondread.imaging.codestream import Frame, jpeg2000_frame, jpeg_frame
from secondread.imaging.dicom.deflate import inflate
from secondread.imaging.dicom.lean import Elements, read_lean
from secondread.imaging.dicom.lean_compressed import CompressedFile, read_compressed
from secondread.imaging.dicom.leniency import leniently
from secondread.imaging.dicom.plain import has_closed_pixels
from secondread.imaging.dicom.scope import check_scope
from secondread.imaging.dicom.values import to_display, to_hounsfield
from secondread.imaging.limits import check_size
from secondread.imaging.picture import Mask, Picture
from secondread.tasks import HeaderScope

Result = TypeVar("Result")

_RAW_SYNTAXES = {
    syntaxes.ImplicitVRLittleEndian,
    syntaxes.ExplicitVRLittleEndian,
    syntaxes.DeflatedExplicitVRLittleEndian,
    syntaxes.ExplicitVRBigEndian,
    syntaxes.RLELossless,
}
_CODESTREAM_READERS: Mapping[str, Callable[[bytes], Frame]] = {
    syntaxes.JPEGBaseline8Bit: jpeg_frame,
    syntaxes.JPEGExtended12Bit: jpeg_frame,
    syntaxes.JPEGLossless: jpeg_frame,
    syntaxes.JPEGLosslessSV1: jpeg_frame,
    syntaxes.JPEGLSLossless: jpeg_frame,
    syntaxes.JPEGLSNearLossless: jpeg_frame,
    syntaxes.JPEG2000Lossless: jpeg2000_frame,
    syntaxes.JPEG2000: jpeg2000_frame,
}
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
    """

    patient_id: str
    study_uid: str
    series_uid: str
    sop_uid: str
    modality: str
    sex: str
    age: str
    order: float


def read_header(data: bytes) -> Header:
    """Read whose image a DICOM file is, without its pixels.

    Raises:
        ImageRejected: `dicom`, `truncated`, `too_large`.
    """
    return _guarded(_read_header, inflate(data))


def read_dicom(data: bytes, modalities: Sequence[str] = _MODALITIES, scope: HeaderScope = _ANYTHING) -> Picture:
    """Decode one CT image to Hounsfield units, or one CR or DX image to display values.

    Padding becomes the darkest value.

    Args:
        data: a file that `limits.check` has let pass.
        modalities: of CT, CR and DX, those that are accepted.
        scope: what else the header may not say.
    Raises:
        ImageRejected: `dicom`, `too_large`, `modality`, `photometric`, `frames`, `bits`, `dimensions`,
            `transfer_syntax`, `codestream`, `truncated`, `scans`, `decode`, `rescale`, `window` or `lut`.
        OutOfScope: a rule of `dicom.scope`, or `constant`.
    """
    data = inflate(data)
    lean = read_lean(data)
    if lean is None and (compressed := read_compressed(data)):
        return _guarded(lambda _: _read_compressed(compressed, modalities, scope), data)
    if lean is None:
        return _guarded(lambda data: _read_dicom(data, modalities, scope), data)
    with np.errstate(all="ignore"), _discreet():
        check_scope(lean.elements, modalities, scope)
        _check_attributes(lean.elements)
        return _picture(lean.elements, lean.stored)


def _guarded(read: Callable[[bytes], Result], data: bytes) -> Result:
    with leniently(), _discreet():
        return read(data)


@contextmanager
def _discreet() -> Iterator[None]:
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
    patient_id, study_uid, series_uid, sop_uid, modality, sex, age = (_text(dcm, tag) for tag in _HEADER_TAGS[:7])
    return Header(patient_id, study_uid, series_uid, sop_uid, modality, sex, age, _order(dcm))


def _text(dcm: Dataset | Elements, keyword: str) -> str:
    return str(dcm.get(keyword) or "").strip()


def _order(dcm: Dataset) -> float:
    """Source: DICOM PS3.3 C.7.6.2.1.1 (the normal is the cross product of the row and column directions)."""
    position = np.asarray(dcm.get("ImagePositionPatient") or (), np.float64)
    orientation = np.asarray(dcm.get("ImageOrientationPatient") or _AXIAL, np.float64)
    if position.shape != (3,) or orientation.shape != (6,):
        return math.nan
    return float(np.cross(orientation[:3], orientation[3:]) @ position)


def _read_dicom(data: bytes, modalities: Sequence[str], scope: HeaderScope) -> Picture:
    dcm = dcmread(BytesIO(data))
    check_scope(dcm, modalities, scope)
    _check_attributes(dcm)
    if dcm["PixelData"].is_undefined_length and not has_closed_pixels(data):
        raise ImageRejected("truncated", "the file ends within its pixels")
    syntax = dcm.file_meta.get("TransferSyntaxUID", "")
    return _picture(dcm, _decode(syntax, dcm.PixelData, dcm, lambda: dcm.pixel_array))


def _read_compressed(file: CompressedFile, modalities: Sequence[str], scope: HeaderScope) -> Picture:
    check_scope(file.elements, modalities, scope)
    _check_attributes(file.elements)
    return _picture(file.elements, _decode(file.syntax, file.encapsulated, file.elements, file.decoded))


def _picture(dcm: Dataset | Elements, stored: NDArray[Any]) -> Picture:
    """What stored values of a file mean."""
    modality = _text(dcm, "Modality")
    padding = _padding(dcm, stored)
    shown = stored if padding is None else stored[~padding]
    if shown.size == 0 or shown.min() == shown.max():
        raise OutOfScope("constant", "the image is blank: every pixel has the same value")
    extent = int(shown.min()), int(shown.max())
    is_ct = modality == "CT"
    values = to_hounsfield(stored, extent, dcm) if is_ct else to_display(stored, extent, dcm)
    if padding is not None:
        values[padding] = _DARKEST_HU if is_ct else 0
    return Picture(values, "HU" if is_ct else "display", stored, modality, padding)


def _check_attributes(dcm: Dataset | Elements) -> None:
    if dcm.get("SamplesPerPixel") != 1 or dcm.get("PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
        raise ImageRejected("photometric", "only images of one gray channel (MONOCHROME1 or MONOCHROME2) are read")
    if int(dcm.get("NumberOfFrames") or 1) != 1:
        raise ImageRejected("frames", "the file holds several frames; one image a file is read")
    if dcm.BitsAllocated not in (8, 16) or (isinstance(dcm, Dataset) and "PixelData" not in dcm):
        raise ImageRejected("bits", "only integer pixels of 8 or 16 bits are read")
    check_size(dcm.Rows, dcm.Columns)


def _decode(syntax: str, encapsulated: bytes, dcm: Dataset | Elements, decoded: Callable[[], Any]) -> NDArray[Any]:
    if syntax not in _RAW_SYNTAXES and syntax not in _CODESTREAM_READERS:
        raise ImageRejected("transfer_syntax", "the file's transfer syntax is not read")
    if syntax in _CODESTREAM_READERS:
        frame = _CODESTREAM_READERS[syntax](get_frame(encapsulated, 0, number_of_frames=1))
        if frame != Frame(dcm.Rows, dcm.Columns, 1):
            raise ImageRejected("codestream", "the compressed image and the header disagree about its dimensions")
    try:
        stored: NDArray[Any] = decoded()
    except Exception:  # a decoder of any codec, on damaged data
        raise ImageRejected("decode", "the DICOM pixel data cannot be decoded") from None
    return stored


def _padding(dcm: Dataset | Elements, stored: NDArray[Any]) -> Mask | None:
    """Source: DICOM PS3.3 C.7.5.1.1.2 (a value, or a range of values, that fills up the image)."""
    value = dcm.get("PixelPaddingValue")
    if value is None:
        return None
    limit = dcm.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(value if limit is None else limit)))
    mask: Mask = stored == low if low == high else (stored >= low) & (stored <= high)
    return mask if mask.any() else None
