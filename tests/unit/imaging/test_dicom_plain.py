"""The common DICOM file is told from one that may keep a reader busy, by its bytes alone."""

import io
from struct import pack
from typing import Any

import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from secondread.data.phantom.write import phantom_image
from secondread.imaging.dicom.leniency import leniently
from secondread.imaging.dicom.plain import is_plain_dicom
from secondread.tasks import load_task

HEAD = phantom_image(load_task("hemorrhage"), seed=0)


def saved(change: Any = None, syntax: str = uid.ExplicitVRLittleEndian) -> bytes:
    out = io.BytesIO()
    with leniently():
        dcm = dcmread(io.BytesIO(HEAD))
        if change:
            change(dcm)
        dcm.file_meta.TransferSyntaxUID = uid.UID(syntax)
        dcm.save_as(out, implicit_vr=syntax == uid.ImplicitVRLittleEndian, little_endian=True)
    return out.getvalue()


def nest(dcm: Dataset) -> None:
    item = Dataset()
    item.CodeValue = "1"
    item.PixelData = bytes(10)  # an icon's: not the image's
    item["PixelData"].VR = "OB"
    dcm.ProcedureCodeSequence = Sequence([item])
    dcm["ProcedureCodeSequence"].is_undefined_length = True


def talk(dcm: Dataset) -> None:
    dcm.ImageComments = "x" * 10_000
    dcm.add_new(0x00091010, "UN", bytes(60_000))


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
@pytest.mark.parametrize("change", [None, nest])
def test_an_uncompressed_file_with_a_short_header_is_plain(change: Any, syntax: str) -> None:
    assert is_plain_dicom(saved(change, syntax))


@pytest.mark.parametrize(
    "data",
    [
        saved(talk),
        HEAD + pack("<HH2sH", 0x7FE1, 0x1000, b"LO", 0) * 9000,
        HEAD[:-1],
        HEAD + b"\0",
        HEAD + bytes(9 << 20),
        HEAD.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0"),
        HEAD[:132],
        HEAD[:140] + b"\xff\xff\xff\xff" + HEAD[144:],
    ],
    ids=["long values", "many elements", "cut", "longer", "large", "big endian", "nothing", "meta"],
)
def test_any_other_is_not(data: bytes) -> None:
    assert not is_plain_dicom(data)
