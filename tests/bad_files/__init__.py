"""1,500 files that a job must survive: cut, flipped, lying, growing and odd ones of every format."""

from collections.abc import Iterator
from dataclasses import dataclass

from bad_files.bombs import bombs
from bad_files.cut import cut_files
from bad_files.flipped import flipped_files
from bad_files.liars import lying_files
from bad_files.odd import strange_files

_READ_ALL_THE_SAME = {  # what they say wrongly decides nothing, or nobody can know it
    "jpeg_ls_depth.dcm",
    "meta_length_lies.dcm",
    "half_of_zeros_explicit",
    "half_of_zeros_implicit",
    "half_of_zeros_big_endian",
}


@dataclass(frozen=True)
class BadFile:
    """A file that is not as it should be.

    Args:
        is_refused: whether no image may come of it; bits may turn over unnoticed.
    """

    name: str
    data: bytes
    is_refused: bool = True


def bad_files(with_bombs: bool) -> Iterator[BadFile]:
    """Make every bad file; bombs, last, take seconds to make and to read."""
    for make in (cut_files, lying_files, strange_files):
        yield from (BadFile(name, data, name not in _READ_ALL_THE_SAME) for name, data in make())
    for make in (flipped_files, bombs) if with_bombs else (flipped_files,):
        yield from (BadFile(name, data, is_refused=False) for name, data in make())
