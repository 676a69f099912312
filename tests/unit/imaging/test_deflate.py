"""A deflated file is what it was before, or is refused."""

import zlib

import pytest
from bad_files.bombs import deflated
from bad_files.sound import DICOM
from hypothesis import given
from hypothesis import strategies as st

from secondread.errors import ImageRejected
from secondread.imaging.dicom.deflate import inflate
from secondread.imaging.dicom.lean import read_lean
from secondread.imaging.dicom.read import read_dicom, read_header

META_END = 144 + int.from_bytes(DICOM["deflated"][140:144], "little")
INCOMPLETE = ("invalid literal/lengths set", "invalid distances set")  # codes that nothing may use; zlib alone minds


def test_a_deflated_file_is_read_as_the_file_that_it_was() -> None:
    inflated = inflate(DICOM["deflated"])
    assert inflated[META_END:] == zlib.decompress(DICOM["deflated"][META_END:], -zlib.MAX_WBITS)
    assert read_lean(inflated) is not None
    assert read_header(DICOM["deflated"]) == read_header(DICOM["explicit"])
    assert (read_dicom(DICOM["deflated"]).values == read_dicom(DICOM["explicit"]).values).all()


def test_other_files_are_left_alone() -> None:
    assert inflate(DICOM["explicit"]) is DICOM["explicit"]


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (deflated(70 << 20), "too_large"),
        (DICOM["deflated"][:-1], "truncated"),
        (DICOM["deflated"][:META_END], "truncated"),
        (DICOM["deflated"][:META_END] + b"\xff" * 100, "truncated"),
    ],
    ids=["bomb", "cut", "nothing", "noise"],
)
def test_a_bomb_or_a_part_is_refused(data: bytes, rule: str) -> None:
    with pytest.raises(ImageRejected) as refused:
        inflate(data)
    assert refused.value.rule == rule


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A deflated stream of any of zlib's ways, with some bits turned, perhaps cut or followed by something."""
    content = draw(st.binary(max_size=300)) * draw(st.sampled_from([1, 1, 40]))
    level, strategy = draw(st.integers(0, 9)), draw(st.integers(0, 4))
    deflater = zlib.compressobj(level, zlib.DEFLATED, -draw(st.integers(9, 15)), 8, strategy)
    stream = bytearray(deflater.compress(content) + deflater.flush())
    for place, bit in draw(st.lists(st.tuples(st.integers(0, len(stream) - 1), st.integers(0, 7)), max_size=3)):
        stream[place] ^= 1 << bit
    return bytes(stream[: draw(st.integers(0, len(stream)) | st.just(len(stream)))]) + draw(st.binary(max_size=3))


@given(stream=damaged(), most=st.sampled_from([10, 1000, 1 << 20]))
def test_what_is_inflated_is_what_zlib_inflates(stream: bytes, most: int) -> None:
    peer = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        expected = peer.decompress(stream, most + 1)
    except zlib.error as refused:
        if not str(refused).endswith(INCOMPLETE):
            with pytest.raises(ImageRejected):
                inflate(DICOM["deflated"][:META_END] + stream, most)
        return
    if peer.eof and len(expected) <= most:
        assert inflate(DICOM["deflated"][:META_END] + stream, most)[META_END:] == expected
    else:
        with pytest.raises(ImageRejected):
            inflate(DICOM["deflated"][:META_END] + stream, most)
