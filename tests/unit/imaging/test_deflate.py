"""A deflated file is what it was before, or is refused."""

import zlib

import pytest
from bad_files.bombs import deflated
from bad_files.sound import DICOM

from secondread.errors import ImageRejected
from secondread.imaging.dicom.deflate import inflate
from secondread.imaging.dicom.lean import read_lean
from secondread.imaging.dicom.read import read_dicom, read_header

META_END = 144 + int.from_bytes(DICOM["deflated"][140:144], "little")


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
