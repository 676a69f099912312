"""Sound files of every format, from which bad ones are made."""

import io
from collections.abc import Callable

import cv2
import numpy as np
from openjpeg.utils import encode_array
from PIL import Image
from pydicom import dcmread, dcmwrite, uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from bad_files.codestreams import JPEG_12_BIT, JPEG_LOSSLESS, JPEG_LS
from secondread.config import Window
from secondread.imaging.dicom.leniency import leniently
from secondread.imaging.dicom.write import write_xray

_ROWS, _COLUMNS = np.mgrid[:64, :64]
PIXELS = np.where(_ROWS + _COLUMNS < 64, 500, 3000).astype(np.uint16)
_GRAY = (PIXELS >> 4).astype(np.uint8)


def xray(pixels: np.ndarray = PIXELS) -> bytes:
    """An uncompressed chest X-ray."""
    return write_xray(
        pixels,
        bits=12,
        photometric="MONOCHROME2",
        window=Window(center=2048, width=4096),
        patient_id="1",
        study_uid="2.25.1",
        series_uid="2.25.2",
        sop_uid="2.25.3",
    )


def changed(change: Callable[[Dataset], None], syntax: str = uid.ExplicitVRLittleEndian) -> bytes:
    """The X-ray after a change of its elements."""
    with leniently():
        dcm = dcmread(io.BytesIO(xray()))
        change(dcm)
        dcm.file_meta.TransferSyntaxUID = uid.UID(syntax)
        _ = list(dcm)  # decoded, so that either byte may come first
        out, big = io.BytesIO(), syntax == uid.ExplicitVRBigEndian
        dcmwrite(out, dcm, implicit_vr=syntax == uid.ImplicitVRLittleEndian, little_endian=not big)
    return out.getvalue()


def compressed(codestream: bytes, syntax: str, bits: int = 12) -> bytes:
    """The X-ray with a codestream for its pixels."""

    def change(dcm: Dataset) -> None:
        dcm.BitsAllocated, dcm.BitsStored, dcm.HighBit = (8 if bits == 8 else 16), bits, bits - 1
        dcm.PixelData = encapsulate([codestream])
        dcm["PixelData"].is_undefined_length = True

    return changed(change, syntax)


def big_endian() -> bytes:
    """The X-ray, the more significant byte first."""

    def change(dcm: Dataset) -> None:
        dcm.PixelData = PIXELS.astype(">u2").tobytes()

    return changed(change, uid.ExplicitVRBigEndian)


def run_length() -> bytes:
    """The X-ray in runs."""

    def change(dcm: Dataset) -> None:
        dcm.compress(uid.RLELossless, generate_instance_uid=False)

    return changed(change, uid.RLELossless)


def saved(kind: str, **how: object) -> bytes:
    """The picture as a file that is no DICOM."""
    out = io.BytesIO()
    Image.fromarray(_GRAY).save(out, kind, **how)
    return out.getvalue()


JPEG_BASELINE = saved("JPEG")
JPEG_2000 = encode_array(PIXELS)
DICOM = {
    "explicit": xray(),
    "implicit": changed(lambda dcm: None, uid.ImplicitVRLittleEndian),
    "big_endian": big_endian(),
    "deflated": changed(lambda dcm: None, uid.DeflatedExplicitVRLittleEndian),
    "rle": run_length(),
    "jpeg_baseline": compressed(JPEG_BASELINE, uid.JPEGBaseline8Bit, bits=8),
    "jpeg_12_bit": compressed(JPEG_12_BIT, uid.JPEGExtended12Bit),
    "jpeg_lossless": compressed(JPEG_LOSSLESS, uid.JPEGLosslessSV1),
    "jpeg_ls": compressed(JPEG_LS, uid.JPEGLSLossless),
    "jpeg_2000": compressed(JPEG_2000, uid.JPEG2000Lossless),
}
PICTURES = {
    "png": saved("PNG"),
    "png_16_bit": cv2.imencode(".png", PIXELS << 4)[1].tobytes(),
    "jpeg": JPEG_BASELINE,
    "jpeg_progressive": saved("JPEG", progressive=True),
    "jpeg_exif": saved("JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"),
}
SOUND = DICOM | PICTURES
