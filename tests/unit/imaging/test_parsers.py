"""Whatever the bytes, a parser answers or refuses: never another error, and never an image beyond the limits."""

from collections.abc import Callable

import pytest
from bad_files.codestreams import JPEG_LOSSLESS, JPEG_LS
from bad_files.sound import DICOM, JPEG_2000, PICTURES, SOUND
from hypothesis import given
from hypothesis import strategies as st

from secondread.errors import ImageRejected
from secondread.imaging.codestream import is_plain_jpeg, jpeg2000_frame, jpeg_frame, png_frame
from secondread.imaging.dicom.lean import read_lean
from secondread.imaging.dicom.plain import has_closed_pixels, is_deflated, is_plain_dicom
from secondread.imaging.dicom.read import read_header
from secondread.imaging.limits import MOST_PIXELS, check

STREAMS = {"jpeg_ls": JPEG_LS, "jpeg_lossless": JPEG_LOSSLESS, "jpeg_2000": JPEG_2000} | PICTURES
PLACES = st.floats(0, 1, exclude_max=True)
EDITS = st.lists(st.tuples(PLACES, st.binary(min_size=1, max_size=4)), max_size=5)


@st.composite
def damaged(draw: st.DrawFn, sound: dict[str, bytes], header: int) -> bytes:
    """A file with bytes overwritten near its beginning, and perhaps cut; or any bytes behind its first ones."""
    data = draw(st.sampled_from(sorted(sound.values())))
    if draw(st.integers(0, 9)) == 0:
        return data[: draw(st.integers(0, 200))] + draw(st.binary(max_size=300))
    changed = bytearray(data)
    for place, value in draw(EDITS):
        start = int(place * min(len(data), header))
        changed[start : start + len(value)] = value
    return bytes(changed[: round(draw(st.just(1.0) | PLACES) * len(changed))])


def answers_or_refuses(parse: Callable[[bytes], object], data: bytes) -> bool:
    """Whether it answered; any error but a refusal fails the test."""
    try:
        parse(data)
    except ImageRejected:
        return False
    return True


@pytest.mark.parametrize("parse", [jpeg_frame, jpeg2000_frame, png_frame, lambda data: is_plain_jpeg(data, 10**6)])
@given(data=damaged(STREAMS, header=200) | st.binary(max_size=200))
def test_codestreams(parse: Callable[[bytes], object], data: bytes) -> None:
    answers_or_refuses(parse, data)


@given(data=damaged(SOUND, header=600) | st.binary(max_size=200))
def test_limits(data: bytes) -> None:
    if answers_or_refuses(check, data) and check(data) != "dicom":
        frame = png_frame(data) if check(data) == "png" else jpeg_frame(data)
        assert 64 * 64 <= frame.rows * frame.columns <= MOST_PIXELS


@given(data=damaged(DICOM, header=900) | st.binary(max_size=300).map(lambda data: bytes(128) + b"DICM" + data))
def test_dicom_headers(data: bytes) -> None:
    answers_or_refuses(read_header, data)
    for tell in (is_plain_dicom, is_deflated, has_closed_pixels):
        assert isinstance(tell(data), bool)
    if is_plain_dicom(data):
        assert not is_deflated(data)
    lean = read_lean(data)
    assert lean is None or lean.elements["Rows"] > 0
