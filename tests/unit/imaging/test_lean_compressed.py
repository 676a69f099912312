"""A compressed file read by the short way is what pydicom reads, and all else is left to it."""

import numpy as np
import pytest
from bad_files.flipped import flipped_files
from bad_files.sound import DICOM, PIXELS
from hypothesis import given
from hypothesis import strategies as st

from secondread.errors import ImageRejected
from secondread.imaging.dicom.lean_compressed import read_compressed
from secondread.imaging.dicom.read import read_dicom

COMPRESSED = [name for name in DICOM if name == "rle" or name.startswith("jpeg")]


def outcome(data: bytes) -> object:
    try:
        picture = read_dicom(data)
    except ImageRejected as rejected:
        return type(rejected), rejected.rule
    return picture.values.tobytes(), picture.stored.tobytes(), picture.stored.dtype.kind, picture.unit


def read_both_ways(data: bytes) -> tuple[object, object]:
    with pytest.MonkeyPatch.context() as patch:
        with_it = outcome(data)
        patch.setattr("secondread.imaging.dicom.read.read_compressed", lambda data: None)
        return with_it, outcome(data)


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_sound_file_is_read_the_short_way(name: str) -> None:
    file = read_compressed(DICOM[name])
    assert file is not None
    if name in ("rle", "jpeg_lossless", "jpeg_ls", "jpeg_2000"):
        np.testing.assert_array_equal(file.decoded(), PIXELS)
    with_it, without = read_both_ways(DICOM[name])
    assert with_it == without


@pytest.mark.parametrize("name", ["explicit", "implicit", "big_endian"])
def test_other_files_are_left_to_others(name: str) -> None:
    assert read_compressed(DICOM[name]) is None


def test_both_ways_agree_on_flipped_files() -> None:
    for name, data in flipped_files():
        if data[128:132] == b"DICM":
            with_it, without = read_both_ways(data)
            assert with_it == without, name


@given(
    data=st.sampled_from([DICOM[name] for name in COMPRESSED]),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=3),
)
def test_both_ways_agree_however_a_header_is_damaged(data: bytes, edits: list[tuple[float, int]]) -> None:
    damaged, end = bytearray(data), data.index(b"\xe0\x7f\x10\x00") + 90  # codecs may crash on what lies behind
    for place, value in edits:
        damaged[132 + int(place * (end - 132))] = value
    with_it, without = read_both_ways(bytes(damaged))
    assert with_it == without
