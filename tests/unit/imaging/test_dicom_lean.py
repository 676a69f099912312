"""What is read without pydicom is what pydicom reads, and all else is left to it."""

import io
from struct import pack
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread, uid
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from secondread.config import Window
from secondread.data.phantom.write import phantom_image
from secondread.errors import ImageRejected
from secondread.imaging.dicom.lean import read_lean
from secondread.imaging.dicom.leniency import leniently
from secondread.imaging.dicom.read import read_dicom
from secondread.imaging.dicom.write import write_xray
from secondread.imaging.picture import Picture
from secondread.tasks import HeaderScope, load_task

TASK = load_task("hemorrhage")
HEAD = phantom_image(TASK, seed=0)
LEVELS = np.arange(4096, dtype=np.uint16).reshape(64, 64)
CHEST = write_xray(
    LEVELS,
    bits=12,
    photometric="MONOCHROME1",
    window=Window(center=2048, width=4096),
    patient_id="1",
    study_uid="2.25.1",
    series_uid="2.25.2",
    sop_uid="2.25.3",
)
SYNTAXES = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian)
NUMBERS = st.one_of(st.integers(-70_000, 70_000), st.floats(allow_nan=False, allow_infinity=False))
ODD_NUMBERS = st.sampled_from(
    ["", " ", "40\\80", "40\\", " 1 ", "1 \\ 2", "+.5", "1.", "1e2", "1_0", "nan", "inf", "x"]
)
DECIMALS = st.one_of(NUMBERS.map(lambda number: f"{number:.9g}"), ODD_NUMBERS)
WORDS = st.sampled_from(
    ["", " ", "CT", "DX", "CT\\DX", " CT ", "KNEE", "\xe9", "LINEAR", "SIGMOID", "LINEAR_EXACT", "\0"]
)
CLASSES = (
    uid.CTImageStorage,
    uid.EnhancedCTImageStorage,
    uid.DigitalXRayImageStorageForPresentation,
    uid.DigitalXRayImageStorageForProcessing,
    uid.SecondaryCaptureImageStorage,
    uid.RTDoseStorage,
)
MEANINGS = st.sampled_from(["Chest", "Head", "lateral projection", "knee", "", "\xe9"])
CODES = st.lists(MEANINGS, max_size=2)  # what the items of a sequence mean
SHORT = st.integers(0, 2**16 - 1)
VALUES = {
    **dict.fromkeys(("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"), DECIMALS),
    **dict.fromkeys(("Modality", "BodyPartExamined", "ImageType", "ViewPosition", "VOILUTFunction"), WORDS),
    **dict.fromkeys(("AnatomicRegionSequence", "ViewCodeSequence"), CODES),
    "SOPClassUID": st.sampled_from([*CLASSES, *(f"{known} " for known in CLASSES), "", "1.2.3", "x\\y"]),
    "RescaleType": st.sampled_from(["HU", "US", "OD", " HU", "hu", "MGML\\HU", "", "\xe9"]),
    "PatientOrientation": st.sampled_from(["L\\P", "A\\F", "P\\F", "A", "\\", "", " A \\F", "AR\\F"]),
    "BitsStored": st.integers(0, 17),
    "HighBit": SHORT,
    "PixelRepresentation": st.integers(0, 2),
    "PixelPaddingValue": SHORT,
    "PixelPaddingRangeLimit": SHORT,
    "NumberOfFrames": st.sampled_from(["", "1", " 1", "2", "x"]),
    "SpecificCharacterSet": st.sampled_from(["ISO_IR 100", "ISO_IR 192", "ISO 2022 IR 87", "x"]),
}


def saved(dcm: Dataset, syntax: str = uid.ExplicitVRLittleEndian) -> bytes:
    out = io.BytesIO()
    with leniently():
        dcm.file_meta.TransferSyntaxUID = uid.UID(syntax)
        dcm.save_as(out, implicit_vr=syntax == uid.ImplicitVRLittleEndian, little_endian=True)
    return out.getvalue()


def raw(keyword: str, value: Any) -> RawDataElement:
    """An element as it stands in a file, also one that pydicom would not write."""
    kind = dictionary_VR(keyword).partition(" ")[0]
    written = value if isinstance(value, bytes) else pack("<H", value) if kind == "US" else value.encode()
    written += b" " * (len(written) % 2)
    return RawDataElement(Tag(keyword), kind, len(written), written, 0, False, True)


def coded(meaning: str) -> Dataset:
    item = Dataset()
    item.CodeMeaning = meaning
    return item


def changed(data: bytes, syntax: str = uid.ExplicitVRLittleEndian, **values: Any) -> bytes:
    with leniently():
        dcm = dcmread(io.BytesIO(data))
        for keyword, value in values.items():
            if isinstance(value, list):
                setattr(dcm, keyword, Sequence([coded(meaning) for meaning in value]))
            else:
                dcm[keyword] = raw(keyword, value)
    return saved(dcm, syntax)


def read_both_ways(data: bytes) -> tuple[object, object]:
    """What becomes of a file with and without the short way."""
    with pytest.MonkeyPatch.context() as patch:
        with_it = outcome(data)
        patch.setattr("secondread.imaging.dicom.read.read_lean", lambda data: None)
        return with_it, outcome(data)


def outcome(data: bytes) -> object:
    """For a task that looks at planes and parts of the body, and for one that looks at views."""
    return [outcome_within(scope, data) for scope in (TASK.scope, load_task("pneumonia").scope)]


def outcome_within(scope: HeaderScope, data: bytes) -> object:
    try:
        return plainly(read_dicom(data, scope=scope))
    except ImageRejected as rejected:
        return type(rejected), rejected.rule, rejected.reason


def plainly(picture: Picture) -> object:
    """Every bit of a picture, comparable."""
    padding = None if picture.padding is None else picture.padding.tobytes()
    arrays = [(array.dtype.str, array.shape, array.tobytes()) for array in (picture.values, picture.stored)]
    return arrays, picture.unit, picture.modality, padding


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("data", [HEAD, CHEST], ids=["CT", "DX"])
def test_a_common_file_is_read_without_pydicom(data: bytes, syntax: str) -> None:
    data = changed(data, syntax)
    assert read_lean(data) is not None
    with_it, without = read_both_ways(data)
    assert with_it == without


def test_the_short_way_needs_no_more_than_it_says() -> None:
    lean = read_lean(CHEST)
    assert lean is not None
    assert (lean.elements.Modality, lean.elements.ImageType) == ("DX", ["DERIVED", "SECONDARY"])
    assert (lean.elements.WindowCenter, lean.elements.get("PixelPaddingValue")) == (2048.0, None)
    assert "PatientID" not in lean.elements
    with pytest.raises(AttributeError, match="PatientID"):
        _ = lean.elements.PatientID
    np.testing.assert_array_equal(lean.stored.values, LEVELS)


def test_bits_that_are_not_used_count_for_nothing() -> None:
    data = changed(CHEST, PixelData=(LEVELS | 0xF000).tobytes())
    lean = read_lean(data)
    assert lean is not None
    np.testing.assert_array_equal(lean.stored.values, LEVELS)
    signed = read_lean(changed(CHEST, PixelData=LEVELS.tobytes(), PixelRepresentation=1))
    assert signed is not None
    assert (signed.stored.values.min(), signed.stored.values.max()) == (-2048, 2047)


def test_a_sequence_is_passed_over_with_what_is_in_it() -> None:
    inner = Dataset()
    inner.Modality, inner.Rows = "MR", 7
    with leniently():
        dcm = dcmread(io.BytesIO(HEAD))
    dcm.ReferencedImageSequence = Sequence([inner])
    lean = read_lean(saved(dcm))
    assert lean is not None
    assert (lean.elements.Modality, lean.elements.Rows) == ("CT", 256)


def lut(dcm: Dataset) -> None:
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [4, 0, 8], bytes(8)
    dcm.VOILUTSequence = Sequence([table])


@pytest.mark.parametrize(
    "data",
    [
        changed(HEAD, SamplesPerPixel=3),
        changed(HEAD, NumberOfFrames="2"),
        changed(HEAD, BitsStored=17),
        changed(HEAD, BitsAllocated=32),
        changed(HEAD, RescaleSlope="one"),
        changed(CHEST, SOPClassUID=""),
        changed(HEAD, PixelData=bytes(100)),
        changed(HEAD, SpecificCharacterSet="ISO 2022 IR 87"),
        HEAD[:-1],
        HEAD + bytes(8),
        HEAD[:140] + b"\xff\xff\xff\x7f" + HEAD[144:],
        HEAD.replace(b"\x08\x00\x60\x00CS", b"\x08\x00\x60\x00UN"),
        HEAD.replace(b"\x08\x00\x60\x00CS", b"\x08\x00\x60\x00ZZ"),
        HEAD.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0"),
        HEAD[:132],
        b"",
    ],
)
def test_what_is_not_plainly_so_is_left_to_pydicom(data: bytes) -> None:
    assert read_lean(data) is None
    with_it, without = read_both_ways(data)
    assert with_it == without


def test_a_lut_is_left_to_pydicom() -> None:
    with leniently():
        dcm = dcmread(io.BytesIO(CHEST))
    lut(dcm)
    assert read_lean(saved(dcm)) is None


def test_a_header_of_very_many_elements_is_left_to_a_process_with_a_limit() -> None:
    many = b"".join(pack("<HH2sH", 0x7FE1, number, b"LO", 0) for number in range(0x1000, 0x1000 + 50_001))
    assert read_lean(HEAD + many) is None


@settings(deadline=None)
@given(
    data=st.sampled_from([HEAD, CHEST]),
    syntax=st.sampled_from(SYNTAXES),
    values=st.fixed_dictionaries({}, optional=VALUES),
)
def test_both_ways_agree_whatever_a_header_says(data: bytes, syntax: str, values: dict[str, Any]) -> None:
    file = changed(data, syntax, **values)
    with_it, without = read_both_ways(file)
    assert with_it == without


@settings(deadline=None)
@given(
    data=st.sampled_from([file for data in (HEAD, CHEST) for file in (changed(data, syntax) for syntax in SYNTAXES)]),
    edits=st.lists(st.tuples(st.integers(132, 1200), st.integers(0, 255)), min_size=1, max_size=3),
)
def test_both_ways_agree_however_a_file_is_damaged(data: bytes, edits: list[tuple[int, int]]) -> None:
    damaged = bytearray(data)
    for place, value in edits:
        damaged[place] = value
    with_it, without = read_both_ways(bytes(damaged))
    assert with_it == without
