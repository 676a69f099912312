"""Read the few elements that say what a common file's pixels mean, a tenth of the work of reading all of them.

Whatever is not plainly as the standard says is left to pydicom: what is read here is what pydicom would read.
"""

import re
from collections.abc import Callable, Container, Iterator, Mapping
from struct import Struct
from typing import Any, NamedTuple

import numpy as np

from secondread.errors import ImageRejected
from secondread.imaging.dicom.bits import Bits, Stored
from secondread.imaging.dicom.plain import LITTLE_ENDIAN, LONG_LENGTHS, TRANSFER_SYNTAX

_SHORT_LENGTHS = frozenset((b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO")) | frozenset(
    (b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US")
)
_META = 132  # where the file meta information begins, behind preamble and `DICM`
_EXPLICIT = Struct("<HH2sH")  # group, element, kind of value, length
_IMPLICIT = Struct("<HHI")  # group, element, length
_LENGTH = Struct("<I")
_UNDEFINED = 0xFFFFFFFF
_META_GROUPS, _GROUPS = (0x0002, 0x0002), (0x0008, 0xFFFD)  # first and last: of file meta information, of a data set
_MOST_ELEMENTS = 50_000  # a twentieth of a second; a process without limits opens no file of so many
_CHARACTER_SET = (0x0008, 0x0005)
_CHARACTER_SETS = (b"", b"ISO_IR 6", b"ISO_IR 100", b"ISO_IR 192")  # pydicom looks up the others
_PIXELS = (0x7FE0, 0x0010)
_LEFT_TO_PYDICOM = {
    (0x0028, 0x3000),  # Modality LUT Sequence
    (0x0028, 0x3010),  # VOI LUT Sequence
    (0x5200, 0x9229),  # Shared Functional Groups Sequence
    (0x5200, 0x9230),  # Per-frame Functional Groups Sequence
    (0x7FE0, 0x0001),  # Extended Offset Table
    (0x7FE0, 0x0008),  # Float Pixel Data
    (0x7FE0, 0x0009),  # Double Float Pixel Data
}
_DECIMAL = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# Consulted where the element beside it is empty: what a sequence holds is left to pydicom.
_CODED: Mapping[tuple[int, int], str] = {
    (0x0008, 0x2218): "BodyPartExamined",  # Anatomic Region Sequence
    (0x0054, 0x0220): "ViewPosition",  # View Code Sequence
}


class Elements(dict[str, Any]):
    """Values by keyword, asked for as those of pydicom's `Dataset` are."""

    def __getattr__(self, keyword: str) -> Any:
        try:
            return self[keyword]
        except KeyError:
            raise AttributeError(keyword) from None


class LeanFile(NamedTuple):
    """What a file says of its pixels, and the pixels themselves, whose cells are read-only."""

    elements: Elements
    stored: Stored


class Irregular(Exception):
    """The file needs pydicom."""


def read_lean(data: bytes) -> LeanFile | None:
    """Read an uncompressed gray image of 8 or 16 bits.

    Args:
        data: begins with the preamble and `DICM`.
    Returns:
        None where something about the file needs a closer look; that says nothing against it.
    Source: DICOM PS3.5 6.2 (value representations), 7.1 (elements), 8.1.1 (bits); PS3.10 7.1.
    """
    try:
        meta_end = _meta_end(data)
        pixels: list[bytes] = []
        explicit = _is_explicit(data, meta_end)
        elements = _elements(data, meta_end, len(data), explicit, pixels)
        return LeanFile(elements, _stored(elements, pixels[0] if pixels else b""))
    except (Irregular, ImageRejected):
        return None


def read_elements(data: bytes, ends: tuple[bytes, ...]) -> tuple[str, Elements, int]:
    """Read what stands before the pixels of a compressed file.

    Args:
        ends: how the element of the pixels may begin.
    Returns:
        its transfer syntax, elements, and where its pixels begin.
    Raises:
        Irregular: it needs pydicom.
    """
    meta_end = _meta_end(data)
    syntax = _syntax(data, meta_end)
    pixels = max(data.find(end, meta_end) for end in ends)
    if syntax in LITTLE_ENDIAN or not data[meta_end + 4 : meta_end + 6].isupper() or pixels < 0:
        raise Irregular
    return syntax.decode("iso8859-1"), _elements(data, meta_end, pixels, True, []), pixels


def _meta_end(data: bytes) -> int:
    return _META + 12 + int.from_bytes(data[_META + 8 : _META + 12], "little")


def _elements(data: bytes, start: int, stop: int, explicit: bool, pixels: list[bytes]) -> Elements:
    """Elements between two places; uncompressed pixels go to `pixels`."""
    elements, coded = Elements(), []
    for tag, kind, begin, end in _values(data, start, stop, explicit, _WANTED):
        if tag == _PIXELS:
            pixels.append(data[begin:end])
        elif tag in _READERS:
            keyword, kinds, read = _READERS[tag]
            if explicit and kind not in kinds:
                raise Irregular
            elements[keyword] = read(data[begin:end], kind)
        elif tag in _CODED:
            coded.append(_CODED[tag])
        elif tag in _LEFT_TO_PYDICOM or data[begin:end].rstrip(b"\0 ") not in _CHARACTER_SETS:
            raise Irregular
    # Without a class of its own, a file is what its meta information says, which is passed over here.
    if not all(map(elements.get, ["SOPClassUID", *coded])):
        raise Irregular
    return elements


def _is_explicit(data: bytes, meta_end: int) -> bool:
    """Whether each value's kind is written beside it, as the transfer syntax says."""
    syntax = _syntax(data, meta_end)
    # pydicom takes two capitals in the first element for a kind of value, whatever the syntax says.
    if syntax not in LITTLE_ENDIAN or (data[meta_end + 4 : meta_end + 6].isupper() and not LITTLE_ENDIAN[syntax]):
        raise Irregular
    return LITTLE_ENDIAN[syntax]


def _syntax(data: bytes, meta_end: int) -> bytes:
    if meta_end > len(data):
        raise Irregular
    said = [data[start:end] for _, _, start, end in _values(data, _META, meta_end, True, {TRANSFER_SYNTAX})]
    return said[0].rstrip(b"\0 ") if said else b""


def _values(
    data: bytes, position: int, stop: int, explicit: bool, wanted: Container[tuple[int, int]]
) -> Iterator[tuple[tuple[int, int], bytes, int, int]]:
    """Yield tag, kind, start and end of each value that is wanted; all others, and sequences, are passed over."""
    lowest, highest = _META_GROUPS if position == _META else _GROUPS
    unpack = (_EXPLICIT if explicit else _IMPLICIT).unpack_from
    last, kind = (0, 0), b""
    for _ in range(_MOST_ELEMENTS):
        if position + 8 > stop:
            break
        begin = position + 8
        if explicit:
            group, element, kind, length = unpack(data, position)
            if kind not in _SHORT_LENGTHS:
                if kind not in LONG_LENGTHS or begin + 4 > stop:
                    raise Irregular
                [length] = _LENGTH.unpack_from(data, begin)
                begin += 4
        else:
            group, element, length = unpack(data, position)
        tag, position = (group, element), begin + length
        if tag <= last or not lowest <= group <= highest or length == _UNDEFINED or position > stop:
            raise Irregular
        last = tag
        if tag in wanted:
            yield tag, kind, begin, position
    if position != stop:
        raise Irregular


def _stored(elements: Elements, pixels: bytes) -> Stored:
    said: Callable[..., Any] = elements.get
    rows, columns = said("Rows"), said("Columns")
    bits = Bits(said("BitsAllocated"), said("BitsStored"), said("HighBit"), said("PixelRepresentation"))
    if said("SamplesPerPixel") != 1 or said("NumberOfFrames", 1) != 1 or not rows or not columns:
        raise Irregular
    if said("PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
        raise Irregular
    size: int = rows * columns * bits.allocated // 8
    if len(pixels) != size + size % 2:
        raise Irregular
    cells = np.frombuffer(pixels, f"<{bits.kind}", rows * columns).reshape(rows, columns)
    return Stored(cells, bits)


def _words(value: bytes, _: bytes) -> str | list[str]:
    words = value.decode("iso8859-1").rstrip(" \0").split("\\")
    return words[0] if len(words) == 1 else words


def _decimals(value: bytes, _: bytes) -> float | list[float] | None:
    if not value:
        return None
    parts = value.strip(b" ").rstrip(b" \0").split(b"\\")
    if not all(map(_DECIMAL.fullmatch, parts)):
        raise Irregular
    numbers = [float(part) for part in parts]
    return numbers[0] if len(numbers) == 1 else numbers


def _count(value: bytes, _: bytes) -> int | None:
    if not value:
        return None
    digits = value.rstrip(b" \0")
    if not digits.isdigit():
        raise Irregular
    return int(digits)


def _integer(value: bytes, kind: bytes) -> int:
    if len(value) != 2:
        raise Irregular
    return int.from_bytes(value, "little", signed=kind == b"SS")


_US, _US_SS, _CS, _DS = (b"US",), (b"US", b"SS"), (b"CS",), (b"DS",)
_READERS: Mapping[tuple[int, int], tuple[str, tuple[bytes, ...], Callable[[bytes, bytes], Any]]] = {
    (0x0008, 0x0008): ("ImageType", _CS, _words),
    (0x0008, 0x0016): ("SOPClassUID", (b"UI",), _words),
    (0x0008, 0x0060): ("Modality", _CS, _words),
    (0x0018, 0x0015): ("BodyPartExamined", _CS, _words),
    (0x0018, 0x5101): ("ViewPosition", _CS, _words),
    (0x0020, 0x0020): ("PatientOrientation", _CS, _words),
    (0x0020, 0x0037): ("ImageOrientationPatient", _DS, _decimals),
    (0x0028, 0x0002): ("SamplesPerPixel", _US, _integer),
    (0x0028, 0x0004): ("PhotometricInterpretation", _CS, _words),
    (0x0028, 0x0008): ("NumberOfFrames", (b"IS",), _count),
    (0x0028, 0x0010): ("Rows", _US, _integer),
    (0x0028, 0x0011): ("Columns", _US, _integer),
    (0x0028, 0x0100): ("BitsAllocated", _US, _integer),
    (0x0028, 0x0101): ("BitsStored", _US, _integer),
    (0x0028, 0x0102): ("HighBit", _US, _integer),
    (0x0028, 0x0103): ("PixelRepresentation", _US, _integer),
    (0x0028, 0x0120): ("PixelPaddingValue", _US_SS, _integer),
    (0x0028, 0x0121): ("PixelPaddingRangeLimit", _US_SS, _integer),
    (0x0028, 0x1050): ("WindowCenter", _DS, _decimals),
    (0x0028, 0x1051): ("WindowWidth", _DS, _decimals),
    (0x0028, 0x1052): ("RescaleIntercept", _DS, _decimals),
    (0x0028, 0x1053): ("RescaleSlope", _DS, _decimals),
    (0x0028, 0x1054): ("RescaleType", (b"LO",), _words),
    (0x0028, 0x1056): ("VOILUTFunction", _CS, _words),
}
_WANTED = {_PIXELS, _CHARACTER_SET, *_READERS, *_CODED, *_LEFT_TO_PYDICOM}
